/**
 * `@std/assert` over `node:assert/strict`, for machines that cannot reach JSR.
 *
 * Tests import `@std/assert` by name; `deno.json` and the `paths` of `tsconfig.json` map the name to this file.
 * To use the real package, change that one line in each to `jsr:@std/assert@^1`.
 *
 * @module
 */
import assertStrict from "node:assert/strict";

/** An argument that is left out where there is none: Node 26 takes no `undefined` for a message. */
function said(message: string | undefined): [message?: string] {
  return message === undefined ? [] : [message];
}

/** Fails unless `value` is truthy. */
export function assert(value: unknown, message?: string): asserts value {
  assertStrict.ok(value, ...said(message));
}

/** Fails unless both are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  assertStrict.deepStrictEqual(actual, expected, ...said(message));
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  assertStrict.notDeepStrictEqual(actual, expected, ...said(message));
}

/** Fails unless both are the same value (`Object.is`). */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  message?: string,
): asserts actual is T {
  assertStrict.strictEqual(actual, expected, ...said(message));
}

/** Fails unless `value` is neither null nor undefined. */
export function assertExists<T>(value: T, message?: string): asserts value is NonNullable<T> {
  assertStrict.ok(
    value !== null && value !== undefined,
    message ?? "expected a value, got " + value,
  );
}

/** Fails unless `text` contains `part`. */
export function assertStringIncludes(text: string, part: string, message?: string): void {
  assertStrict.ok(
    text.includes(part),
    message ?? `expected ${JSON.stringify(text)} to include ${JSON.stringify(part)}`,
  );
}

/** Fails unless `text` matches `pattern`. */
export function assertMatch(text: string, pattern: RegExp, message?: string): void {
  assertStrict.match(text, pattern, ...said(message));
}

/** Fails unless `value` is an instance of `type`. */
// deno-lint-ignore no-explicit-any
export function assertInstanceOf<T extends abstract new (...args: any[]) => unknown>(
  value: unknown,
  type: T,
  message?: string,
): asserts value is InstanceType<T> {
  assertStrict.ok(value instanceof type, message ?? `expected an instance of ${type.name}`);
}

/** Fails unless `actual` is greater than or equal to `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void {
  assertStrict.ok(actual >= expected, message ?? `expected ${actual} >= ${expected}`);
}

/** Fails unless `actual` is less than or equal to `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void {
  assertStrict.ok(actual <= expected, message ?? `expected ${actual} <= ${expected}`);
}

/** Fails unless `fn` throws an instance of `type`; returns what it threw. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  // deno-lint-ignore no-explicit-any
  type?: new (...args: any[]) => E,
  messageIncludes?: string,
): E {
  try {
    fn();
  } catch (error) {
    return check(error, type, messageIncludes);
  }
  throw new assertStrict.AssertionError({ message: "expected the function to throw" });
}

/** Fails unless the promise of `fn` rejects with an instance of `type`; resolves to what it rejected with. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any
  type?: new (...args: any[]) => E,
  messageIncludes?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return check(error, type, messageIncludes);
  }
  throw new assertStrict.AssertionError({ message: "expected the promise to reject" });
}

function check<E extends Error>(
  error: unknown,
  // deno-lint-ignore no-explicit-any
  type?: new (...args: any[]) => E,
  messageIncludes?: string,
): E {
  if (type) assertInstanceOf(error, type);
  if (messageIncludes) assertStringIncludes((error as Error).message, messageIncludes);
  return error as E;
}

/** Fails always. */
export function fail(message?: string): never {
  throw new assertStrict.AssertionError({ message: message ?? "failed" });
}
