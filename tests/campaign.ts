/**
 * What `npm test` leaves to `npm run test:long`: the full length of campaigns of random cases, and what is the same
 * whatever runs the server, on all runtimes but one.
 *
 * @module
 */
import process from "node:process";
import { runtime } from "./server-helpers.ts";

/** The number of cases: the variable's where it is set, else `full` in a long run and `short` in any other. */
export function cases(variable: string, short: number, full: number): number {
  return Number(process.env[variable] ?? (process.env.STREAMSIDE_TEST_LONG ? full : short));
}

/**
 * A test's option `skip` for what hardly depends on the runtime, and takes long: pages in a browser, commands in a shell.
 * On all three it would be a third of the time that the suite takes.
 */
export const onNodeAlone: string | false = runtime !== "node" &&
  !process.env.STREAMSIDE_TEST_LONG &&
  "runs on Node; on every runtime with npm run test:long";
