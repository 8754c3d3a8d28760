/**
 * What a hub promises: its options, its members and its events.
 *
 * @module
 */

import type { Address } from "../log/address.ts";
import type { HistoryOptions } from "../log/history.ts";
import type { Log } from "../log/log.ts";
import type { RunHistoryOptions } from "../log/run-history.ts";
import type { RunEnd, RunError } from "../log/run-log.ts";
import type { StreamSource } from "../source-event.ts";
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
  /**
   * How much of runs this process holds: `{ events, bytes, age, total }`. See {@link RunHistoryOptions} for the defaults.
   */
  readonly runHistory?: RunHistoryOptions;
  /**
   * A run of which nothing is heard for this long, in ms, is lost: its readers get its end. For as long, an event that
   * the log does not take is tried again. All hubs of a log should say the same. Default: 30 000.
   */
  readonly runTimeout?: number;
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
  /** How many channels one request may subscribe to; {@link Hub.join} may add to them. Default: 100. */
  readonly maxChannelsPerConnection?: number;
  /** How many held events a stream may begin with: see {@link SubscribeOptions.replay}. Default: 1 000. */
  readonly maxReplay?: number;
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

/** Options of {@link Hub.send}. */
export interface SendOptions {
  /** A connection that lags gets only the newest of the events to the same session or channel with this key. */
  readonly key?: string;
  /**
   * For those who are live, and kept for nobody: who is typing, where the mouse is. It takes no room in the history.
   * Whoever lags, resumes or is away never gets it, and `key` says nothing of it. It comes in order among the others. It
   * carries no id, so that a client's last event id stays that of the event before (WHATWG HTML 9.2.6). Default: false.
   */
  readonly transient?: boolean;
  /**
   * Sent again with the same one, the event stands once: the second send resolves to the first one's id, whatever else
   * it says. One key is for one event of the whole hub. For how long a key is known is for the log to say: `memoryLog`
   * knows the last 10 000.
   */
  readonly idempotencyKey?: string;
}

/** Options of {@link Hub.publish} and {@link Hub.broadcast}. */
export interface BroadcastOptions extends SendOptions {
  /** A session or several that do not get it. */
  readonly except?: string | readonly string[];
}

/** What became of an event. */
export interface SendResult {
  /** Its position, as the SSE `id` that clients see. Clients see none of a transient event: it is its place in the log. */
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
   * A first visit begins with the newest so many of the events that this process holds for it, oldest first; those that
   * a newer one with the same key supersedes are left out and not counted. The channels of now count for all of them.
   * More than `maxReplay` is `maxReplay`. With a `lastEventId` it is ignored. A whole number. Default: 0.
   */
  readonly replay?: number;
  /**
   * Where the log stood when the request came in: {@link Hub.cursor}, taken before anything is awaited. A session that
   * was disconnected since then gets no stream, so a check that was under way does not let in a session that has logged
   * out. Default: the request has just come in.
   */
  readonly requestedAt?: string;
  /** When the stream ends, as a Date or in ms since the epoch. Default: never. */
  readonly expires?: Date | number;
}

/** Options of {@link Hub.run}. */
export interface RunOptions {
  /** Stops the run when it aborts. Default: none. */
  readonly signal?: AbortSignal | undefined;
}

/** A run that has begun. */
export interface Run {
  /** The channel that it is a run of. */
  readonly channel: string;
  /** Where it begins, as a last event id for its route: render it into a page, and the page gets this run. */
  readonly cursor: string;
  /** Resolves to how it ended: `{}`, or `{ error }` with a code. Never rejects. */
  readonly done: Promise<RunEnd>;
  /**
   * Ends it as `stopped`, and aborts its source. Does nothing if it has ended.
   *
   * @throws {StreamsideError} `log-unavailable`
   */
  stop(): Promise<void>;
}

/** A run of this process, as {@link Hub.runs} tells. */
export interface RunningRun {
  /** The channel that it is a run of. */
  readonly channel: string;
  /** When it began, in ms since the epoch. */
  readonly since: number;
  /** How many events it has published. */
  readonly events: number;
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
  /** Runs whose source runs in this process. */
  readonly runs: number;
  /** Events of runs that this process holds. */
  readonly runHistoryEvents: number;
  /** What the runs that this process holds take in memory, in bytes: see {@link RunHistoryOptions}. */
  readonly runHistoryBytes: number;

  /** Events sent through this hub. */
  readonly events: number;
  /** Runs begun in this process. */
  readonly runsBegun: number;
  /** Runs of this process that ended before their source did: `failed`, `stopped` or `lost`. */
  readonly runsBroken: number;
  /** Events that runs of this process have published. */
  readonly runEvents: number;
  /** Joins that this hub put into the log. */
  readonly joins: number;
  /** Leaves that this hub put into the log. */
  readonly leaves: number;
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
  /** A session joins a channel, by a call of this hub. */
  join: { session: string; channel: string };
  /** A session leaves a channel, by a call of this hub. */
  leave: { session: string; channel: string };
  /** A session is connected, to any server, and was not before. See {@link Hub.presence}. */
  online: { session: string };
  /** A session has been connected to no server for some seconds. See {@link Hub.presence}. */
  offline: { session: string };
  /** A run has begun in this process. */
  run: { channel: string; cursor: string };
  /** A run of this process has ended; `error` is missing if all of it is there. */
  runEnd: { channel: string; events: number; error?: RunError | undefined };
}

/**
 * Sends that are part of a transaction: see {@link Hub.within}. Each resolves, to nothing, once its event is part of the
 * transaction, and rejects with `invalid-event`, `invalid-data`, `invalid-argument`, `event-too-large`,
 * `log-unavailable` or `closed`. An invalid event rejects before the database is asked anything. Whether the events are
 * sent is known at the commit, so `stats().events` does not count them, and `hub.on("send")` does not tell of them.
 */
export interface HubTransaction<Events extends EventMap = Record<string, unknown>> {
  /** As {@link Hub.send}. */
  send<Name extends EventName<Events>>(
    session: string,
    event: Name,
    data: Events[Name],
    options?: SendOptions,
  ): Promise<void>;

  /** As {@link Hub.publish}. */
  publish<Name extends EventName<Events>>(
    channel: string,
    event: Name,
    data: Events[Name],
    options?: BroadcastOptions,
  ): Promise<void>;

  /** As {@link Hub.broadcast}. */
  broadcast<Name extends EventName<Events>>(
    event: Name,
    data: Events[Name],
    options?: BroadcastOptions,
  ): Promise<void>;
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
   * Sends to a channel's subscribers, on every server, except the sessions in `options.except`. As {@link Hub.send} in
   * all else.
   *
   * @example
   * ```ts
   * await hub.publish("document-7", "fileChanged", { fileId: "7" }, { except: "session-1" });
   * ```
   */
  publish<Name extends EventName<Events>>(
    channel: string,
    event: Name,
    data: Events[Name],
    options?: BroadcastOptions,
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
   * Sends within a transaction of the log's database: the events are in the log if and only if it commits, together with
   * what else the transaction changes. For logs on a database.
   *
   * @param transaction an open transaction, as the log takes it: with `sqliteLog` the database inside of one, with
   *   `postgresLog` the client on which `BEGIN` was sent. Use what is returned until the transaction ends
   * @throws {StreamsideError} `invalid-argument` for anything else, and for a log that is on no database. Where only the
   *   database can tell that no transaction is open, the sends reject with it
   * @example
   * ```ts
   * import pg from "pg";
   *
   * const database = await new pg.Pool().connect();
   * await database.query("BEGIN");
   * await database.query("UPDATE documents SET locked_by = 'Ada' WHERE id = 7");
   * await hub.within(database).publish("document-7", "documentLocked", { by: "Ada" });
   * await database.query("COMMIT");
   * ```
   */
  within(transaction: unknown): HubTransaction<Events>;

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
   * Publishes what a source yields, whoever listens: a language model's answer, a build's log, an export. It goes on when
   * readers leave. Whoever comes to `GET {basePath}/runs/{channel}`, on any server of the log, gets all of it from the
   * first event, then what comes live, and then `streamside:end`.
   *
   * The source takes its time from the log, not from its readers: the next event is asked for when the log holds the
   * last. If it throws, or yields something that cannot be sent, the run ends as `failed`, and the error is logged. Its
   * signal aborts when the run is stopped, here or on another server, and when it is lost.
   *
   * A channel's subscribers do not hear its run, and its run's readers hear nothing else.
   *
   * @param channel the channel; it may run again when its run has ended
   * @param source the events, or a function of an `AbortSignal` that gives them, as for {@link eventStream}
   * @returns the run, once its beginning is in the log
   * @throws {StreamsideError} `already-running` if the channel runs, here or on another server; `invalid-argument`, also
   *   for a log that keeps no runs; `log-unavailable`; `closed`; and the signal's reason if that has aborted already
   * @example
   * ```ts
   * const run = await hub.run("answer-7", async function* (signal) {
   *   for await (const token of model.generate(prompt, { signal })) yield { event: "token", data: token };
   * });
   * const { error } = await run.done;
   * ```
   */
  run(channel: string, source: StreamSource, options?: RunOptions): Promise<Run>;

  /**
   * Ends the run of a channel as `stopped`, on whichever server it is, and aborts its source. What the source yields
   * afterwards goes to nobody. Resolves once the log holds the end, to whether there was a run to stop.
   *
   * @throws {StreamsideError} `invalid-argument`, `log-unavailable`, `closed`
   */
  stopRun(channel: string): Promise<boolean>;

  /** The runs whose source runs in this process. */
  runs(): RunningRun[];

  /**
   * Where the log stands now: render it into a page as `lastEventId`, and the page misses nothing from then on.
   *
   * @throws {StreamsideError} `log-unavailable` until the hub has reached its log
   */
  cursor(): string;

  /** The sessions connected to this process, in no order. */
  sessions(): string[];

  /**
   * The sessions connected to any server of the log, each once, in no order; or those of them that have a connection which
   * subscribes to a channel. The log is asked. What other servers have told it is about a second old, and a session that
   * was on a server which was killed is gone after 15 s at the latest.
   *
   * `hub.on("online")` and `hub.on("offline")` tell of those that come and go, on every server. A session that is back
   * within 5 s, on whichever server, has not been away: so a page that is loaded again, and a server that restarts, are no
   * change. `offline` comes within 10 s of the last connection's end, and after 15 s at the latest where the server was
   * killed. While the log is away, nobody comes or goes.
   *
   * A hub that asks or listens holds the sessions of all servers.
   *
   * @param channel a channel, as `authenticate` granted it or `join` added it; not the channel of a run
   * @throws {StreamsideError} `invalid-argument`, also for a log that does not know it; `log-unavailable`; `closed`
   * @example
   * ```ts
   * const readers = await hub.presence("document-7");
   * const stop = hub.on("offline", ({ session }) => console.log(session, "has gone"));
   * ```
   */
  presence(channel?: string): Promise<string[]>;

  /**
   * Ends a session's connections, on every server. Events that were sent before are delivered first. A subscribe that
   * came in before and is still at `authenticate` is refused. The session's clients will try to reconnect: refuse them
   * in `authenticate`.
   *
   * @throws {StreamsideError} `invalid-argument`, `log-unavailable`, `closed`
   */
  disconnect(session: string): Promise<void>;

  /**
   * A session's open connections subscribe to a channel, on every server, from one position of the log on: they get
   * what is published after it and nothing from before. A subscribe that came in before and is still at `authenticate`
   * gets it, too. A connection that resumes hears a channel that was joined since its cursor from the join on.
   *
   * The hub keeps no list of members. Whoever connects anew is asked for in `authenticate`: let it grant the channel
   * before this is called.
   *
   * @returns when the log holds it, and all live connections in this process have come to it
   * @throws {StreamsideError} `invalid-argument`, `log-unavailable` (call it again), `closed`
   * @example
   * ```ts
   * // First wherever `authenticate` looks the session's channels up, then:
   * await hub.join("session-1", "document-7");
   * await hub.publish("document-7", "fileChanged", { fileId: "7" });
   * ```
   */
  join(session: string, channel: string): Promise<void>;

  /**
   * A session's open connections subscribe to a channel no more, on every server: they get what was published before,
   * and nothing after. As {@link Hub.join} in all else.
   *
   * A connection that resumes hears a channel that was left since its cursor up to the leave: call it for a session that
   * was in the channel.
   *
   * @throws {StreamsideError} `invalid-argument`, `log-unavailable` (call it again), `closed`
   */
  leave(session: string, channel: string): Promise<void>;

  /** The counters as they are now. */
  stats(): HubStats;

  /**
   * Listens to what happens in this process, and with `online` and `offline` to what happens on any server: see
   * {@link Hub.presence}. Returns how to stop. If a listener throws, or its promise rejects, the error is logged and harms
   * nothing.
   *
   * @throws {StreamsideError} `invalid-argument` for `online` and `offline` with a log that does not know it
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

  /** How many held events a stream may begin with. */
  readonly maxReplay: number;

  /** The largest event it takes, in bytes. */
  readonly maxEventBytes: number;

  /** Where it logs to. */
  readonly logger: Logger;

  /**
   * Drains: refuses new subscribers and ends the open streams, spread over `within` ms. Each client is told its own
   * time to reconnect after. Resolves when all streams are gone; readers that take nothing are cut off a second later.
   * Sending works until then. Runs of this process go on until `within` is over; what still runs then is `lost`. Calling
   * it again gives the same promise.
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
