/**
 * What `runtime.ts` has, for browsers alone.
 *
 * @module
 */
import type { Fetch, Init } from "./fetch.ts";

/** Calls `then` when `signal` aborts; returns how to stop waiting. A browser does not mind how many wait. */
export function onAbort(signal: AbortSignal | undefined, then: () => void): () => void {
  signal?.addEventListener("abort", then);
  return () => signal?.removeEventListener("abort", then);
}

/** Makes an error an uncaught one. */
export function report(error: unknown): void {
  reportError(error);
}

/** Sends a request. Browsers follow redirects themselves, and show none. */
export async function request(fetch: Fetch, url: string, init: Init): Promise<[Response, string]> {
  return [await fetch(url, init), url];
}
