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
export type {
  CheckedEvents,
  EventData,
  IsKnown,
  JsonData,
  JsonFault,
  JsonShape,
} from "./src/event-map.ts";
export type { Address } from "./src/log/address.ts";
export type { HistoryOptions } from "./src/log/history.ts";
export type { Log, LogFollower } from "./src/log/log.ts";
export type { LogEntry, LogPosition, LogRecord } from "./src/log/record.ts";
export { memoryLog, type MemoryLogOptions } from "./src/log/memory.ts";
export {
  PRESENCE_MEMORY,
  type PresenceAnswer,
  type PresenceLog,
  type PresenceUpdate,
  type SessionPresence,
} from "./src/log/presence-log.ts";
export type { RunHistoryOptions } from "./src/log/run-history.ts";
export type {
  RunEnd,
  RunError,
  RunFollower,
  RunLog,
  RunRecord,
  RunSummary,
} from "./src/log/run-log.ts";
export type { EndReason } from "./src/hub/connection.ts";
export type {
  BroadcastOptions,
  CloseOptions,
  EventMap,
  EventName,
  HeartbeatOptions,
  Hub,
  HubEvents,
  HubOptions,
  HubStats,
  HubTransaction,
  Run,
  RunningRun,
  RunOptions,
  SendOptions,
  SendResult,
  SubscribeOptions,
} from "./src/hub/types.ts";
export { createHub } from "./src/hub/hub.ts";
export type { Logger } from "./src/hub/logger.ts";
export { createHandler, sessionFromRequest } from "./src/http/handler.ts";
export type {
  ContextArgument,
  Handler,
  HandlerOptions,
  Handling,
  Identity,
} from "./src/http/types.ts";
export type { CorsOptions } from "./src/http/cors.ts";
export type { Message } from "./src/http/message.ts";
export { eventStream, type EventStreamOptions } from "./src/http/event-stream.ts";
export type { EventSequence, SourceEvent, StreamSource } from "./src/source-event.ts";
