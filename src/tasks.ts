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

/** Resolves when the event loop has come round: what was handed to streams and sockets has been worked on by then. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => defer(resolve));
}

/** How long work goes on, in ms, before it lets the event loop come round. */
const TURN = 8;
/** How many steps there are between two looks at the clock. */
const STRIDE = 32;

/** Long work in turns that leave room for others. */
export class Turn {
  #steps = 0;
  #end = performance.now() + TURN;

  /** One more step is done: whether it is time to let others work. */
  isOver(): boolean {
    return ++this.#steps % STRIDE === 0 && performance.now() > this.#end;
  }

  /** Resolves when others had their turn. */
  async next(): Promise<void> {
    await nextTask();
    this.#end = performance.now() + TURN;
  }
}
