/**
 * The log: one ordered, bounded history of a hub's events. All hubs that share a log are one service.
 *
 * `memoryLog` keeps it in this process; network logs keep it in a broker, for many processes.
 *
 * @module
 */

import type { LogEntry, LogRecord } from "./entry.ts";

/** What a log tells those who follow it. Calls come one at a time, in log order. */
export interface LogFollower {
  /**
   * The log can be followed now: everything after `head` will be told. Called again with another epoch when the log
   * began anew (its data is gone): no cursor of the old epoch means anything then. An epoch is 1 to 256 visible ASCII
   * characters, since it stands in the ids that clients send back in a header; no two lives of a log have the same.
   *
   * @throws {StreamsideError} `invalid-argument` for an epoch that is none
   */
  opened(epoch: string, head: number): void;
  /** These entries come next: none left out, none twice, positions growing. */
  appended(entries: readonly LogEntry[]): void;
  /** The log cannot be followed at the moment; it goes on trying by itself, and goes on where it stopped. */
  failed(error: unknown): void;
}

/**
 * A log, as a hub needs one.
 *
 * What an implementation promises: one order for everyone; an append that resolved is held, within the log's bounds;
 * a follower gets each entry after `head` once, in order, and a read finds all that followers were told before it;
 * positions are whole numbers above 0 that only grow, and gaps between them are allowed. What it answers is of the epoch
 * that its followers were told last: when it begins anew they are told before anything is answered from its new life.
 * Whether an append is answered before its entry is told or after, and how long either takes, is its own affair.
 * What the caller promises: records are valid (see {@link LogRecord}) and not changed afterwards.
 */
export interface Log {
  /** Follows the log from its head on. Returns how to stop. */
  follow(follower: LogFollower): () => void;
  /** Appends a record; resolves to its position once the log holds it, and rejects when it does not. */
  append(record: LogRecord): Promise<number>;
  /**
   * The oldest entries after a position, at most `limit` of them and at least one if there is one; `null` when not
   * everything after the position is held (trimmed, or a position that the log has not reached).
   */
  read(after: number, limit: number): Promise<readonly LogEntry[] | null>;
}
