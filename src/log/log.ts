/**
 * The log: one ordered, bounded history of a hub's events. All hubs that share a log are one service.
 *
 * `memoryLog` keeps it in this process. Network logs keep it in a broker, for many processes.
 *
 * @module
 */

import type { LogEntry, LogRecord } from "./entry.ts";

/** What a log tells those who follow it. Calls come one at a time, in log order. */
export interface LogFollower {
  /**
   * The log can be followed now: everything after `head` will be told. Called again with another epoch when the log
   * started over (its data is gone): cursors of the old epoch mean nothing from then on. An epoch is 1 to 256 visible
   * ASCII characters, since it is part of the ids that clients send back in a header. No two lives of a log share one.
   *
   * @throws {StreamsideError} `invalid-argument` for an invalid epoch
   */
  opened(epoch: string, head: number): void;
  /** The next entries. None is left out, none comes twice, and positions grow. */
  appended(entries: readonly LogEntry[]): void;
  /** The log cannot be followed at the moment. It keeps trying by itself, and then goes on where it stopped. */
  failed(error: unknown): void;
}

/**
 * A log, as a hub needs one.
 *
 * What an implementation promises:
 *
 * - There is one order for everyone.
 * - An append that resolved is held, within the log's bounds.
 * - A follower gets each entry after `head` once, in order. A read finds everything that followers were told before it.
 * - Positions are whole numbers above 0 that only grow. Gaps between them are allowed.
 * - Its answers belong to the epoch that its followers were told last. When it starts over, they are told before it
 *   answers anything from its new life.
 *
 * An append may be answered before its entry is told or after, and either may take any time.
 *
 * What the caller promises: records are valid (see {@link LogRecord}) and not changed afterwards.
 */
export interface Log {
  /** Follows the log from its head on. Returns how to stop. */
  follow(follower: LogFollower): () => void;
  /** Appends a record. Resolves to its position once the log holds it, and rejects if it does not. */
  append(record: LogRecord): Promise<number>;
  /**
   * The oldest entries after a position: at most `limit` of them, and at least one if there is one. `null` if not
   * everything after the position is held: it was trimmed, or the log has not reached the position.
   */
  read(after: number, limit: number): Promise<readonly LogEntry[] | null>;
}
