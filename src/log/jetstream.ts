/**
 * A log in a stream of NATS JetStream: any number of servers then are one hub.
 *
 * @example
 * ```ts
 * import { connect } from "@nats-io/transport-node";
 * import { createHub } from "streamside";
 * import { jetStreamLog } from "streamside/jetstream";
 *
 * const connection = await connect({ servers: "localhost:4222", maxReconnectAttempts: -1 });
 * const hub = createHub({ log: jetStreamLog(connection, { stream: "my-app" }) });
 * ```
 *
 * @module
 */

import { backoff } from "../client/backoff.ts";
import { quote, StreamsideError } from "../errors.ts";
import { bound, delay, invalid } from "../validate.ts";
import { Appends, newTag, type PendingRecord, RETRY, sizeOf } from "./appends.ts";
import { closed } from "./closed.ts";
import { isTag, newEpoch } from "./cursor.ts";
import { boundsOf, type HistoryOptions } from "./history.ts";
import {
  JetStream,
  JetStreamRefusal,
  markLine,
  type NatsConnection,
  NO_ANSWER,
  NO_RESPONDERS,
  type PublishAnswer,
  STREAM_EXISTS,
  STREAM_NOT_FOUND,
  type StreamConfig,
  type StreamInfo,
  type StreamMessage,
  WRONG_LAST_SEQUENCE,
} from "./jetstream-api.ts";
import { JetStreamPresence } from "./jetstream-presence.ts";
import type { Log, LogFollower } from "./log.ts";
import type { LogEntry, LogPosition, LogRecord } from "./record.ts";

export type { NatsConnection } from "./jetstream-api.ts";

/** Options of {@link jetStreamLog}. */
export interface JetStreamLogOptions {
  /**
   * The name of the stream: hubs with the same one are one service. Letters, digits, `-` and `_`. Its subjects are
   * `name.log` and `name.epoch`. The stream is made if it is missing, and so is another one, `name-presence`, with the
   * subject `name.presence`, which knows who is online. Default: `"streamside"`.
   */
  readonly stream?: string;
  /**
   * How much the stream holds: `{ events, bytes, age }`. JetStream trims, and its bytes are those that it stores: the
   * record as JSON, the subject, and some 120 bytes. It has to hold what a server needs to read while it is slow: some
   * seconds at least. See {@link HistoryOptions} for the defaults.
   *
   * They are used when the stream is made. Of a stream that is there already, a bound that is given here has to be the
   * same; one that is left out is the stream's.
   */
  readonly history?: HistoryOptions;
  /** On how many servers of a cluster the stream is: 1 to 5. Default: 1, or what a stream has that is there already. */
  readonly replicas?: number;
  /** How long a send waits for JetStream, in ms, before it rejects with `log-unavailable`. Default: 5 000. */
  readonly appendTimeout?: number;
  /**
   * How many bytes may wait for JetStream in this process. Above it sends reject at once. Default: 16 777 216 (16 MiB).
   */
  readonly maxPendingBytes?: number;
}

/** How many records go to JetStream at a time, at most. */
const BATCH = 500;
/** How long an answer of JetStream may take, in ms, before it is asked again. */
const ANSWER = 5_000;
/** How long the answers to a batch may take, in ms, before it is sent again. */
const TRY = 2_000;
/** How often a consumer says that it is there while nothing comes, in ms. */
const HEARTBEAT = 500;
/** After how many of them the log looks whether the stream is still the same. */
const LOOK_EVERY = 20;
/** How often the stream is looked at until it stays the same meanwhile. */
const ATTEMPTS = 10;
/** For how long JetStream knows message ids, in ms, unless it holds messages for less. */
const DUPLICATES = 120_000;
const NS = 1_000_000;

/** Refusals that pass by themselves: a cluster elects a leader, or is short of servers. */
const PASSING = new Set([NO_ANSWER, 10004, 10005, 10008, 10009, 10118]);
/** What to do about one that does not. */
const ADVICE: Record<number, string> = {
  [NO_RESPONDERS]:
    "JetStream is not enabled: start nats-server with -js, or with a `jetstream` block in its configuration.",
  10002: "The account's limits are reached: raise them, or hold less (history).",
  10023: "The server's limits are reached: raise them, or hold less (history).",
  10026: "The account may have no more streams: raise its limit.",
  10027: "The account may have no more streams: raise its limit.",
  10028: "The server's memory limit is reached: raise it, or hold less (history).",
  10039: "Enable JetStream for the account of this user.",
  10047:
    "The server's max_file_store or the account's limit is reached: raise it, or hold less (history.bytes).",
  10054: "The stream takes no message of that size: raise its max_msg_size.",
  10065:
    "Another stream has these subjects: choose another name (stream), or give that stream other subjects.",
  10074: "`replicas` needs a cluster of so many servers with JetStream.",
  10076: "JetStream is not enabled: start nats-server with -js.",
  10109: "The stream is sealed and takes nothing more: choose another name (stream).",
};

/**
 * A log in one stream of NATS JetStream, on a connection of the user's own, from `connect` of `@nats-io/transport-node`
 * or `@nats-io/transport-deno`, or `wsconnect` of `@nats-io/nats-core`. nats-server 2.9 or later. The stream's sequence
 * is the position. The connection stays the user's: close it after the log. Give it `maxReconnectAttempts: -1`, or it
 * ends for good after some twenty seconds without a server.
 *
 * An `idempotencyKey` is known for two minutes, or for `history.age` if that is less.
 *
 * With `replicas: 3`, JetStream acknowledges an event when two servers have it. A single server writes it to its disk
 * every two minutes unless `sync_interval` says otherwise: what the machine loses with its power is lost. Where
 * JetStream loses events, clients that may have seen them get a reset; no id ever stands for another event than it did.
 *
 * @throws {StreamsideError} `invalid-argument` for what is not a connection, and an option out of range. Appends reject
 *   with `log-unavailable` where the stream cannot be used, and say what to do
 * @example
 * ```ts
 * import { connect } from "@nats-io/transport-node";
 * import { createHub } from "streamside";
 * import { jetStreamLog } from "streamside/jetstream";
 *
 * const connection = await connect({ servers: ["nats-1", "nats-2", "nats-3"], maxReconnectAttempts: -1 });
 * const log = jetStreamLog(connection, { stream: "my-app", replicas: 3 });
 * const hub = createHub({ log });
 * ```
 */
export function jetStreamLog(connection: NatsConnection, options: JetStreamLogOptions = {}): Log {
  return new JetStreamLog(connection, options);
}

/** Where the log stands, as far as this process knows. */
interface Place {
  readonly epoch: string;
  /** What followers were told last. */
  readonly head: LogPosition;
  readonly start: LogPosition;
  /** Where the epoch begins; 0 if that is not held any more. */
  readonly since: LogPosition;
  /** The newest message of the stream that was seen, an entry or not. */
  readonly last: LogPosition;
}

/**
 * A message that is no entry. It begins an epoch, or repeats what the stream would forget while nothing is sent: which
 * epoch it is, and the last entry.
 */
interface Marker extends LogPosition {
  readonly epoch: string;
  readonly since: LogPosition;
  /** The last entry before it; none where it begins an epoch. */
  readonly after?: LogPosition | undefined;
}

/** The stream goes on elsewhere than expected: the log has to look, and it is no failure. */
class Elsewhere extends Error {
  /** The next message that there is, if there are none in between. */
  readonly next: number;

  constructor(next = 0) {
    super("the stream goes on elsewhere");
    this.next = next;
  }
}

class JetStreamLog implements Log {
  readonly presence: JetStreamPresence;
  readonly #connection: NatsConnection;
  readonly #js: JetStream;
  readonly #stream: string;
  readonly #options: JetStreamLogOptions;
  readonly #history: Required<HistoryOptions>;
  readonly #appendTimeout: number;
  readonly #appends: Appends;
  readonly #followers = new Set<LogFollower>();
  readonly #status: AsyncIterable<object> & { stop?(): void };
  /** `undefined` before the log was looked at. */
  #place: Place | undefined;
  #age = Infinity;
  /** For how long message ids are known, in ms. */
  #window = DUPLICATES;
  #isConnected = true;
  /** Who follows: one that is stopped goes on to its end beside the next. */
  #session: object | undefined;
  #hasFailed = false;
  #isClosed = false;
  #following: AbortController | undefined;
  /** Wakes who waits for the next try. */
  readonly #wakes = new Set<() => void>();
  #looking: Promise<void> | undefined;
  /** What the ids of this log's messages begin with, and how many it has given. */
  readonly #name: string = newTag() + newTag();
  #count = 0;
  readonly #batches = new WeakMap<readonly PendingRecord[], { first: number; since: number }>();
  /** An answer did not come: the next batch is sent once the server is heard of again. */
  #isUnsure = false;
  #flushing: Promise<void> | undefined;
  /** When the newest message came. */
  #heard = 0;
  #heartbeats = 0;
  /** Messages below this sequence that are missing were deleted, not missed. */
  #deletedBelow = 0;

  constructor(connection: NatsConnection, options: JetStreamLogOptions) {
    checkConnection(connection);
    const { stream = "streamside", replicas } = options;
    if (typeof stream !== "string" || !/^[\w-]{1,128}$/.test(stream)) {
      throw invalid(
        `stream must be 1 to 128 letters, digits, "-" or "_", got ${quote(stream)}.`,
      );
    }
    if (replicas !== undefined && !(Number.isInteger(replicas) && replicas > 0 && replicas <= 5)) {
      throw invalid(`replicas must be a whole number from 1 to 5, got ${replicas}.`);
    }
    this.#connection = connection;
    this.#stream = stream;
    this.#options = options;
    this.#history = boundsOf(options.history ?? {});
    this.#appendTimeout = delay("appendTimeout", options.appendTimeout, 5_000);
    this.#appends = new Appends({
      appendTimeout: this.#appendTimeout,
      maxPendingBytes: bound("maxPendingBytes", options.maxPendingBytes, 16 * 1024 * 1024),
      batch: BATCH,
      write: (batch) => this.#write(batch),
      mayPass: (error) => mayPass(error, this.#connection),
    }, sizeOf);
    if (connection.isClosed()) throw invalid("jetStreamLog was given a connection that is closed.");
    this.#js = new JetStream(connection, ANSWER);
    this.presence = new JetStreamPresence({
      js: this.#js,
      stream,
      replicas,
      reachable: () => this.#isReachable(),
      explain: (error) => this.#isClosed ? closed() : explain(error, connection),
    });
    this.#status = connection.status();
    void this.#watch();
  }

  follow(follower: LogFollower): () => void {
    if (this.#isClosed) throw closed();
    this.#followers.add(follower);
    if (this.#session) {
      if (this.#place) follower.opened(this.#place.epoch, this.#place.head, this.#place.start);
    } else {
      this.#place = undefined;
      void this.#follow(this.#session = {});
    }
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#stop();
    };
  }

  append(record: LogRecord): Promise<LogPosition> {
    return this.#appends.add(record);
  }

  async read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    if (this.#isClosed) throw closed();
    try {
      if (this.#session === undefined) await this.#look();
      // A replica that lags may have less than followers were told.
      for (let attempt = 1; attempt < 5; attempt++) {
        const entries = await this.#read(await this.#located(), after, limit);
        if (entries !== undefined) return entries;
        await this.#look();
        await new Promise((resolve) => setTimeout(resolve, backoff(attempt, RETRY)));
      }
      throw new JetStreamRefusal(NO_ANSWER, "the stream's replica does not have what it should");
    } catch (error) {
      throw this.#isClosed ? closed() : explain(error, this.#connection);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#appends.close();
    this.#stop();
    this.#status.stop?.();
    if (!this.#connection.isClosed()) this.#js.close();
  }

  #stop(): void {
    this.#session = undefined;
    this.#following?.abort(new JetStreamRefusal(NO_ANSWER, "nobody follows any more"));
    this.#wakeAll();
  }

  /** Listens to what happens to the connection. */
  async #watch(): Promise<void> {
    for await (const status of this.#status as AsyncIterable<{ type: string; error?: Error }>) {
      if (this.#isClosed) return;
      if (status.type === "disconnect") this.#disconnected();
      else if (status.type === "reconnect") this.#reconnected();
      else if (status.type === "error" && status.error?.name === "PermissionViolationError") {
        const { subject = "" } = status.error as { subject?: string };
        if (subject.startsWith(`${this.#stream}.`)) this.#js.interrupt(status.error);
      }
    }
    if (!this.#isClosed) this.#disconnected();
  }

  #disconnected(): void {
    this.#isConnected = false;
    const error = new JetStreamRefusal(NO_ANSWER, "the connection to NATS broke");
    this.#js.interrupt(error);
    this.#following?.abort(error);
    if (this.#connection.isClosed()) this.#reconnected();
  }

  #reconnected(): void {
    this.#isConnected = true;
    this.#isUnsure = false;
    this.#wakeAll();
    this.#appends.retry();
  }

  // Appending

  async #write(batch: readonly PendingRecord[]): Promise<(LogPosition | StreamsideError)[]> {
    try {
      return await this.#writeBatch(batch);
    } catch (error) {
      throw explain(error, this.#connection);
    }
  }

  async #writeBatch(batch: readonly PendingRecord[]): Promise<(LogPosition | StreamsideError)[]> {
    await this.#isReachable();
    // Who follows is told of another epoch.
    if (this.#session === undefined) await this.#look();
    const before = await this.#located();
    let sent = this.#batches.get(batch);
    if (sent === undefined) {
      this.#batches.set(batch, sent = { first: this.#count, since: performance.now() });
      this.#count += batch.length;
    }
    if (performance.now() - sent.since > 0.9 * this.#window) {
      throw new StreamsideError(
        "log-unavailable",
        `JetStream did not confirm the event within ${this.#window} ms, for which it knows message ids. It may or may ` +
          "not be in the log.",
      );
    }
    const { first } = sent;
    const messages = batch.map(({ record: { idempotencyKey, ...record }, tag }, i) => ({
      subject: `${this.#stream}.log`,
      headers: `${markLine(`${before.epoch} ${tag}`)}\r\nNats-Msg-Id: ${
        idempotencyKey === undefined ? `${this.#name}.${first + i}` : idOf(idempotencyKey)
      }`,
      payload: JSON.stringify(record),
    }));
    const answers = await this.#publish(messages);
    // In the same life of the stream, what is new comes after what was there.
    const isLost = answers.some((answer) =>
      !(answer instanceof Error) && !answer.duplicate && answer.seq <= before.last.position
    );
    if (isLost) await this.#look();
    return await Promise.all(answers.map(async (answer, i) => {
      if (answer instanceof Error) return refused(explain(answer, this.#connection));
      const { record, tag } = batch[i]!;
      const position = answer.seq;
      if (!answer.duplicate || record.idempotencyKey === undefined) return { position, tag };
      // It may be another server's.
      const found = await this.#js.message(this.#stream, { seq: position });
      return found === undefined ? { position } : { position, tag: tagOf(found) };
    }));
  }

  async #publish(
    messages: readonly { subject: string; headers: string; payload: string }[],
  ): Promise<(PublishAnswer | Error)[]> {
    let answers: (PublishAnswer | Error)[];
    try {
      answers = await this.#js.publish(messages, Math.min(TRY, this.#appendTimeout));
    } catch (error) {
      this.#isUnsure = true;
      throw error;
    }
    const passing = answers.find((answer) =>
      answer instanceof Error && mayPass(answer, this.#connection)
    ) as JetStreamRefusal | undefined;
    if (passing === undefined) return answers;
    // The stream may have been deleted.
    if (passing.code === NO_RESPONDERS) await this.#look();
    throw passing;
  }

  async #located(): Promise<Place> {
    while (this.#place === undefined) await this.#look();
    return this.#place;
  }

  /** Nothing is sent into the void: it would all be kept until the connection is there again. */
  async #isReachable(): Promise<void> {
    if (this.#isClosed) throw closed();
    if (!this.#isConnected || this.#connection.isClosed()) {
      throw new JetStreamRefusal(NO_ANSWER, "there is no connection to NATS");
    }
    if (!this.#isUnsure) return;
    this.#flushing ??= this.#connection.flush().then(
      () => void (this.#isUnsure = false),
      () => {},
    ).finally(() => this.#flushing = undefined);
    await Promise.race([this.#flushing, this.#pause(TRY)]);
    if (this.#isUnsure) throw new JetStreamRefusal(NO_ANSWER, "NATS does not answer");
  }

  // Reading

  /** `undefined` if the stream has not got what followers were told. */
  async #read(
    place: Place,
    after: LogPosition,
    limit: number,
  ): Promise<LogEntry[] | null | undefined> {
    const { position, tag } = after;
    if (position < place.start.position) return null;
    const entries: LogEntry[] = [];
    for (let from = Math.max(1, position); entries.length === 0;) {
      // Markers come between entries, a few at a time.
      const { found, isAll } = await this.#js.read(this.#stream, from, limit + 4);
      const [first] = found;
      if (first === undefined) {
        return from > Math.max(1, position) ? undefined : await this.#readNothing(place, after);
      }
      const next = found.at(-1)!.seq + 1;
      if (from === position && first.seq === position) {
        if (tag !== undefined && tag !== tagOf(first)) return null;
        found.shift();
      } else if (from <= Math.max(1, position)) {
        const start = this.#startAt(first);
        if (position < start.position) return null;
        if (tag !== undefined && (position !== start.position || tag !== start.tag)) return null;
      }
      for (const message of found) {
        if (message.seq === place.last.position && tagOf(message) !== place.last.tag) {
          return undefined;
        }
        const marker = this.#markerOf(message);
        if (marker !== undefined && marker.epoch !== place.epoch) {
          return entries.length > 0 ? entries : undefined;
        }
        const entry = marker === undefined ? entryOf(message) : undefined;
        if (entry !== undefined && entries.length < limit) entries.push(entry);
      }
      if (isAll && entries.length === 0) return place.last.position < next ? entries : undefined;
      from = next;
    }
    return entries;
  }

  /** Nothing is held from the position on, itself included. */
  async #readNothing(
    place: Place,
    { position, tag }: LogPosition,
  ): Promise<LogEntry[] | null | undefined> {
    const { state } = await this.#info();
    if (state.last_seq < place.last.position) return undefined;
    if (position > state.last_seq) return null;
    if (state.messages > 0) return undefined;
    // All of it was too old. Who is at the head has missed nothing.
    const { head } = place;
    return position === head.position && (tag === undefined || tag === head.tag) ? [] : null;
  }

  // Following

  /** Follows the stream until nobody wants it any more. */
  async #follow(session: object): Promise<void> {
    for (let attempt = 1; this.#session === session; attempt++) {
      const following = this.#following = new AbortController();
      try {
        if (!this.#isConnected || this.#connection.isClosed()) {
          throw new JetStreamRefusal(NO_ANSWER, "there is no connection to NATS");
        }
        await this.#look();
        if (following.signal.aborted || this.#session !== session) continue;
        this.#heartbeats = 0;
        const heard = () => {
          attempt = 1;
          this.#goOn();
        };
        const { position } = this.#place!.last;
        await this.#js.follow(
          this.#stream,
          position,
          Math.max(100, Math.min(HEARTBEAT, Math.floor(this.#age / 4))),
          (messages) => {
            heard();
            this.#tell(messages);
          },
          () => {
            heard();
            this.#idle(following);
          },
          following.signal,
        );
      } catch (error) {
        if (this.#session !== session) break;
        if (error instanceof Elsewhere) {
          await this.#isDeleted(error.next).catch(() => {});
          continue;
        }
        this.#fail(error);
        if (this.#connection.isClosed()) return;
      }
      if (this.#session === session) await this.#pause(backoff(attempt, RETRY));
    }
  }

  #tell(messages: readonly StreamMessage[]): void {
    let { epoch, head, last } = this.#place!;
    const entries: LogEntry[] = [];
    let elsewhere: Elsewhere | undefined;
    for (const message of messages) {
      const { seq } = message;
      const tag = tagOf(message);
      if (seq <= last.position) {
        if (seq < last.position || tag === last.tag) continue;
        elsewhere = new Elsewhere();
        break;
      }
      if (seq !== last.position + 1 && seq > this.#deletedBelow) {
        elsewhere = new Elsewhere(seq);
        break;
      }
      const marker = this.#markerOf(message);
      if (marker !== undefined && marker.epoch !== epoch) {
        elsewhere = new Elsewhere();
        break;
      }
      last = { position: seq, tag };
      const entry = marker === undefined ? entryOf(message) : undefined;
      if (entry === undefined) continue;
      head = last;
      entries.push(entry);
    }
    this.#heard = performance.now();
    this.#place = { ...this.#place!, head, last };
    if (entries.length > 0) {
      for (const follower of this.#followers) follower.appended(entries);
    }
    if (elsewhere) throw elsewhere;
  }

  /** Nothing came for a while. */
  #idle(following: AbortController): void {
    const failed = (error: unknown) => following.abort(error);
    if (performance.now() - this.#heard > this.#age / 2) {
      this.#heard = performance.now();
      this.#remember(this.#place!).catch(failed);
    }
    if (++this.#heartbeats % LOOK_EVERY === 0) {
      const { epoch } = this.#place!;
      this.#look().then(() => {
        if (this.#place?.epoch !== epoch) failed(new Elsewhere());
      }, failed);
    }
  }

  /** Whether the messages before one were deleted, rather than trimmed before they were read. */
  async #isDeleted(next: number): Promise<void> {
    if (next === 0) return;
    const { state } = await this.#info();
    if (state.first_seq <= this.#place!.last.position + 1) this.#deletedBelow = next;
  }

  /** Looks whether the log is what followers were told, and tells them if it is not. */
  #look(): Promise<void> {
    return this.#looking ??= this.#lookUntilFound().finally(() => this.#looking = undefined);
  }

  async #lookUntilFound(): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (this.#isClosed) throw closed();
      if (await this.#lookOnce(attempt)) return;
    }
    throw new JetStreamRefusal(
      NO_ANSWER,
      `the stream ${this.#stream} changes while it is looked at`,
    );
  }

  /** Looks once; `false` if the stream has changed meanwhile, by this log or by another. */
  async #lookOnce(attempt: number): Promise<boolean> {
    const known = this.#place;
    const { state } = await this.#open();
    const isEmpty = state.messages === 0;
    // Under load, the oldest is gone before it is asked for.
    const oldest = state.first_seq +
      Math.floor((state.last_seq - state.first_seq) * (attempt - 1) / ATTEMPTS);
    // What comes later than the state is told later.
    const [newest, last, first] = await Promise.all([
      this.#js.message(this.#stream, { last_by_subj: `${this.#stream}.epoch` }),
      isEmpty ? undefined : this.#js.message(this.#stream, { seq: state.last_seq }),
      isEmpty ? undefined : this.#js.message(this.#stream, { seq: oldest }),
    ]);
    const marker = newest && this.#markerOf(newest);
    if (marker !== undefined && marker.position > state.last_seq) return false;
    if (last === undefined && !isEmpty) {
      const { state: now } = await this.#info();
      if (now.first_seq > state.last_seq) return false;
    }
    if (known === undefined) {
      const epoch = marker?.epoch ?? (last && epochOf(last));
      if (last === undefined || epoch === undefined) return await this.#begin(marker);
      return this.#openAt(known, epoch, marker, first, last);
    }
    if (marker !== undefined && marker.epoch !== known.epoch) {
      return last !== undefined && this.#openAt(known, marker.epoch, marker, first, last);
    }
    const { position, tag } = known.last;
    if (state.last_seq < position) return await this.#begin(marker);
    if (isEmpty) {
      if (state.last_seq > position) return await this.#begin(marker);
      // All of it was too old, and nothing was missed.
      return await this.#remember(known);
    }
    if (state.first_seq <= position) {
      const here = state.last_seq === position
        ? last
        : await this.#js.message(this.#stream, { seq: position });
      if (here === undefined || tagOf(here) !== tag) {
        // It may have been trimmed in between.
        const { state: now } = await this.#info();
        return here === undefined && now.first_seq > position ? false : await this.#begin(marker);
      }
    } else if (state.first_seq > position + 1) {
      const epoch = marker?.epoch ?? (last && epochOf(last)) ?? known.epoch;
      return last !== undefined && this.#openAt(known, epoch, marker, first, last);
    }
    return true;
  }

  /** Opens the log where the stream stands. */
  #openAt(
    known: Place | undefined,
    epoch: string,
    marker: Marker | undefined,
    first: StreamMessage | undefined,
    last: StreamMessage,
  ): boolean {
    // Meanwhile it was trimmed, or more was told.
    if (first === undefined || this.#place !== known) return false;
    const since = marker?.since ?? { position: 0 };
    let start = this.#startAt(first);
    if (start.position < since.position) start = since;
    let head = this.#markerOf(last)?.after ?? placeOf(last);
    if (head.position < start.position) head = start;
    this.#place = { epoch, head, start, since, last: placeOf(last) };
    this.#heard = performance.now() - Math.max(0, Date.now() - last.time);
    this.#hasFailed = false;
    this.#appends.retry();
    for (const follower of this.#followers) follower.opened(epoch, head, start);
    return true;
  }

  /** Begins an epoch, unless another server does: whose marker comes first counts. */
  async #begin(before: Marker | undefined): Promise<false> {
    await this.#mark(
      newEpoch(),
      {},
      `Nats-Expected-Last-Subject-Sequence: ${before?.position ?? 0}`,
    );
    return false;
  }

  /** Repeats the last entry's place, so that it is known after the entry is too old to be held. */
  async #remember({ epoch, head, since, last }: Place): Promise<false> {
    await this.#mark(
      epoch,
      { since, after: head },
      `Nats-Expected-Last-Sequence: ${last.position}`,
    );
    return false;
  }

  async #mark(epoch: string, content: object, expected: string): Promise<void> {
    const [answer] = await this.#js.publish([{
      subject: `${this.#stream}.epoch`,
      headers: `${markLine(`${epoch} ${newTag()}`)}\r\n${expected}`,
      payload: JSON.stringify(content),
    }]);
    const isOther = answer instanceof JetStreamRefusal && answer.code === WRONG_LAST_SEQUENCE;
    if (answer instanceof Error && !isOther) throw answer;
  }

  /** The stream. It is made if it is missing, and checked when the log sees it first. */
  async #open(): Promise<StreamInfo> {
    let info: StreamInfo;
    try {
      info = await this.#info();
    } catch (error) {
      if (!(error instanceof JetStreamRefusal) || error.code !== STREAM_NOT_FOUND) throw error;
      info = await this.#create();
    }
    const { max_age = 0, duplicate_window = 0 } = info.config;
    if (this.#place === undefined) this.#check(info.config);
    this.#age = max_age === 0 ? Infinity : max_age / NS;
    this.#window = duplicate_window / NS;
    return info;
  }

  #info(): Promise<StreamInfo> {
    return this.#js.ask(`STREAM.INFO.${this.#stream}`);
  }

  async #create(): Promise<StreamInfo> {
    const age = this.#wanted().max_age!;
    const config: StreamConfig = {
      ...this.#wanted(),
      name: this.#stream,
      subjects: this.#subjects(),
      retention: "limits",
      storage: "file",
      discard: "old",
      max_msgs_per_subject: -1,
      max_msg_size: -1,
      num_replicas: this.#options.replicas ?? 1,
      duplicate_window: Math.min(DUPLICATES * NS, age || Infinity),
    };
    try {
      return await this.#js.ask(`STREAM.CREATE.${this.#stream}`, config);
    } catch (error) {
      if (!(error instanceof JetStreamRefusal) || error.code !== STREAM_EXISTS) throw error;
      return await this.#info();
    }
  }

  #subjects(): string[] {
    return [`${this.#stream}.epoch`, `${this.#stream}.log`];
  }

  /** The bounds as JetStream has them. It always holds one message more, by whose tag the start is known. */
  #wanted(): Pick<StreamConfig, "max_msgs" | "max_bytes" | "max_age"> {
    const { events, bytes, age } = this.#history;
    return {
      max_msgs: events === Infinity ? -1 : Math.ceil(events) + 1,
      max_bytes: bytes === Infinity ? -1 : Math.ceil(bytes),
      // JetStream takes no less than 100 ms.
      max_age: age === Infinity ? 0 : Math.max(100, Math.ceil(age)) * NS,
    };
  }

  #check(config: StreamConfig): void {
    const { history = {}, replicas } = this.#options;
    const wanted = this.#wanted();
    const differences: string[] = [];
    const compare = (name: keyof StreamConfig, wanted: unknown, is: unknown = config[name]) => {
      if (JSON.stringify(is) === JSON.stringify(wanted)) return;
      differences.push(
        `its ${name} is ${JSON.stringify(is)} and should be ${JSON.stringify(wanted)}`,
      );
    };
    compare("subjects", this.#subjects(), [...config.subjects ?? []].sort());
    compare("retention", "limits");
    compare("discard", "old");
    compare("max_msgs_per_subject", -1, Math.max(0, config.max_msgs_per_subject ?? 0) || -1);
    compare("no_ack", false, config.no_ack ?? false);
    compare("sealed", false, config.sealed ?? false);
    if (config.mirror) differences.push("it is a mirror");
    if (config.sources?.length) differences.push("it has sources");
    if (!config.duplicate_window) compare("duplicate_window", DUPLICATES * NS);
    if (history.events !== undefined) compare("max_msgs", wanted.max_msgs);
    if (history.bytes !== undefined) compare("max_bytes", wanted.max_bytes);
    if (history.age !== undefined) compare("max_age", wanted.max_age);
    if (replicas !== undefined) compare("num_replicas", replicas);
    if (differences.length === 0) return;
    throw new StreamsideError(
      "log-unavailable",
      `The stream ${this.#stream} is there already, and is not what this log needs: ${
        differences.join("; ")
      }. Change it (nats stream edit), choose another name (stream), or leave out the options that differ.`,
    );
  }

  #markerOf(message: StreamMessage): Marker | undefined {
    if (message.subject !== `${this.#stream}.epoch`) return undefined;
    const place = placeOf(message);
    const epoch = epochOf(message);
    if (epoch === undefined) return { ...place, epoch: "", since: place };
    const { since = place, after } = (jsonOf(message) ?? {}) as Partial<Marker>;
    return { ...place, epoch, since, after };
  }

  /** Where the log begins if this is the oldest message: everything after it is held. */
  #startAt(first: StreamMessage): LogPosition {
    return this.#markerOf(first)?.after ?? placeOf(first);
  }

  /** It can be followed again. */
  #goOn(): void {
    if (!this.#hasFailed) return;
    this.#hasFailed = false;
    this.#appends.retry();
    const { epoch, head, start } = this.#place!;
    for (const follower of this.#followers) follower.opened(epoch, head, start);
  }

  #fail(error: unknown): void {
    this.#hasFailed = true;
    for (const follower of this.#followers) follower.failed(explain(error, this.#connection));
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#wakes.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.#wakes.add(wake);
    });
  }

  #wakeAll(): void {
    for (const wake of this.#wakes) wake();
  }
}

function checkConnection(connection: NatsConnection): void {
  const needed = ["publish", "subscribe", "request", "flush", "status", "isClosed"] as const;
  const missing = needed.filter((name) => typeof Object(connection)[name] !== "function");
  if (missing.length === 0) return;
  throw invalid(
    "jetStreamLog needs a connection to NATS, such as connect() of @nats-io/transport-node gives, awaited; got " +
      `${quote(connection)} without ${missing.join(", ")}.`,
  );
}

/** An idempotency key as a message id, which is a header's value. */
function idOf(key: string): string {
  return `key.${JSON.stringify(key).replace(/[^!-~]/g, (char) => `\\u${char.charCodeAt(0)}`)}`;
}

function markOf({ mark }: StreamMessage): string[] {
  const [epoch = "", tag] = mark.split(" ");
  return isTag(tag) && epoch !== "" ? [epoch, tag] : [];
}

function epochOf(message: StreamMessage): string | undefined {
  return markOf(message)[0];
}

/** A message that somebody else published has no tag: this stands for it. */
function tagOf(message: StreamMessage): string {
  return markOf(message)[1] ?? "foreign";
}

function placeOf(message: StreamMessage): LogPosition {
  return { position: message.seq, tag: tagOf(message) };
}

/** The entry that a message is; `undefined` if somebody published something else there. */
function entryOf(message: StreamMessage): LogEntry | undefined {
  const record = jsonOf(message);
  if (record === undefined) return undefined;
  return { ...placeOf(message), time: message.time, record: record as LogRecord };
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function jsonOf({ data }: StreamMessage): object | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(data));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function mayPass(error: unknown, connection: NatsConnection): boolean {
  if (connection.isClosed() || !(error instanceof JetStreamRefusal)) return false;
  if (error.code !== NO_RESPONDERS) return PASSING.has(error.code);
  // A server that has JetStream is about to answer.
  return (connection as { info?: { jetstream?: boolean } }).info?.jetstream === true;
}

function refused(error: unknown): StreamsideError {
  if (error instanceof StreamsideError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new StreamsideError("log-unavailable", `JetStream did not take the event: ${message}`, {
    cause: error,
  });
}

/** What does not pass by itself, with what to do about it; anything else as it is. */
function explain(error: unknown, connection: NatsConnection): unknown {
  if (error instanceof StreamsideError || !(error instanceof Error)) return error;
  const fault = (message: string) =>
    new StreamsideError("log-unavailable", message, { cause: error });
  if (connection.isClosed()) {
    return fault(
      "The connection to NATS is closed, and the log with it. With maxReconnectAttempts: -1 it tries for as long as it " +
        "takes; with wrong credentials it ends.",
    );
  }
  if (error.name === "PermissionViolationError") {
    return fault(
      `NATS refuses: ${error.message}. The user has to be allowed to publish to the stream's subjects and to $JS.API.>, ` +
        "and to subscribe to its inboxes.",
    );
  }
  if (error.message.includes("max_payload")) {
    return fault(
      "The event is larger than the NATS server's max_payload: raise that, or send less.",
    );
  }
  if (!(error instanceof JetStreamRefusal) || mayPass(error, connection)) return error;
  const advice = Object.hasOwn(ADVICE, error.code) ? ` ${ADVICE[error.code]}` : "";
  return fault(`JetStream refuses: ${error.message} (${error.code}).${advice}`);
}
