/**
 * Waiting, in terms that every runtime has.
 *
 * @module
 */

/** Resolves after `ms`. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A timer takes a millisecond at least; where there is something that only waits its turn, that is better. */
const defer: (callback: () => void) => void =
  (globalThis as { setImmediate?: (callback: () => void) => void }).setImmediate ??
    ((callback) => setTimeout(callback, 0));

/**
 * Resolves when the event loop has come round: what was handed to streams and sockets has been worked on by then. It
 * comes round twice, since on Deno the first time may be before what was enqueued is written: of 10 000 chunks it saw
 * 7 ms of the 92 that they took.
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => defer(() => defer(resolve)));
}

/** How long a turn takes, in ms, before others have theirs. */
const TURN = 8;
/** How many steps there are between two looks at the clock. */
const STRIDE = 32;
/**
 * How many steps a turn has at least, unless the clock ends it: 10 ms on the slowest runtime. What else a busy loop
 * does between two turns is not the steps' doing, and must not stretch a fan-out over ever more of them.
 */
const LEAST = 1_024;

/**
 * Long work in turns that leave room for others.
 *
 * What a step costs shows only when the event loop has come round: what is handed to a stream is written after the turn
 * that did it. So a turn is as many steps as the turns before could take.
 */
export class Turns {
  #steps = 0;
  #began = 0;
  #limit = LEAST;

  /** Work begins, or goes on. */
  begin(): void {
    this.#steps = 0;
    this.#began = performance.now();
  }

  /** One more step is done: whether it is time to let others work. */
  isOver(): boolean {
    const steps = ++this.#steps;
    return steps >= this.#limit || (steps % STRIDE === 0 && performance.now() - this.#began > TURN);
  }

  /** Resolves when others had their turn, and the next one can begin. */
  async next(): Promise<void> {
    await nextTask();
    const took = performance.now() - this.#began;
    if (this.#steps >= STRIDE) {
      this.#limit = Math.max(LEAST, Math.min(16_384, Math.round(this.#steps * TURN / took)));
    }
    this.begin();
  }
}
