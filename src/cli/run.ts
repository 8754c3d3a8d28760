/**
 * Which command is meant, and with which exit code it ends.
 *
 * @module
 */
import { VERSION } from "../version.ts";
import { bench } from "./bench.ts";
import { listen } from "./listen.ts";
import { type Given, type Options, parse } from "./options.ts";
import { send } from "./send.ts";
import { serve } from "./serve.ts";
import {
  AS_ASKED,
  CommandError,
  FAILED,
  print,
  tell,
  untilStopped,
  UsageError,
  WRONG_USAGE,
} from "./terminal.ts";

/** One command. */
export interface Command {
  /** Its help. */
  readonly help: string;
  /** What it takes besides `--help`. */
  readonly options: Options;
  /** Does it. It ends when `stopped` aborts. It throws a `UsageError` or a `CommandError`. */
  run(given: Given, stopped: AbortSignal): Promise<void>;
}

const commands: Readonly<Record<string, Command>> = { listen, send, serve, bench };

const help = `streamside: Server-Sent Events on the command line

  streamside listen URL    print a stream's events, over every reconnection
  streamside send URL      send an event
  streamside serve --dev   a hub on this machine, to try things on
  streamside bench URL     does my server, or the proxy before it, stream?

  streamside COMMAND --help
  streamside --version

It ends with 0 as asked, with 1 if it was refused or lost, with 2 for wrong usage.`;

/** Runs a command line; resolves to the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  const stopped = untilStopped();
  const [name = "", ...rest] = args;
  try {
    if (name === "--help" || name === "-h" || name === "help") return await printed(help);
    if (name === "--version") return await printed(VERSION);
    if (!Object.hasOwn(commands, name)) {
      throw new UsageError(
        name === ""
          ? `A command is missing: ${Object.keys(commands).join(", ")}.`
          : `There is no command ${JSON.stringify(name)}, but ${Object.keys(commands).join(", ")}.`,
      );
    }
    const command = commands[name]!;
    const given = parse(rest, { ...command.options, help: { type: "boolean", short: "h" } });
    if (given.values.help) return await printed(command.help);
    await command.run(given, stopped);
    return AS_ASKED;
  } catch (error) {
    if (error instanceof UsageError) {
      const of = Object.hasOwn(commands, name) ? `${name} ` : "";
      tell(`streamside: ${error.message}\nSee: streamside ${of}--help`, "red");
      return WRONG_USAGE;
    }
    if (stopped.aborted) return AS_ASKED;
    const isKnown = error instanceof CommandError;
    tell(`streamside: ${isKnown ? error.message : (error as Error).stack}`, "red");
    return FAILED;
  }
}

async function printed(text: string): Promise<number> {
  await print(text);
  return AS_ASKED;
}
