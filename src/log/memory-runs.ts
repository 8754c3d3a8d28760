/**
 * The runs of a log in this process's memory.
 *
 * @module
 */

import { closed } from "./closed.ts";
import type { EntryWriter } from "./entry.ts";
import { BoundedHistory } from "./history.ts";
import {
  decodeRunEvent,
  ENCODED_EVENT,
  type EncodedRunRecord,
  type KeptRun,
  KeptRuns,
  runBoundsOf,
  type RunHistoryOptions,
  runWriter,
  writeRunEvent,
} from "./run-history.ts";
import type { RunEnd, RunFollower, RunLog, RunRecord, RunSummary } from "./run-log.ts";

/** A run, with its events. */
class MemoryRun implements KeptRun {
  readonly id: string;
  readonly channel: string;
  readonly since: number;
  readonly history: BoundedHistory;
  readonly writer: EntryWriter;
  end: RunEnd | undefined;
  counted = 0;

  constructor({ run, channel, time }: RunRecord, { events, bytes }: Required<RunHistoryOptions>) {
    this.id = run;
    this.channel = channel;
    this.since = time;
    // It has no index. Its age begins at its end, and then it goes as a whole.
    this.history = new BoundedHistory({ events, bytes, age: Infinity }, undefined, () => 0);
    this.writer = runWriter(run);
  }

  get bytes(): number {
    return this.history.bytes;
  }

  get size(): number {
    return this.history.entries.size;
  }

  shrink(bytes: number): void {
    this.history.prune(undefined, undefined, bytes);
  }
}

/** The runs of a {@link memoryLog}. */
export class MemoryRuns implements RunLog {
  readonly #bounds: Required<RunHistoryOptions>;
  readonly #runs: KeptRuns<MemoryRun>;
  /** The run of each channel that runs. */
  readonly #running = new Map<string, MemoryRun>();
  readonly #followers = new Set<RunFollower>();
  #isClosed = false;

  /** @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number */
  constructor(options?: RunHistoryOptions) {
    this.#bounds = runBoundsOf(options);
    this.#runs = new KeptRuns(this.#bounds);
  }

  follow(follower: RunFollower): () => void {
    if (!this.#isClosed) this.#followers.add(follower);
    follower.opened();
    return () => this.#followers.delete(follower);
  }

  append(records: readonly RunRecord[]): Promise<readonly boolean[]> {
    if (this.#isClosed) return Promise.reject(closed());
    const told: RunRecord[] = [];
    const taken = records.map((record) => this.#take(record, told));
    if (told.length > 0) { for (const follower of this.#followers) follower.appended(told); }
    return Promise.resolve(taken);
  }

  list(channel?: string): Promise<readonly RunSummary[]> {
    if (this.#isClosed) return Promise.reject(closed());
    const found: RunSummary[] = [];
    for (const run of this.#runs) {
      if (channel !== undefined && run.channel !== channel) continue;
      const { id, since, end, history } = run;
      found.push({ run: id, channel: run.channel, since, events: history.head, end });
    }
    return Promise.resolve(found);
  }

  read(id: string, after: number, limit: number): Promise<readonly RunRecord[]> {
    if (this.#isClosed) return Promise.reject(closed());
    const found: RunRecord[] = [];
    const run = this.#runs.get(id);
    if (run === undefined) return Promise.resolve(found);
    const { entries } = run.history;
    const first = entries.indexAfter(after);
    for (let i = first; i < entries.size && found.length < limit; i++) {
      found.push(decodeRunEvent(run, entries.at(i)));
    }
    return Promise.resolve(found);
  }

  /** Lets go of everything. */
  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#running.clear();
    this.#runs.clear();
  }

  /** Takes a record if it may come now, and adds to `told` what followers are told. */
  #take(record: RunRecord, told: EncodedRunRecord[]): boolean {
    const { type, channel } = record;
    const running = this.#running.get(channel);
    const isRunning = running?.id === record.run;
    if (type === "begin") {
      if (running !== undefined) return isRunning;
      // An id means one run for ever.
      if (this.#runs.get(record.run) !== undefined) return false;
      const run = new MemoryRun(record, this.#bounds);
      this.#running.set(channel, run);
      this.#runs.add(run);
    } else if (!isRunning) return false;
    else if (type === "event") {
      const { history, writer } = running;
      if (record.number <= history.head) return true;
      const entry = writeRunEvent(writer, record);
      history.add(entry);
      history.prune();
      this.#runs.count(running);
      told.push({ ...record, [ENCODED_EVENT]: entry });
      return true;
    } else if (type === "end") {
      running.end = record.error === undefined ? {} : { error: record.error };
      this.#running.delete(channel);
      this.#runs.end(running);
    }
    told.push(record);
    return true;
  }
}
