/**
 * A connection: one open subscribe response, which is a cursor into the log and nothing more.
 *
 * @module
 */

import type { Sink, SinkOwner } from "./sink.ts";
import type { Audience } from "./window.ts";

/** Why a connection ended. */
export type EndReason =
  /** The reader went away. */
  | "client"
  /** `hub.disconnect(session)`. */
  | "disconnect"
  /** The identity's `expires` has come. */
  | "expired"
  /** It was open for `maxAge`. */
  | "max-age"
  /** It took nothing at all for `stallTimeout`. */
  | "stalled"
  /** A newer connection of the same session took its place. */
  | "replaced"
  /** The hub closes. */
  | "closed"
  /** The log could not be read. */
  | "log";

/** A group of connections that are the same audience. */
export interface Group {
  /** What the group is found by. */
  readonly name: string;
  /** What they subscribe to. */
  readonly audience: Audience;
  /** Who they are. */
  readonly connections: Set<Connection>;
}

/** Who serves a connection. */
export interface ConnectionOwner {
  /** The connection's sink can take a chunk. */
  drained(connection: Connection): void;
  /** The connection's reader went away. */
  gone(connection: Connection): void;
}

/** The position of a connection that has none that the log knows: it is owed a reset. */
export const NOWHERE = -1;

/**
 * The state of a connection. While it is live it has everything addressed to it up to the last fan-out, and its own
 * cursor may be older; while it lags, it has everything up to its cursor.
 */
export class Connection implements SinkOwner {
  /** Connections are numbered in the order in which they were opened. */
  readonly number: number;
  /** Whom it belongs to. */
  readonly session: string;
  /** Whom it shares chunks with. */
  readonly group: Group;
  /** The log's head when it was opened, or when the log began anew since. */
  openedAt: number;
  /** When it has to end, in ms since the epoch; `Infinity` for never. */
  readonly deadline: number;
  /** Why it ends at its deadline. */
  readonly deadlineReason: EndReason;
  /** Where its bytes go. */
  sink: Sink | undefined;
  /** It has everything addressed to it up to this position of the log. */
  cursor: number;
  /** The sink can take a chunk. */
  ready = false;
  /** There are events after the cursor that it has not got. */
  lagging = false;
  /** It waits for the log to answer. */
  reading = false;
  /** Its stream has begun: the preamble is written. */
  greeted = false;
  /** It gets nothing after this position, and ends when it has come to it. */
  endsAt: number = Infinity;
  /** It is no more. */
  ended = false;
  /** Since when it takes nothing, by `performance.now()`, as far as the sweep saw; 0 while it takes. */
  stalledSince = 0;
  /** What its sink said it had taken when the sweep last looked, in bytes. */
  taken = 0;
  readonly #owner: ConnectionOwner;

  /** A connection that is opened at the head of the log and goes on from `cursor`. */
  constructor(
    owner: ConnectionOwner,
    at: {
      number: number;
      session: string;
      group: Group;
      openedAt: number;
      cursor: number;
      deadline: number;
      deadlineReason: EndReason;
    },
  ) {
    this.#owner = owner;
    this.number = at.number;
    this.session = at.session;
    this.group = at.group;
    this.openedAt = at.openedAt;
    this.cursor = at.cursor;
    this.deadline = at.deadline;
    this.deadlineReason = at.deadlineReason;
  }

  drained(): void {
    this.#owner.drained(this);
  }

  gone(): void {
    this.#owner.gone(this);
  }
}
