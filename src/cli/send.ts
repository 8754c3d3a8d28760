/**
 * `streamside send`: sends one event.
 *
 * @module
 */
import process from "node:process";
import { limited } from "./limit.ts";
import { headersOf, reasonOf, urlOf } from "./options.ts";
import type { Command } from "./run.ts";
import { CommandError, json, print, UsageError } from "./terminal.ts";

/** How long the answer may take, in ms. */
const LIMIT = 30_000;

/** Sends an event by `POST`, and prints the answer. */
export const send: Command = {
  help: `streamside send URL --session S | --channel C | --all  --event E [--data D | -]

Sends an event through a handler's send route, and prints its id and how many connections of that process it is for.

  --session S              to one session
  --channel C              to a channel's subscribers
  --all                    to everyone
  --event E                the event's type
  --data D                 its data, as it stands; - reads it from standard input (default null)
  --header 'Name: value'   a header of the request; may be given more than once

  streamside send http://127.0.0.1:8080/api/v1/sse/send --session ada --event note --data hello

With curl:

  curl -H 'Content-Type: application/json' -d '{"session":"ada","event":"note","data":"hello"}' \\
    http://127.0.0.1:8080/api/v1/sse/send

Exit code: 0 when the event is in the log; 1 if the server refused or gave no answer.`,
  options: {
    session: { type: "string" },
    channel: { type: "string" },
    all: { type: "boolean" },
    event: { type: "string" },
    data: { type: "string" },
    header: { type: "string", multiple: true },
  },

  async run({ values, positionals }, stopped) {
    const { session, channel, all, event } = values;
    const fromInput = positionals.at(-1) === "-";
    const url = urlOf(fromInput ? positionals.slice(0, -1) : positionals);
    if ([session, channel, all].filter((target) => target !== undefined).length !== 1) {
      throw new UsageError("Say to whom: exactly one of --session, --channel and --all.");
    }
    if (!event) throw new UsageError("Say what: --event is missing.");
    if (fromInput && values.data !== undefined) {
      throw new UsageError("Give --data or -, not both.");
    }
    const headers = headersOf(values.header);
    headers.set("Content-Type", "application/json");
    const data = fromInput || values.data === "-" ? await input() : values.data ?? null;

    let response: Response;
    let text: string;
    try {
      [response, text] = await limited(stopped, LIMIT, async (signal) => {
        const response = await fetch(url, {
          method: "POST",
          headers,
          body: JSON.stringify({ session, channel, all, event, data }),
          // Sent on to another address, the event would not be where the user said.
          redirect: "manual",
          signal,
        });
        return [response, await response.text()];
      });
    } catch (error) {
      throw new CommandError(
        `no answer from ${url}: ${
          reasonOf(error)
        }. Is the server running? The event may or may not be sent.`,
      );
    }
    const answer = parsed(text);
    if (!response.ok) {
      const why = answer?.detail ?? response.headers.get("Location") ?? response.statusText;
      throw new CommandError(`refused: the server answered ${response.status}: ${why}`);
    }
    if (typeof answer?.id !== "string") {
      throw new CommandError(`${url} is no send route: its answer has no id. It ends in /send.`);
    }
    await print(json(answer));
  },
};

/** Standard input, without the line feed that ends it. */
async function input(): Promise<string> {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const chunk of process.stdin) text += chunk;
  return text.replace(/\r?\n$/, "");
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}
