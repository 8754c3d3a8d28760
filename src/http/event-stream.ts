/**
 * One source as one event stream: for a single answer that comes in pieces.
 *
 * @module
 */

import { dataFields, encode, END } from "../event-format.ts";
import {
  checkSourceEvent,
  type EventIterator,
  type EventSequence,
  iteratorOf,
  type StreamSource,
} from "../source-event.ts";
import { delay } from "../validate.ts";

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
  /**
   * How often the stream gets a comment while the source gives nothing, in ms, so that neither the client nor a proxy takes
   * it for dead. Infinity: never. Default: 15 000.
   */
  readonly heartbeat?: number;
  /**
   * Whether the stream ends with the event `streamside:end`, which closes Streamside's client: without it, a client asks
   * for the stream again. `false` where the format is somebody else's. Default: true.
   */
  readonly end?: boolean;
}

/**
 * A source as a response: each string is the data of an event, each object an event (see {@link SourceEvent}).
 *
 * The stream opens with a comment, which clients skip, so that they see at once that it is open. The source is asked
 * for an event only when the reader has taken the one before. When the reader goes away, the signal aborts and the source
 * is returned from (its `finally` runs). A generator that waits runs its `finally` when its wait ends: so pass the signal
 * to what it waits for. If the source throws, or yields something that cannot be sent, the stream breaks off with that
 * error, so that a client can tell it from an end.
 *
 * @example
 * ```ts
 * return eventStream(async function* (signal) {
 *   for await (const token of model.generate(prompt, { signal })) yield { event: "token", data: token };
 * });
 * ```
 *
 * @param source the events, or a function that gives them
 * @param options see {@link EventStreamOptions}
 * @throws {StreamsideError} `invalid-argument` for a heartbeat that is no time
 */
export function eventStream(source: StreamSource, options: EventStreamOptions = {}): Response {
  const { status = 200, end = true } = options;
  const heartbeat = delay("heartbeat", options.heartbeat, 15_000);
  const gone = new AbortController();
  // A function is called on the first read: a HEAD is answered without it.
  let iterator: EventIterator | undefined = typeof source === "function"
    ? undefined
    : iteratorOf(source);
  let timer: ReturnType<typeof setInterval> | undefined;
  let waiting = false;

  /** Ends what hangs on the reader. */
  const leave = async (reason: unknown) => {
    clearInterval(timer);
    gone.abort(reason);
    await iterator?.return?.();
  };

  const next = async (source: EventIterator) => {
    try {
      return await source.next();
    } catch (error) {
      // As with `for await`, a source that failed is not returned from.
      iterator = undefined;
      throw error;
    }
  };

  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      // Bun sends no headers before the first bytes, and the first event may take long.
      controller.enqueue(encode(COMMENT));
    },
    async pull(controller) {
      // A timer for each stream, since on workers a timer belongs to the request that has set it.
      timer ??= setInterval(() => {
        // What nobody has taken yet tells as much as another comment.
        if (waiting && controller.desiredSize === 0) controller.enqueue(encode(COMMENT));
      }, heartbeat);
      waiting = true;
      try {
        iterator ??= iteratorOf((source as (signal: AbortSignal) => EventSequence)(gone.signal));
        const { done, value } = await next(iterator);
        // As with `for await`, a plain iterable may yield promises.
        const event = await value;
        if (gone.signal.aborted) return;
        if (!done) return controller.enqueue(encode(formatSourceEvent(event!)));
        clearInterval(timer);
        if (end) controller.enqueue(encode(`event: ${END}\ndata: {}\n\n`));
        controller.close();
      } catch (error) {
        // The stream breaks off with this error, whatever the source's own end brings.
        await leave(error).catch(() => {});
        throw error;
      } finally {
        waiting = false;
      }
    },
    cancel: leave,
  }, { highWaterMark: 0 });
  const headers = new Headers(options.headers);
  for (const [name, value] of Object.entries(EVENT_STREAM_HEADERS)) headers.set(name, value);
  return new Response(stream, { status, headers });
}

/** Clients skip it (WHATWG HTML 9.2.6). */
const COMMENT = ":\n\n";

function formatSourceEvent(value: unknown): string {
  const { event, data, id, retry } = checkSourceEvent(value);
  let text = event === undefined ? "" : `event: ${event}\n`;
  text += dataFields(data);
  if (id !== undefined) text += `id: ${id}\n`;
  if (retry !== undefined) text += `retry: ${retry}\n`;
  return `${text}\n`;
}
