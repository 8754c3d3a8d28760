/**
 * How long a campaign of random cases is: short in `npm test`, at its full length in `npm run test:long`.
 *
 * @module
 */
import process from "node:process";

/** The number of cases: the variable's where it is set, else `full` in a long run and `short` in any other. */
export function cases(variable: string, short: number, full: number): number {
  return Number(process.env[variable] ?? (process.env.STREAMSIDE_TEST_LONG ? full : short));
}
