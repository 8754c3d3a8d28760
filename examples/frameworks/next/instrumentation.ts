/**
 * What Next calls once when a server starts.
 *
 * @module
 */
export async function register(): Promise<void> {
  // Next builds this file for its edge runtime too, which has no signals.
  if (process.env.NEXT_RUNTIME === "nodejs") await import("./lib/drain");
}
