/**
 * What a log needs to say who is online: which sessions are connected to which server.
 *
 * Each hub of a log is a server here. It tells the log what has changed at it, a batch at a time, and asks in the same
 * breath what has changed elsewhere. A log without it is complete in all else.
 *
 * @module
 */

/** A session at one server. */
export interface SessionPresence {
  /** Which session. */
  readonly session: string;
  /** The channels that its connections to this server subscribe to; missing if it has none there any more. */
  readonly channels?: readonly string[] | undefined;
}

/** What one server says. All members are plain JSON; a log carries it as it is. */
export interface PresenceUpdate {
  /** Which server: 16 characters of 0-9 and a-z, drawn at random by its hub. No two share one. */
  readonly server: string;
  /** Whether `sessions` are all that it has. Otherwise they are those that have changed since it spoke last. */
  readonly isWhole: boolean;
  /** Sessions, each at most once. There may be as many as a server has. */
  readonly sessions: readonly SessionPresence[];
  /** The server has gone, and its sessions with it: it has `left`, or was not heard of for too long and is `lost`. */
  readonly gone?: "left" | "lost" | undefined;
}

/** What {@link PresenceLog.exchange} answers. */
export interface PresenceAnswer {
  /**
   * Whether the log knows all that this server has said. If not, it has taken nothing, and the next update has to be
   * whole.
   */
  readonly isKnown: boolean;
  /** Where the answer ends: what to ask with next. It means something to the log alone. */
  readonly cursor?: unknown;
  /**
   * Whether this is all there is, since the log was asked for it, or cannot say what has changed since the cursor. Then
   * each update is whole, and a server that has none has gone.
   */
  readonly isAnew: boolean;
  /** What has changed, in the order in which the log took it. What this server has said itself is among it. */
  readonly updates: readonly PresenceUpdate[];
  /**
   * Of an answer anew, the sessions that have left some server in the last {@link PRESENCE_MEMORY} ms, if the log knows
   * them: so that a server which starts meets those that are on their way from another as old acquaintances.
   */
  readonly left: readonly string[];
}

/** For how long a log remembers which sessions have left, in ms. */
export const PRESENCE_MEMORY = 10_000;

/**
 * Who is online, by a log. What an implementation promises:
 *
 * - What was taken is told to everyone who asks, in one order, until its server goes.
 * - A server that has said nothing for longer than it said that it would (`lease`) is lost: everyone is told so, once.
 *   Times are the engine's.
 * - It rejects in some seconds if the engine does not answer. It is not known then what was taken; the same update, or a
 *   later one of the same sessions, may be told again.
 */
export interface PresenceLog {
  /**
   * Takes what a server says, which also says that it is there, and tells what everyone has said since.
   *
   * @param update what has changed at this server, or that it goes. One that goes counts no more, whether it was known or not
   * @param lease for how long the server counts as there, in ms, unless it is heard of again
   * @param since nothing: the answer has no updates. `null`: all there is. Otherwise {@link PresenceAnswer.cursor}
   */
  exchange(update: PresenceUpdate, lease: number, since?: unknown): Promise<PresenceAnswer>;
  /**
   * Calls back soon after somebody else has said something. Returns how to stop. A log that cannot do that at little cost
   * leaves it out, and is asked every second.
   */
  watch?(changed: () => void): () => void;
}
