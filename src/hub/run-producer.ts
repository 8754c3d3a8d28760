/**
 * A run's producer: it asks a source for one event after the other, and appends each to the log.
 *
 * The log sets the pace: the next event is asked for when the log holds the last.
 *
 * @module
 */

import { StreamsideError } from "../errors.ts";
import type { RunEnd, RunRecord } from "../log/run-log.ts";
import {
  type CheckedEvent,
  type EventIterator,
  iteratorOf,
  type StreamSource,
} from "../source-event.ts";

/** Who appends for a producer. */
export interface ProducerOwner {
  /** Checks an event, beyond what every event stream asks for. */
  check(value: unknown): CheckedEvent & { readonly event: string };
  /** Appends a record. Resolves to whether the run goes on with it, and rejects if that is not known. */
  append(record: RunRecord): Promise<boolean>;
  /** How the run has ended, if an append was refused. */
  endOf(producer: Producer): Promise<RunEnd>;
  /** Resolves when a failed append may be tried again. */
  pause(): Promise<void>;
  /** Now, by the clock of the runs. */
  now(): number;
  /** The run has ended. */
  ended(producer: Producer, end: RunEnd): void;
  /** The source, or an append, failed. */
  failed(what: string, error: unknown): void;
}

/** One source on its way into the log. */
export class Producer {
  readonly channel: string;
  readonly run: string;
  /** When the run began, in ms since the epoch. */
  readonly since: number;
  /** Resolves to how the run ended; never rejects. */
  readonly done: Promise<RunEnd>;
  /** How many events the log has taken. */
  events = 0;
  /** Something was appended since the producer last said that it is alive. */
  hasSpoken = false;
  /** Since when an append has not succeeded, by the clock of the runs. */
  waitingSince: number | undefined;
  readonly #owner: ProducerOwner;
  readonly #abort = new AbortController();
  #iterator: EventIterator | undefined;
  #resolve!: (end: RunEnd) => void;
  #isStopping = false;
  #isOver = false;
  /** The source has nothing more to give. */
  #isExhausted = false;

  /** The producer of a run that has begun. */
  constructor(owner: ProducerOwner, { run, channel, time }: RunRecord) {
    this.#owner = owner;
    this.run = run;
    this.channel = channel;
    this.since = time;
    this.done = new Promise((resolve) => this.#resolve = resolve);
  }

  /** Publishes what a source yields, and then the end. */
  async publish(source: StreamSource): Promise<void> {
    let end: RunEnd = {};
    try {
      if (!await this.#pump(source)) return;
    } catch (error) {
      if (this.#isOver || this.#isStopping) return;
      this.#owner.failed("the source of a run", error);
      end = { error: "failed" };
    }
    this.#isExhausted = true;
    if (await this.#append(this.record("end", end))) this.finish(end);
  }

  /** Stops the source at once, and ends the run as `stopped`. Resolves when it has ended. */
  async stop(): Promise<RunEnd> {
    if (!this.#isStopping && !this.#isOver && !this.#isExhausted) {
      this.#isStopping = true;
      this.#abort.abort(new StreamsideError("closed", "The run was stopped."));
      this.#leave();
      const end: RunEnd = { error: "stopped" };
      if (await this.#append(this.record("end", end))) this.finish(end);
    }
    return await this.done;
  }

  /** The run has ended, wherever the end came from. */
  finish(end: RunEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.waitingSince = undefined;
    if (!this.#isExhausted) {
      this.#abort.abort(new StreamsideError("closed", `The run has ended: ${end.error}.`));
      this.#leave();
    }
    this.#owner.ended(this, end);
    this.#resolve(end);
  }

  /** A record of the run. */
  record(type: RunRecord["type"], { error }: RunEnd = {}): RunRecord {
    const { run, channel } = this;
    return { type, run, channel, time: Date.now(), number: 0, ...error && { error } };
  }

  /** Whether it came to the end of the source. */
  async #pump(source: StreamSource): Promise<boolean> {
    const iterator = iteratorOf(
      typeof source === "function" ? source(this.#abort.signal) : source,
    );
    this.#iterator = iterator;
    // Whatever the call of the source did, the run may be over.
    if (this.#isOver || this.#isStopping) this.#leave();
    for (;;) {
      let result: IteratorResult<unknown>;
      try {
        result = await iterator.next();
      } catch (error) {
        // As with `for await`, a source that failed is not returned from.
        this.#iterator = undefined;
        throw error;
      }
      if (this.#isOver || this.#isStopping) return false;
      if (result.done) return true;
      try {
        // As with `for await`, a plain iterable may yield promises.
        const { event, data } = this.#owner.check(await result.value);
        const { run, channel } = this;
        const number = this.events + 1;
        const time = Date.now();
        const record: RunRecord = { type: "event", run, channel, time, number, event, data };
        if (!await this.#append(record)) return false;
        this.events = number;
      } catch (error) {
        this.#abort.abort(error);
        this.#leave();
        throw error;
      }
    }
  }

  /** Returns from the source: its `finally` runs when what it waits for comes. */
  #leave(): void {
    const iterator = this.#iterator;
    this.#iterator = undefined;
    // Not awaited, and never a failure of the run, which has ended.
    void (async () => await iterator?.return?.())().catch((error) => {
      this.#owner.failed("returning from the source of a run", error);
    });
  }

  /** Appends a record, again and again until that succeeds or the run is over. False: the run is over. */
  async #append(record: RunRecord): Promise<boolean> {
    const owner = this.#owner;
    this.waitingSince = owner.now();
    for (let isFirst = true; !this.#isOver; isFirst = false) {
      try {
        const isTaken = await owner.append(record);
        if (this.#isOver) return false;
        this.waitingSince = undefined;
        this.hasSpoken = true;
        if (!isTaken) this.finish(await owner.endOf(this));
        return isTaken;
      } catch (error) {
        if (this.#isOver) break;
        this.waitingSince ??= owner.now();
        if (isFirst) owner.failed("appending to a run", error);
        await owner.pause();
      }
    }
    return false;
  }
}
