/**
 * What commands print, and what they are told: standard output for what was asked, standard error for what happens
 * meanwhile, and signals.
 *
 * @module
 */
import process from "node:process";
import { styleText } from "node:util";

/** Wrong usage: the command line ends with 2. The message says what to do. */
export class UsageError extends Error {}

/** What was asked could not be done: the command line ends with 1. The message says why. */
export class CommandError extends Error {}

/** The exit codes. */
export const AS_ASKED = 0;
export const FAILED = 1;
export const WRONG_USAGE = 2;

/** The colours in use. */
export type Colour = "cyan" | "dim" | "green" | "red" | "yellow";

/** Whether a stream is a terminal that takes colours: see https://no-color.org. */
function takesColours(stream: { isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
}

/** A text for standard output, coloured on a terminal. */
export function coloured(colour: Colour, text: string): string {
  return takesColours(process.stdout) ? styleText(colour, text, { validateStream: false }) : text;
}

/** Tells something on standard error. */
export function tell(text: string, colour: Colour = "dim"): void {
  const line = printable(text);
  process.stderr.write(
    `${takesColours(process.stderr) ? styleText(colour, line, { validateStream: false }) : line}\n`,
  );
}

/** A text without control characters but tab and line feed: what a server sends must not steer the terminal. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, escaped);
}

/** A value as JSON on one line. JSON itself leaves 0x7f to 0x9f as they are, which steer some terminals. */
export function json(value: unknown): string {
  return JSON.stringify(value).replace(/[\x7f-\x9f]/g, escaped);
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Prints a line. Resolves to false if nobody reads any more, as after `| head -1`. */
export function print(line: string): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      process.stdout.write(`${line}\n`, (error) => resolve(!error));
    } catch {
      resolve(false);
    }
  });
}

/** Aborts on Ctrl-C, on SIGTERM, and when the reader of standard output has gone. */
export function untilStopped(): AbortSignal {
  const controller = new AbortController();
  const stop = () => controller.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  process.stdout.on("error", stop);
  return controller.signal;
}
