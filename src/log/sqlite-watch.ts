/**
 * Looks whether a database has changed. SQLite tells nobody: each handle asks it, with one timer for all logs on it,
 * between every 5 ms, while others write, and every 25 ms. That is some 20 µs each time, and nothing while nobody follows.
 *
 * @module
 */

import { type Sql, type SqliteDatabase, sqlOf } from "./sqlite-database.ts";

/** Who wants to know. */
export interface Watcher {
  /** The database may have changed. */
  changed(): void;
  /** It could not be asked. */
  failed(error: unknown): void;
  /** Time has passed. */
  tend(): void;
}

/** How long it waits between two looks, in ms: at least, while something changes, and at most. */
const LEAST = 5;
const MOST = 25;
/** How long it waits after a failure, in ms. */
const AFTER_FAILURE = 250;

const watches = new WeakMap<object, Watch>();

/** A handle, and the logs of this process that follow the database with it. */
export class Watch {
  /** The handle's database. */
  readonly sql: Sql;
  readonly #watchers = new Set<Watcher>();
  /** What the database said last: it is another number when another connection has changed it. */
  #version: number | undefined;
  #wait = LEAST;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** To look, whatever the database says: this handle has changed it itself, or could not look the last time. */
  #isDue = false;

  private constructor(sql: Sql) {
    this.sql = sql;
  }

  /**
   * The one of a handle.
   *
   * @throws {StreamsideError} `invalid-argument` for what is not a database
   */
  static of(database: SqliteDatabase): Watch {
    let watch = watches.get(database);
    if (watch === undefined) {
      const sql = sqlOf(database);
      watches.set(database, watch = new Watch(sql));
    }
    return watch;
  }

  /** Tells a watcher of what changes from now on. Returns how to stop. */
  add(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    this.#schedule(LEAST);
    return () => {
      this.#watchers.delete(watcher);
      if (this.#watchers.size === 0) this.#stop();
    };
  }

  /** This handle has changed the database. */
  committed(by: Watcher): void {
    for (const watcher of this.#watchers) if (watcher !== by) return this.look();
  }

  /** Looks as soon as no transaction is open on the handle. One that takes a turn has ended by then. */
  look(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => this.#tick());
  }

  /** Looks again soon. */
  retry(): void {
    this.#isDue = true;
    if (this.#timer === undefined) this.#schedule(LEAST);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #schedule(wait: number): void {
    this.#stop();
    this.#wait = wait;
    if (this.#watchers.size === 0 || !(this.sql.isShared || this.#isDue)) return;
    this.#timer = setTimeout(() => this.#tick(), wait);
    // A process that does nothing else may end.
    (this.#timer as { unref?(): void }).unref?.();
  }

  #tick(): void {
    let wait = Math.min(MOST, this.#wait * 1.25);
    try {
      if (this.sql.isInTransaction) {
        // What it sees is not settled yet.
        if (this.#isDue) wait = LEAST;
      } else {
        const version = this.#ask();
        const hasChanged = this.#isDue || version !== this.#version;
        this.#version = version;
        this.#isDue = false;
        if (hasChanged) wait = LEAST;
        for (const watcher of [...this.#watchers]) {
          if (hasChanged) watcher.changed();
          watcher.tend();
        }
        if (this.#isDue) wait = LEAST;
      }
    } catch (error) {
      this.#isDue = true;
      wait = AFTER_FAILURE;
      for (const watcher of [...this.#watchers]) watcher.failed(error);
    }
    this.#schedule(wait);
  }

  #ask(): number {
    return this.sql.isShared ? Number(this.sql.all("PRAGMA data_version")[0]![0]) : 0;
  }
}
