/**
 * Giving up the body of a response.
 *
 * @module
 */

/** Cancels a body, or its reader. That the connection has broken already is no news. */
export function cancel(body: { cancel(): Promise<void> } | null | undefined): void {
  body?.cancel().catch(() => {});
}
