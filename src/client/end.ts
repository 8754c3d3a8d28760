/**
 * How a stream says that it is complete, or that it will never be.
 *
 * @module
 */
import type { Failure } from "./target.ts";

/** The event with which a stream ends: `{}` if all of it came, or `{ "error": code }`. */
export const END = "streamside:end";

/** The header of a stream that is complete only with {@link END}, however well its connection ends. */
export const COMPLETE_WITH_END = "streamside-end";

/** Why a stream is incomplete, from the data of its end; `undefined` if it is complete. The `cause` is the code. */
export function faultOf(data: string): Failure | undefined {
  const cause = data.split('"')[3];
  if (cause) return { error: new Error("The stream ended: " + cause, { cause }) };
}
