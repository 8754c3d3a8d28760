/**
 * One async iterable as one event stream: for a single answer that comes in pieces.
 *
 * @module
 */

import { quote, StreamsideError } from "../errors.ts";
import { checkField, dataFields, encode, serializeData } from "../event-format.ts";

/** An event of {@link eventStream}. */
export interface StreamEvent {
  /** Its name. Default: none, which clients see as `message`. */
  readonly event?: string;
  /** A string goes out as it is, anything else as JSON. Default: an empty string. */
  readonly data?: unknown;
  /** Its id. Default: none. */
  readonly id?: string;
  /** How long the client is told to wait before it reconnects, in ms. Default: nothing is told. */
  readonly retry?: number;
}

/** The headers of every event stream. */
export const EVENT_STREAM_HEADERS: Readonly<Record<string, string>> = {
  "Content-Type": "text/event-stream",
  // no-transform: a proxy that compresses or rewrites a stream delays it.
  "Cache-Control": "no-cache, no-transform",
  // nginx buffers responses unless told not to.
  "X-Accel-Buffering": "no",
  "X-Content-Type-Options": "nosniff",
};

/** Options of {@link eventStream}. */
export interface EventStreamOptions {
  /** More headers; those of an event stream cannot be overridden. Default: none. */
  readonly headers?: Headers | Record<string, string> | [string, string][];
  /** The HTTP status. Default: 200. */
  readonly status?: number;
}

/**
 * An async iterable as a response: each string is the data of an event, each object an event (see {@link StreamEvent}).
 *
 * The stream opens with a comment, which clients skip, so that they see at once that it is open. The iterable is asked
 * for an event only when the reader has taken the one before. When the reader goes away, the iterable is returned from
 * (its `finally` runs). If it throws, or yields something that cannot be sent, the stream breaks off with that error,
 * so that a client can tell it from an end.
 *
 * @example
 * ```ts
 * return eventStream(async function* () {
 *   for await (const token of model.generate(prompt)) yield { event: "token", data: token };
 *   yield { event: "done", data: "" };
 * }());
 * ```
 */
export function eventStream(
  iterable: AsyncIterable<StreamEvent | string> | Iterable<StreamEvent | string>,
  options: EventStreamOptions = {},
): Response {
  const iterator = Symbol.asyncIterator in iterable
    ? iterable[Symbol.asyncIterator]()
    : iterable[Symbol.iterator]();
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      // Bun sends no headers before the first bytes, and the first event may take long.
      controller.enqueue(encode(OPENING));
    },
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done) return controller.close();
      try {
        // As with `for await`, a plain iterable may yield promises.
        controller.enqueue(encode(formatStreamEvent(await value)));
      } catch (error) {
        // The stream breaks off with this error, whatever the iterable's own end brings.
        await (async () => await iterator.return?.())().catch(() => {});
        throw error;
      }
    },
    async cancel() {
      await iterator.return?.();
    },
  }, { highWaterMark: 0 });
  const headers = new Headers(options.headers);
  for (const [name, value] of Object.entries(EVENT_STREAM_HEADERS)) headers.set(name, value);
  return new Response(stream, { status: options.status ?? 200, headers });
}

/** A comment: clients skip it (WHATWG HTML 9.2.6). */
const OPENING = ":\n\n";

function formatStreamEvent(value: StreamEvent | string): string {
  if (typeof value === "string") return `${dataFields(value)}\n`;
  if (
    typeof value !== "object" || value === null || Array.isArray(value) || ArrayBuffer.isView(value)
  ) {
    throw new StreamsideError(
      "invalid-event",
      `An event must be a string, or an object with event, data, id or retry, got ${
        ArrayBuffer.isView(value) ? "bytes" : Array.isArray(value) ? "an array" : quote(value)
      }.`,
    );
  }
  const { event, data = "", id, retry } = value;
  let text = "";
  if (event !== undefined) {
    checkField("event name", event);
    text += `event: ${event}\n`;
  }
  text += dataFields(serializeData(data));
  if (id !== undefined) {
    checkField("event id", id);
    text += `id: ${id}\n`;
  }
  if (retry !== undefined) {
    if (!Number.isSafeInteger(retry) || retry < 0) {
      throw new StreamsideError(
        "invalid-event",
        `retry must be a whole number of ms, got ${retry}.`,
      );
    }
    text += `retry: ${retry}\n`;
  }
  return `${text}\n`;
}
