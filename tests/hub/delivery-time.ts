/**
 * Time that stands still until a test moves it: `Date.now`, `performance.now`, `setTimeout` and `clearTimeout` while
 * {@link withVirtualTime} runs. A history of events then takes the same course each time, and hours cost nothing.
 *
 * @module
 */

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

const real = {
  dateNow: Date.now,
  performanceNow: performance.now,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
};

/** The clock of one run. */
export class VirtualTime {
  /** Now, in ms. */
  now = 1_000_000;
  /** How far the clock moves each time that somebody looks at `performance.now()`: work that takes long. */
  step = 0;
  readonly #timers = new Map<number, Timer>();
  #last = 0;

  /** How many timers wait. */
  get timers(): number {
    return this.#timers.size;
  }

  setTimeout(callback: () => void, delay = 0): number {
    this.#timers.set(++this.#last, { at: this.now + Math.max(1, delay), callback });
    return this.#last;
  }

  clearTimeout(id: number): void {
    this.#timers.delete(id);
  }

  /** Moves the clock on by `ms`; timers fire in their order, and what they set off runs its course in between. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [id, { at, callback }] = next;
      this.#timers.delete(id);
      this.now = Math.max(this.now, at);
      callback();
      await turn();
    }
    this.now = Math.max(this.now, end);
    await turn();
  }

  #next(end: number): [number, Timer] | undefined {
    let first: [number, Timer] | undefined;
    for (const entry of this.#timers) {
      if (entry[1].at <= end && (!first || entry[1].at < first[1].at)) first = entry;
    }
    return first;
  }
}

const immediate = (globalThis as unknown as { setImmediate: (callback: () => void) => void })
  .setImmediate;

/** Lets the event loop come round once, in real time. */
export function turn(): Promise<void> {
  return new Promise((resolve) => immediate(resolve));
}

/** Runs something in a time of its own. */
export async function withVirtualTime<T>(run: (time: VirtualTime) => Promise<T>): Promise<T> {
  const time = new VirtualTime();
  const scope = globalThis as unknown as Record<string, unknown>;
  Date.now = () => time.now;
  performance.now = () => time.now += time.step;
  scope.setTimeout = (callback: () => void, delay?: number) => time.setTimeout(callback, delay);
  scope.clearTimeout = (id: number) => time.clearTimeout(id);
  try {
    return await run(time);
  } finally {
    Date.now = real.dateNow;
    performance.now = real.performanceNow;
    globalThis.setTimeout = real.setTimeout;
    globalThis.clearTimeout = real.clearTimeout;
  }
}
