/**
 * A log in a file of SQLite: it survives a restart, and events can commit together with the application's data.
 *
 * @example
 * ```ts
 * import { DatabaseSync } from "node:sqlite";
 * import { createHub } from "streamside";
 * import { sqliteLog } from "streamside/sqlite";
 *
 * const hub = createHub({ log: sqliteLog(new DatabaseSync("events.db")) });
 * ```
 *
 * @module
 */

import { quote, StreamsideError } from "../errors.ts";
import { bound, delay, invalid } from "../validate.ts";
import { newTag, sizeOf } from "./appends.ts";
import { closed } from "./closed.ts";
import { newEpoch } from "./cursor.ts";
import { boundsOf, type HistoryOptions } from "./history.ts";
import type { Log, LogFollower } from "./log.ts";
import type { LogEntry, LogPosition, LogRecord } from "./record.ts";
import {
  explain,
  type Sql,
  type SqliteDatabase,
  type SqlRow,
  type Synchronous,
  troubleOf,
} from "./sqlite-database.ts";
import { Watch, type Watcher } from "./sqlite-watch.ts";

export type { SqliteDatabase } from "./sqlite-database.ts";

/** Options of {@link sqliteLog}. */
export interface SqliteLogOptions {
  /**
   * The name of its table, and what those of its state begin with: 1 to 48 letters, digits and underscores. Logs on one
   * file with the same name are one service. Default: `"streamside"`.
   */
  readonly table?: string;
  /**
   * How much the file holds: `{ events, bytes, age }`. Bytes are those of the records; the age goes by the system's
   * clock. See {@link HistoryOptions} for the defaults.
   */
  readonly history?: HistoryOptions;
  /**
   * What a commit of the log waits for. `"normal"`: nothing that was acknowledged is lost when the process is killed; a
   * power failure may lose the newest. `"full"`: each commit waits for the disk, and a power failure loses nothing either.
   * The application's own transactions keep what the database is set to. A Durable Object has a rule of its own. Default:
   * `"normal"`.
   */
  readonly synchronous?: "normal" | "full";
  /**
   * How long a send waits, in ms, while the database is locked, or while a transaction of the application is open on it,
   * before it rejects with `log-unavailable`. Default: 5 000.
   */
  readonly appendTimeout?: number;
  /** How many bytes may wait meanwhile. Above it sends reject at once. Default: 16 777 216 (16 MiB). */
  readonly maxPendingBytes?: number;
}

/** What the tables hold, by number: a log of a later one is left alone. */
const VERSION = 1;
/** How many records one transaction takes, and how many bytes of them, at most. */
const BATCH = 500;
const BATCH_BYTES = 1024 * 1024;
/** How long the log works before others get their turn, in ms. */
const TURN = 8;
/** About how many bytes one answer holds. */
const ANSWER_BYTES = 1024 * 1024;
/** How many idempotency keys are known. */
const KEYS = 10_000;
/** How many entries are trimmed at a time, besides as many as came. */
const TRIM = 200;

/** A timer takes at least a millisecond. `setImmediate`, where it exists, only waits its turn. */
const defer: (callback: () => void) => void =
  (globalThis as { setImmediate?: (callback: () => void) => void }).setImmediate ??
    ((callback) => setTimeout(callback, 0));

/**
 * A log in a file of SQLite 3.24 or later, on a handle of the user's own: `DatabaseSync` of `node:sqlite` (Node 22.13 and
 * later, Deno), `Database` of `bun:sqlite` or `better-sqlite3`, or what has their shape; or a Durable Object's
 * `ctx.storage.sql`. The file is in WAL mode from then on. The handle stays the user's: close it after the log.
 *
 * Several processes may have one file. What one appends, the others are told within some 25 ms.
 *
 * An append is never part of a transaction of the application: while one is open on this handle, the log waits. What is to
 * commit with the application's own data goes through `hub.within(database)`.
 *
 * @param database the handle
 * @throws {StreamsideError} `invalid-argument` for what is not a database, an option out of range, and a table of that
 *   name that is not a log's; `log-unavailable` for a file that is corrupt, read-only, full, or of a later version
 * @example
 * ```ts
 * import { Database } from "bun:sqlite";
 * import { createHub } from "streamside";
 * import { sqliteLog } from "streamside/sqlite";
 *
 * const log = sqliteLog(new Database("app.db"), { history: { age: 24 * 3_600_000 } });
 * const hub = createHub({ log });
 * ```
 */
export function sqliteLog(database: SqliteDatabase, options: SqliteLogOptions = {}): Log {
  return new SqliteLog(database, options);
}

/** Where the log stands, as the file says it. */
interface Place {
  readonly epoch: string;
  readonly head: LogPosition;
  readonly start: LogPosition;
  /** The bytes of all entries up to the head, of which those up to the start are gone. */
  readonly total: number;
}

/** A record that waits for its place. */
interface Waiting {
  readonly record: LogRecord;
  readonly text: string;
  readonly idempotencyKey: string | undefined;
  readonly bytes: number;
  readonly deadline: number;
  readonly resolve: (position: LogPosition) => void;
  readonly reject: (error: StreamsideError) => void;
}

class SqliteLog implements Log {
  readonly #sql: Sql;
  readonly #watch: Watch;
  readonly #tables: Tables;
  readonly #history: Required<HistoryOptions>;
  readonly #synchronous: Synchronous;
  readonly #appendTimeout: number;
  readonly #maxPendingBytes: number;
  readonly #followers = new Set<LogFollower>();
  /** What followers were told last; `undefined` before they were told anything. */
  #told: Place | undefined;
  #unwatch: (() => void) | undefined;
  #hasFailed = false;
  #isClosed = false;
  /** The tables are there. */
  #isReady = false;
  /** What waits for its place: each as long as any other, so the first to come is the first to be late. */
  #waiting: Waiting[] = [];
  #pendingBytes = 0;
  #isFlushing = false;
  #isPrompted = false;
  #flushAgain: ReturnType<typeof setTimeout> | undefined;
  /** How often in a row nothing could be appended. */
  #refusals = 0;
  /** When what is too old is looked for next. */
  #tendAt = 0;

  readonly #watcher: Watcher = {
    changed: () => this.#look(),
    failed: (error) => this.#fail(error),
    tend: () => this.#tend(),
  };

  constructor(database: SqliteDatabase, options: SqliteLogOptions) {
    this.#watch = Watch.of(database);
    this.#sql = this.#watch.sql;
    this.#tables = new Tables(tableOf(options.table));
    this.#history = boundsOf(options.history ?? {});
    this.#synchronous = synchronousOf(options.synchronous);
    this.#appendTimeout = delay("appendTimeout", options.appendTimeout, 5_000);
    this.#maxPendingBytes = bound("maxPendingBytes", options.maxPendingBytes, 16 * 1024 * 1024);
    try {
      if (!this.#sql.isInTransaction) this.#prepare();
    } catch (error) {
      // That passes. What does not is told at once, not by the first send.
      if (troubleOf(error) !== "busy") throw explain(error);
    }
  }

  follow(follower: LogFollower): () => void {
    if (this.#isClosed) throw closed();
    this.#unwatch ??= this.#watch.add(this.#watcher);
    if (this.#told !== undefined) this.#look();
    this.#followers.add(follower);
    if (this.#told === undefined) this.#look();
    else follower.opened(this.#told.epoch, this.#told.head, this.#told.start);
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#stop();
    };
  }

  append(record: LogRecord): Promise<LogPosition> {
    if (this.#isClosed) return Promise.reject(closed());
    const { text, ...rest } = stored(record);
    const bytes = sizeOf(record);
    if (this.#pendingBytes + bytes > this.#maxPendingBytes && this.#pendingBytes > 0) {
      return Promise.reject(
        new StreamsideError(
          "log-unavailable",
          `The database takes events more slowly than they are sent: ${this.#pendingBytes} bytes wait for it, and ` +
            `maxPendingBytes is ${this.#maxPendingBytes}. The event is not in the log; send less, or later.`,
        ),
      );
    }
    this.#pendingBytes += bytes;
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + this.#appendTimeout;
      this.#waiting.push({ ...rest, text, bytes, deadline, resolve, reject });
      this.#flushSoon();
    });
  }

  async read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    const end = performance.now() + this.#appendTimeout;
    for (let attempt = 1;; attempt++) {
      if (this.#isClosed) throw closed();
      try {
        if (!this.#sql.isInTransaction) return this.#read(after, limit);
      } catch (error) {
        if (troubleOf(error) !== "busy") throw explain(error);
      }
      if (performance.now() > end) throw this.#late("The log was not read");
      await new Promise((resolve) => setTimeout(resolve, pauseOf(attempt)));
    }
  }

  within(transaction: unknown): (record: LogRecord) => Promise<void> {
    const { sql } = Watch.of(transaction as SqliteDatabase);
    if (this.#isClosed) throw closed();
    if (sql.isShared && !sql.isInTransaction) {
      throw invalid(
        "No transaction is open on this database: begin one (BEGIN), or call hub.within inside of `transaction`.",
      );
    }
    if (sql !== this.#sql) this.#assertSame(sql);
    return (record) => {
      // It happens at once: the application's transaction may be a function that ends before any promise is looked at.
      try {
        this.#appendWithin(sql, record);
        return Promise.resolve();
      } catch (error) {
        return Promise.reject(error);
      }
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#stop();
    clearTimeout(this.#flushAgain);
    for (const { reject } of this.#waiting) reject(closed());
    this.#waiting = [];
    this.#pendingBytes = 0;
    this.#sql.release();
  }

  #stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#told = undefined;
    this.#hasFailed = false;
  }

  /** Makes the tables, unless they are there. */
  #prepare(): void {
    if (this.#isReady) return;
    const { name, state } = this.#tables;
    this.#useWal();
    let version: SqlRow | undefined;
    try {
      version = this.#tables.areIn(this.#sql) ? this.#sql.all(this.#tables.version)[0] : undefined;
      if (version === undefined) {
        this.#sql.write(this.#synchronous, () => this.#tables.makeIn(this.#sql));
        [version] = this.#sql.all(this.#tables.version);
      }
      this.#sql.all(this.#tables.shape);
    } catch (error) {
      if (!/no such column|has no column|values were supplied/.test(String(error))) throw error;
      throw invalid(
        `The database has a table ${name} or ${state} that is not a log's: choose another name (table).`,
      );
    }
    if (Number(version![0]) > VERSION) {
      throw new StreamsideError(
        "log-unavailable",
        `The log in table ${name} is of version ${
          version![0]
        }, and this version of Streamside knows ${VERSION}: ` +
          "update Streamside, or choose another name (table).",
      );
    }
    this.#isReady = true;
  }

  /** Readers and a writer are in nobody's way then. It stays with the file. */
  #useWal(): void {
    try {
      if (this.#sql.isShared) this.#sql.exec("PRAGMA journal_mode = WAL");
    } catch (error) {
      // A log that is there can be followed all the same.
      if (troubleOf(error) !== "readonly") throw error;
    }
  }

  // ------------------------------------------------------------------------------------------------- appending

  /** All that is sent in one turn is one transaction. */
  #flushSoon(): void {
    // What was in the way may have gone: who sends between two transactions has no need to wait for a timer.
    if (this.#isFlushing && (this.#flushAgain === undefined || this.#isPrompted)) return;
    this.#isFlushing = true;
    this.#isPrompted = true;
    queueMicrotask(() => {
      this.#isPrompted = false;
      this.#flush();
    });
  }

  #flush(): void {
    clearTimeout(this.#flushAgain);
    this.#flushAgain = undefined;
    const began = performance.now();
    let wereMissing = false;
    while (this.#waiting.length > 0) {
      if (performance.now() - began > TURN) {
        defer(() => this.#flush());
        return;
      }
      const batch = this.#next();
      try {
        if (this.#sql.isInTransaction) return this.#flushLater();
        const places = this.#write(batch);
        this.#take(batch);
        batch.forEach(({ resolve }, i) => resolve(places[i]!));
        this.#refusals = 0;
      } catch (error) {
        const trouble = troubleOf(error);
        if (trouble === "busy") return this.#flushLater();
        if (trouble === "missing" && !wereMissing) {
          // Somebody has removed the tables. The log begins anew.
          wereMissing = true;
          this.#isReady = false;
          continue;
        }
        const reason = explain(error);
        this.#take(batch);
        for (const { reject } of batch) reject(reason);
      }
    }
    this.#isFlushing = false;
  }

  /** What is in the way passes. Who has waited for long enough is told that it does not. */
  #flushLater(): void {
    const now = performance.now();
    const late = this.#waiting.findIndex(({ deadline }) => deadline > now);
    const expired = this.#waiting.slice(0, late === -1 ? undefined : late);
    if (expired.length > 0) {
      const error = this.#late("The event is not in the log");
      this.#take(expired);
      for (const { reject } of expired) reject(error);
    }
    if (this.#waiting.length === 0) {
      this.#isFlushing = false;
      return;
    }
    this.#flushAgain = setTimeout(() => this.#flush(), pauseOf(++this.#refusals));
  }

  #late(what: string): StreamsideError {
    const waited = `for ${this.#appendTimeout} ms (appendTimeout)`;
    return new StreamsideError(
      "log-unavailable",
      this.#isBusyWithApplication()
        ? `${what}: a transaction of the application has been open on the log's database ${waited}. Keep transactions ` +
          "short, or give the log a handle of its own on the same file."
        : `${what}: the database has been locked ${waited} by another connection that writes. Keep its transactions short.`,
    );
  }

  #isBusyWithApplication(): boolean {
    try {
      return this.#sql.isInTransaction;
    } catch {
      return false;
    }
  }

  #next(): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < BATCH) {
      bytes += this.#waiting[count]!.bytes;
      if (bytes > BATCH_BYTES && count > 0) break;
      count++;
    }
    return this.#waiting.slice(0, count);
  }

  /** The first that wait do so no longer. */
  #take(batch: readonly Waiting[]): void {
    this.#waiting = this.#waiting.slice(batch.length);
    for (const { bytes } of batch) this.#pendingBytes -= bytes;
  }

  #write(batch: readonly Waiting[]): LogPosition[] {
    this.#prepare();
    const time = Date.now();
    const entries: LogEntry[] = [];
    const places: LogPosition[] = [];
    const [before, after] = this.#sql.write(this.#synchronous, () => {
      const before = this.#place();
      let { total, head: { position } } = before;
      try {
        for (const { record, text, idempotencyKey, bytes } of batch) {
          const known = this.#known(this.#sql, idempotencyKey);
          if (known !== undefined) {
            places.push(known);
            continue;
          }
          const place = { position: ++position, tag: newTag() };
          total += bytes;
          this.#insert(this.#sql, place, total, time, text, idempotencyKey);
          entries.push({ ...place, time, record });
          places.push(place);
        }
      } catch (error) {
        // A Durable Object has no ROLLBACK.
        if (!this.#sql.isShared) this.#undo(before.head.position);
        throw error;
      }
      const head = entries.length === 0 ? before.head : placeOf(entries.at(-1)!);
      const start = this.#trim({ ...before, head, total }, 2 * entries.length + TRIM);
      return [before, { epoch: before.epoch, head, start, total }];
    });
    this.#watch.committed(this.#watcher);
    if (this.#told === undefined || !isSame(this.#told, before)) this.#look();
    else this.#tell(after, entries);
    return places;
  }

  #insert(
    sql: Sql,
    { position, tag }: LogPosition,
    total: number,
    time: number,
    text: string,
    idempotencyKey: string | undefined,
  ): void {
    sql.run(this.#tables.insert, position, tag!, total, time, text);
    if (idempotencyKey === undefined) return;
    sql.run(this.#tables.insertKey, idempotencyKey, position, tag!);
    // By a hundredth: looking for the oldest takes a walk over all.
    if (position % (KEYS / 100) === 0) sql.run(this.#tables.trimKeys, KEYS);
  }

  #known(sql: Sql, idempotencyKey: string | undefined): LogPosition | undefined {
    if (idempotencyKey === undefined) return undefined;
    const [row] = sql.all(this.#tables.key, idempotencyKey);
    return row && { position: Number(row[0]), tag: String(row[1]) };
  }

  #undo(position: number): void {
    for (const text of this.#tables.undo) this.#sql.run(text, position);
  }

  /** Another handle may only stand for the same file. */
  #assertSame(sql: Sql): void {
    let epoch: unknown;
    try {
      epoch = sql.all(this.#tables.epoch)[0]?.[0];
    } catch {
      // Then it has no log.
    }
    if (epoch !== undefined && epoch === this.#sql.all(this.#tables.epoch)[0]?.[0]) return;
    throw invalid(
      "This is another database than the log's: hub.within takes the log's own handle, or another one on the same file.",
    );
  }

  #appendWithin(sql: Sql, record: LogRecord): void {
    if (this.#isClosed) throw closed();
    if (sql.isShared && !sql.isInTransaction) {
      throw invalid("The transaction has ended. The event is not in the log.");
    }
    const { text, idempotencyKey } = stored(record);
    try {
      // The log may have been made within this transaction, where it could make nothing of its own.
      if (!this.#isReady) this.#tables.makeIn(sql);
      if (this.#known(sql, idempotencyKey) !== undefined) return;
      const { head, total } = this.#place(sql);
      const place = { position: head.position + 1, tag: newTag() };
      this.#insert(sql, place, total + sizeOf(record), Date.now(), text, idempotencyKey);
    } catch (error) {
      // Or the application's data could be committed without the event, by a function that looks at no promise.
      try {
        if (sql.isShared) sql.exec("ROLLBACK");
      } catch {
        // Of some errors SQLite has rolled back by itself.
      }
      throw new StreamsideError(
        "log-unavailable",
        `The event could not be part of the transaction, which was rolled back: ${
          explain(error).message
        }`,
        { cause: error },
      );
    }
    // The other logs of this handle are told too; other handles find it by themselves.
    this.#watch.look();
  }

  // -------------------------------------------------------------------------------------------------- trimming

  /** Trims what is beyond the bounds, at most so many. Where the log begins then. */
  #trim({ head, total, start }: Place, most: number): LogPosition {
    const { events, bytes, age } = this.#history;
    const [[last]] = this.#sql.all(
      this.#tables.beyond,
      most,
      ...[head.position - events, total - bytes, Date.now() - age].map((limit) =>
        Math.max(-1, limit)
      ),
    ) as [SqlRow];
    if (last === null) return start;
    const position = Number(last);
    const [[tag]] = this.#sql.all(this.#tables.tag, position) as [SqlRow];
    this.#sql.run(this.#tables.forget, position);
    this.#sql.run(this.#tables.setStart, position, String(tag));
    return { position, tag: String(tag) };
  }

  /** Trims what is too old, though nothing comes. */
  #tend(): void {
    const now = performance.now();
    if (now < this.#tendAt || this.#told === undefined || this.#hasFailed) return;
    this.#tendAt = now + Math.min(1_000, this.#history.age / 20);
    try {
      const place = this.#place();
      const [oldest] = this.#sql.all(this.#tables.oldest);
      if (oldest === undefined) return;
      const [position, total, time] = oldest.map(Number) as [number, number, number];
      const { events, bytes, age } = this.#history;
      if (
        position > place.head.position - events && total > place.total - bytes &&
        time >= Date.now() - age
      ) return;
      const start = this.#sql.write(
        this.#synchronous,
        () => this.#trim(this.#place(), 5 * TRIM),
      );
      this.#told = { ...this.#told, start };
      // There may be more.
      this.#tendAt = now;
    } catch (error) {
      // The log is what it was, and a send that fails says why.
      if (troubleOf(error) !== "busy") this.#tendAt = now + 60_000;
    }
  }

  // ------------------------------------------------------------------------------------------------- following

  /** Looks what is new, and tells it. */
  #look(): void {
    if (this.#isClosed || this.#followers.size === 0) return;
    try {
      if (this.#sql.isInTransaction) return this.#watch.retry();
      this.#prepare();
      const told = this.#told;
      if (told === undefined) return this.#open(this.#sql.read(() => this.#place()));
      const [place, held, entries] = this.#sql.read(() => this.#after(told.head, BATCH));
      if (place.epoch !== told.epoch) return this.#open(place);
      if (held === "lost") return this.#open(this.#renew(told.epoch));
      if (held === "trimmed") return this.#open(place);
      if (entries.length === 0) {
        if (this.#hasFailed) this.#open({ ...told, start: place.start });
        else this.#told = { ...told, start: place.start };
        return;
      }
      this.#tell({ ...place, head: placeOf(entries.at(-1)!) }, entries);
      if (entries.at(-1)!.position < place.head.position) this.#watch.retry();
    } catch (error) {
      const trouble = troubleOf(error);
      if (trouble === "missing") this.#isReady = false;
      this.#watch.retry();
      if (trouble !== "busy" && trouble !== "missing") this.#fail(error);
    }
  }

  #open(place: Place): void {
    this.#told = place;
    this.#hasFailed = false;
    this.#each((follower) => follower.opened(place.epoch, place.head, place.start));
  }

  #tell(place: Place, entries: readonly LogEntry[]): void {
    this.#told = place;
    if (entries.length === 0) return;
    this.#hasFailed = false;
    this.#each((follower) => follower.appended(entries));
  }

  #fail(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const reason = explain(error);
    this.#each((follower) => follower.failed(reason));
  }

  /** Who comes while they are told is told by itself where it stands. What one cannot take is no matter of the others. */
  #each(tell: (follower: LogFollower) => void): void {
    for (const follower of [...this.#followers]) {
      try {
        if (this.#followers.has(follower)) tell(follower);
      } catch (error) {
        follower.failed(error);
      }
    }
  }

  /** Another epoch begins, unless somebody else has begun it. */
  #renew(epoch: string): Place {
    return this.#sql.write(this.#synchronous, () => {
      this.#sql.run(this.#tables.renew, newEpoch(), epoch);
      return this.#place();
    });
  }

  // --------------------------------------------------------------------------------------------------- reading

  #read(after: LogPosition, limit: number): LogEntry[] | null {
    this.#prepare();
    const [place, held, entries] = this.#sql.read(() => this.#after(after, limit));
    // Followers have to know of another epoch before anything is answered from it.
    if (this.#told !== undefined && this.#told.epoch !== place.epoch) this.#look();
    return held === "held" ? entries : null;
  }

  /** Where the log stands, whether it holds what comes after a place, and the first of it. */
  #after(
    { position, tag }: LogPosition,
    limit: number,
  ): [place: Place, held: "held" | "trimmed" | "lost", entries: LogEntry[]] {
    const place = this.#place();
    const { head, start } = place;
    if (position < start.position) return [place, "trimmed", []];
    if (position > head.position) return [place, "lost", []];
    if (tag !== undefined) {
      const own = position === start.position
        ? start.tag
        : this.#sql.all(this.#tables.tag, position)[0]?.[0];
      if (own !== tag) return [place, "lost", []];
    }
    const sizes = this.#sql.all(this.#tables.sizes, position, limit);
    const most = Number(sizes[0]?.[1]) + ANSWER_BYTES;
    const last = sizes.findLast(([, total], i) => i === 0 || Number(total) <= most);
    if (last === undefined) return [place, "held", []];
    const rows = this.#sql.all(this.#tables.entries, position, Number(last[0]));
    return [place, "held", rows.map(entryOf)];
  }

  #place(sql: Sql = this.#sql): Place {
    const [row] = sql.all(this.#tables.place);
    // Somebody has emptied the table.
    if (row === undefined) throw new Error(`no such table: ${this.#tables.state} has no row`);
    const [version, epoch, start, startTag, head, headTag, total] = row;
    if (Number(version) !== VERSION) {
      this.#isReady = false;
      this.#prepare();
    }
    const from = positionOf(start, startTag);
    return {
      epoch: String(epoch),
      start: from,
      head: head === null ? from : positionOf(head, headTag),
      total: Number(total),
    };
  }
}

/** The tables of a log, and what is asked of them. */
class Tables {
  readonly name: string;
  readonly state: string;
  readonly create: string;
  readonly begin: string;
  readonly version: string;
  readonly shape: string;
  readonly epoch: string;
  readonly place: string;
  readonly insert: string;
  readonly key: string;
  readonly insertKey: string;
  readonly trimKeys: string;
  readonly undo: readonly string[];
  readonly tag: string;
  readonly sizes: string;
  readonly entries: string;
  readonly oldest: string;
  readonly beyond: string;
  readonly forget: string;
  readonly setStart: string;
  readonly renew: string;

  readonly #names: readonly string[];

  constructor(name: string) {
    const state = `${name}_state`;
    const keys = `${name}_keys`;
    this.#names = [name, state, keys];
    this.name = name;
    this.state = state;
    // `total` is the bytes of all entries up to this one: what any stretch takes is one subtraction. The text comes last,
    // since reading the columns before it does not read it.
    this.create = `
      CREATE TABLE IF NOT EXISTS "${name}" (
        position INTEGER PRIMARY KEY, tag TEXT NOT NULL, total INTEGER NOT NULL, time INTEGER NOT NULL,
        record TEXT NOT NULL);
      CREATE TABLE IF NOT EXISTS "${state}" (
        id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, epoch TEXT NOT NULL, start INTEGER NOT NULL,
        start_tag TEXT NOT NULL);
      CREATE TABLE IF NOT EXISTS "${keys}" (
        position INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, tag TEXT NOT NULL);`;
    this.begin = `INSERT OR IGNORE INTO "${state}" VALUES (1, ?, ?, 0, '')`;
    this.version = `SELECT version FROM "${state}"`;
    this.shape = `SELECT position, tag, total, time, record FROM "${name}" LIMIT 0`;
    this.epoch = `SELECT epoch FROM "${state}"`;
    this.place = `
      SELECT s.version, s.epoch, s.start, s.start_tag, e.position, e.tag, coalesce(e.total, 0)
      FROM "${state}" s LEFT JOIN "${name}" e ON e.position = (SELECT max(position) FROM "${name}")`;
    this.insert = `INSERT INTO "${name}" VALUES (?, ?, ?, ?, ?)`;
    this.key = `SELECT position, tag FROM "${keys}" WHERE key = ?`;
    this.insertKey = `INSERT INTO "${keys}" (key, position, tag) VALUES (?, ?, ?)`;
    this.trimKeys = `
      DELETE FROM "${keys}" WHERE position <=
        (SELECT position FROM "${keys}" ORDER BY position DESC LIMIT 1 OFFSET ?)`;
    this.undo = [name, keys].map((table) => `DELETE FROM "${table}" WHERE position > ?`);
    this.tag = `SELECT tag FROM "${name}" WHERE position = ?`;
    this.sizes =
      `SELECT position, total FROM "${name}" WHERE position > ? ORDER BY position LIMIT ?`;
    this.entries = `
      SELECT position, tag, time, record FROM "${name}"
      WHERE position > ? AND position <= ? ORDER BY position`;
    this.oldest = `SELECT position, total, time FROM "${name}" ORDER BY position LIMIT 1`;
    this.beyond = `
      SELECT max(position) FROM
        (SELECT position, total, time FROM "${name}" ORDER BY position LIMIT ?)
      WHERE position <= ? OR total <= ? OR time < ?`;
    this.forget = `DELETE FROM "${name}" WHERE position <= ?`;
    this.setStart = `UPDATE "${state}" SET start = ?, start_tag = ?`;
    this.renew = `UPDATE "${state}" SET epoch = ? WHERE epoch = ?`;
  }

  /** Whether a database has them. */
  areIn(sql: Sql): boolean {
    const text = "SELECT count(*) FROM sqlite_master WHERE name IN (?, ?, ?)";
    const [[count]] = sql.all(text, ...this.#names) as [SqlRow];
    return Number(count) === this.#names.length;
  }

  /** Makes those that are missing. */
  makeIn(sql: Sql): void {
    sql.exec(this.create);
    sql.run(this.begin, VERSION, newEpoch());
  }
}

function tableOf(table: unknown = "streamside"): string {
  if (typeof table === "string" && /^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(table)) return table;
  throw invalid(
    `table must be 1 to 48 letters, digits and underscores, not beginning with a digit, got ${
      quote(table)
    }.`,
  );
}

function synchronousOf(synchronous: unknown = "normal"): Synchronous {
  if (synchronous === "normal" || synchronous === "full") return synchronous;
  throw invalid(`synchronous must be "normal" or "full", got ${quote(synchronous)}.`);
}

/** How long to wait before another try, in ms. Two processes that wait for each other must not do so in step. */
function pauseOf(attempt: number): number {
  return Math.min(25, 2 ** Math.min(attempt, 5) / 2) * (0.5 + Math.random());
}

/** A record as it is stored. What is appended under a key is known by it without the record. */
function stored(record: LogRecord): Pick<Waiting, "record" | "text" | "idempotencyKey"> {
  const { idempotencyKey } = record;
  if (idempotencyKey === undefined) return { record, text: JSON.stringify(record), idempotencyKey };
  const { idempotencyKey: _, ...rest } = record;
  return { record: rest, text: JSON.stringify(rest), idempotencyKey };
}

function entryOf([position, tag, time, text]: SqlRow): LogEntry {
  return {
    position: Number(position),
    tag: String(tag),
    time: Number(time),
    record: recordOf(String(text)),
  };
}

/** A record. What is none costs itself alone: the hub logs that it goes to nobody. */
function recordOf(text: string): LogRecord {
  try {
    return JSON.parse(text);
  } catch {
    return { to: "", event: "", data: "" };
  }
}

function positionOf(position: unknown, tag: unknown): LogPosition {
  return Number(position) === 0
    ? { position: 0 }
    : { position: Number(position), tag: String(tag) };
}

function placeOf({ position, tag }: LogPosition): LogPosition {
  return { position, tag };
}

function isSame(one: Place, other: Place): boolean {
  return one.epoch === other.epoch && one.head.position === other.head.position &&
    one.head.tag === other.head.tag;
}
