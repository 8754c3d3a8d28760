/**
 * Waiting, by means that every runtime has.
 *
 * @module
 */

/** Resolves after `ms`. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A timer takes at least a millisecond. `setImmediate`, where it exists, only waits its turn. */
const defer: (callback: () => void) => void =
  (globalThis as { setImmediate?: (callback: () => void) => void }).setImmediate ??
    ((callback) => setTimeout(callback, 0));

/**
 * Resolves when the event loop has come round: by then, the runtime has worked on what was handed to streams and
 * sockets. It waits for two rounds, since on Deno the first may end before enqueued chunks are written: of the 92 ms
 * that 10 000 chunks took, one round covered 7.
 */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => defer(() => defer(resolve)));
}

/** How long a turn may take before others get theirs, in ms. */
const TURN = 8;
/** How many steps are done between two looks at the clock. */
const STRIDE = 32;
/**
 * How many steps a turn has at least, unless the clock ends it: 10 ms on the slowest runtime. Other work of a busy loop
 * between two turns is not the steps' doing, and must not split a fan-out into more and more turns.
 */
const LEAST = 1_024;

/**
 * Long work in turns that leave room for others.
 *
 * The cost of a step shows only when the event loop has come round, since a stream writes its chunks after the turn
 * that enqueued them. So the length of a turn follows from what earlier turns took.
 */
export class Turns {
  #steps = 0;
  #began = 0;
  #limit = LEAST;

  /** Work begins or goes on. */
  begin(): void {
    this.#steps = 0;
    this.#began = performance.now();
  }

  /** Counts one more step. True if it is time to let others work. */
  isOver(): boolean {
    const steps = ++this.#steps;
    return steps >= this.#limit || (steps % STRIDE === 0 && performance.now() - this.#began > TURN);
  }

  /** Resolves when others have had their turn and the next one can begin. */
  async next(): Promise<void> {
    await nextTask();
    const took = performance.now() - this.#began;
    if (this.#steps >= STRIDE) {
      this.#limit = Math.max(LEAST, Math.min(16_384, Math.round(this.#steps * TURN / took)));
    }
    this.begin();
  }
}
