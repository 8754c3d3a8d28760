/**
 * The values of options, read once and for all commands, with errors that say what to do.
 *
 * @module
 */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { UsageError } from "./terminal.ts";

/** The options of a command, as `util.parseArgs` takes them. */
export type Options = NonNullable<ParseArgsConfig["options"]>;

/** What a command was given. */
export interface Given {
  readonly values: Readonly<
    Record<string, string | boolean | readonly (string | boolean)[] | undefined>
  >;
  readonly positionals: readonly string[];
}

/** Parses the arguments of a command. */
export function parse(args: readonly string[], options: Options): Given {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The one URL that a command is given. */
export function urlOf(positionals: readonly string[]): string {
  const [url, ...more] = positionals;
  if (url === undefined) throw new UsageError("A URL is missing.");
  if (more.length > 0) {
    throw new UsageError(`One URL is expected; what is ${JSON.stringify(more[0])}?`);
  }
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new UsageError(
      `${JSON.stringify(url)} is not a URL: write it whole, such as http://127.0.0.1:8080/events.`,
    );
  }
  const { username, password } = new URL(url);
  if (username || password) {
    throw new UsageError(
      "fetch takes no user and password in a URL: use --header 'Authorization: …'.",
    );
  }
  return url;
}

/** The headers of `--header 'Name: value'`, which may be given more than once. */
export function headersOf(lines: unknown): Headers {
  const headers = new Headers();
  for (const line of (lines ?? []) as string[]) {
    const [, name, value] = /^([^:]+):(.*)$/.exec(line) ?? [];
    try {
      headers.append(name!.trim(), value!.trim());
    } catch {
      throw new UsageError(
        `${JSON.stringify(line)} is not a header: write --header 'Name: value'.`,
      );
    }
  }
  return headers;
}

/** A whole number of an option; `undefined` if it is not given. */
export function numberOf(
  name: string,
  value: unknown,
  least: number,
  most: number,
): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (/^\d+$/.test(String(value)) && number >= least && number <= most) return number;
  throw new UsageError(
    `--${name} is a whole number from ${least} to ${most}, got ${JSON.stringify(value)}.`,
  );
}

/** What an error of `fetch` says. The reason is often in its cause. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  const { code, message: inner } = (cause ?? {}) as { code?: string; message?: string };
  const reason = inner || code;
  return reason && !message.includes(reason) ? `${message}: ${reason}` : message;
}
