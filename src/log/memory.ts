/**
 * A log in this process's memory: the default of a hub.
 *
 * @module
 */

import { closed } from "./closed.ts";
import { newEpoch } from "./cursor.ts";
import { decodeEntry, type EncodedEntry, EntryWriter } from "./entry.ts";
import { BoundedHistory, type HistoryOptions } from "./history.ts";
import type { Log, LogFollower } from "./log.ts";
import { MemoryPresence } from "./memory-presence.ts";
import { MemoryRuns } from "./memory-runs.ts";
import type { LogEntry, LogPosition, LogRecord } from "./record.ts";
import type { RunHistoryOptions } from "./run-history.ts";
import { ENCODED, type EntryFollower, type EntrySource } from "./source.ts";

/** How many idempotency keys are known. */
const KEYS = 10_000;

/** Options of {@link memoryLog}. */
export interface MemoryLogOptions extends HistoryOptions {
  /** How much of runs it holds. See {@link RunHistoryOptions} for the defaults. */
  readonly runHistory?: RunHistoryOptions | undefined;
}

/**
 * A log in this process's memory: the default of a hub. Hubs that share one are one service. It knows the last 10 000
 * idempotency keys.
 *
 * What is `transient` takes a position and no room.
 *
 * Its entries are held as the hubs hold them, encoded, so that log and windows share them. Whoever follows or reads it
 * otherwise gets data whose line ends are LF.
 *
 * @param options how much it holds: events, bytes and age (ms); see {@link HistoryOptions} for the defaults; and how much of
 *   runs: `runHistory`
 * @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number
 * @example
 * ```ts
 * const log = memoryLog({ events: 10_000, bytes: 8 * 1024 * 1024, age: 60_000 });
 * const hub = createHub({ log });
 * ```
 */
export function memoryLog(options: MemoryLogOptions = {}): Log {
  return new MemoryLog(options);
}

class MemoryLog implements Log {
  readonly [ENCODED]: EntrySource = {
    follow: (follower) => this.#follow(follower),
    read: (after, limit) => this.#read(after, limit),
  };
  readonly runs: MemoryRuns;
  readonly presence: MemoryPresence = new MemoryPresence();
  readonly #epoch = newEpoch();
  readonly #options: HistoryOptions;
  readonly #writer: EntryWriter;
  readonly #followers = new Set<EntryFollower>();
  #history: BoundedHistory;
  /** Where the records with these idempotency keys stand, the oldest first. */
  readonly #keys = new Map<string, number>();
  #isClosed = false;

  constructor(options: MemoryLogOptions) {
    this.#options = options;
    this.runs = new MemoryRuns(options.runHistory);
    this.#history = new BoundedHistory(options);
    this.#writer = new EntryWriter(this.#epoch, options);
  }

  follow(follower: LogFollower): () => void {
    return this.#follow({
      opened: (epoch, head, start) => follower.opened(epoch, head, start),
      appended: (entries) => follower.appended(entries.map(decodeEntry)),
      failed: (error) => follower.failed(error),
    });
  }

  append(record: LogRecord): Promise<LogPosition> {
    if (this.#isClosed) return Promise.reject(closed());
    const { idempotencyKey } = record;
    const first = idempotencyKey === undefined ? undefined : this.#keys.get(idempotencyKey);
    if (first !== undefined) return Promise.resolve({ position: first });
    const position = this.#history.head + 1;
    const entry = this.#writer.write({ position, time: Date.now(), record });
    if (entry.transient) this.#history.skip(position);
    else this.#history.add(entry);
    this.#history.prune();
    if (idempotencyKey !== undefined) this.#note(idempotencyKey, position);
    const entries = [entry];
    for (const follower of this.#followers) follower.appended(entries);
    return Promise.resolve({ position });
  }

  async read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    return (await this.#read(after, limit))?.map(decodeEntry) ?? null;
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#keys.clear();
    this.runs.close();
    this.presence.close();
    this.#history = new BoundedHistory(this.#options, { position: this.#history.head });
  }

  #follow(follower: EntryFollower): () => void {
    this.#history.prune();
    const { head, start } = this.#history;
    if (!this.#isClosed) this.#followers.add(follower);
    follower.opened(this.#epoch, { position: head }, { position: start });
    return () => this.#followers.delete(follower);
  }

  #read({ position, tag }: LogPosition, limit: number): Promise<EncodedEntry[] | null> {
    if (this.#isClosed) return Promise.reject(closed());
    this.#history.prune();
    const { entries, start, head } = this.#history;
    // It gives no tags: a position with one is of something else.
    if (position < start || position > head || tag !== undefined) return Promise.resolve(null);
    const found: EncodedEntry[] = [];
    const first = entries.indexAfter(position);
    for (let i = first; i < entries.size && found.length < limit; i++) found.push(entries.at(i));
    return Promise.resolve(found);
  }

  #note(key: string, position: number): void {
    this.#keys.set(key, position);
    if (this.#keys.size <= KEYS) return;
    const [oldest] = this.#keys.keys();
    this.#keys.delete(oldest!);
  }
}
