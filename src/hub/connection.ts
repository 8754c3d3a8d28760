/**
 * A connection: one open subscribe response. It is a cursor into the log and nothing more.
 *
 * @module
 */

import type { Audience } from "./read.ts";
import type { Sink, SinkOwner } from "./sink.ts";

/** Why a connection ended. */
export type EndReason =
  /** The reader went away. */
  | "client"
  /** `hub.disconnect(session)`. */
  | "disconnect"
  /** The identity's `expires` has passed. */
  | "expired"
  /** It was open for `maxAge`. */
  | "max-age"
  /** It took nothing at all for `stallTimeout`. */
  | "stalled"
  /** A newer connection of the same session took its place. */
  | "replaced"
  /** The hub is closing. */
  | "closed"
  /** The log could not be read. */
  | "log";

/** The connections of one audience. */
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

/** What a connection begins with. */
export interface ConnectionStart {
  /** See {@link Connection.number}. */
  readonly number: number;
  /** See {@link Connection.session}. */
  readonly session: string;
  /** What it subscribes to. */
  readonly channels: ReadonlySet<string>;
  /**
   * The position that it goes on after. Without one it begins at the head of the log. {@link NOWHERE} stands for a
   * position that the log does not know.
   */
  readonly position: number | undefined;
  /** See {@link Connection.deadline}. */
  readonly deadline: number;
  /** See {@link Connection.deadlineReason}. */
  readonly deadlineReason: EndReason;
}

/** The position of a connection whose own position the log does not know: it must get a reset. */
export const NOWHERE = -1;

/**
 * The state of a connection. While it is live, it has everything addressed to it up to the last fan-out, and its own
 * cursor may be older. While it lags, it has everything up to its cursor.
 */
export class Connection implements SinkOwner {
  /** Connections are numbered in the order in which they were opened. */
  readonly number: number;
  /** The session it belongs to. */
  readonly session: string;
  /** The connections it shares chunks with. */
  readonly group: Group;
  /** The log's head when it was opened, or when the log last started over. */
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
  /** It has not got all events after its cursor yet. */
  lagging = false;
  /** It waits for the log to answer. */
  reading = false;
  /** Its stream has begun: the preamble is written. */
  greeted = false;
  /** It gets nothing after this position, and ends when it has reached it. */
  endsAt: number = Infinity;
  /** The connection has ended. */
  ended = false;
  /** Since when it takes nothing, by `performance.now()`, as far as the sweep saw. 0 while it takes chunks. */
  stalledSince = 0;
  /** How many bytes its reader had taken when the sweep last looked. */
  taken = 0;
  readonly #owner: ConnectionOwner;

  /** A connection of `group` that is opened when `head` is the head of the log. */
  constructor(owner: ConnectionOwner, start: ConnectionStart, group: Group, head: number) {
    this.#owner = owner;
    this.number = start.number;
    this.session = start.session;
    this.group = group;
    this.openedAt = head;
    this.cursor = start.position ?? head;
    this.deadline = start.deadline;
    this.deadlineReason = start.deadlineReason;
  }

  drained(): void {
    this.#owner.drained(this);
  }

  gone(): void {
    this.#owner.gone(this);
  }
}
