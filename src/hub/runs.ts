/**
 * The runs of a hub: those of the log, as far as this process holds them, and the sources that run here.
 *
 * What a run is, and how it ended, is for the log to say: every hub is told the same, in the same order.
 *
 * @module
 */

import { backoff } from "../client/backoff.ts";
import { quote, StreamsideError } from "../errors.ts";
import { checkEventName } from "../event-format.ts";
import { KeptRuns, runBoundsOf, type RunHistoryOptions } from "../log/run-history.ts";
import type { RunEnd, RunLog, RunRecord, RunSummary } from "../log/run-log.ts";
import { checkSourceEvent, type StreamSource } from "../source-event.ts";
import { HeldRun, isRunRecord, newRunId } from "./held-run.ts";
import { Producer, type ProducerOwner } from "./run-producer.ts";
import { sleep } from "./turns.ts";

/** What the runs need from the hub. */
export interface RunsOptions {
  readonly log: RunLog;
  readonly history: RunHistoryOptions;
  /** After how long without a word a run is lost, in ms. */
  readonly timeout: number;
  /** Checks the size of an event. */
  readonly checkSize: (event: string, data: string) => void;
}

/** Who is told what happens to runs. */
export interface RunsObserver {
  /** A run has new events, or has ended. */
  changed(run: HeldRun): void;
  /** The readers of a run cannot be served here. */
  stranded(run: HeldRun): void;
  /** A source of this process has begun, has published an event, or has ended. */
  begun(producer: Producer): void;
  published(): void;
  ended(producer: Producer, end: RunEnd): void;
  /** Something failed, and there is no caller to tell. */
  failed(what: string, error: unknown): void;
}

/** How often it is looked what is due within the timeout. */
const TICKS = 10;
/** A run is lost if nothing was heard of it for so many ticks: so that the readers know within the timeout. */
const LOST = 9;
/** How long a lookup may take, in ms. */
const LOOKUP = 5_000;
/** How long a closing hub waits for the log to take the ends of its runs, in ms. */
const LINGER = 1_000;

/** The runs of a log, and the sources of this process. */
export class Runs implements ProducerOwner {
  readonly #log: RunLog;
  readonly #bounds: Required<RunHistoryOptions>;
  readonly #timeout: number;
  readonly #checkSize: RunsOptions["checkSize"];
  readonly #observer: RunsObserver;
  readonly #held: KeptRuns<HeldRun>;
  /** The newest run of each channel. */
  readonly #newest = new Map<string, HeldRun>();
  readonly #producers = new Map<string, Producer>();
  /** Runs whose beginning may be in the log though their caller was told that it failed. */
  readonly #abandoned = new Set<string>();
  readonly #unfollow: () => void;
  #isFollowing = false;
  /** What came while the log was asked which runs there are. */
  #pending: RunRecord[] | undefined = [];
  #listing: Promise<boolean> = Promise.resolve(false);
  /** For how long the log could be followed, in ms: while it cannot be, nobody is heard, and nobody is lost. */
  #clock = 0;
  #ticked = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isSayingAlive = false;
  #pausing: Promise<void> | undefined;
  #failures = 0;
  #isClosing = false;
  #isStopped = false;

  /** The runs of a log, which is followed from now on. */
  constructor({ log, history, timeout, checkSize }: RunsOptions, observer: RunsObserver) {
    this.#log = log;
    this.#bounds = runBoundsOf(history);
    this.#timeout = timeout;
    this.#checkSize = checkSize;
    this.#observer = observer;
    this.#held = new KeptRuns(this.#bounds, (run) => this.#forgotten(run));
    this.#unfollow = log.follow({
      opened: () => this.#opened(),
      appended: (records) => this.#appended(records),
      failed: (error) => {
        this.#isFollowing = false;
        observer.failed("following the runs of the log", error);
      },
    });
  }

  /** The sources of this process. */
  get producers(): Iterable<Producer> {
    return this.#producers.values();
  }

  /** How many sources run in this process. */
  get size(): number {
    return this.#producers.size;
  }

  /** What is held: events and bytes. */
  get heldBytes(): number {
    return this.#held.bytes;
  }

  /** How many events of runs are held. */
  get heldEvents(): number {
    let events = 0;
    for (const run of this.#held) events += run.size;
    return events;
  }

  /**
   * Begins a run.
   *
   * @throws {StreamsideError} `already-running`, `log-unavailable`, `closed`
   */
  async begin(channel: string, source: StreamSource): Promise<Producer> {
    const run = newRunId();
    const record: RunRecord = { type: "begin", run, channel, time: Date.now(), number: 0 };
    let isTaken: boolean | undefined;
    try {
      [isTaken] = await inTime(this.#log.append([record]), this.#timeout);
    } catch (cause) {
      // If it was taken, nobody would ever end it, and the channel could not run until it is lost.
      this.#abandoned.add(run);
      void this.#end(run, channel, "lost");
      throw new StreamsideError(
        "log-unavailable",
        "The log did not confirm the beginning of the run, which has not begun: try again.",
        { cause },
      );
    }
    if (!isTaken) {
      throw new StreamsideError(
        "already-running",
        `The channel ${
          quote(channel)
        } runs already, here or on another server: stop that run first.`,
      );
    }
    if (this.#isClosing) {
      void this.#end(run, channel, "lost");
      throw new StreamsideError("closed", "The hub is closing: the run has not begun.");
    }
    const producer = new Producer(this, record);
    this.#producers.set(run, producer);
    this.#apply(record);
    this.#observer.begun(producer);
    const held = this.#held.get(run);
    // Somebody may have stopped it already.
    if (held?.end !== undefined) producer.finish(held.end);
    else void producer.publish(source);
    this.#schedule();
    return producer;
  }

  /**
   * Ends the run of a channel as `stopped`, wherever its source is. Resolves to whether there was one.
   *
   * @throws {StreamsideError} `log-unavailable`
   */
  async stop(channel: string): Promise<boolean> {
    const run = await this.find(channel);
    if (run === undefined || run.end !== undefined) return false;
    const producer = this.#producers.get(run.id);
    if (producer !== undefined) return (await producer.stop()).error === "stopped";
    const record = recordOf("end", run.id, channel, "stopped");
    try {
      const [isTaken] = await inTime(this.#log.append([record]), this.#timeout);
      if (isTaken) this.#apply(record);
      else await this.#check(run);
      return isTaken === true;
    } catch (cause) {
      throw new StreamsideError(
        "log-unavailable",
        `The log did not confirm that the run of ${quote(channel)} is stopped: try again.`,
        { cause },
      );
    }
  }

  /**
   * The newest run of a channel; `undefined` if there is none, or it is forgotten. If `wanted`, a run that a reader knows
   * of, is not the newest here, or none runs here, the log is asked.
   *
   * @throws {StreamsideError} `log-unavailable` if the log cannot be asked
   */
  async find(channel: string, wanted?: string): Promise<HeldRun | undefined> {
    if (!await this.#listing) throw unavailable();
    const run = this.#newest.get(channel);
    if (run !== undefined && run.end === undefined && (wanted ?? run.id) === run.id) return run;
    if (run !== undefined && wanted === run.id) return run;
    let summaries: readonly RunSummary[];
    try {
      summaries = await inTime(this.#log.list(channel), LOOKUP);
    } catch (cause) {
      throw unavailable(cause);
    }
    this.#merge(summaries.filter((summary) => summary.channel === channel));
    return this.#newest.get(channel);
  }

  /** Fills the window of a run from the log. */
  async fill(run: HeldRun): Promise<void> {
    await inTime(run.fill(this.#log), LOOKUP);
    if (this.#held.get(run.id) === run) this.#held.count(run);
  }

  /** Lets the sources of this process run for so many ms, and then ends their runs as `lost`. */
  async close(within: number): Promise<void> {
    this.#isClosing = true;
    const all = Promise.all([...this.#producers.values()].map(({ done }) => done));
    if (this.#producers.size > 0 && within > 0) await inTime(all, within).catch(() => {});
    const rest = [...this.#producers.values()];
    if (rest.length === 0) return;
    const records = rest.map((producer) => producer.record("end", { error: "lost" }));
    try {
      await inTime(this.#log.append(records), LINGER);
    } catch (error) {
      this.#observer.failed("ending the runs of a hub that closes", error);
    }
    for (const producer of rest) producer.finish({ error: "lost" });
  }

  /** Lets go of the log and of all runs. */
  release(): void {
    this.#isStopped = true;
    this.#unfollow();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const producer of [...this.#producers.values()]) producer.finish({ error: "lost" });
    this.#held.clear();
    this.#newest.clear();
  }

  // ------------------------------------------------------------------------------------------- for the producers

  check(value: unknown): ReturnType<ProducerOwner["check"]> {
    const { data, event = "message" } = checkSourceEvent(value);
    checkEventName(event);
    this.#checkSize(event, data);
    return { event, data };
  }

  async append(record: RunRecord): Promise<boolean> {
    const [isTaken] = await this.#log.append([record]);
    if (typeof isTaken !== "boolean") {
      throw new TypeError("A log's answer to the records of a run must be a boolean for each.");
    }
    this.#failures = 0;
    if (isTaken && record.type === "event") this.#observer.published();
    return isTaken;
  }

  async endOf({ run, channel }: Producer): Promise<RunEnd> {
    const known = this.#held.get(run)?.end;
    if (known !== undefined) return known;
    try {
      const summaries = await inTime(this.#log.list(channel), LOOKUP);
      return summaries.find((summary) => summary.run === run)?.end ?? { error: "lost" };
    } catch {
      return { error: "lost" };
    }
  }

  /** One wait for all whose appends fail. */
  pause(): Promise<void> {
    return this.#pausing ??= this.#pause().finally(() => this.#pausing = undefined);
  }

  async #pause(): Promise<void> {
    const delay = Math.min(100, this.#timeout / 20);
    const maxDelay = Math.min(2_000, this.#timeout / 4);
    await sleep(backoff(++this.#failures, { delay, maxDelay, maxAttempts: Infinity }));
  }

  now(): number {
    return performance.now();
  }

  ended(producer: Producer, end: RunEnd): void {
    this.#producers.delete(producer.run);
    this.#observer.ended(producer, end);
  }

  failed(what: string, error: unknown): void {
    this.#observer.failed(what, error);
  }

  // ------------------------------------------------------------------------------------------- what the log tells

  #opened(): void {
    this.#isFollowing = true;
    this.#pending ??= [];
    this.#listing = this.#list();
  }

  /** Asks the log which runs there are, until it answers. Resolves to false if it has not at first. */
  async #list(): Promise<boolean> {
    const before = new Set(this.#held);
    try {
      const summaries = await inTime(this.#log.list(), Math.min(this.#timeout, LOOKUP));
      if (this.#isStopped) return false;
      this.#merge(summaries);
      for (const run of this.#held) run.heard = this.#clock;
      const listed = new Set(summaries.map(({ run }) => run));
      // A log forgets only runs that have ended. One that has lost a run will never tell of its end.
      for (const run of before) if (!listed.has(run.id)) this.#finish(run, { error: "lost" });
      const pending = this.#pending ?? [];
      this.#pending = undefined;
      for (const record of pending) this.#apply(record);
      this.#schedule();
      return true;
    } catch (error) {
      if (this.#isStopped) return false;
      this.#observer.failed("asking the log for its runs", error);
      void sleep(Math.min(1_000, this.#timeout / 4)).then(() => {
        if (!this.#isStopped) this.#listing = this.#list();
      });
      return false;
    }
  }

  #appended(records: readonly RunRecord[]): void {
    this.#isFollowing = true;
    if (this.#pending !== undefined) this.#pending.push(...records);
    else for (const record of records) this.#apply(record);
  }

  #apply(record: RunRecord): void {
    if (!isRunRecord(record)) {
      return this.#observer.failed(
        "an entry of a run",
        new StreamsideError("invalid-argument", "An entry of the log's runs is invalid."),
      );
    }
    const { type, run: id, channel } = record;
    if (type === "begin") return this.#begin(record);
    const run = this.#held.get(id);
    if (run === undefined || run.end !== undefined || run.channel !== channel) return;
    run.heard = this.#clock;
    if (type === "end") return this.#finish(run, endOf(record));
    if (type !== "event") return;
    run.add(record);
    run.window.prune(Infinity);
    this.#held.count(run);
    this.#observer.changed(run);
  }

  #begin({ run, channel, time: since }: RunRecord): void {
    if (this.#held.get(run) !== undefined) return;
    // A channel has one run at a time: the end of the one before was missed.
    const before = this.#newest.get(channel);
    if (before !== undefined) this.#finish(before, { error: "lost" });
    this.#newest.set(channel, this.#hold({ run, channel, since, events: 0 }));
    this.#schedule();
    if (this.#abandoned.delete(run)) void this.#end(run, channel, "lost");
  }

  #hold(summary: RunSummary): HeldRun {
    const run = new HeldRun(summary, this.#bounds, this.#clock);
    this.#held.add(run);
    if (run.end !== undefined) this.#held.end(run);
    return run;
  }

  #finish(run: HeldRun, end: RunEnd): void {
    if (run.end !== undefined) return;
    run.end = end;
    this.#held.end(run);
    this.#producers.get(run.id)?.finish(end);
    this.#observer.changed(run);
  }

  /** Takes over what the log knows of runs. Some of it may be known already, and newer here. */
  #merge(summaries: readonly RunSummary[]): void {
    /** The newest of each channel, as the log knows it. */
    const newest = new Map<string, HeldRun>();
    const listed = new Set<string>();
    for (const summary of summaries) {
      const { run: id, channel, events, end } = summary;
      let run = this.#held.get(id);
      if (run === undefined) run = this.#hold(summary);
      else {
        run.skipTo(events);
        if (end !== undefined) this.#finish(run, end);
        // The log has lost its end: nobody else would end it, and its channel could not run again.
        else if (run.end !== undefined) void this.#end(id, channel, run.end.error);
        this.#observer.changed(run);
      }
      listed.add(id);
      newest.set(channel, run);
    }
    for (const [channel, run] of newest) {
      const known = this.#newest.get(channel);
      // One that the log did not know yet when it answered is newer still.
      if (known === undefined || listed.has(known.id) || known.end !== undefined) {
        this.#newest.set(channel, run);
      }
    }
    this.#schedule();
  }

  #forgotten(run: HeldRun): void {
    if (this.#newest.get(run.channel) === run) this.#newest.delete(run.channel);
  }

  /**
   * Ends a run that nobody else will end. The first end counts, so this one may come too late: resolves to whether it was
   * taken, if that is known.
   */
  async #end(run: string, channel: string, error: RunEnd["error"]): Promise<boolean | undefined> {
    try {
      const [isTaken] = await this.#log.append([recordOf("end", run, channel, error)]);
      this.#abandoned.delete(run);
      return isTaken;
    } catch (cause) {
      this.#observer.failed("ending a run", cause);
    }
  }

  // ------------------------------------------------------------------------------------------- what is due

  get #isBusy(): boolean {
    if (this.#producers.size > 0) return true;
    for (const run of this.#newest.values()) if (run.end === undefined) return true;
    return false;
  }

  /** One timer for all runs, while there are some that have not ended. */
  #schedule(): void {
    if (this.#timer !== undefined || this.#isStopped || !this.#isBusy) return;
    this.#ticked = performance.now();
    this.#timer = setTimeout(() => this.#tick(), this.#timeout / TICKS);
  }

  #tick(): void {
    this.#timer = undefined;
    const now = performance.now();
    const tick = this.#timeout / TICKS;
    // If the process was away (stopped, or its machine suspended), it could not hear anybody.
    if (this.#isFollowing) this.#clock += Math.min(now - this.#ticked, 2 * tick);
    this.#sayAlive();
    for (const producer of [...this.#producers.values()]) {
      const { waitingSince } = producer;
      if (waitingSince !== undefined && now - waitingSince >= this.#timeout) this.#giveUp(producer);
    }
    if (this.#isFollowing && this.#pending === undefined) this.#lose(LOST * tick);
    this.#schedule();
  }

  #lose(silence: number): void {
    for (const run of this.#newest.values()) {
      if (run.end !== undefined || this.#clock - run.heard < silence) continue;
      // If the log does not answer, the next try is after another such time.
      run.heard = this.#clock;
      void this.#end(run.id, run.channel, "lost").then(async (isTaken) => {
        if (isTaken === false && run.end === undefined) await this.#check(run);
      });
    }
  }

  /** Asks the log how a run has ended that does not go on: perhaps its end was not told, or it is gone. */
  async #check({ id, channel }: HeldRun): Promise<void> {
    try {
      const summaries = await inTime(this.#log.list(channel), LOOKUP);
      if (this.#isStopped) return;
      this.#merge(summaries.filter((summary) => summary.channel === channel));
      const run = this.#held.get(id);
      const isListed = summaries.some((summary) => summary.run === id);
      if (run !== undefined && !isListed) this.#finish(run, { error: "lost" });
    } catch (error) {
      this.#observer.failed("asking the log how a run has ended", error);
    }
  }

  /** The log has taken nothing of a producer for too long. */
  #giveUp(producer: Producer): void {
    const run = this.#held.get(producer.run);
    this.#observer.failed(
      "a run",
      new StreamsideError(
        "log-unavailable",
        `The log has taken nothing of the run of ${
          quote(producer.channel)
        } for ${this.#timeout} ms.`,
      ),
    );
    producer.finish({ error: "lost" });
    void this.#end(producer.run, producer.channel, "lost");
    if (run !== undefined && run.end === undefined) this.#observer.stranded(run);
  }

  /** Says of all sources that had nothing to say for a tick, at once, that they are alive. */
  #sayAlive(): void {
    const silent: Producer[] = [];
    for (const producer of this.#producers.values()) {
      if (!producer.hasSpoken) silent.push(producer);
      producer.hasSpoken = false;
    }
    if (silent.length === 0 || this.#isSayingAlive) return;
    this.#isSayingAlive = true;
    void this.#append(silent).finally(() => this.#isSayingAlive = false);
  }

  async #append(producers: readonly Producer[]): Promise<void> {
    try {
      const records = producers.map((producer) => producer.record("alive"));
      const alive = await inTime(this.#log.append(records), this.#timeout);
      for (const [i, producer] of producers.entries()) {
        // Its end came while the log could not be followed.
        if (alive[i] === false && this.#producers.has(producer.run)) {
          producer.finish(await this.endOf(producer));
        }
      }
    } catch (error) {
      this.#observer.failed("saying that runs are alive", error);
    }
  }
}

function recordOf(
  type: RunRecord["type"],
  run: string,
  channel: string,
  error?: RunEnd["error"],
): RunRecord {
  return { type, run, channel, time: Date.now(), number: 0, ...error && { error } };
}

function endOf({ error }: RunRecord): RunEnd {
  if (error === undefined) return {};
  // A code of another version is at least no complete end.
  return { error: error === "failed" || error === "stopped" ? error : "lost" };
}

function unavailable(cause?: unknown): StreamsideError {
  return new StreamsideError(
    "log-unavailable",
    "Which runs the log holds is not known yet; try again in a moment.",
    { cause },
  );
}

/** What a promise resolves to, unless it takes longer than `ms`. */
async function inTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The log has not answered within ${ms} ms.`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
