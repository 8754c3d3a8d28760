/**
 * The message of a `POST send`.
 *
 * @module
 */

import { Problem } from "./answer.ts";

/** What a client asks to send: the event's name, its data, and one of `session`, `channel` and `all`. */
export interface Message {
  /** To this session. */
  readonly session?: string;
  /** To this channel's subscribers. */
  readonly channel?: string;
  /** To everyone. */
  readonly all?: true;
  /** Not to these sessions; with `channel` and `all`. */
  readonly except?: string | readonly string[];
  /** A lagging connection gets only the newest event with this key. */
  readonly key?: string;
  /** For those who are live, and kept for nobody: see {@link SendOptions.transient}. */
  readonly transient?: boolean;
  /** Sent again with the same one, the event stands once: see {@link SendOptions.idempotencyKey}. */
  readonly idempotencyKey?: string;
  /** The event's name. */
  readonly event: string;
  /** The event's data. */
  readonly data: unknown;
}

/**
 * Reads a message from a parsed body.
 *
 * @throws {Problem} 400
 */
export function parseMessage(body: unknown): Message {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw invalidMessage(
      "The body must be an object with `event`, `data` and one of `session`, `channel`, `all`.",
    );
  }
  const message = body as Record<string, unknown>;
  const { session, channel, all, except, key, transient, idempotencyKey, event, data } = message;
  if ([session, channel, all].filter((target) => target !== undefined).length !== 1) {
    throw invalidMessage("Name exactly one of `session`, `channel` and `all`.");
  }
  for (const [name, value] of Object.entries({ session, channel, key, idempotencyKey })) {
    if (value !== undefined && typeof value !== "string") {
      throw invalidMessage(`\`${name}\` must be a string.`);
    }
  }
  if (all !== undefined && all !== true) throw invalidMessage("`all` must be true.");
  if (transient !== undefined && typeof transient !== "boolean") {
    throw invalidMessage("`transient` must be true or false.");
  }
  if (except !== undefined && session !== undefined) {
    throw invalidMessage("`except` can be used only with `channel` and `all`.");
  }
  if (except !== undefined && typeof except !== "string" && !isStrings(except)) {
    throw invalidMessage("`except` must be a string or an array of strings.");
  }
  if (typeof event !== "string") throw invalidMessage("`event` must be a string.");
  if (data === undefined) {
    throw invalidMessage("`data` is missing; use null for an event without data.");
  }
  return body as Message;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function invalidMessage(detail: string): Problem {
  return new Problem(400, "invalid-message", detail);
}
