/**
 * What may take only so long.
 *
 * @module
 */

/**
 * Runs something with a signal that aborts when `stopped` does, and after `limit` ms.
 *
 * Not `AbortSignal.timeout`: nothing but `AbortSignal.any` would hold it, and that holds it weakly. Node 20 collects it as
 * garbage, and it never aborts.
 */
export async function limited<T>(
  stopped: AbortSignal,
  limit: number,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const late = new DOMException(`It took more than ${limit / 1000} s.`, "TimeoutError");
  const timer = setTimeout(() => over.abort(late), limit);
  try {
    return await run(AbortSignal.any([stopped, over.signal]));
  } finally {
    clearTimeout(timer);
  }
}
