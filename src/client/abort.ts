/**
 * Waiting for an abort signal, however many wait for the same one.
 *
 * @module
 */

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `then` when `signal` aborts; returns how to stop waiting. All who wait for one signal share one listener, since
 * Node.js warns of a leak when a signal has eleven.
 */
export function onAbort(signal: AbortSignal | undefined, then: () => void): () => void {
  if (!signal) return () => {};
  let all = waiting.get(signal)!;
  if (!all) {
    waiting.set(signal, all = new Set());
    signal.addEventListener("abort", () => {
      for (const then of all) then();
    });
  }
  all.add(then);
  return () => all.delete(then);
}
