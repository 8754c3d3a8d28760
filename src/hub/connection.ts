/**
 * A connection: one open subscribe response, which is a cursor into the log and nothing more.
 *
 * Two things are known of it. Whether its reader takes:
 *
 * | state     | its reader                              | goes on as                                                   |
 * | --------- | --------------------------------------- | ------------------------------------------------------------ |
 * | `unread`  | has not begun to read                   | `ready` when it begins; `closed`                             |
 * | `ready`   | has room for a chunk                    | `full` when a write fills it; `closed`                       |
 * | `full`    | has to take what it was given first     | `ready` when it has; `closing`, or `closed` when it is cut   |
 * | `closing` | as `full`; then its stream ends         | `closed` when it has taken that, or is given up              |
 * | `closed`  | has nothing more to come                |                                                              |
 *
 * And what it has got:
 *
 * | feed       | it has everything addressed to it       | goes on as                                                  |
 * | ---------- | --------------------------------------- | ----------------------------------------------------------- |
 * | `live`     | up to the last fan-out                  | `behind` when there is no room for the next; `lost`         |
 * | `behind`   | up to its cursor                        | `live` when it has the rest; `awaiting`; `lost`             |
 * | `awaiting` | up to its cursor, and the log was asked | `behind` when it has answered; `lost`                       |
 * | `lost`     | no more, and is owed a reset            | `live` after it                                             |
 *
 * @module
 */

import type { LogPosition } from "../log/record.ts";
import type { Group } from "./registry.ts";
import type { Chunk, Sink, SinkOwner } from "./sink.ts";

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
  | "log"
  /** The run that it read has ended. */
  | "ended";

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
  /** The channels that its request named, if it named some. Default: all that are granted. */
  readonly named?: ReadonlySet<string> | undefined;
  /**
   * The position that it goes on after; without one it begins at the head of the log. `null`: at one that the log does
   * not know.
   */
  readonly position: LogPosition | null | undefined;
  /** Without a position: with how many of the newest held events it begins. Default: 0. */
  readonly replay?: number | undefined;
  /** See {@link Connection.deadline}. */
  readonly deadline: number;
  /** See {@link Connection.deadlineReason}. */
  readonly deadlineReason: EndReason;
}

/** The state of a connection. What moves it from one to the other is in the tables above. */
export class Connection implements SinkOwner {
  /** Connections are numbered in the order in which they were opened. */
  readonly number: number;
  /** Whom it belongs to. */
  readonly session: string;
  /** Whom it shares chunks with: those who subscribe to the same channels. */
  group: Group;
  /** When it has to end, in ms since the epoch; `Infinity` for never. */
  readonly deadline: number;
  /** Why it ends at its deadline. */
  readonly deadlineReason: EndReason;
  /** Where it stands among the deadlines; -1 when it has none. */
  deadlineIndex = -1;
  /** It is among those whose readers are looked at. */
  isWatched = false;
  /** Where its bytes go. */
  sink: Sink | undefined;
  /**
   * It has everything addressed to it up to this position of the log. While it is live, that may be older than the last
   * fan-out.
   */
  cursor: number;
  /** A place that it had, with its tag: where it resumes, or where it began to lag before anybody read it. */
  place: LogPosition | undefined;
  /** The log's head when it was opened, or when the log began anew since. */
  openedAt: number;
  /**
   * Its group is what it subscribes to at `from`, a later position than its cursor, while the changes between the two
   * are not known. `named`: see {@link ConnectionStart.named}.
   */
  rewind: { readonly from: number; readonly named: ReadonlySet<string> | undefined } | undefined;
  /** Up to here, it gets what is held regardless of what was joined and left: that is over. */
  replayedTo = 0;
  /** It gets nothing after this position, and ends when it has come to it. */
  endsAt: number = Infinity;
  readonly #owner: ConnectionOwner;
  #state: "unread" | "ready" | "full" | "closing" | "closed" = "unread";
  #feed: "live" | "behind" | "awaiting" | "lost";
  /** At how many looks in a row its reader was found to take nothing. */
  #looks = 0;
  /** What its sink said it had taken at the last look, in bytes. */
  #taken = 0;

  /** A connection of `group` that is opened when `head` is the head of the log. */
  constructor(owner: ConnectionOwner, start: ConnectionStart, group: Group, head: number) {
    const { position } = start;
    this.#owner = owner;
    this.number = start.number;
    this.session = start.session;
    this.group = group;
    this.openedAt = head;
    this.cursor = position === undefined ? head : position?.position ?? 0;
    this.place = position ?? undefined;
    this.#feed = position === undefined ? "live" : position === null ? "lost" : "behind";
    this.deadline = start.deadline;
    this.deadlineReason = start.deadlineReason;
  }

  /** Its reader has room for a chunk. */
  get ready(): boolean {
    return this.#state === "ready";
  }

  /** Nobody has begun to read it. */
  get isUnread(): boolean {
    return this.#state === "unread";
  }

  /** It has ended, but for what its reader has not taken yet. */
  get isClosing(): boolean {
    return this.#state === "closing";
  }

  /** It has ended. */
  get ended(): boolean {
    return this.#state === "closing" || this.#state === "closed";
  }

  /** There are, or may be, events after its cursor that it has not got. */
  get lagging(): boolean {
    return this.#feed !== "live";
  }

  /** It waits for the log to answer. */
  get isAwaiting(): boolean {
    return this.#feed === "awaiting";
  }

  /** Events are lost to it, and it has not been told yet. */
  get isLost(): boolean {
    return this.#feed === "lost";
  }

  /** Called by the sink. */
  drained(): void {
    this.#owner.drained(this);
  }

  /** Called by the sink. */
  gone(): void {
    this.#owner.gone(this);
  }

  /** Its reader asks for more: there is room. */
  makeReady(): void {
    this.#state = "ready";
    this.#looks = 0;
  }

  /** Hands a chunk to the sink, which is ready. Returns whether there is still room. */
  write(chunk: Chunk): boolean {
    const hasRoom = this.sink!.write(chunk);
    // The write may have found out that the reader is gone.
    if (!hasRoom && this.ready) this.#state = "full";
    return hasRoom;
  }

  /** It ends: at once, or, where its reader is to take first what it was given, later. */
  close(how: "at once" | "later"): void {
    this.#state = how === "later" ? "closing" : "closed";
  }

  /** It does not get what comes after its cursor for now. */
  lag(): void {
    this.#feed = "behind";
  }

  /** It has everything up to `position`, and there is nothing more. */
  catchUp(position: number): void {
    this.cursor = position;
    this.#feed = "live";
  }

  /** The log is asked for what comes next. */
  askLog(): void {
    this.#feed = "awaiting";
  }

  /** What comes after its cursor is not to be had any more. */
  lose(): void {
    this.cursor = 0;
    this.place = undefined;
    this.#feed = "lost";
  }

  /**
   * Looks whether its reader, which has no room, has taken anything since the last look. Returns at how many looks in a
   * row it had not.
   */
  look(): number {
    const taken = this.sink?.taken?.() ?? 0;
    if (this.#looks > 0 && taken === this.#taken) return this.#looks++;
    this.#taken = taken;
    this.#looks = 1;
    return 0;
  }
}
