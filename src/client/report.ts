/**
 * What becomes of an error that a user's function throws.
 *
 * @module
 */

/** Makes an error an uncaught one, as if a listener of an `EventTarget` had thrown it. */
export function report(error: unknown): void {
  if (globalThis.reportError) globalThis.reportError(error);
  else {
    // Node.js has no reportError.
    queueMicrotask(() => {
      throw error;
    });
  }
}
