/**
 * What a log in this process says after it was closed.
 *
 * @module
 */

import { StreamsideError } from "../errors.ts";

/** The error of code `closed`. */
export function closed(): StreamsideError {
  return new StreamsideError("closed", "The log is closed.");
}
