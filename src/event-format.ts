/**
 * An event, validated and written in the event stream format (WHATWG HTML 9.2.5).
 *
 * Everything that goes to a client passes through here. So no caller's data can end a line and forge a field or an
 * event.
 *
 * @module
 */

import { quote, StreamsideError } from "./errors.ts";

/** Names with this prefix are the library's own: a client can trust a `streamside:reset` to come from the hub. */
export const RESERVED_PREFIX = "streamside:";

/** What a client raises by itself: a listener could not tell a hub's event of such a name from the client's own. */
const OF_THE_CLIENT: ReadonlySet<string> = new Set([
  "open",
  "error",
  "reconnecting",
  "reset",
  "close",
]);

/** Tells a client that its position is not held any more. It has lost events, and reloads its state. */
export const RESET = "streamside:reset";

/** Tells a client that its subscribe is refused for now. The data says why: a problem (RFC 9457). */
export const UNAVAILABLE = "streamside:unavailable";

/** Tells a client that the stream is complete, so that it does not ask for it again. */
export const END = "streamside:end";

/** What an event name or id must not contain: CR and LF end a line, and NUL makes a client ignore an id. */
const LINE_BREAKER = /[\0\r\n]/;
const LINE_BREAK = /\r\n|\r|\n/;

/**
 * Checks that a value can be the name of a user's event.
 *
 * @throws {StreamsideError} `invalid-event`
 */
export function checkEventName(event: unknown): asserts event is string {
  checkField("event name", event);
  if (event === "") {
    throw new StreamsideError(
      "invalid-event",
      'The event name is empty: give it a name, such as "message".',
    );
  }
  if (event.startsWith(RESERVED_PREFIX)) {
    throw new StreamsideError(
      "invalid-event",
      `The event name ${
        quote(event)
      } is not allowed: names that start with "${RESERVED_PREFIX}" are reserved for the library.`,
    );
  }
  if (OF_THE_CLIENT.has(event)) {
    throw new StreamsideError(
      "invalid-event",
      `The event name ${
        quote(event)
      } is not allowed: the client raises an event of that name itself. ` +
        `Choose another, such as "my-${event}".`,
    );
  }
}

/** Whether a string can be in an `event` or `id` field. */
export function isFieldValue(value: string): boolean {
  return !LINE_BREAKER.test(value);
}

/**
 * Checks that a value can be in an `event` or `id` field.
 *
 * @throws {StreamsideError} `invalid-event`
 */
export function checkField(what: string, value: unknown): asserts value is string {
  if (typeof value !== "string") {
    throw new StreamsideError(
      "invalid-event",
      `The ${what} must be a string, got ${quote(value)}.`,
    );
  }
  if (!isFieldValue(value)) {
    throw new StreamsideError(
      "invalid-event",
      `The ${what} ${quote(value)} is not allowed: it must not contain CR, LF or NUL.`,
    );
  }
}

/**
 * Data as it goes out: a string as it is, anything else as JSON.
 *
 * @throws {StreamsideError} `invalid-data` for what JSON cannot express
 */
export function serializeData(data: unknown): string {
  if (typeof data === "string") return data;
  let json: string | undefined;
  try {
    json = JSON.stringify(data);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new StreamsideError("invalid-data", `The data cannot be sent as JSON: ${reason}`, {
      cause,
    });
  }
  if (json === undefined) {
    throw new StreamsideError(
      "invalid-data",
      `The data cannot be sent as JSON: got ${
        data === undefined ? "undefined" : `a ${typeof data}`
      }; use null or a string for an event without data.`,
    );
  }
  return json;
}

/** The `data` fields of an event, a line each (WHATWG HTML 9.2.5): CR, LF and CRLF in the data become line ends. */
export function dataFields(data: string): string {
  if (data.indexOf("\n") === -1 && data.indexOf("\r") === -1) return `data: ${data}\n`;
  return `data: ${data.split(LINE_BREAK).join("\ndata: ")}\n`;
}

/**
 * A whole event in the event stream format, ending with the blank line that dispatches it.
 *
 * `event` and `id` are not checked here: see {@link checkField}.
 */
export function formatEvent(event: string, data: string, id: string): string {
  return `event: ${event}\n${dataFields(data)}id: ${id}\n\n`;
}

/** As {@link formatEvent}, without an id: a client's last event id stays as it is (WHATWG HTML 9.2.6). */
export function formatTransient(event: string, data: string): string {
  return `event: ${event}\n${dataFields(data)}\n`;
}

/** The event that {@link formatEvent} has written, whose data has LF for every line end. */
export function parseEvent(text: string): { event: string; data: string } {
  const [event, ...lines] = text.split("\n");
  const data = lines.filter((line) => line.startsWith("data: ")).map((line) =>
    line.slice("data: ".length)
  );
  return { event: event!.slice("event: ".length), data: data.join("\n") };
}

const encoder = new TextEncoder();

/** A string in UTF-8. */
export function encode(text: string): Uint8Array {
  return encoder.encode(text);
}

/** How many bytes a string takes in UTF-8, without encoding it. */
export function byteLength(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    // A surrogate pair is four bytes for two units; a lone surrogate is encoded as U+FFFD, three bytes for one.
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(i + 1))) {
      bytes += 2;
      i++;
    } else bytes += 2;
  }
  return bytes;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}
