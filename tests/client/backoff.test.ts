/** The reconnection policy. */
import { describe, test } from "node:test";
import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { backoff } from "../../src/client/backoff.ts";

describe("backoff", () => {
  test("doubles from two seconds up to maxDelay, for five attempts", () => {
    const waits = [1, 2, 3, 4, 5, 6].map((attempt) => backoff(attempt, { jitter: 0 }));
    assertEquals(waits, [2000, 4000, 8000, 16_000, 30_000, Infinity]);
  });

  test("starts from the base that the server asked for, even beyond maxDelay", () => {
    assertEquals(backoff(1, { jitter: 0 }, 500), 500);
    assertEquals(backoff(2, { jitter: 0 }, 500), 1000);
    assertEquals(backoff(1, { jitter: 0, maxDelay: 1000 }, 60_000), 60_000);
  });

  test("grows from a base of 0, too", () => {
    assertEquals(backoff(1, { jitter: 0 }, 0), 1);
    assertEquals(backoff(5, { jitter: 0 }, 0), 16);
  });

  test("0 attempts never try again, Infinity always", () => {
    assertEquals(backoff(1, { maxAttempts: 0 }), Infinity);
    assertEquals(backoff(1e6, { maxAttempts: Infinity, jitter: 0 }), 30_000);
  });

  test("whatever the policy: no shorter than the base, no longer than maxDelay but for the base and its jitter", () => {
    fc.assert(fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 1, max: 100_000 }),
      fc.double({ min: 1, max: 10, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (attempt, base, maxDelay, factor, jitter) => {
        const wait = backoff(attempt, { maxDelay, factor, jitter, maxAttempts: Infinity }, base);
        assert(wait >= base, `${wait} is shorter than ${base}`);
        const most = Math.max(maxDelay, base * (1 + jitter));
        assert(wait <= most * (1 + 1e-9), `${wait} is longer than ${most}`);
      },
    ));
  });

  test("jitter spreads the waits", () => {
    const waits = new Set(Array.from({ length: 50 }, () => backoff(1)));
    assert(waits.size > 40, `only ${waits.size} of 50 waits differ`);
  });
});
