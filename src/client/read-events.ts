/**
 * The events of one response that somebody has fetched.
 *
 * @module
 */
import type { CheckedEvents } from "../event-map.ts";
import { onAbort } from "#runtime";
import { cancel } from "./body.ts";
import { COMPLETE_WITH_END, END, faultOf } from "./end.ts";
import { type StreamEvent, StreamMessage } from "./event.ts";
import { createParser } from "./parser.ts";
import { refusalOf } from "./refusal.ts";

/** The options of {@link readEvents}. */
export interface ReadEventsOptions {
  /** Ends the reading when it aborts: the loop throws the signal's reason. Default: none. */
  signal?: AbortSignal;
  /** The most characters of one incomplete event, as for `createClient`. Default 16 777 216. */
  maxEventBytes?: number;
}

/** An event of a response: what a client's listeners get, without a client. */
export type ResponseEvent<Data = unknown, Type extends string = string> = Omit<
  StreamEvent<Data, Type>,
  "target"
>;

/** The events of a map `Events`, each with its own type of data. */
export type ResponseEventOf<Events> = {
  [Type in keyof Events & string]: ResponseEvent<Events[Type], Type>;
}[keyof Events & string];

/**
 * Iterates over the events of one response as they arrive, and ends with its stream. Nothing is sent again. Leaving the
 * loop cancels the body. It gives all events as they were sent, also the `streamside:end` of `eventStream` or of a
 * hub's run, which is the last.
 *
 * An answer that is not complete never looks so: it throws if the `streamside:end` says of an `error`, and if a hub's
 * run breaks off without one, as at a deploy. Fetch it again with the last id, or use `createClient`, which does.
 *
 * @example
 * ```ts
 * import { readEvents } from "streamside/client";
 *
 * const response = await fetch("https://example.com/answer", { method: "POST", body: "Why?" });
 * for await (const event of readEvents<{ token: string }>(response)) {
 *   if (event.type === "token") console.log(event.data);
 * }
 * ```
 *
 * @param response what `fetch` gave, with its body unread
 * @param options see {@link ReadEventsOptions}
 * @throws a `RefusedError` with status and problem, if the response has another status than 200, another type than
 *   `text/event-stream`, or says that there is no stream for now; what `fetch` throws when the connection breaks; an
 *   `Error` whose `cause` is the code (`failed`, `stopped`, `lost`) for a run that ended early; an `Error` for an event that is too large; the signal's reason
 */
// deno-lint-ignore no-explicit-any
export async function* readEvents<Events extends CheckedEvents<Events> = Record<string, any>>(
  response: Response,
  { signal, maxEventBytes }: ReadEventsOptions = {},
): AsyncGenerator<ResponseEventOf<Events>, void, undefined> {
  const refused = await refusalOf(response, signal);
  if (refused) {
    signal?.throwIfAborted();
    throw refused;
  }
  const reader = response.body?.getReader();
  if (!reader) return;
  const stop = onAbort(signal, () => cancel(reader));
  const origin = response.url && new URL(response.url).origin;
  let lastEventId = "";
  const events: StreamMessage[] = [];
  const parse = createParser({
    onId: (id) => lastEventId = id,
    onEvent: (type, data) => events.push(new StreamMessage(type, data, lastEventId, origin)),
  }, maxEventBytes);
  try {
    signal?.throwIfAborted();
    for (;;) {
      // An abort cancels the body, which ends a waiting read.
      const { value, done } = await reader.read();
      signal?.throwIfAborted();
      if (done && response.headers.has(COMPLETE_WITH_END)) throw new Error("The stream ended");
      if (done) return;
      let failure: { error: unknown } | undefined;
      try {
        parse(value);
      } catch (error) {
        failure = { error };
      }
      for (const event of events.splice(0)) {
        yield event as unknown as ResponseEventOf<Events>;
        signal?.throwIfAborted();
        if (event.type !== END) continue;
        failure = faultOf(event.data);
        if (failure) break;
        return;
      }
      if (failure) throw failure.error;
    }
  } finally {
    stop();
    cancel(reader);
  }
}
