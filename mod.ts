/**
 * Streamside, the server: a hub that pushes named events to sessions, channels or everyone, and the handler that
 * mounts it in any fetch-based server.
 *
 * The client is `streamside/client`, node:http is `streamside/node`, and what tests need is `streamside/testing`.
 *
 * @example
 * ```ts
 * import { createHandler, createHub, sessionFromRequest } from "streamside";
 *
 * const hub = createHub<{ syncProgress: number }>();
 * const handler = createHandler(hub, {
 *   basePath: "/api/v1/sse",
 *   authenticate: (request) => {
 *     const session = sessionFromRequest(request);
 *     return session !== null && known.has(session) ? { session } : null;
 *   },
 * });
 *
 * Deno.serve(handler);
 * await hub.send("session-1", "syncProgress", 75);
 * ```
 *
 * @module
 */

export { StreamsideError, type StreamsideErrorCode } from "./src/errors.ts";
export { type Address, EntryWriter, type LogEntry, type LogRecord } from "./src/log/entry.ts";
export type { HistoryOptions } from "./src/log/history.ts";
export { type Log, type LogFollower, memoryLog } from "./src/log/log.ts";
export type { EndReason } from "./src/hub/connection.ts";
export {
  type BroadcastOptions,
  type CloseOptions,
  createHub,
  type EventMap,
  type EventName,
  type Hub,
  type HubEvents,
  type HubOptions,
  type HubStats,
  type Logger,
  type SendOptions,
  type SendResult,
  type SubscribeOptions,
} from "./src/hub/hub.ts";
export {
  createHandler,
  type Handler,
  type HandlerOptions,
  type Identity,
  type Message,
  sessionFromRequest,
} from "./src/http/handler.ts";
export { eventStream, type EventStreamOptions, type StreamEvent } from "./src/http/event-stream.ts";
