/**
 * A log in this process's memory: the default of a hub.
 *
 * @module
 */

import { newEpoch } from "./cursor.ts";
import { EntryWriter, type LogEntry, type LogRecord } from "./entry.ts";
import { BoundedHistory, type HistoryOptions } from "./history.ts";
import type { Log, LogFollower } from "./log.ts";

/**
 * A log in this process's memory: the default of a hub. Hubs that share one are one service.
 *
 * @param options how much it holds: events, bytes and age (ms); see {@link HistoryOptions} for the defaults
 * @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number
 * @example
 * ```ts
 * const log = memoryLog({ events: 10_000, bytes: 8 * 1024 * 1024, age: 60_000 });
 * const hub = createHub({ log });
 * ```
 */
export function memoryLog(options: HistoryOptions = {}): Log {
  return new MemoryLog(options);
}

class MemoryLog implements Log {
  readonly #epoch = newEpoch();
  readonly #writer: EntryWriter;
  readonly #followers = new Set<LogFollower>();
  readonly #history: BoundedHistory;

  constructor(options: HistoryOptions) {
    this.#history = new BoundedHistory(options);
    this.#writer = new EntryWriter(this.#epoch, options);
  }

  follow(follower: LogFollower): () => void {
    this.#followers.add(follower);
    follower.opened(this.#epoch, this.#history.head);
    return () => this.#followers.delete(follower);
  }

  append(record: LogRecord): Promise<number> {
    const entry = this.#writer.write(this.#history.head + 1, record, Date.now());
    this.#history.add(entry);
    this.#history.prune();
    const entries = [entry];
    for (const follower of this.#followers) follower.appended(entries);
    return Promise.resolve(entry.position);
  }

  read(after: number, limit: number): Promise<readonly LogEntry[] | null> {
    const { entries } = this.#history;
    this.#history.prune();
    if (after < this.#history.start || after > this.#history.head) return Promise.resolve(null);
    const found: LogEntry[] = [];
    const first = entries.indexAfter(after);
    for (let i = first; i < entries.size && found.length < limit; i++) found.push(entries.at(i));
    return Promise.resolve(found);
  }
}
