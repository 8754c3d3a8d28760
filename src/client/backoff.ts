/**
 * The reconnection policy: how long to wait before the next attempt, and when to stop trying. It is pure: the caller
 * keeps the count, the clock and the timer. The client and the network logs share it.
 *
 * @module
 */

/** How to reconnect after a connection failed or ended. Every member has a default. */
export interface ReconnectOptions {
  /**
   * Wait before the first attempt, in milliseconds. If it is given, the longer of it and the stream's `retry:` counts;
   * if not, `retry:` alone. So with 100 a client of a Streamside hub still waits 2000, unless the hub is made with a
   * shorter `retry`. Default 2000.
   */
  delay?: number;
  /** What the wait is multiplied by with each further attempt. Default 2. */
  factor?: number;
  /**
   * Longest wait, in milliseconds, unless the server asks for a longer one (`retry:`, `Retry-After`). Default 30 000.
   */
  maxDelay?: number;
  /** Attempts in a row before giving up. `Infinity`: never give up; 0: never try again. Default 5. */
  maxAttempts?: number;
  /**
   * Random share added to each wait, so that clients dropped together do not return together: 0.5 adds up to a half.
   * Default 0.5.
   */
  jitter?: number;
}

/**
 * The wait before an attempt, in milliseconds; `Infinity` if `maxAttempts` are used up.
 *
 * The wait is never shorter than `base`, as WHATWG HTML 9.2.3 demands ("wait a delay equal to the reconnection
 * time"), and grows from it, jitter included, to `maxDelay`. A `base` of 0 grows too: a server that says
 * `retry: 0` and then fails is not asked again and again without a pause.
 *
 * @example
 * ```ts
 * backoff(1, { jitter: 0 }); // 2000
 * backoff(3, { jitter: 0 }); // 8000
 * backoff(6); // Infinity: the default is five attempts
 * ```
 *
 * @param attempt which attempt in a row this is, from 1
 * @param options the policy
 * @param base the wait to start from, where it is not `options.delay`: what the server asked for
 */
export function backoff(
  attempt: number,
  { delay = 2000, factor = 2, maxDelay = 30_000, maxAttempts = 5, jitter = 0.5 }: ReconnectOptions =
    {},
  base: number = delay,
): number {
  return attempt > maxAttempts
    ? Infinity
    : Math.max(base, Math.min((base || 1) * factor ** (attempt - 1), maxDelay / (1 + jitter))) *
      (1 + jitter * Math.random());
}
