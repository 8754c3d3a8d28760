/**
 * The runs of a log in Redis. What is appended goes through scripts, which keep the rules; followers are told what a short
 * stream says, which is read over the connection that follows the log.
 *
 * @module
 */

import { Appends, newTag, type PendingRecord } from "./appends.ts";
import { closed } from "./closed.ts";
import { fieldsOf } from "./redis-answers.ts";
import { APPEND_TO_RUNS, LIST_RUNS, LOOK_AT_RUNS, READ_RUN } from "./redis-run-scripts.ts";
import type { Script } from "./redis-scripts.ts";
import { runBoundsOf, type RunHistoryOptions, sizeOfRunRecord } from "./run-history.ts";
import type { RunEnd, RunError, RunFollower, RunLog, RunRecord, RunSummary } from "./run-log.ts";

/** What the runs need of their log. */
export interface RedisRunsOptions {
  /** What the names of their keys begin with. */
  readonly name: string;
  readonly history: RunHistoryOptions | undefined;
  readonly appendTimeout: number;
  readonly maxPendingBytes: number;
  readonly batch: number;
  /** Runs a script. It rejects if no answer comes for too long. */
  run(script: Script, keys: readonly string[], args: readonly string[]): Promise<unknown>;
  /** Whether an error may pass by itself. */
  mayPass(error: unknown): boolean;
  /** Somebody follows, or nobody any more. */
  followed(): void;
}

/** Where the stream for followers was read to. */
export interface RunsPlace {
  readonly head: number;
  readonly tag: string;
}

/** How many bytes are held for followers: some seconds of what a server can take in. */
const TAIL_BYTES = 8 * 1024 * 1024;
/** For how long they are held after the last, in ms. */
const TAIL_AGE = 60_000;
/** How long is held what nobody uses, in ms. */
const IDLE = 24 * 3_600_000;

/** The runs of a log in Redis. */
export class RedisRuns implements RunLog {
  /** The stream for followers. */
  readonly stream: string;
  readonly #options: RedisRunsOptions;
  readonly #keys: readonly string[];
  readonly #bounds: Required<RunHistoryOptions>;
  readonly #appends: Appends<RunRecord, boolean>;
  readonly #followers = new Set<RunFollower>();
  #place: RunsPlace | undefined;
  #hasFailed = false;
  #isClosed = false;
  #looking: Promise<void> | undefined;

  /** @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number */
  constructor(options: RedisRunsOptions) {
    const { name, history, appendTimeout, maxPendingBytes, batch, mayPass } = options;
    this.#options = options;
    this.#bounds = runBoundsOf(history);
    this.stream = `${name}:runs`;
    const others = ["state", "order", "ended", "sizes"].map((part) => `${this.stream}:${part}`);
    this.#keys = [this.stream, ...others];
    this.#appends = new Appends({
      appendTimeout,
      maxPendingBytes,
      batch,
      mayPass,
      write: (batch) => this.#write(batch),
    }, sizeOfRunRecord);
  }

  /** Somebody follows. */
  get isFollowed(): boolean {
    return this.#followers.size > 0;
  }

  /** Where they stand; `undefined` before that was looked at, and while nobody follows. */
  get place(): RunsPlace | undefined {
    return this.#place;
  }

  follow(follower: RunFollower): () => void {
    if (this.#isClosed) throw closed();
    this.#followers.add(follower);
    if (this.#place !== undefined) follower.opened();
    this.#options.followed();
    return () => {
      this.#followers.delete(follower);
      if (!this.isFollowed) this.#place = undefined;
      this.#options.followed();
    };
  }

  append(records: readonly RunRecord[]): Promise<readonly boolean[]> {
    return Promise.all(records.map((record) => this.#appends.add(record)));
  }

  async list(channel = ""): Promise<readonly RunSummary[]> {
    const found: RunSummary[] = [];
    for (let last = "0";;) {
      const [next, runs] = await this.#run(LIST_RUNS, channel, last) as [string, string[][]];
      found.push(...runs.map(summaryOf));
      if (channel !== "" || next === last) return found;
      last = next;
    }
  }

  async read(run: string, after: number, limit: number): Promise<readonly RunRecord[]> {
    if (this.#isClosed) throw closed();
    const key = `${this.stream}:run:${run}`;
    const answer = await this.#options.run(READ_RUN, [key, `${key}:events`], [
      `${after}`,
      `${limit}`,
    ]);
    const [channel, entries] = answer as [string, unknown[]];
    return entries.map((entry) => {
      const [id] = entry as [string];
      const content = JSON.parse(fieldsOf(entry).d!) as object;
      return { type: "event", run, channel, number: parseInt(id), ...content };
    }) as RunRecord[];
  }

  /** Lets go of everything. */
  close(): void {
    this.#isClosed = true;
    this.#place = undefined;
    this.#followers.clear();
    this.#appends.close();
  }

  // ------------------------------------------------------------------------------------------- for who follows

  /** Looks where the stream stands, if it is not known. */
  async open(): Promise<void> {
    if (this.isFollowed && (this.#place === undefined || this.#hasFailed)) await this.look();
  }

  /** Tells what was read after a place. */
  async tell(entries: readonly unknown[], place: RunsPlace | undefined): Promise<void> {
    // Meanwhile nobody may follow any more.
    if (place === undefined || place !== this.#place || entries.length === 0) return;
    const records: RunRecord[] = [];
    let { head, tag } = place;
    for (const entry of entries) {
      const [id] = entry as [string];
      const { r, g, p } = fieldsOf(entry);
      // Some of it was trimmed before it was read, or it is of another life.
      if (parseInt(id) !== head + 1 || p !== tag || g === undefined) return await this.look();
      for (const record of recordsOf(r)) records.push(record);
      [head, tag] = [head + 1, g];
    }
    this.#place = { head, tag };
    this.#hasFailed = false;
    for (const follower of this.#followers) follower.appended(records);
  }

  /** Looks whether everything was told, and says so if not: then the followers list the runs anew. */
  look(): Promise<void> {
    return this.#looking ??= this.#look().finally(() => this.#looking = undefined);
  }

  async #look(): Promise<void> {
    const place = this.#place;
    const answer = await this.#run(LOOK_AT_RUNS, `${place?.head ?? -1}`, place?.tag ?? "");
    const [isHeld, head, tag] = answer as [number, string, string];
    if (!this.isFollowed || place !== this.#place) return;
    if (place === undefined || !isHeld) this.#place = { head: Number(head), tag };
    else if (!this.#hasFailed) return;
    this.#hasFailed = false;
    this.#appends.retry();
    for (const follower of this.#followers) follower.opened();
  }

  /** The log cannot be followed. */
  fail(error: unknown): void {
    this.#hasFailed = true;
    for (const follower of this.#followers) follower.failed(error);
  }

  // ------------------------------------------------------------------------------------------- scripts

  async #write(batch: readonly PendingRecord<RunRecord>[]): Promise<readonly boolean[]> {
    const { events, bytes, total } = this.#bounds;
    const args = [...[events, bytes, total].map(numberOf), `${TAIL_BYTES}`, `${TAIL_AGE}`];
    args.push(newTag());
    for (const { record, tag } of batch) {
      const { type, run, channel, number, ...rest } = record;
      const head = JSON.stringify({ type, run, channel, number });
      const body = JSON.stringify(rest);
      const more = type === "begin" ? `${record.time}` : type === "end" ? record.error ?? "" : "";
      args.push(tag, type, run, channel, `${number}`);
      args.push(`${head.slice(0, -1)},`, body.slice(1, -1), more);
    }
    const answers = await this.#run(APPEND_TO_RUNS, ...args) as unknown[];
    return answers.map((answer) => Number(answer) === 1);
  }

  #run(script: Script, ...args: string[]): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(closed());
    const { age } = this.#bounds;
    const bounds = [numberOf(Math.ceil(age)), numberOf(Math.max(IDLE, Math.ceil(age)))];
    return this.#options.run(script, this.#keys, [...bounds, ...args]);
  }
}

/** A bound, as Redis can compare it and count with it. */
function numberOf(bound: number): string {
  return `${Math.min(bound, Number.MAX_SAFE_INTEGER)}`;
}

function summaryOf([run, channel, since, events, end]: string[]): RunSummary {
  const summary = { run: run!, channel: channel!, since: Number(since), events: Number(events) };
  return { ...summary, end: endOf(end!) };
}

function endOf(code: string): RunEnd | undefined {
  if (code === "-") return undefined;
  return code === "" ? {} : { error: code as RunError };
}

/** What one batch has told. What others wrote there costs itself alone. */
function recordsOf(text: string | undefined): RunRecord[] {
  try {
    const records: unknown = JSON.parse(text ?? "");
    return Array.isArray(records) ? records : [];
  } catch {
    return [];
  }
}
