/**
 * When to try at once rather than wait: the network or the page has come back.
 *
 * @module
 */

/**
 * Calls `wake` when the network comes back (`online`), the page is restored (`pageshow`) or becomes visible, until
 * `signal` aborts. Without a page, nothing calls it.
 */
export function onWake(wake: () => void, signal: AbortSignal): void {
  for (const type of ["online", "pageshow", "visibilitychange"]) {
    globalThis.addEventListener?.(type, () => {
      // A hidden page needs the network, too.
      if (type !== "visibilitychange" || !globalThis.document?.hidden) wake();
    }, { signal });
  }
}
