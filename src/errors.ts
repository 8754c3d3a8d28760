/**
 * The one error class of the server side. Its message says what failed, with which value, and what to do; its `code`
 * is stable.
 *
 * @module
 */

/**
 * What a {@link StreamsideError} is about. Codes are stable; messages are for people and may change.
 *
 * | code | meaning |
 * | --- | --- |
 * | `invalid-event` | an event name or id that an event stream cannot carry, or a name of the client's own events |
 * | `invalid-data` | data that JSON cannot express (`undefined`, a function, a circular object) |
 * | `invalid-argument` | a session, channel, key or option of the wrong type or out of range |
 * | `event-too-large` | an event over `maxEventBytes` |
 * | `too-many-connections` | the hub holds `maxConnections` |
 * | `too-many-connections-of-session` | the session holds `maxConnectionsPerSession` |
 * | `disconnected` | the session was disconnected after its request came in |
 * | `too-many-channels` | more than `maxChannelsPerConnection` channels in one subscription |
 * | `already-running` | a run of a channel that runs already, here or on another server |
 * | `log-unavailable` | the log cannot be reached, or did not confirm what it was given, which it may or may not hold |
 * | `closed` | the hub is draining or closed |
 */
export type StreamsideErrorCode =
  | "invalid-event"
  | "invalid-data"
  | "invalid-argument"
  | "event-too-large"
  | "too-many-connections"
  | "too-many-connections-of-session"
  | "disconnected"
  | "too-many-channels"
  | "already-running"
  | "log-unavailable"
  | "closed";

/**
 * What everything on the server side throws, or rejects with, if it refuses something.
 *
 * @example
 * ```ts
 * try {
 *   await hub.send("session-1", "syncProgress", 75);
 * } catch (error) {
 *   if (!(error instanceof StreamsideError && error.code === "log-unavailable")) throw error;
 *   console.warn(`perhaps not sent: ${error.message}`);
 * }
 * ```
 */
export class StreamsideError extends Error {
  /** Always `"StreamsideError"`. */
  override readonly name = "StreamsideError";
  /** What failed, for programs. */
  readonly code: StreamsideErrorCode;

  /** Whether a value is one, whichever copy of the library made it. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== StreamsideError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === "object" && value !== null && BRAND in value;
  }

  /** An error with a code; `options.cause` carries what was underneath. */
  constructor(code: StreamsideErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    Object.defineProperty(this, BRAND, { value: true });
  }
}

const BRAND: unique symbol = Symbol.for("streamside.error");

/** A value as an error message shows it: quoted, escaped and cut, since it may come from a request. */
export function quote(value: unknown, most = 64): string {
  if (typeof value !== "string") return value === null ? "null" : typeof value;
  return JSON.stringify(value.length > most ? `${value.slice(0, most)}…` : value);
}
