/**
 * The event-stream client, for browsers, Deno, Bun, Node.js and workers: `EventSource`'s surface on `fetch`, with
 * headers, patience and control.
 *
 * @example
 * ```ts
 * import { createClient } from "streamside/client";
 *
 * const sse = createClient("/api/v1/sse/subscribe", { headers: () => ({ "X-Session-Id": sessionId }) });
 * sse.addEventListener("syncProgress", (event) => bar.value = Number(event.data));
 * sse.connect();
 * ```
 *
 * @module
 */
import type { CheckedEvents } from "../event-map.ts";
import { StreamClient } from "./stream.ts";
import type { Client, ClientOptions } from "./types.ts";

export { createSharedClient, type SharedClientOptions } from "./shared.ts";
export type { ReconnectOptions } from "./backoff.ts";
export type {
  CheckedEvents,
  EventData,
  IsKnown,
  JsonData,
  JsonFault,
  JsonShape,
} from "../event-map.ts";
export type { JsonEvent, StreamEvent } from "./event.ts";
export { EventSource, type EventSourceInit } from "./event-source.ts";
export {
  readEvents,
  type ReadEventsOptions,
  type ResponseEvent,
  type ResponseEventOf,
} from "./read-events.ts";
export { type Problem, RefusedError } from "./refusal.ts";
export type {
  Client,
  ClientErrorEvent,
  ClientEvents,
  ClientListener,
  ClientLogger,
  ClientOptions,
  CloseEvent,
  CloseReason,
  ListenerOptions,
  ReconnectingEvent,
  RequestBody,
  RequestHeaders,
  StreamEventOf,
} from "./types.ts";

/**
 * Makes a client of an event stream. It connects when `connect()` is called, reconnects with patience, resumes where
 * it was, and keeps its listeners all the while.
 *
 * @example
 * ```ts
 * interface Events {
 *   syncProgress: number;
 * }
 * const sse = createClient<Events>("https://example.com/events");
 * sse.addEventListener("syncProgress", (event) => event.json().toFixed());
 * sse.addEventListener("reset", () => location.reload());
 * sse.connect();
 * ```
 *
 * @param url where the stream is; in a page it may be relative
 * @param options see {@link ClientOptions}
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved
 */
// deno-lint-ignore no-explicit-any
export function createClient<Events extends CheckedEvents<Events> = Record<string, any>>(
  url: string | URL,
  options?: ClientOptions,
): Client<Events> {
  return new StreamClient(url, options) as unknown as Client<Events>;
}
