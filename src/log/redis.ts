/**
 * A log in Redis or Valkey: any number of servers then are one hub.
 *
 * @example
 * ```ts
 * import { createClient } from "redis";
 * import { createHub } from "streamside";
 * import { redisLog } from "streamside/redis";
 *
 * const client = await createClient({ url: "redis://localhost:6379" }).on("error", console.error).connect();
 * const hub = createHub({ log: redisLog(client, { key: "my-app" }) });
 * ```
 *
 * @module
 */

import { backoff } from "../client/backoff.ts";
import { quote, StreamsideError } from "../errors.ts";
import { bound, checkName, delay, invalid } from "../validate.ts";
import { Appends, newTag, type PendingRecord, RETRY, sizeOf } from "./appends.ts";
import { closed } from "./closed.ts";
import { newEpoch } from "./cursor.ts";
import { boundsOf, type HistoryOptions } from "./history.ts";
import { inTime } from "./in-time.ts";
import type { Log, LogFollower } from "./log.ts";
import type { LogEntry, LogPosition, LogRecord } from "./record.ts";
import { RedisPresence } from "./redis-presence.ts";
import { fieldsOf, streamsOf } from "./redis-answers.ts";
import { RedisRuns } from "./redis-runs.ts";
import { APPEND, LOOK, READ, RENEW, type Script } from "./redis-scripts.ts";
import type { RunHistoryOptions } from "./run-history.ts";

/**
 * A client for Redis, by what it can do: node-redis (`redis`) has `sendCommand`, ioredis has `call`, Bun's `RedisClient`
 * has `send`. Each has `duplicate`, with which the log makes a connection of its own for following.
 */
export interface RedisClient {
  /** Makes another client with the same options. */
  duplicate(...args: never[]): unknown;
  /** How node-redis sends a command. */
  sendCommand?(...args: never[]): unknown;
  /** How ioredis sends a command. */
  call?(...args: never[]): unknown;
  /** How Bun's client sends a command. */
  send?(...args: never[]): unknown;
}

/** Options of {@link redisLog}. */
export interface RedisLogOptions {
  /**
   * The name of the log: hubs with the same one are one service. The keys in Redis begin with it, in braces unless it
   * has braces itself, so that a cluster keeps them together. Default: `"streamside"`.
   */
  readonly key?: string;
  /**
   * How much Redis holds: `{ events, bytes, age }`. Bytes are those of the records. It has to hold what a server needs
   * to read while it is slow: some seconds at least. See {@link HistoryOptions} for the defaults.
   */
  readonly history?: HistoryOptions;
  /**
   * How much Redis holds of runs: `{ events, bytes, age, total }`. Bytes are those of the events as JSON, and 100 each; a
   * run takes 1 KiB of the total besides. What followers read takes up to 8 MiB more. See {@link RunHistoryOptions} for
   * the defaults.
   */
  readonly runHistory?: RunHistoryOptions | undefined;
  /** How long a send waits for Redis, in ms, before it rejects with `log-unavailable`. Default: 5 000. */
  readonly appendTimeout?: number;
  /** How many bytes may wait for Redis in this process. Above it sends reject at once. Default: 16 777 216 (16 MiB). */
  readonly maxPendingBytes?: number;
}

/** How many batches and idempotency keys are known. */
const RECENT = 10_000;
/** How many records go to Redis before it has answered, at most, and how many of them with one call of the script. */
const BATCH = 1_000;
const PART = 250;
/** How long Redis is asked to wait for the next entry, in ms. After it the log looks whether it is still the same. */
const BLOCK = 1_000;
/** How much longer an answer may take before the connection counts as dead, in ms. */
const GRACE = 5_000;
/** About how many bytes of entries one answer holds. */
const ANSWER_BYTES = 1024 * 1024;

/** Errors of Redis that pass by themselves: it starts, fails over, or a script runs too long. */
const PASSING =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|NOREPLICAS|UNBLOCKED|ASK|MOVED|LATER)\b/;
/** Errors that it answers with: a word in capitals first. Everything else is a matter of the connection. */
const ANSWER = /^[A-Z]{2,}\b/;
/** What to do about an error that does not pass. */
const ADVICE: Record<string, string> = {
  NOAUTH: "The client has to give a password: see its options.",
  WRONGPASS: "The client gives a wrong user or password: see its options.",
  NOPERM:
    "The user needs the commands EVALSHA, EVAL, XREAD and what the scripts call, and the keys of the log.",
  OOM: "Redis is at maxmemory: raise it, or hold less (history).",
  WRONGTYPE: "Something else is stored under this key: choose another one (key).",
  STREAMSIDE: "Choose another key.",
  MISCONF: "Redis cannot write to its disk, and takes nothing until it can.",
};

/**
 * A log in one stream of Redis 7 or Valkey, on a client of the user's own: `redis` (node-redis), `ioredis`, or Bun's
 * `RedisClient`, connected or not. TLS, Sentinel and Cluster work as far as the client has them. The client stays the
 * user's: listen to its `error` events, and close it after the log.
 *
 * Redis acknowledges a write before it is on a disk or on a replica. Where that loses events, clients that may have seen
 * them get a reset; no id ever stands for another event than it did.
 *
 * @param client the client that appends; following has a connection of its own, made with `client.duplicate()`
 * @throws {StreamsideError} `invalid-argument` for a client that cannot be used, and an option out of range
 * @example
 * ```ts
 * import { Redis } from "ioredis";
 * import { createHub } from "streamside";
 * import { redisLog } from "streamside/redis";
 *
 * const log = redisLog(new Redis(), { key: "my-app", history: { age: 3_600_000 } });
 * const hub = createHub({ log });
 * ```
 */
export function redisLog(client: RedisClient, options: RedisLogOptions = {}): Log {
  return new RedisLog(client, options);
}

/** A command, and its answer as the client gives it. */
type Send = (command: string, ...args: string[]) => Promise<unknown>;

/** Where the log stands, as the scripts say it. */
interface Place {
  readonly epoch: string;
  readonly head: LogPosition;
  readonly start: LogPosition;
}

class RedisLog implements Log {
  readonly presence: RedisPresence;
  readonly runs: RedisRuns;
  readonly #client: RedisClient;
  readonly #send: Send;
  readonly #stream: string;
  readonly #keys: readonly string[];
  readonly #history: Required<HistoryOptions>;
  readonly #appends: Appends;
  readonly #followers = new Set<LogFollower>();
  /** What followers were told last; `undefined` before they were told anything. */
  #told: { epoch: string; head: LogPosition; start: LogPosition } | undefined;
  /** Stands for the loop that follows the stream: one that was stopped may still be on its way out. */
  #loop: object | undefined;
  #hasFailed = false;
  #isClosed = false;
  #follower: Following | undefined;
  /** Wakes who waits for the next try. */
  #wake: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  readonly #batches = new WeakMap<readonly PendingRecord[], string>();

  constructor(client: RedisClient, options: RedisLogOptions) {
    this.#client = client;
    this.#send = senderOf(client);
    const key = options.key ?? "streamside";
    checkName("key", key);
    const name = /\{.+\}/.test(key) ? key : `{${key}}`;
    this.#stream = `${name}:log`;
    this.#keys = [this.#stream, `${name}:state`, `${name}:recent`];
    this.#history = boundsOf(options.history ?? {});
    const waiting = {
      appendTimeout: delay("appendTimeout", options.appendTimeout, 5_000),
      maxPendingBytes: bound("maxPendingBytes", options.maxPendingBytes, 16 * 1024 * 1024),
      batch: BATCH,
      mayPass,
    };
    this.#appends = new Appends({ ...waiting, write: (batch) => this.#write(batch) }, sizeOf);
    this.runs = new RedisRuns({
      ...waiting,
      name,
      history: options.runHistory,
      run: (script, keys, args) => answered(this.#evaluate(script, keys, args)),
      followed: () => this.#followed(),
    });
    this.presence = new RedisPresence(
      name,
      (script, keys, args) => answered(this.#evaluate(script, keys, args)),
    );
  }

  follow(follower: LogFollower): () => void {
    if (this.#isClosed) throw closed();
    this.#followers.add(follower);
    if (this.#told) follower.opened(this.#told.epoch, this.#told.head, this.#told.start);
    this.#followed();
    return () => {
      this.#followers.delete(follower);
      this.#followed();
    };
  }

  append(record: LogRecord): Promise<LogPosition> {
    return this.#appends.add(record);
  }

  async read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    const [place, tag, entries] = await this.#run(READ, `${after.position}`, `${limit}`) as [
      unknown,
      string,
      unknown[],
    ];
    const { head, start, epoch } = placeOf(place);
    await this.#catchUpWith(epoch);
    if (after.position < start.position || after.position > head.position) return null;
    const held = after.position === start.position ? start.tag : tag;
    if (after.tag !== undefined && after.tag !== held) return null;
    return entries.map(entryOf).filter((entry) => entry !== undefined);
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#appends.close();
    this.runs.close();
    this.#stop();
  }

  /** Somebody follows, or nobody any more. */
  #followed(): void {
    if (this.#followers.size === 0 && !this.runs.isFollowed) this.#stop();
    else if (this.#loop === undefined) void this.#follow(this.#loop = {});
    // What fails here fails again where it is told.
    else void this.runs.open().catch(() => {});
  }

  #stop(): void {
    this.#loop = undefined;
    this.#told = undefined;
    this.#follower?.close();
    this.#follower = undefined;
    this.#wake?.();
  }

  /**
   * Writes a batch in parts, so that the first of them goes out to readers while Redis takes the others. Each has to find
   * the one before it in the log, and so none gets ahead of another, whatever fails.
   */
  async #write(
    batch: readonly PendingRecord[],
  ): Promise<readonly (LogPosition | StreamsideError)[]> {
    let name = this.#batches.get(batch);
    if (name === undefined) this.#batches.set(batch, name = newTag() + newTag());
    const parts: Promise<readonly LogPosition[]>[] = [];
    for (let at = 0; at < batch.length; at += PART) {
      const before = at === 0 ? "" : `${name}-${at - PART}`;
      parts.push(this.#writePart(batch.slice(at, at + PART), `${name}-${at}`, before));
    }
    const outcomes = await Promise.allSettled(parts);
    const failures = outcomes.flatMap((outcome) =>
      outcome.status === "rejected" ? [outcome.reason] : []
    );
    // Those after one that is refused for good are told to come later.
    const refusal = failures.find((error) => !mayPass(error));
    if (failures.length > 0 && refusal === undefined) throw failures[0];
    return outcomes.flatMap((outcome, i) =>
      outcome.status === "fulfilled"
        ? outcome.value
        : batch.slice(i * PART, (i + 1) * PART).map(() => refusal)
    );
  }

  async #writePart(
    records: readonly PendingRecord[],
    name: string,
    after: string,
  ): Promise<readonly LogPosition[]> {
    const { events, bytes, age } = this.#history;
    const args = [`${events}`, `${bytes}`, `${age}`, `${RECENT}`, name, after]
      .map((arg) => arg === "Infinity" ? `${Number.MAX_SAFE_INTEGER}` : arg);
    for (const { record, tag, bytes } of records) {
      const { idempotencyKey = "" } = record;
      args.push(tag, `${bytes}`, textOf(record), idempotencyKey);
    }
    const [place, before, others] = await this.#run(APPEND, ...args) as [
      unknown,
      string,
      [number, string, string][],
    ];
    await this.#catchUpWith(placeOf(place).epoch);
    const known = new Map(others.map(([at, position, tag]) => [at, positionOf(position, tag)]));
    let position = Number(before);
    return records.map(({ tag }, at) => known.get(at) ?? { position: ++position, tag });
  }

  /** Followers have to know of another epoch before anything is answered from it. */
  async #catchUpWith(epoch: string): Promise<void> {
    if (this.#told !== undefined && this.#told.epoch !== epoch) await this.#look();
  }

  /** Follows the stream until nobody wants it any more. */
  async #follow(loop: object): Promise<void> {
    for (let attempt = 1; this.#loop === loop; attempt++) {
      const following = this.#follower = new Following(this.#client);
      try {
        // The first one may be that of a loop that was stopped, which tells nobody.
        do await this.#look(); while (this.#loop === loop && this.#told === undefined);
        await this.runs.open();
        while (this.#loop === loop) {
          await this.#readNext(following);
          attempt = 1;
        }
      } catch (error) {
        if (this.#loop !== loop) break;
        this.#fail(error);
      }
      following.close();
      if (this.#loop === loop) await this.#pause(backoff(attempt, RETRY));
    }
  }

  async #readNext(following: Following): Promise<void> {
    const { head, epoch } = this.#told!;
    const { place } = this.runs;
    const [entries, ofRuns] = await following.read([
      [this.#stream, head.position],
      ...place === undefined ? [] : [[this.runs.stream, place.head] as const],
    ]);
    await this.runs.tell(ofRuns ?? [], place);
    // Meanwhile the log may have begun another epoch, or have been stopped.
    if (this.#told?.epoch !== epoch || this.#told.head !== head) return;
    if (entries!.length === 0) {
      if (!ofRuns?.length) await Promise.all([this.#look(), place && this.runs.look()]);
      return;
    }
    const found = entries!.map(entryOf);
    const [first] = found;
    // Another epoch begins, or what comes next was trimmed before it was read, or the log has lost what was told.
    const goesOn = first?.position === head.position + 1 && tagBefore(entries![0]) === head.tag;
    if (found.includes(undefined) || !goesOn) {
      await this.#look();
      if (this.#told?.epoch !== epoch || this.#told.head !== head) return;
      const [id] = entries![0] as [string];
      throw new StreamsideError(
        "log-unavailable",
        `The stream ${this.#stream} holds an entry ${id} that no hub has appended. Only hubs may write to it: delete ` +
          "the entry (XDEL), or the keys of the log.",
      );
    }
    const { position, tag } = found.at(-1)!;
    this.#told = { ...this.#told, head: { position, tag } };
    this.#hasFailed = false;
    for (const follower of this.#followers) follower.appended(found as LogEntry[]);
  }

  /** Looks whether the log is what followers were told, and tells them if it is not. */
  #look(): Promise<void> {
    return this.#looking ??= this.#lookOnce().finally(() => this.#looking = undefined);
  }

  async #lookOnce(): Promise<void> {
    const loop = this.#loop;
    const told = this.#told;
    const look = this.#run(LOOK, `${told?.head.position ?? 0}`);
    const [found, tag] = await answered(look) as [unknown, string];
    if (this.#loop !== loop || this.#told !== told) return;
    let place = placeOf(found);
    if (told !== undefined && place.epoch === told.epoch) {
      const { position } = told.head;
      const here = position === place.start.position ? place.start.tag : tag;
      const isHeld = position >= place.start.position;
      if (position > place.head.position || (isHeld && here !== told.head.tag)) {
        place = placeOf(await this.#run(RENEW, told.epoch, `${position}`));
        if (this.#loop !== loop) return;
      } else if (isHeld) {
        if (this.#hasFailed) this.#open({ ...told, start: place.start });
        return;
      }
    }
    this.#open(place);
  }

  #open(place: Place): void {
    this.#told = place;
    this.#hasFailed = false;
    this.#appends.retry();
    for (const follower of this.#followers) {
      follower.opened(place.epoch, place.head, place.start);
    }
  }

  #fail(error: unknown): void {
    this.#hasFailed = true;
    this.runs.fail(explain(error));
    for (const follower of this.#followers) follower.failed(explain(error));
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #run(script: Script, ...args: string[]): Promise<unknown> {
    return this.#evaluate(script, this.#keys, [newEpoch(), newTag(), ...args]);
  }

  async #evaluate(
    { text, sha }: Script,
    keys: readonly string[],
    args: readonly string[],
  ): Promise<unknown> {
    if (this.#isClosed) throw closed();
    const rest = [`${keys.length}`, ...keys, ...args];
    try {
      try {
        return await this.#send("EVALSHA", await sha, ...rest);
      } catch (error) {
        if (!messageOf(error).startsWith("NOSCRIPT")) throw error;
        return await this.#send("EVAL", text, ...rest);
      }
    } catch (error) {
      throw explain(error);
    }
  }
}

/** The connection that waits for entries: Redis lets one that waits do nothing else. */
class Following {
  readonly #client: Promise<RedisClient>;
  #own: RedisClient | undefined;
  #isClosed = false;
  /** How many entries one answer may have: fewer when they are large. */
  #count = 1_000;

  constructor(client: RedisClient) {
    this.#client = this.#connect(client as unknown as AnyClient);
    this.#client.catch(() => {});
  }

  /** For each stream, the entries after a position, as the client gives them; none when there is none for a while. */
  async read(streams: readonly (readonly [string, number])[]): Promise<unknown[][]> {
    const args = ["COUNT", `${this.#count}`, "BLOCK", `${BLOCK}`, "STREAMS"];
    for (const [stream] of streams) args.push(stream);
    for (const [, after] of streams) args.push(`${after}-0`);
    const answer = this.#client.then((client) => senderOf(client)("XREAD", ...args));
    const found = streamsOf(await answered(answer));
    const answers = streams.map(([stream]) => found.get(stream) ?? []);
    const entries = answers.flat();
    let bytes = 0;
    for (const entry of entries) bytes += fieldsOf(entry).r?.length ?? 0;
    const each = Math.max(1, bytes / entries.length);
    if (entries.length > 0) {
      this.#count = Math.max(8, Math.min(1_000, Math.floor(ANSWER_BYTES / each)));
    }
    return answers;
  }

  close(): void {
    this.#isClosed = true;
    if (this.#own) release(this.#own);
  }

  async #connect(client: AnyClient): Promise<RedisClient> {
    const own = await client.duplicate();
    this.#own = own as RedisClient;
    // Without a listener an `error` event ends the process. What fails here is told when it is waited for.
    own.on?.("error", () => {});
    if (this.#isClosed) release(this.#own);
    // A client of ioredis connects by itself; those of node-redis and Bun have to be told.
    else if (own.status === undefined && own.isOpen !== true) await own.connect?.();
    return this.#own;
  }
}

/** An answer of Redis. The client does not tell when its connection is dead. */
function answered<T>(answer: Promise<T>): Promise<T> {
  return inTime("Redis", answer, BLOCK + GRACE);
}

interface AnyClient {
  duplicate(): AnyClient | Promise<AnyClient>;
  sendCommand?(...args: unknown[]): Promise<unknown>;
  call?(...args: string[]): Promise<unknown>;
  send?(command: string, args: string[]): Promise<unknown>;
  on?(type: string, listener: (error: unknown) => void): unknown;
  connect?(): Promise<unknown>;
  destroy?(): unknown;
  disconnect?(): unknown;
  close?(): unknown;
  readonly slots?: unknown;
  readonly isOpen?: boolean;
  readonly status?: string;
}

/** How a client sends a command. A client of node-redis for a cluster wants to know the key. */
function senderOf(client: RedisClient): Send {
  const any = Object(client) as AnyClient;
  if (typeof any.duplicate === "function") {
    if (typeof any.call === "function") return (...args) => any.call!(...args);
    if (typeof any.sendCommand === "function") {
      if (!("slots" in any)) return (...args) => any.sendCommand!(args);
      return (...args) => any.sendCommand!(keyOf(args), false, args);
    }
    if (typeof any.send === "function") {
      return (command, ...args) => any.send!(command, args);
    }
  }
  throw invalid(
    `redisLog needs a client for Redis that can duplicate itself and send any command: of redis, ioredis, or Bun's ` +
      `RedisClient; got ${quote(client)}.`,
  );
}

function keyOf([command, ...args]: string[]): string {
  return command === "XREAD" ? args[args.indexOf("STREAMS") + 1]! : args[2]!;
}

function release(client: RedisClient): void {
  const any = client as unknown as AnyClient;
  const end = any.destroy ?? any.disconnect ?? any.close;
  try {
    const ended = end?.call(any);
    if (ended instanceof Promise) ended.catch(() => {});
  } catch {
    // It has ended already.
  }
}

/** An entry of the stream; `undefined` for the beginning of an epoch. */
function entryOf(entry: unknown): LogEntry | undefined {
  const [id] = entry as [string];
  const { r, m } = fieldsOf(entry);
  if (r === undefined || m === undefined) return undefined;
  const afterTag = m.indexOf(" ");
  const time = Number(m.slice(m.indexOf(" ", afterTag + 1) + 1, m.lastIndexOf(" ")));
  return { position: parseInt(id), tag: m.slice(0, afterTag), time, record: recordOf(r) };
}

/** The tag of the entry that stood before this one when it was appended. */
function tagBefore(entry: unknown): string | undefined {
  const { m } = fieldsOf(entry);
  return m?.slice(m.lastIndexOf(" ") + 1);
}

/** A record as JSON. To leave out a key that is not there would take longer than all the rest. */
function textOf(record: LogRecord): string {
  if (record.idempotencyKey === undefined) return JSON.stringify(record);
  const { idempotencyKey: _, ...rest } = record;
  return JSON.stringify(rest);
}

/** A record. What is none costs itself alone: the hub logs that it goes to nobody. */
function recordOf(text: string): LogRecord {
  try {
    return JSON.parse(text);
  } catch {
    return { to: "", event: "", data: "" };
  }
}

function placeOf(place: unknown): Place {
  const [epoch, head, headTag, start, startTag] = place as [string, string, string, string, string];
  return { epoch, head: positionOf(head, headTag), start: positionOf(start, startTag) };
}

function positionOf(position: string, tag: string): LogPosition {
  return tag === "" ? { position: Number(position) } : { position: Number(position), tag };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function mayPass(error: unknown): boolean {
  if (error instanceof StreamsideError) return false;
  const message = messageOf(error);
  return PASSING.test(message) || !ANSWER.test(message);
}

/** What Redis answers, with what to do about it; anything else as it is. */
function explain(error: unknown): unknown {
  // Within a script some errors lose their word.
  const message = messageOf(error).replace(/^ERR (?=STREAMSIDE|OOM)/, "")
    .replace(/^ERR (?=The user executing)/, "NOPERM ");
  const [word] = message.split(" ", 1);
  if (!ANSWER.test(message) || PASSING.test(message) || error instanceof StreamsideError) {
    return error;
  }
  const advice = Object.hasOwn(ADVICE, word!) ? ` ${ADVICE[word!]}` : "";
  return new StreamsideError("log-unavailable", `Redis refuses: ${message}.${advice}`, {
    cause: error,
  });
}
