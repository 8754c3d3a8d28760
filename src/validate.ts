/**
 * The rules for options and arguments, each in one place.
 *
 * @module
 */

import { quote, StreamsideError } from "./errors.ts";

/** What can name a session, a channel or a key, as errors put it. */
export const NAME = "a string of 1 to 1024 characters without CR, LF and NUL";

/** The longest delay of a timer, in ms: a longer one would fire at once. */
export const MAX_DELAY: number = 2 ** 31 - 1;

/** Whether a value is {@link NAME}. */
export function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= 1024 &&
    !/[\0\r\n]/.test(value);
}

/**
 * Checks that a value can name a session, a channel or a key.
 *
 * @throws {StreamsideError} `invalid-argument`
 */
export function checkName(what: string, value: unknown): asserts value is string {
  if (isName(value)) return;
  throw invalid(`The ${what} must be ${NAME}, got ${quote(value)}.`);
}

/** An error of code `invalid-argument`. */
export function invalid(message: string): StreamsideError {
  return new StreamsideError("invalid-argument", message);
}

/**
 * A positive number, or its default.
 *
 * @throws {StreamsideError} `invalid-argument`
 */
export function bound(name: string, value: number | undefined, standard: number): number {
  if (value === undefined) return standard;
  if (typeof value !== "number" || !(value > 0)) {
    const got = typeof value === "number" ? value : quote(value);
    throw invalid(`${name} must be a number above 0, got ${got}.`);
  }
  return value;
}

/**
 * A positive number of ms that a timer can wait, or its default.
 *
 * @throws {StreamsideError} `invalid-argument`
 */
export function delay(name: string, value: number | undefined, standard: number): number {
  return Math.min(bound(name, value, standard), MAX_DELAY);
}
