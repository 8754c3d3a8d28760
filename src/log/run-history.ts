/**
 * How much is held of runs: bounds for each and for all of them together. The runs of a memory log and those that a hub
 * holds are both kept by it.
 *
 * @module
 */

import { bound } from "../validate.ts";
import { EVERYONE } from "./address.ts";
import { decodeEntry, type EncodedEntry, EntryWriter } from "./entry.ts";
import type { RunRecord } from "./run-log.ts";

/** How much of runs is held. The first bound that is reached counts. */
export interface RunHistoryOptions {
  /** At most this many events of each run; the oldest are forgotten first. Default: 100 000. */
  readonly events?: number;
  /**
   * At most this many bytes of memory for each run, counted as for {@link HistoryOptions.bytes}. Default: 8 388 608
   * (8 MiB): some 30 000 tokens.
   */
  readonly bytes?: number;
  /** A run is forgotten this long after its end, in ms. Default: 600 000 (ten minutes). */
  readonly age?: number;
  /**
   * At most this many bytes of memory for all runs together, of which each takes 6 KiB besides its events. Runs that have
   * ended are forgotten first, in the order of their ends; then the largest run loses its oldest events. Default:
   * 134 217 728 (128 MiB).
   */
  readonly total?: number;
}

/**
 * The bounds of runs, with their defaults.
 *
 * @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number
 */
export function runBoundsOf(options: RunHistoryOptions = {}): Required<RunHistoryOptions> {
  return {
    events: bound("runHistory.events", options.events, 100_000),
    bytes: bound("runHistory.bytes", options.bytes, 8 * 1024 * 1024),
    age: bound("runHistory.age", options.age, 600_000),
    total: bound("runHistory.total", options.total, 128 * 1024 * 1024),
  };
}

/** What a run takes besides its events: its objects, and a page that is partly used. */
const RUN_BYTES = 6 * 1024;
/** How large the history is that a run's events are encoded for: their pages are of 4 KiB. */
const PAGED_BYTES = 128 * 1024;
/** The longest delay of a timer, in ms. */
const MAX_DELAY = 2 ** 31 - 1;

/** A run that is kept. */
export interface KeptRun {
  /** Which run it is. */
  readonly id: string;
  /** What its events take, in bytes. */
  readonly bytes: number;
  /** How many of its events are held. */
  readonly size: number;
  /** What it was counted as when it was last looked at; the keeper's. */
  counted: number;
  /** Forgets its oldest events, so that they take at most so many bytes. */
  shrink(bytes: number): void;
}

/** Runs under the bounds for all of them. One timer, for the run that is to be forgotten next. */
export class KeptRuns<Run extends KeptRun> {
  readonly #age: number;
  readonly #total: number;
  readonly #forgotten: (run: Run) => void;
  readonly #runs = new Map<string, Run>();
  /** When runs ended, by `performance.now()`, the earliest first. */
  readonly #ended = new Map<Run, number>();
  #bytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** No runs yet. `forgotten` is told of each run that is not kept any more. */
  constructor(
    { age, total }: Required<RunHistoryOptions>,
    forgotten: (run: Run) => void = () => {},
  ) {
    this.#age = age;
    this.#total = total;
    this.#forgotten = forgotten;
  }

  /** How many runs are kept. */
  get size(): number {
    return this.#runs.size;
  }

  /** What they take, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Every run, in the order in which they came. */
  [Symbol.iterator](): Iterator<Run> {
    return this.#runs.values();
  }

  /** A run by its id. */
  get(id: string): Run | undefined {
    return this.#runs.get(id);
  }

  /** Keeps a run. */
  add(run: Run): void {
    this.#runs.set(run.id, run);
    this.#bytes += RUN_BYTES;
    this.count(run);
  }

  /** A run's events have changed. */
  count(run: Run): void {
    const { bytes } = run;
    this.#bytes += bytes - run.counted;
    run.counted = bytes;
    while (this.#bytes > this.#total && this.#makeRoom(run));
  }

  /** A run has ended: from now on its age counts. */
  end(run: Run): void {
    this.#ended.set(run, performance.now());
    this.#schedule();
  }

  /** Forgets all runs, and stops. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#runs.clear();
    this.#ended.clear();
    this.#bytes = 0;
  }

  /** Forgets something. False if there is nothing to forget. `newest` is the run that has just grown. */
  #makeRoom(newest: Run): boolean {
    for (const run of this.#ended.keys()) {
      if (run === newest) continue;
      this.#forget(run);
      return true;
    }
    let largest = newest;
    for (const run of this.#runs.values()) if (run.counted > largest.counted) largest = run;
    if (largest.size === 0) return false;
    // A quarter at a time: the largest is looked for among all of them.
    largest.shrink(largest.counted * 3 / 4);
    this.#bytes += largest.bytes - largest.counted;
    largest.counted = largest.bytes;
    return true;
  }

  #forget(run: Run): void {
    this.#runs.delete(run.id);
    this.#ended.delete(run);
    this.#bytes -= RUN_BYTES + run.counted;
    this.#forgotten(run);
  }

  #schedule(): void {
    if (this.#timer !== undefined) return;
    const [next] = this.#ended.values();
    if (next === undefined) return;
    const delay = Math.max(0, next + this.#age - performance.now());
    const timer = setTimeout(() => this.#expire(), Math.min(delay, MAX_DELAY));
    // Nobody waits for it: it must not keep a process alive, where a timer can be told so.
    (timer as { unref?(): void }).unref?.();
    this.#timer = timer;
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const [run, ended] of this.#ended) {
      // A timer may fire a little early.
      if (ended + this.#age > now + 1) break;
      this.#forget(run);
    }
    this.#schedule();
  }
}

/** About how many bytes a record of a run takes while it waits for a log that is elsewhere. */
export function sizeOfRunRecord({ channel, event, data }: RunRecord): number {
  return 200 + channel.length + (event?.length ?? 0) + (data?.length ?? 0);
}

/** Writes the events of a run: their ids are the run's id and their number. */
export function runWriter(run: string): EntryWriter {
  return new EntryWriter(run, { bytes: PAGED_BYTES });
}

/** Writes an event of a run. All who read the run get it. */
export function writeRunEvent(writer: EntryWriter, record: RunRecord): EncodedEntry {
  const { number: position, time, event, data } = record;
  return writer.write({ position, time, record: { to: EVERYONE, event: event!, data: data! } });
}

/** How a log in the hub's process hands over an event encoded, beside its record: the hubs hold the same bytes. */
export const ENCODED_EVENT: unique symbol = Symbol("streamside.encoded-event");

/** A record, perhaps with its event encoded. */
export interface EncodedRunRecord extends RunRecord {
  /** The event, as {@link writeRunEvent} has written it. */
  readonly [ENCODED_EVENT]?: EncodedEntry | undefined;
}

/** The record of an event that was written. */
export function decodeRunEvent(
  { id: run, channel }: { readonly id: string; readonly channel: string },
  entry: EncodedEntry,
): EncodedRunRecord {
  const { position: number, time, record: { event, data } } = decodeEntry(entry);
  return { type: "event", run, channel, time, number, event, data, [ENCODED_EVENT]: entry };
}
