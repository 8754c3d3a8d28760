/**
 * The log: one ordered, bounded history of a hub's events. All hubs that share a log are one service.
 *
 * `memoryLog` keeps it in this process. Network and database logs keep it elsewhere, for many processes.
 *
 * @module
 */

import type { LogEntry, LogPosition, LogRecord } from "./record.ts";
import type { PresenceLog } from "./presence-log.ts";
import type { RunLog } from "./run-log.ts";

/** What a log tells those who follow it. Calls come one at a time, in log order. */
export interface LogFollower {
  /**
   * The log can be followed: everything after `head` will be told. It holds everything after `start`.
   *
   * It is called again
   *
   * - with the same epoch and the `head` that the follower was told last, when the log can be followed again after
   *   {@link LogFollower.failed} and goes on where it stopped;
   * - with the same epoch and a later `head`, when it can be followed again and does not hold any more what comes in
   *   between: this follower has missed that, others may have had it. The hub ends its streams, and their clients come
   *   back and resume or get a reset;
   * - with another epoch, when the log started over or has lost data: positions may be given again, and cursors of the
   *   old epoch mean nothing from then on. The hub's readers get a reset.
   *
   * An epoch is 1 to 256 visible ASCII characters, since it is part of the ids that clients send back in a header. No
   * two lives of a log share one. All servers that follow a log are told the same epoch for the same life.
   *
   * @throws {StreamsideError} `invalid-argument` for an invalid epoch or position, and for a `head` behind what the
   *   follower was told in the same epoch
   */
  opened(epoch: string, head: LogPosition, start: LogPosition): void;
  /**
   * The next entries. None is left out, none comes twice, and positions grow.
   *
   * @throws {StreamsideError} `invalid-argument` for a position that does not grow, or an invalid tag
   */
  appended(entries: readonly LogEntry[]): void;
  /**
   * The log cannot be followed at the moment. It keeps trying by itself, and then goes on where it stopped: the next
   * call of `opened` or `appended` says that it can be followed again.
   */
  failed(error: unknown): void;
}

/**
 * A log, as a hub needs one. `testLog` of `streamside/testing` checks an implementation.
 *
 * What an implementation promises:
 *
 * - There is one order for everyone.
 * - An append that resolved is held, within the log's bounds, unless its record is `transient`.
 * - A follower gets each entry after `head` once, in order. A read finds everything that followers were told before it,
 *   except what is `transient`, which may be left out: see {@link LogRecord.transient}.
 * - Positions are whole numbers above 0 that only grow. Gaps between them are allowed.
 * - Its answers belong to the epoch that its followers were told last. When it starts over, they are told before it
 *   answers anything from its new life.
 * - An epoch and a position stand for one entry for ever. Where the engine can lose what it acknowledged, the log
 *   notices: a follower whose last entry is missing or has another tag is told another epoch, and so is every other.
 *   Servers that notice at once agree on one. Where no server is left that saw the lost entries, tags tell: a read
 *   after an entry that is not there, or has another tag, is `null`.
 * - A log that comes back with all its data comes back with its epoch: that costs nobody a reset.
 *
 * An append may be answered before its entry is told or after, and either may take any time.
 *
 * What the caller promises: records are valid (see {@link LogRecord}) and not changed afterwards.
 */
export interface Log {
  /** Follows the log from its head on. Returns how to stop. */
  follow(follower: LogFollower): () => void;
  /**
   * Appends a record. Resolves to its position once the log holds it, and rejects if it does not, or if that is not
   * known. A record whose `idempotencyKey` the log knows is not appended again: it resolves to the position of the
   * first. For how many records or how long it knows a key is for the log to say.
   */
  append(record: LogRecord): Promise<LogPosition>;
  /**
   * The oldest entries after a position, in order: at most `limit` of them, fewer if the log likes, and at least one if
   * there is one. The position may lie in a gap.
   *
   * `null` if not everything after the position is held: it was trimmed, or the log has not reached the position. And
   * `null` if `after.tag` is given, and is not the tag of the entry there. A log that gives tags remembers that of the
   * last entry it has trimmed, since a cursor that stands there is still good. Without `after.tag`, nothing is compared.
   */
  read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null>;
  /**
   * Lets go of everything: followers are told nothing more, and what is asked rejects. Who made the log closes it; a hub
   * closes only a log that it made itself.
   */
  close?(): void | Promise<void>;
  /**
   * What appends within a transaction of the log's own database: the record is in the log if and only if the transaction
   * commits. The function that it returns resolves once the record is part of the transaction, which is before the
   * commit, so there is no position yet. Followers are told after the commit. Without it, `hub.within` throws.
   *
   * @param transaction what the log's database calls a transaction: the log says in its documentation what it takes
   * @throws {StreamsideError} `invalid-argument` for anything else, and where no transaction is open. Where only the
   *   database can tell, the function that is returned rejects with it, and appends nothing
   */
  within?(transaction: unknown): (record: LogRecord) => Promise<void>;
  /** Its runs. Without it, `hub.run` rejects with `invalid-argument`. */
  readonly runs?: RunLog | undefined;
  /** Who is online. Without it, `hub.presence` rejects with `invalid-argument`. */
  readonly presence?: PresenceLog | undefined;
}
