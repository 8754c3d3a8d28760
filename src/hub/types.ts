/**
 * What a hub promises: its options, its members and its events.
 *
 * @module
 */

import type { Address } from "../log/address.ts";
import type { HistoryOptions } from "../log/history.ts";
import type { Log } from "../log/log.ts";
import type { EndReason } from "./connection.ts";
import type { Logger } from "./logger.ts";

/** A map from event names to the types of their data, as an interface or a type. */
export type EventMap = object;

/** The names of the events in a map. */
export type EventName<Events extends EventMap> = Extract<keyof Events, string>;

/** Options of {@link createHub}. */
export interface HubOptions {
  /**
   * Where events are held. Hubs that share a log are one service. Whoever made it closes it, after the hub. Default: a
   * {@link memoryLog} bounded by `history`.
   */
  readonly log?: Log;
  /**
   * How often an open stream that gets nothing else gets a heartbeat, in ms: a comment, or with `{ interval, event }`
   * an event. Default: 15 000.
   */
  readonly heartbeat?: number | HeartbeatOptions;
  /** How long clients are told to wait before they reconnect, in ms (`retry`, WHATWG HTML 9.2.6). Default: 2 000. */
  readonly retry?: number;
  /** How much of the log this process holds: `{ events, bytes, age }`. See {@link HistoryOptions} for the defaults. */
  readonly history?: HistoryOptions;
  /** The largest event, in bytes as it goes out, without its id. Default: 1 048 576. */
  readonly maxEventBytes?: number;
  /**
   * How many connections this process takes. Ended ones count until their readers have taken the last bytes. Default:
   * no limit.
   */
  readonly maxConnections?: number;
  /** How many connections one session may have in this process. Default: no limit. */
  readonly maxConnectionsPerSession?: number;
  /**
   * What happens at a connection over `maxConnectionsPerSession`: `"refuse"` it, or `"close-oldest"`. Default:
   * `"refuse"`.
   */
  readonly onSessionLimit?: "refuse" | "close-oldest";
  /** How many channels one connection may subscribe to. Default: 100. */
  readonly maxChannelsPerConnection?: number;
  /** How many bytes are handed to one connection before it must take them. Default: 65 536. */
  readonly maxBufferedBytes?: number;
  /**
   * A connection that takes nothing at all for this long is closed, in ms. A kernel tells that a slow reader has taken
   * something only after large steps, on Linux up to 1.4 MB: one that takes less than a step in this time counts as
   * stalled. Default: 300 000, five minutes, which 5 kB/s are enough for.
   */
  readonly stallTimeout?: number;
  /**
   * How long a connection may be open, in ms, so that long-lived connections move between servers. Each gets up to a
   * quarter less, so that they do not all move at once. Default: no limit.
   */
  readonly maxAge?: number;
  /** Where the hub logs to. Default: warnings and errors to `console`. */
  readonly logger?: Logger;
}

/** A heartbeat that pages hear that use the browser's `EventSource`, which does not tell of comments. */
export interface HeartbeatOptions {
  /** How often it comes, in ms. Default: 15 000. */
  readonly interval?: number | undefined;
  /** The event's name. Its data is the interval. Default: a comment in place of an event. */
  readonly event?: string | undefined;
}

/** Options of {@link Hub.send} and {@link Hub.publish}. */
export interface SendOptions {
  /** A connection that lags gets only the newest of the events to the same session or channel with this key. */
  readonly key?: string;
  /**
   * Sent again with the same one, the event stands once: the second send resolves to the first one's id, whatever else
   * it says. One key is for one event of the whole hub. For how long a key is known is for the log to say: `memoryLog`
   * knows the last 10 000.
   */
  readonly idempotencyKey?: string;
}

/** Options of {@link Hub.broadcast}. */
export interface BroadcastOptions extends SendOptions {
  /** A session or several that do not get it. */
  readonly except?: string | readonly string[];
}

/** What became of an event. */
export interface SendResult {
  /** Its position, as the SSE `id` that clients see. */
  readonly id: string;
  /** How many connections in this process it is addressed to. */
  readonly connections: number;
}

/** Options of {@link Hub.subscribe}. */
export interface SubscribeOptions {
  /** The channels to subscribe to. Default: none. */
  readonly channels?: Iterable<string>;
  /** Where to go on: the id of the last event that was seen, or {@link Hub.cursor}. Default: from now on. */
  readonly lastEventId?: string | null;
  /**
   * Where the log stood when the request came in: {@link Hub.cursor}, taken before anything is awaited. A session that
   * was disconnected since then gets no stream, so a check that was under way does not let in a session that has logged
   * out. Default: the request has just come in.
   */
  readonly requestedAt?: string;
  /** When the stream ends, as a Date or in ms since the epoch. Default: never. */
  readonly expires?: Date | number;
}

/** Counters. The first group says how it is now, the others how often since the hub was created. */
export interface HubStats {
  /** Open connections. */
  readonly connections: number;
  /** Sessions with at least one connection. */
  readonly sessions: number;
  /** Channels with at least one connection. */
  readonly channels: number;
  /** Connections that have not got everything yet. */
  readonly lagging: number;
  /** Events that this process holds. */
  readonly historyEvents: number;
  /** What the events that this process holds take in memory, in bytes: see {@link HistoryOptions.bytes}. */
  readonly historyBytes: number;

  /** Events sent through this hub. */
  readonly events: number;
  /** Events handed to connections. */
  readonly deliveries: number;
  /** Bytes handed to connections, heartbeats included. */
  readonly bytes: number;
  /** Connections opened. */
  readonly connects: number;
  /** Connections ended, for whatever reason. */
  readonly disconnects: number;
  /** Connections that went on from a cursor. */
  readonly resumes: number;
  /** Times that a connection was told of a gap. */
  readonly resets: number;
  /** Times that a connection began to lag. */
  readonly lags: number;
  /** Connections closed because they took nothing for `stallTimeout`. */
  readonly stalled: number;
  /** Connections closed in favour of a newer one of the session. */
  readonly replaced: number;
  /** Connections refused: `maxConnections`. */
  readonly refusedConnections: number;
  /** Connections refused: `maxConnectionsPerSession`. */
  readonly refusedSessionConnections: number;
  /** Connections refused: `maxChannelsPerConnection`. */
  readonly refusedChannels: number;
  /** Events refused: `maxEventBytes`. */
  readonly refusedEvents: number;
  /** Bodies of requests refused: `maxBodyBytes` and `bodyTimeout` of a handler. */
  readonly refusedBodies: number;
  /** Queries of requests refused: `maxQueryLength` of a handler. */
  readonly refusedQueries: number;
}

/** The events of {@link Hub.on}, by name. */
export interface HubEvents {
  /** A connection was opened. */
  connect: { session: string; channels: readonly string[]; resumed: boolean };
  /** A connection ended. */
  disconnect: { session: string; reason: EndReason };
  /** A connection goes on from a cursor. */
  resume: { session: string; lastEventId: string };
  /** A connection was told of a gap. */
  reset: { session: string };
  /** A connection began to lag: its reader takes less than is sent. */
  lag: { session: string };
  /** An event is in the log. */
  send: { id: string; to: Address; event: string; connections: number };
}

/**
 * A real-time service: a log, and the connections open in this process.
 *
 * `Events` maps event names to the types of their data; the client takes the same map.
 */
export interface Hub<Events extends EventMap = Record<string, unknown>> {
  /**
   * Sends to one session: all its connections, on every server.
   *
   * @param session the session's id
   * @param event the event's name
   * @param data a string goes out as it is, anything else as JSON
   * @returns its id and how many connections in this process it is addressed to, once the log holds it
   * @throws {StreamsideError} `invalid-event`, `invalid-data`, `invalid-argument`, `event-too-large`,
   *   `log-unavailable`, `closed`
   * @example
   * ```ts
   * await hub.send("session-1", "syncProgress", 75, { key: "sync" });
   * ```
   */
  send<Name extends EventName<Events>>(
    session: string,
    event: Name,
    data: Events[Name],
    options?: SendOptions,
  ): Promise<SendResult>;

  /**
   * Sends to a channel's subscribers, on every server. As {@link Hub.send} in all else.
   *
   * @example
   * ```ts
   * await hub.publish("document-7", "fileChanged", { fileId: "7" });
   * ```
   */
  publish<Name extends EventName<Events>>(
    channel: string,
    event: Name,
    data: Events[Name],
    options?: SendOptions,
  ): Promise<SendResult>;

  /**
   * Sends to everyone, on every server, except the sessions in `options.except`. As {@link Hub.send} in all else.
   *
   * @example
   * ```ts
   * await hub.broadcast("documentLocked", { by: "Ada" }, { except: "session-1" });
   * ```
   */
  broadcast<Name extends EventName<Events>>(
    event: Name,
    data: Events[Name],
    options?: BroadcastOptions,
  ): Promise<SendResult>;

  /**
   * Opens a stream of a session's events in the event stream format (WHATWG HTML 9.2). Cancel it to end it.
   *
   * If the log does not hold the cursor, the stream starts with `streamside:reset`. The reader may do with its chunks
   * what it likes, except write into one of more than 4 KiB: others may share it.
   *
   * If anything is awaited between the request and this call, pass `requestedAt`, so that a logout meanwhile counts.
   *
   * @throws {StreamsideError} `disconnected`, `too-many-connections`, `too-many-connections-of-session`,
   *   `too-many-channels`, `invalid-argument`, `log-unavailable`, `closed`
   * @example
   * ```ts
   * const requestedAt = hub.cursor();
   * const login = await sessions.find(sessionFromRequest(request));
   * if (!login) return new Response(null, { status: 401 });
   * return new Response(hub.subscribe(login.session, { channels: ["news"], requestedAt }), {
   *   headers: { "Content-Type": "text/event-stream" },
   * });
   * ```
   */
  subscribe(session: string, options?: SubscribeOptions): ReadableStream<Uint8Array>;

  /**
   * Where the log stands now: render it into a page as `lastEventId`, and the page misses nothing from then on.
   *
   * @throws {StreamsideError} `log-unavailable` until the hub has reached its log
   */
  cursor(): string;

  /** The sessions connected to this process. */
  sessions(): string[];

  /**
   * Ends a session's connections, on every server. Events that were sent before are delivered first. A subscribe that
   * came in before and is still at `authenticate` is refused. The session's clients will try to reconnect: refuse them
   * in `authenticate`.
   *
   * @throws {StreamsideError} `invalid-argument`, `log-unavailable`, `closed`
   */
  disconnect(session: string): Promise<void>;

  /** The counters as they are now. */
  stats(): HubStats;

  /**
   * Listens to what happens in this process. Returns how to stop. If a listener throws, or its promise rejects, the
   * error is logged and harms nothing.
   *
   * @example
   * ```ts
   * const stop = hub.on("disconnect", ({ session, reason }) => console.log(session, reason));
   * ```
   */
  on<Name extends keyof HubEvents>(
    type: Name,
    listener: (detail: HubEvents[Name]) => void,
  ): () => void;

  /** True once {@link Hub.close} was called: new subscribers are refused. */
  readonly draining: boolean;

  /** The largest event it takes, in bytes. */
  readonly maxEventBytes: number;

  /** Where it logs to. */
  readonly logger: Logger;

  /**
   * Drains: refuses new subscribers and ends the open streams, spread over `within` ms. Each client is told its own
   * time to reconnect after. Resolves when all streams are gone; readers that take nothing are cut off a second later.
   * Sending works until then. Calling it again gives the same promise.
   *
   * @throws {StreamsideError} `invalid-argument`
   * @example
   * ```ts
   * process.on("SIGTERM", () => hub.close({ within: 10_000 }));
   * ```
   */
  close(options?: CloseOptions): Promise<void>;
}

/** Options of {@link Hub.close}. */
export interface CloseOptions {
  /** Over how long the streams are ended, in ms. Default: 0, all at once. */
  readonly within?: number;
}
