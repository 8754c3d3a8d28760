/**
 * What goes into a log and what comes out of it: plain values, of which nothing depends on how they go to clients.
 *
 * @module
 */

import type { Address } from "./address.ts";

/**
 * What is appended to a log: everything that another server needs to deliver it. All members are plain JSON. A log
 * carries a record as it is, members that it does not know included, and looks at `idempotencyKey` alone.
 */
export interface LogRecord {
  /** Whom it is addressed to: `*`, `@session` or `#channel`. */
  readonly to: Address;
  /** The event's name. A name that starts with `streamside:` is an instruction to the hubs and goes to no client. */
  readonly event: string;
  /** The event's data as it goes out, before it is split into lines. */
  readonly data: string;
  /** Events to the same address with the same key supersede each other for a reader that lags. */
  readonly key?: string | undefined;
  /** Sessions that do not get it; with `to: "*"` and a channel's address. */
  readonly except?: readonly string[] | undefined;
  /**
   * For those who are live, and kept for nobody. It takes a position and is told to followers as any other. A log need
   * not hold it: reads may leave it out, as if its position were a gap. A log that gives tags holds it, since ids end
   * with the tag of the last entry that was told; hubs give it to nobody who reads it from the log.
   */
  readonly transient?: true | undefined;
  /**
   * Records with the same one stand in the log once: see {@link Log.append}. A log need not hand it over with the
   * record.
   */
  readonly idempotencyKey?: string | undefined;
}

/** A place in one life of a log. */
export interface LogPosition {
  /** A whole number. Positions only grow; gaps are allowed. 0 is before the first entry. */
  readonly position: number;
  /**
   * What tells the entry there from any other that may get its position when the log has lost data: 1 to 64 visible
   * ASCII characters, drawn at random for each entry. A log that gives tags gives one with each position but 0. One
   * that never loses what it acknowledged within an epoch needs none.
   */
  readonly tag?: string | undefined;
}

/** A record that has its place in a log. */
export interface LogEntry extends LogPosition {
  /** When it was appended, in ms since the epoch, by the clock of whoever appended it. Nothing goes by it. */
  readonly time: number;
  /** What was appended. */
  readonly record: LogRecord;
}
