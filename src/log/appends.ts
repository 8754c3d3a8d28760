/**
 * What waits to be appended to a log that is elsewhere. Everything sent while a batch is on its way is the next batch, so
 * that many sends in one turn are one round trip, and their order stays.
 *
 * @module
 */

import { backoff, type ReconnectOptions } from "../client/backoff.ts";
import { StreamsideError } from "../errors.ts";
import { MAX_DELAY } from "../validate.ts";
import { closed } from "./closed.ts";
import type { LogPosition, LogRecord } from "./record.ts";

/** A record that waits for its place. */
export interface PendingRecord<Appended = LogRecord> {
  /** What is appended. */
  readonly record: Appended;
  /** Its tag: see {@link LogPosition.tag}. It is the same at each try, so that a second one can be told from a first. */
  readonly tag: string;
  /** About how many bytes it takes. */
  readonly bytes: number;
}

/** How appends are written. */
export interface AppendOptions<Appended = LogRecord, Answer = LogPosition> {
  /** How long an append may take, in ms, before it rejects. */
  readonly appendTimeout: number;
  /** How many bytes may wait. What comes above rejects at once. */
  readonly maxPendingBytes: number;
  /** How many records go in one batch, at most. */
  readonly batch: number;
  /**
   * Writes records, in order, and gives their places, or the error of one that is refused. It is called again with the
   * same array when it rejects with an error that may pass, and has to see to it that nothing stands twice then.
   */
  write(
    batch: readonly PendingRecord<Appended>[],
  ): Promise<readonly (Answer | StreamsideError)[]>;
  /** Whether an error of `write` may pass by itself. */
  mayPass(error: unknown): boolean;
}

interface Waiting<Appended, Answer> extends PendingRecord<Appended> {
  readonly deadline: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: StreamsideError) => void;
  /** Its caller has got an answer. */
  isSettled: boolean;
}

/** The most bytes of a batch, so that a large one does not hold the others up for long. */
const BATCH_BYTES = 1024 * 1024;

/** Appends that wait, and the batch that is on its way. */
export class Appends<Appended = LogRecord, Answer = LogPosition> {
  readonly #options: AppendOptions<Appended, Answer>;
  readonly #sizeOf: (record: Appended) => number;
  #waiting: Waiting<Appended, Answer>[] = [];
  #onTheirWay: readonly Waiting<Appended, Answer>[] = [];
  #bytes = 0;
  #isWriting = false;
  #isClosed = false;
  #failure: unknown;
  /** One timer for all: each waits equally long, so the first to come is the first to be late. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wake: (() => void) | undefined;

  /** Nothing waits. `sizeOf`: about how many bytes a record takes. */
  constructor(
    options: AppendOptions<Appended, Answer>,
    sizeOf: (record: Appended) => number,
  ) {
    this.#options = options;
    this.#sizeOf = sizeOf;
  }

  /** Appends a record: see {@link Log.append}. */
  add(record: Appended): Promise<Answer> {
    if (this.#isClosed) return Promise.reject(closed());
    const bytes = this.#sizeOf(record);
    const { appendTimeout, maxPendingBytes } = this.#options;
    if (this.#bytes + bytes > maxPendingBytes && this.#bytes > 0) {
      return Promise.reject(
        new StreamsideError(
          "log-unavailable",
          `The log takes events more slowly than they are sent: ${this.#bytes} bytes wait for it, and maxPendingBytes ` +
            `is ${maxPendingBytes}. The event is not in the log; send less, or later.`,
          { cause: this.#failure },
        ),
      );
    }
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      const deadline = performance.now() + appendTimeout;
      this.#waiting.push({
        record,
        tag: newTag(),
        bytes,
        deadline,
        resolve,
        reject,
        isSettled: false,
      });
      this.#watch();
      if (this.#isWriting) return;
      this.#isWriting = true;
      queueMicrotask(() => this.#writeAll());
    });
  }

  /** Another try has better chances now than it had. */
  retry(): void {
    this.#wake?.();
  }

  /** Rejects what waits. */
  close(): void {
    this.#isClosed = true;
    this.#wake?.();
    for (const waiting of this.#all()) this.#settle(waiting, closed());
  }

  *#all(): Generator<Waiting<Appended, Answer>, void> {
    yield* this.#onTheirWay;
    yield* this.#waiting;
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#isClosed) {
      const batch = this.#take();
      this.#onTheirWay = batch;
      await this.#write(batch);
      this.#onTheirWay = [];
    }
    this.#isWriting = false;
  }

  async #write(batch: readonly Waiting<Appended, Answer>[]): Promise<void> {
    // Once nobody waits for any of it, it is not tried again. Until then it is tried whole: it may be in the log already.
    for (let attempt = 1; batch.some((waiting) => !waiting.isSettled); attempt++) {
      try {
        const outcomes = await this.#options.write(batch);
        this.#failure = undefined;
        batch.forEach((waiting, i) => this.#settle(waiting, outcomes[i]!));
        return;
      } catch (error) {
        this.#failure = error;
        if (!this.#options.mayPass(error)) {
          for (const waiting of batch) this.#settle(waiting, refusal(error));
          return;
        }
        await this.#pause(backoff(attempt, RETRY));
      }
    }
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

  #take(): Waiting<Appended, Answer>[] {
    // What was late before it was ever tried is not in the log, and stays out of it.
    const waiting = this.#waiting.filter(({ isSettled }) => !isSettled);
    let bytes = 0;
    let count = 0;
    while (count < waiting.length && count < this.#options.batch) {
      bytes += waiting[count]!.bytes;
      if (bytes > BATCH_BYTES && count > 0) break;
      count++;
    }
    this.#waiting = waiting.slice(count);
    return waiting.slice(0, count);
  }

  #settle(waiting: Waiting<Appended, Answer>, outcome: Answer | StreamsideError): void {
    if (waiting.isSettled) return;
    waiting.isSettled = true;
    this.#bytes -= waiting.bytes;
    // A timer that nobody needs would keep the process from ending.
    if (this.#bytes === 0) this.#stopWatch();
    if (outcome instanceof StreamsideError) waiting.reject(outcome);
    else waiting.resolve(outcome);
  }

  #watch(): void {
    if (this.#timer !== undefined) return;
    for (const { isSettled, deadline } of this.#all()) {
      if (isSettled) continue;
      const wait = Math.max(0, deadline - performance.now());
      this.#timer = setTimeout(() => this.#expire(), Math.min(wait, MAX_DELAY));
      return;
    }
  }

  #stopWatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const waiting of this.#all()) {
      if (waiting.deadline <= now) this.#settle(waiting, this.#late());
    }
    this.#watch();
  }

  #late(): StreamsideError {
    return new StreamsideError(
      "log-unavailable",
      `The log did not confirm the event within ${this.#options.appendTimeout} ms (appendTimeout). It may or may not ` +
        "be in the log: sent again, it may arrive twice, unless both have the same idempotencyKey.",
      { cause: this.#failure },
    );
  }
}

/** What is tried again waits this long. */
export const RETRY: ReconnectOptions = {
  delay: 50,
  factor: 2,
  maxDelay: 2_000,
  maxAttempts: Infinity,
};

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz";
let random: Uint8Array = new Uint8Array(0);
let used = 0;

/** A tag: 41 random bits. Drawing a few thousand bytes at once costs a tenth of drawing eight each time. */
export function newTag(): string {
  if (used + 8 > random.length) {
    random = crypto.getRandomValues(new Uint8Array(4096));
    used = 0;
  }
  let tag = "";
  for (let i = 0; i < 8; i++) tag += DIGITS[random[used++]! % 36];
  return tag;
}

/** About how many bytes a record takes. */
export function sizeOf({ to, event, data, key, except, idempotencyKey }: LogRecord): number {
  let size = 100 + to.length + event.length + data.length;
  size += (key?.length ?? 0) + (idempotencyKey?.length ?? 0);
  for (const session of except ?? []) size += session.length + 3;
  return size;
}

function refusal(error: unknown): StreamsideError {
  if (error instanceof StreamsideError) return error;
  return new StreamsideError(
    "log-unavailable",
    `The log did not take the event: ${error instanceof Error ? error.message : error}`,
    { cause: error },
  );
}
