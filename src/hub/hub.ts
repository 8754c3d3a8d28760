/**
 * The hub: what a server sends with and subscribes to.
 *
 * It checks what comes in, appends it to its log, and hands the log's entries to {@link Delivery}. It holds no event
 * and no queue itself.
 *
 * @module
 */

import type { CheckedEvents } from "../event-map.ts";
import { quote, StreamsideError } from "../errors.ts";
import { byteLength, checkEventName, formatEvent, serializeData } from "../event-format.ts";
import { type Address, channelAddress, EVERYONE, nameOf, sessionAddress } from "../log/address.ts";
import { formatCursor, parseCursor } from "../log/cursor.ts";
import type { Log } from "../log/log.ts";
import { memoryLog } from "../log/memory.ts";
import { runBoundsOf, type RunHistoryOptions } from "../log/run-history.ts";
import type { RunLog } from "../log/run-log.ts";
import type { LogPosition, LogRecord } from "../log/record.ts";
import { checkPosition, sourceOf } from "../log/source.ts";
import type { StreamSource } from "../source-event.ts";
import { bound, checkName, delay, invalid } from "../validate.ts";
import { VERSION } from "../version.ts";
import type { Connection, EndReason } from "./connection.ts";
import { JOIN, LEAVE } from "./changes.ts";
import { Delivery, DISCONNECT } from "./delivery.ts";
import { drain } from "./drain.ts";
import { parseRunEventId, runEventId } from "./held-run.ts";
import { DEFAULT_LOGGER, guarded, LEVELS, type Logger, redact } from "./logger.ts";
import { Presence, type PresenceTimes, TIMES } from "./presence.ts";
import type { Places, PlacesObserver } from "./places.ts";
import type { Registry } from "./registry.ts";
import { RunDelivery } from "./run-delivery.ts";
import { Runs } from "./runs.ts";
import type { SinkOwner } from "./sink.ts";
import { streamOf } from "./stream-sink.ts";
import { Sweeper } from "./sweeper.ts";
import type {
  BroadcastOptions,
  CloseOptions,
  EventMap,
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
} from "./types.ts";

/**
 * Creates a hub.
 *
 * @throws {StreamsideError} `invalid-argument` for an option out of range, `invalid-event` for an invalid name of a
 *   heartbeat
 * @example
 * ```ts
 * interface Events { syncProgress: number; fileChanged: { fileId: string } }
 *
 * const hub = createHub<Events>({ heartbeat: 15_000, maxConnectionsPerSession: 10 });
 * await hub.broadcast("fileChanged", { fileId: "7" });
 * ```
 */
export function createHub<
  Events extends EventMap & CheckedEvents<Events> = Record<string, unknown>,
>(
  options: HubOptions = {},
): Hub<Events> {
  return new LogHub(options) as Hub<Events>;
}

const COUNTERS = {
  events: 0,
  connects: 0,
  disconnects: 0,
  resumes: 0,
  resets: 0,
  lags: 0,
  stalled: 0,
  replaced: 0,
  refusedConnections: 0,
  refusedSessionConnections: 0,
  refusedChannels: 0,
  refusedEvents: 0,
  refusedBodies: 0,
  refusedQueries: 0,
  runsBegun: 0,
  runsBroken: 0,
  runEvents: 0,
  joins: 0,
  leaves: 0,
};

/** How the handler opens a connection without a stream, for a sink of the entry point. */
export const CONNECT: unique symbol = Symbol.for(`streamside.connect@${VERSION}`);

/** How the handler opens a reader of a run, for a sink of the entry point. */
export const FOLLOW: unique symbol = Symbol.for(`streamside.follow@${VERSION}`);

/** How the handler counts its refusals. */
export const COUNT: unique symbol = Symbol.for(`streamside.count@${VERSION}`);

/** Where tests give a hub's options other times of presence. */
export const PRESENCE_TIMES: unique symbol = Symbol("streamside.presence-times");

/** What makes an object a hub, of any version: the version's name. */
export const HUB: unique symbol = Symbol.for("streamside.hub");

/** As {@link SubscribeOptions}, with what only the handler knows. */
export interface ConnectOptions extends SubscribeOptions {
  /** The channels that the request named, if it named some, granted or not. Default: it hears all that are granted. */
  readonly named?: ReadonlySet<string> | undefined;
}

/** A hub of {@link createHub}, as the handler sees it. */
export interface InternalHub extends Hub {
  /** The version that made it. */
  readonly [HUB]: string;
  /** It has reached its log, and takes subscribers. */
  readonly hasReachedLog: boolean;
  /** It is told what the log is given. When the log is away it still takes subscribers, who wait like all others. */
  readonly isFollowingLog: boolean;
  /** Throws if it takes no subscribers: while it drains, is full, or has not reached its log. */
  assertAccepting(): void;
  /** Throws if one request may not subscribe to so many channels. */
  assertChannels(count: number): void;
  /** As {@link Hub.subscribe}, for a sink that is set later. */
  [CONNECT](session: string, options?: ConnectOptions): SinkOwner;
  /**
   * Finds the newest run of a channel. Resolves to what opens a reader of it; to `undefined` if the channel never ran or
   * is forgotten; and to `"ended"` if the last event id is of an end.
   */
  [FOLLOW](
    session: string,
    channel: string,
    options?: Omit<SubscribeOptions, "channels">,
  ): Promise<(() => SinkOwner) | "ended" | undefined>;
  /** Counts one refusal. */
  [COUNT](refused: "refusedBodies" | "refusedQueries"): void;
}

class LogHub implements InternalHub {
  readonly [HUB]: string = VERSION;
  readonly maxEventBytes: number;
  readonly maxReplay: number;
  readonly logger: Logger;
  readonly #log: Log;
  readonly #ownsLog: boolean;
  readonly #delivery: Delivery;
  readonly #registry: Registry;
  readonly #sweeper: Sweeper;
  /** The readers of runs. */
  readonly #readers: RunDelivery;
  readonly #readersSweeper: Sweeper;
  readonly #runs: Runs | undefined;
  readonly #presence: Presence | undefined;
  readonly #retry: number;
  readonly #maxConnections: number;
  readonly #maxConnectionsPerSession: number;
  readonly #onSessionLimit: "refuse" | "close-oldest";
  readonly #maxChannels: number;
  readonly #maxAge: number;
  readonly #counters = { ...COUNTERS };
  readonly #listeners = new Map<keyof HubEvents, Set<(detail: never) => void>>();
  readonly #unfollow: () => void;
  /** The log can be followed, as far as it has said. */
  #isFollowing = false;
  #number = 0;
  #closing: Promise<void> | undefined;
  #closed = false;

  constructor(options: HubOptions & { readonly [PRESENCE_TIMES]?: PresenceTimes }) {
    const history = options.history ?? {};
    const logger = options.logger ?? DEFAULT_LOGGER;
    checkMethods("logger", logger, LEVELS);
    this.logger = guarded(logger);
    this.maxReplay = Math.floor(bound("maxReplay", options.maxReplay, 1_000));
    this.maxEventBytes = bound("maxEventBytes", options.maxEventBytes, 1024 * 1024);
    const heartbeat = heartbeatOf(options.heartbeat);
    this.#retry = Math.round(bound("retry", options.retry, 2_000));
    this.#maxConnections = bound("maxConnections", options.maxConnections, Infinity);
    this.#maxConnectionsPerSession = bound(
      "maxConnectionsPerSession",
      options.maxConnectionsPerSession,
      Infinity,
    );
    this.#onSessionLimit = options.onSessionLimit ?? "refuse";
    if (!["refuse", "close-oldest"].includes(this.#onSessionLimit)) {
      throw invalid(
        `onSessionLimit must be "refuse" or "close-oldest", got ${quote(this.#onSessionLimit)}.`,
      );
    }
    this.#maxChannels = bound("maxChannelsPerConnection", options.maxChannelsPerConnection, 100);
    const stallTimeout = bound("stallTimeout", options.stallTimeout, 300_000);
    this.#maxAge = bound("maxAge", options.maxAge, Infinity);
    const runHistory = options.runHistory ?? {};
    runBoundsOf(runHistory);
    const runTimeout = delay("runTimeout", options.runTimeout, 30_000);
    this.#log = options.log ?? memoryLog({ ...history, runHistory });
    this.#ownsLog = options.log === undefined;
    checkMethods("log", this.#log, ["follow", "append", "read"]);
    const { runs, presence } = this.#log;
    if (runs !== undefined) checkMethods("log's runs", runs, ["follow", "append", "list", "read"]);
    if (presence !== undefined) checkMethods("log's presence", presence, ["exchange"]);
    const source = sourceOf(this.#log, history, (error) => {
      this.logger.error("streamside: an entry of the log was refused", error);
    });
    const delivery = {
      maxBufferedBytes: bound("maxBufferedBytes", options.maxBufferedBytes, 64 * 1024),
      retry: this.#retry,
      heartbeat: heartbeat.fields,
    };
    const sweeping = { heartbeat: heartbeat.interval, stallTimeout };
    this.#delivery = new Delivery(
      { log: source, history, ...delivery },
      this.#observe(() => this.#sweeper),
    );
    this.#registry = this.#delivery.registry;
    this.#sweeper = new Sweeper(this.#delivery, {
      ...sweeping,
      abandon: (connection, reason) => this.#abandon(this.#delivery, connection, reason),
    });
    this.#readers = new RunDelivery(
      { ...delivery, fill: async (run) => await this.#runs?.fill(run) },
      this.#observe(() => this.#readersSweeper),
    );
    this.#readersSweeper = new Sweeper(this.#readers, {
      ...sweeping,
      abandon: (connection, reason) => this.#abandon(this.#readers, connection, reason),
    });
    this.#runs = runs && this.#follow(runs, runHistory, runTimeout);
    this.#presence = presence && new Presence({
      log: presence,
      times: options[PRESENCE_TIMES] ?? TIMES,
      sessions: () => this.sessions(),
      channelsOf: (session) => this.#channelsOf(session),
      failed: (error) => {
        // An outage of the log was told already.
        const level = this.#isFollowing ? "warn" : "debug";
        this.logger[level]("streamside: the log does not say who is online", error);
      },
    }, {
      online: (session) => this.#tell("online", { session }),
      offline: (session) => this.#tell("offline", { session }),
    });
    this.#unfollow = source.follow({
      opened: (epoch, head, start) => {
        this.#isFollowing = true;
        this.#reopened(epoch, head);
        this.#delivery.open(epoch, head, start);
      },
      appended: (entries) => {
        this.#isFollowing = true;
        this.#delivery.append(entries);
        if (this.#readers.registry.connections.size === 0) return;
        for (const { instruction, to, position } of entries) {
          if (instruction?.event === DISCONNECT) this.#readers.disconnect(nameOf(to), position);
        }
      },
      failed: (error) => {
        this.#isFollowing = false;
        this.logger.warn("streamside: the log cannot be followed", error);
      },
    });
  }

  get draining(): boolean {
    return this.#closing !== undefined;
  }

  get hasReachedLog(): boolean {
    return this.#delivery.epoch !== "";
  }

  get isFollowingLog(): boolean {
    return this.#isFollowing;
  }

  assertAccepting(): void {
    if (this.draining) throw closed();
    if (!this.hasReachedLog) throw logNotReached();
    // A session that replaces its own connection always finds room.
    if (this.#onSessionLimit === "refuse") this.#assertRoom();
  }

  assertChannels(count: number): void {
    if (count <= this.#maxChannels) return;
    this.#counters.refusedChannels++;
    throw new StreamsideError(
      "too-many-channels",
      `This subscription is to ${count} channels; maxChannelsPerConnection is ${this.#maxChannels}. Name fewer: with ` +
        "`?channel=` in a request.",
    );
  }

  [COUNT](refused: "refusedBodies" | "refusedQueries"): void {
    this.#counters[refused]++;
  }

  async send(
    session: string,
    event: string,
    data: unknown,
    options?: SendOptions,
  ): Promise<SendResult> {
    return await this.#append(this.#toSession(session, event, data, options));
  }

  async publish(
    channel: string,
    event: string,
    data: unknown,
    options?: BroadcastOptions,
  ): Promise<SendResult> {
    return await this.#append(this.#toChannel(channel, event, data, options));
  }

  async broadcast(event: string, data: unknown, options?: BroadcastOptions): Promise<SendResult> {
    return await this.#append(this.#toEveryone(event, data, options));
  }

  within(transaction: unknown): HubTransaction {
    if (this.#log.within === undefined) {
      throw invalid(
        "The hub's log is on no database (it has no `within`), so nothing can be sent within a transaction: use " +
          "sqliteLog of streamside/sqlite or postgresLog of streamside/postgres.",
      );
    }
    const append = this.#log.within(transaction);
    return {
      send: async (session, event, data, options) => {
        await this.#appendWithin(append, this.#toSession(session, event, data, options));
      },
      publish: async (channel, event, data, options) => {
        await this.#appendWithin(append, this.#toChannel(channel, event, data, options));
      },
      broadcast: async (event, data, options) => {
        await this.#appendWithin(append, this.#toEveryone(event, data, options));
      },
    };
  }

  subscribe(session: string, options?: SubscribeOptions): ReadableStream<Uint8Array> {
    return streamOf(this[CONNECT](session, options));
  }

  [CONNECT](session: string, options: ConnectOptions = {}): Connection {
    checkName("session", session);
    const channels = channelsOf(options);
    const lastEventId = lastEventIdOf(options);
    const replay = Math.min(replayOf(options), this.maxReplay);
    const { deadline, deadlineReason } = this.#deadline(options.expires);
    this.assertAccepting();
    const since = this.#assertConnected(session, options.requestedAt);
    this.#admit(session, channels);
    const { epoch } = this.#delivery;
    const start = {
      number: ++this.#number,
      session,
      channels,
      named: options.named,
      position: lastEventId === undefined ? undefined : parseCursor(epoch, lastEventId) ?? null,
      replay: lastEventId === undefined ? replay : 0,
      deadline,
      deadlineReason,
    };
    const connection = this.#delivery.add(start, since);
    this.#opened(this.#sweeper, connection, channels, lastEventId);
    return connection;
  }

  async [FOLLOW](
    session: string,
    channel: string,
    options: Omit<SubscribeOptions, "channels"> = {},
  ): Promise<(() => Connection) | "ended" | undefined> {
    checkName("session", session);
    checkName("channel", channel);
    const lastEventId = lastEventIdOf(options);
    const { deadline, deadlineReason } = this.#deadline(options.expires);
    this.assertAccepting();
    const { requestedAt = this.cursor() } = options;
    const id = lastEventId === undefined ? undefined : parseRunEventId(lastEventId);
    if (id?.number === Infinity) return "ended";
    const run = await this.#runs?.find(channel, id?.run);
    if (run === undefined) return undefined;
    // An id of an earlier run, or of something else: a reset, and then all of this one.
    const known = id?.run === run.id ? id.number : undefined;
    const after = lastEventId === undefined ? 0 : known;
    return () => {
      this.assertAccepting();
      this.#assertConnected(session, requestedAt);
      this.#admit(session);
      const start = { session, after, openedAt: this.#delivery.head, deadline, deadlineReason };
      const connection = this.#readers.add(run, { number: ++this.#number, ...start });
      this.#opened(this.#readersSweeper, connection, [channel], lastEventId);
      return connection;
    };
  }

  async run(channel: string, source: StreamSource, options: RunOptions = {}): Promise<Run> {
    checkName("channel", channel);
    checkSource(source);
    if (this.#runs === undefined) {
      throw invalid("The hub's log keeps no runs (it has no `runs`): use one that does.");
    }
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.draining) {
      throw new StreamsideError("closed", "The hub is closing: the run has not begun.");
    }
    const producer = await this.#runs.begin(channel, source);
    const stop = async () => void await producer.stop();
    if (signal?.aborted) void stop();
    else if (signal) {
      signal.addEventListener("abort", stop);
      void producer.done.then(() => signal.removeEventListener("abort", stop));
    }
    return { channel, cursor: runEventId(producer.run, 0), done: producer.done, stop };
  }

  async stopRun(channel: string): Promise<boolean> {
    checkName("channel", channel);
    if (this.#closed) throw new StreamsideError("closed", "The hub is closed and stops no run.");
    return await this.#runs?.stop(channel) ?? false;
  }

  runs(): RunningRun[] {
    return Array.from(
      this.#runs?.producers ?? [],
      ({ channel, since, events }) => ({ channel, since, events }),
    );
  }

  cursor(): string {
    const cursor = this.#delivery.cursor;
    if (cursor === undefined) throw logNotReached();
    return cursor;
  }

  sessions(): string[] {
    const ofReaders = this.#readers.registry.sessions.keys();
    return [...new Set([...this.#registry.sessions.keys(), ...ofReaders])];
  }

  async presence(channel?: string): Promise<string[]> {
    if (channel !== undefined) checkName("channel", channel);
    if (this.#presence === undefined) throw noPresence();
    return await this.#presence.list(channel);
  }

  async disconnect(session: string): Promise<void> {
    checkName("session", session);
    const { epoch } = this.#delivery;
    const last = this.#number;
    const record = { to: sessionAddress(session), event: DISCONNECT, data: "" };
    const { position } = await this.#record(record, "the disconnect", "call disconnect again");
    if (epoch === this.#delivery.epoch) await this.#delivery.settled(position);
    if (epoch === this.#delivery.epoch) return;
    // If the log started over meanwhile, it may have lost the instruction before telling it.
    for (const places of [this.#delivery, this.#readers]) {
      for (const connection of [...places.registry.sessions.get(session) ?? []]) {
        if (connection.number <= last) places.end(connection, "disconnect");
      }
    }
  }

  async join(session: string, channel: string): Promise<void> {
    await this.#change(JOIN, session, channel);
    this.#counters.joins++;
    this.#tell("join", { session, channel });
  }

  async leave(session: string, channel: string): Promise<void> {
    await this.#change(LEAVE, session, channel);
    this.#counters.leaves++;
    this.#tell("leave", { session, channel });
  }

  stats(): HubStats {
    const { connections, sessions, channels } = this.#registry;
    const { lagging, held, deliveries, bytes } = this.#delivery;
    const readers = this.#readers;
    const isReading = readers.registry.connections.size > 0;
    return {
      connections: connections.size + readers.registry.connections.size,
      sessions: isReading ? this.sessions().length : sessions.size,
      channels: channels.size,
      lagging: lagging + readers.lagging,
      historyEvents: held.events,
      historyBytes: held.bytes,
      runs: this.#runs?.size ?? 0,
      runHistoryEvents: this.#runs?.heldEvents ?? 0,
      runHistoryBytes: this.#runs?.heldBytes ?? 0,
      deliveries: deliveries + readers.deliveries,
      bytes: bytes + readers.bytes,
      ...this.#counters,
    };
  }

  on<Name extends keyof HubEvents>(
    type: Name,
    listener: (detail: HubEvents[Name]) => void,
  ): () => void {
    const isPresence = type === "online" || type === "offline";
    if (isPresence && this.#presence === undefined) throw noPresence();
    let listeners = this.#listeners.get(type);
    if (!listeners) this.#listeners.set(type, listeners = new Set());
    listeners.add(listener);
    const stop = isPresence ? this.#presence!.listen() : undefined;
    return () => {
      listeners.delete(listener);
      stop?.();
    };
  }

  close({ within = 0 }: CloseOptions = {}): Promise<void> {
    if (!Number.isFinite(within) || within < 0) {
      const got = typeof within === "number" ? within : quote(within);
      return Promise.reject(invalid(`within must be a number of ms, 0 or more, got ${got}.`));
    }
    return this.#closing ??= this.#drain(within);
  }

  /** What a session's connections here subscribe to; `undefined` if it has none. */
  #channelsOf(session: string): string[] | undefined {
    const connections = this.#registry.sessions.get(session);
    if (connections === undefined) {
      return this.#readers.registry.sessions.has(session) ? [] : undefined;
    }
    if (connections.size === 1) {
      for (const { group } of connections) return [...group.names];
    }
    const channels = new Set<string>();
    for (const { group } of connections) for (const name of group.names) channels.add(name);
    return [...channels];
  }

  /** Appends a join or a leave. Resolves when the connections here have come to it. */
  async #change(instruction: string, session: string, channel: string): Promise<void> {
    checkName("session", session);
    checkName("channel", channel);
    const what = instruction === JOIN ? "join" : "leave";
    const { epoch: before } = this.#delivery;
    const record = { to: sessionAddress(session), event: instruction, data: channel };
    const { position } = await this.#record(record, `the ${what}`, `call ${what} again`);
    const epoch = this.#assertSameLife(before, `the ${what}`);
    await this.#delivery.settled(position);
    this.#assertSameLife(epoch, `the ${what}`);
  }

  /** The log is in the life that it was in before it was given something. Returns which one. */
  #assertSameLife(before: string, what: string): string {
    const { epoch } = this.#delivery;
    if (epoch !== "" && (before === "" || before === epoch)) return epoch;
    throw new StreamsideError(
      "log-unavailable",
      `The log is not open, or started over while it took ${what}, which may or may not be in it.`,
    );
  }

  #toSession(session: string, event: string, data: unknown, options?: SendOptions): LogRecord {
    checkName("session", session);
    return this.#recordOf(sessionAddress(session), event, data, options);
  }

  #toChannel(channel: string, event: string, data: unknown, options?: BroadcastOptions): LogRecord {
    checkName("channel", channel);
    return this.#recordOf(channelAddress(channel), event, data, options, sessionsOf(options));
  }

  #toEveryone(event: string, data: unknown, options?: BroadcastOptions): LogRecord {
    return this.#recordOf(EVERYONE, event, data, options, sessionsOf(options));
  }

  #recordOf(
    to: Address,
    event: string,
    data: unknown,
    options?: SendOptions,
    except?: readonly string[],
  ): LogRecord {
    checkEventName(event);
    const key = options?.key;
    if (key !== undefined) checkName("key", key);
    const idempotencyKey = options?.idempotencyKey;
    if (idempotencyKey !== undefined) checkName("idempotencyKey", idempotencyKey);
    const transient = options?.transient ?? false;
    if (typeof transient !== "boolean") {
      throw invalid(`transient must be true or false, got ${quote(transient)}.`);
    }
    const text = serializeData(data);
    this.#checkSize(event, text);
    return {
      to,
      event,
      data: text,
      key,
      except,
      transient: transient || undefined,
      idempotencyKey,
    };
  }

  async #append(record: LogRecord): Promise<SendResult> {
    const { to, event, except } = record;
    const { epoch: before } = this.#delivery;
    const position = await this.#record(record, "the event", "sent again, it may arrive twice");
    const epoch = this.#assertSameLife(before, "the event");
    this.#counters.events++;
    const result: SendResult = {
      id: formatCursor(epoch, position),
      connections: this.#registry.count(to, except),
    };
    if (this.#listeners.has("send")) this.#tell("send", { ...result, to, event });
    return result;
  }

  async #appendWithin(
    append: (record: LogRecord) => Promise<void>,
    record: LogRecord,
  ): Promise<void> {
    if (this.#closed) {
      throw new StreamsideError("closed", "The hub is closed and did not take the event.");
    }
    try {
      await append(record);
    } catch (cause) {
      if (cause instanceof StreamsideError) throw cause;
      throw new StreamsideError(
        "log-unavailable",
        "The log did not confirm that the event is part of the transaction: roll it back.",
        { cause },
      );
    }
  }

  #checkSize(event: string, data: string): void {
    // A line break takes seven bytes and any other UTF-16 unit at most three. So mostly nothing has to be counted.
    if (event.length * 3 + data.length * 7 + 32 <= this.maxEventBytes) return;
    const size = byteLength(formatEvent(event, data, ""));
    if (size <= this.maxEventBytes) return;
    this.#counters.refusedEvents++;
    throw new StreamsideError(
      "event-too-large",
      `The event ${quote(event)} takes ${size} bytes; maxEventBytes is ${this.maxEventBytes}. ` +
        "Send a reference to the data instead, or raise the limit.",
    );
  }

  /** Appends what is called `what` in errors, which say what to do when it is not known whether the log holds it. */
  async #record(record: LogRecord, what: string, advice: string): Promise<LogPosition> {
    if (this.#closed) {
      throw new StreamsideError("closed", `The hub is closed and did not take ${what}.`);
    }
    try {
      const place = await this.#log.append(record);
      checkPosition("answer to append", place);
      return place;
    } catch (cause) {
      if (cause instanceof StreamsideError) throw cause;
      throw new StreamsideError(
        "log-unavailable",
        `The log did not confirm ${what}. It may or may not be in the log: ${advice}.`,
        { cause },
      );
    }
  }

  /**
   * A disconnect ends each connection whose request came before it, also one that opens only now. Returns the position
   * at which the request came in; since then, it is known what was joined and left.
   */
  #assertConnected(session: string, requestedAt: string | undefined): number | undefined {
    if (requestedAt === undefined) return undefined;
    if (typeof requestedAt !== "string") {
      throw invalid(`requestedAt must be a cursor of the hub, got ${quote(requestedAt)}.`);
    }
    const place = parseCursor(this.#delivery.epoch, requestedAt);
    const isOver = place && this.#delivery.isDisconnectedAfter(session, place.position);
    if (isOver === false && this.#delivery.knowsChangesAfter(place!.position)) {
      return place!.position;
    }
    if (isOver) {
      throw new StreamsideError(
        "disconnected",
        "The session was disconnected after this request came in; ask again.",
      );
    }
    throw new StreamsideError(
      "log-unavailable",
      "Whether the session was disconnected, joined or left a channel since the request came in is not known; try " +
        "again in a moment.",
    );
  }

  #admit(session: string, channels: ReadonlySet<string> = new Set()): void {
    this.assertChannels(channels.size);
    const ofSession = [this.#delivery, this.#readers].map((places) => ({
      places,
      connections: places.registry.sessions.get(session) ?? new Set<never>(),
    }));
    const count = ofSession.reduce((sum, { connections }) => sum + connections.size, 0);
    if (count >= this.#maxConnectionsPerSession) {
      if (this.#onSessionLimit === "refuse") {
        this.#counters.refusedSessionConnections++;
        throw new StreamsideError(
          "too-many-connections-of-session",
          `The session has ${count} connections; maxConnectionsPerSession is ${this.#maxConnectionsPerSession}.`,
        );
      }
      const oldest = ofSession.flatMap(({ places, connections: [connection] }) =>
        connection === undefined ? [] : [{ places, connection }]
      ).sort((one, other) => one.connection.number - other.connection.number)[0]!;
      oldest.places.end(oldest.connection, "replaced");
    }
    this.#assertRoom();
  }

  #assertRoom(): void {
    // An ended connection keeps its place until its reader has taken the rest or stalls.
    if (this.#delivery.places + this.#readers.places < this.#maxConnections) return;
    this.#counters.refusedConnections++;
    throw new StreamsideError(
      "too-many-connections",
      // Strangers read this, too: it comes before `authenticate`. The numbers are in `stats()`.
      "This server has no room for more connections now (maxConnections); try again in a moment.",
    );
  }

  #deadline(expires: Date | number | undefined): { deadline: number; deadlineReason: EndReason } {
    const expiry = expires === undefined ? Infinity : Number(expires);
    if (Number.isNaN(expiry)) {
      throw invalid("expires must be a valid Date or a number of ms since the epoch.");
    }
    const age = Date.now() + this.#maxAge * (1 - Math.random() / 4);
    return expiry <= age
      ? { deadline: expiry, deadlineReason: "expired" }
      : { deadline: age, deadlineReason: "max-age" };
  }

  #opened(
    sweeper: Sweeper,
    connection: Connection,
    channels: Iterable<string>,
    lastEventId: string | undefined,
  ): void {
    const { session } = connection;
    const resumed = lastEventId !== undefined && !connection.isLost;
    this.#counters.connects++;
    sweeper.opened(connection);
    this.#presence?.changed(session);
    this.#debug("connect", connection);
    this.#tell("connect", { session, channels: [...channels], resumed });
    if (resumed) {
      this.#counters.resumes++;
      this.#debug("resume", connection);
      this.#tell("resume", { session, lastEventId });
    }
  }

  #ended(sweeper: Sweeper, connection: Connection, reason: EndReason): void {
    this.#counters.disconnects++;
    sweeper.ended(connection);
    this.#presence?.changed(connection.session);
    if (reason === "stalled") this.#counters.stalled++;
    if (reason === "replaced") this.#counters.replaced++;
    if (reason === "stalled") this.#debug("drop", connection, reason);
    this.#debug("disconnect", connection, reason);
    this.#tell("disconnect", { session: connection.session, reason });
  }

  #tell<Name extends keyof HubEvents>(type: Name, detail: HubEvents[Name]): void {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        const result = (listener as (detail: HubEvents[Name]) => unknown)(detail);
        if (result instanceof Promise) result.catch((error) => this.#listenerFailed(type, error));
      } catch (error) {
        this.#listenerFailed(type, error);
      }
    }
  }

  #listenerFailed(type: string, error: unknown): void {
    this.logger.error(`streamside: a listener for "${type}" threw`, error);
  }

  #debug(what: string, { number, session }: Connection, reason?: EndReason): void {
    const why = reason === undefined ? "" : ` (${reason})`;
    this.logger.debug(`streamside: ${what} ${number} of ${redact(session)}${why}`);
  }

  /** Lets go of an ended connection whose reader does not take its last bytes. */
  #abandon(places: Places, connection: Connection, reason: EndReason): void {
    this.#debug("drop", connection, reason);
    places.abandon(connection);
  }

  /** Whom connections tell. The sweeper is made after them. */
  #observe(sweeper: () => Sweeper): PlacesObserver {
    return {
      lagged: (connection) => {
        this.#counters.lags++;
        this.#debug("lag", connection);
        this.#tell("lag", { session: connection.session });
      },
      reset: (connection) => {
        this.#counters.resets++;
        this.#debug("reset", connection);
        this.#tell("reset", { session: connection.session });
      },
      ended: (connection, reason) => this.#ended(sweeper(), connection, reason),
      moved: ({ session }) => this.#presence?.changed(session),
      left: () => sweeper().left(),
      failed: (what, error) => this.logger.error(`streamside: ${what} failed`, error),
    };
  }

  #follow(log: RunLog, history: RunHistoryOptions, timeout: number): Runs {
    const checkSize = (event: string, data: string) => this.#checkSize(event, data);
    return new Runs({ log, history, timeout, checkSize }, {
      changed: (run) => this.#readers.changed(run),
      stranded: (run) => this.#readers.dismiss("log", run),
      begun: ({ channel, run }) => {
        this.#counters.runsBegun++;
        this.logger.debug(`streamside: run ${run} begins`);
        this.#tell("run", { channel, cursor: runEventId(run, 0) });
      },
      published: () => this.#counters.runEvents++,
      ended: ({ channel, run, events }, { error }) => {
        if (error !== undefined) this.#counters.runsBroken++;
        this.logger.debug(`streamside: run ${run} ends${error === undefined ? "" : ` (${error})`}`);
        this.#tell("runEnd", { channel, events, error });
      },
      failed: (what, error) => this.logger.error(`streamside: ${what} failed`, error),
    });
  }

  /** The log is followed, perhaps anew: what was missed may hold a disconnect of a run's reader. */
  #reopened(epoch: string, head: LogPosition): void {
    const isSame = epoch === this.#delivery.epoch;
    if (isSame && head.position === this.#delivery.head) return;
    if (isSame) this.#readers.dismiss("log");
    for (const reader of this.#readers.registry.connections) reader.openedAt = head.position;
  }

  async #drain(within: number): Promise<void> {
    const { connections } = this.stats();
    this.logger.info(
      `streamside: closing; ${connections} connections will end within ${within} ms`,
    );
    const drained = [this.#delivery, this.#readers].map((places) =>
      drain(places, {
        within,
        retry: this.#retry,
        abandon: (connection, reason) => this.#abandon(places, connection, reason),
      })
    );
    await Promise.all([this.#runs?.close(within), ...drained]);
    await this.#presence?.close();
    this.#closed = true;
    this.#unfollow();
    this.#runs?.release();
    this.#delivery.stopWaiting();
    this.#sweeper.stop();
    this.#readersSweeper.stop();
    if (this.#ownsLog) await this.#log.close?.();
  }
}

function checkMethods(what: string, value: object, names: readonly string[]): void {
  for (const name of names) {
    if (typeof (value as Record<string, unknown>)[name] === "function") continue;
    throw invalid(`The ${what} needs the methods ${names.join(", ")}; it has no ${name}.`);
  }
}

function checkSource(source: unknown): void {
  if (typeof source === "function") return;
  const isObject = typeof source === "object" && source !== null;
  if (isObject && (Symbol.asyncIterator in source || Symbol.iterator in source)) return;
  throw invalid(
    `A run's source must be an iterable of events, or a function that gives one; got ${
      quote(source)
    }.`,
  );
}

/** How often a heartbeat comes, and its fields but for the id: a comment, or an event with data (HTML 9.2.6). */
function heartbeatOf(option: HubOptions["heartbeat"]): { interval: number; fields: string } {
  const isLong = typeof option === "object" && option !== null;
  const { interval, event }: HeartbeatOptions = isLong ? option : { interval: option };
  const ms = bound(isLong ? "heartbeat.interval" : "heartbeat", interval, 15_000);
  if (event === undefined) return { interval: ms, fields: ":\n" };
  checkEventName(event);
  return { interval: ms, fields: `event: ${event}\ndata: ${ms}\n` };
}

/** The sessions that `except` names, copied: the caller may change its array after the call. */
function sessionsOf(options?: BroadcastOptions): string[] | undefined {
  const except = options?.except ?? undefined;
  if (except === undefined) return undefined;
  const sessions = typeof except === "string" ? [except] : except;
  if (!Array.isArray(sessions)) {
    throw invalid(`except must be a session or an array of them, got ${quote(except)}.`);
  }
  return [...sessions as unknown[]].map((session) => {
    checkName("session in except", session);
    return session;
  });
}

function channelsOf({ channels }: SubscribeOptions): Set<string> {
  // A string is iterable too, and its letters would become channels.
  if (typeof channels === "string" || !(Symbol.iterator in Object(channels ?? []))) {
    throw invalid(`channels must be a list of names, got ${quote(channels)}.`);
  }
  const names = new Set(channels);
  for (const name of names) checkName("channel", name);
  return names;
}

function replayOf({ replay = 0 }: SubscribeOptions): number {
  if (Number.isSafeInteger(replay) && replay >= 0) return replay;
  const got = typeof replay === "number" ? replay : quote(replay);
  throw invalid(`replay must be a whole number, 0 or more, got ${got}.`);
}

function lastEventIdOf({ lastEventId }: SubscribeOptions): string | undefined {
  if (typeof (lastEventId ?? "") !== "string") {
    throw invalid(`lastEventId must be a string, got ${quote(lastEventId)}.`);
  }
  return lastEventId || undefined;
}

function noPresence(): StreamsideError {
  return invalid(
    "The hub's log does not know who is online (it has no `presence`): use memoryLog, redisLog of streamside/redis or " +
      "jetStreamLog of streamside/jetstream.",
  );
}

function closed(): StreamsideError {
  return new StreamsideError(
    "closed",
    "The hub takes no new subscribers, since it is closing; connect again in a moment.",
  );
}

function logNotReached(): StreamsideError {
  return new StreamsideError(
    "log-unavailable",
    "The hub has not reached its log yet; try again in a moment.",
  );
}
