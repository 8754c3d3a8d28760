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

/**
 * Sends a request. Resolves with the response and a URL for it, if it does not tell its own.
 *
 * Browsers follow redirects themselves, and show none. Other runtimes would send the user's headers along to another
 * origin. So where a bundle for browsers has come to run in one, a redirect is a refusal.
 */
export async function request(fetch: Fetch, url: string, init: Init): Promise<[Response, string]> {
  if (!/^Mozilla/.test(globalThis.navigator?.userAgent)) init.redirect = "manual";
  return [await fetch(url, init), url];
}
