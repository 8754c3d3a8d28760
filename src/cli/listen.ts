/**
 * `streamside listen`: prints the events of a stream.
 *
 * @module
 */
import { createClient, type StreamEvent } from "../client/mod.ts";
import { headersOf, numberOf, reasonOf, urlOf } from "./options.ts";
import type { Command } from "./run.ts";
import { coloured, CommandError, json, print, printable, tell } from "./terminal.ts";

/** Prints a stream's events, over every reconnection, until it ends or is stopped. */
export const listen: Command = {
  help: `streamside listen URL [options]

Prints the events of a stream. It reconnects and resumes, so that none is missed, and says on standard error what
happens to the connection. Ctrl-C ends it.

  --header 'Name: value'   a header of the request; may be given more than once
  --event NAME             only events of this type; may be given more than once
  --last-event-id ID       start after this event
  --json                   one line an event: {"id","event","data"}; data is a string, as it was sent
  --timeout MS             reconnect after a silence of this length (default 45000; 0: never)

  streamside listen 'http://127.0.0.1:8080/api/v1/sse/subscribe?sessionId=ada' --json

With curl, until the connection is lost:

  curl -N -H 'Accept: text/event-stream' 'http://127.0.0.1:8080/api/v1/sse/subscribe?sessionId=ada'

Exit code: 0 when the stream is complete, after Ctrl-C, and when the reader of a pipe has gone; 1 if the server refused,
the connection was lost for good, or the stream says that it is incomplete.`,
  options: {
    header: { type: "string", multiple: true },
    event: { type: "string", multiple: true },
    "last-event-id": { type: "string" },
    json: { type: "boolean" },
    timeout: { type: "string" },
  },

  async run({ values, positionals }, stopped) {
    const url = urlOf(positionals);
    const headers = headersOf(values.header);
    const timeout = numberOf("timeout", values.timeout, 0, 2 ** 31 - 1) ?? 45_000;
    const wanted = values.event as string[] | undefined;
    const lastEventId = values["last-event-id"] as string | undefined ?? "";

    const client = createClient(url, { headers, timeout, lastEventId, signal: stopped });
    let hasConnected = false;
    /** Why the last connection failed. */
    let reason = "";
    client.on("open", () => {
      hasConnected = true;
      tell(client.lastEventId ? `connected, after ${client.lastEventId}` : "connected");
    });
    client.on("error", ({ error, status }) => {
      reason = reasonOf(error);
      // A wrong address is told at once, not after five attempts. What has answered before will come back.
      if (!hasConnected && status === undefined) client.close();
    });
    client.on("reconnecting", ({ attempt, delay }) => {
      if (client.readyState === client.CLOSED) return;
      tell(`${reason}; attempt ${attempt} in ${(delay / 1000).toFixed(1)} s`, "yellow");
    });
    /** Why the stream says that it ended early. */
    let fault: unknown;
    client.addEventListener("streamside:end", (event) => {
      try {
        fault = event.json().error;
      } catch { /* Somebody else's data. */ }
    });
    const closed = new Promise<string>((resolve) => {
      client.on("close", ({ reason }) => resolve(reason));
    });
    const events = client.events() as AsyncIterable<StreamEvent>;
    client.connect();
    const isRead = printAll(events, wanted, values.json === true, stopped);
    // The iterator ends with the client, after what has come is printed.
    if (!await isRead || stopped.aborted) return client.close();
    const why = await closed;
    if (why === "ended" && fault) throw new CommandError(`incomplete: ${fault}`);
    if (why === "ended") return tell("the stream is complete");
    if (!hasConnected && why === "closed") {
      throw new CommandError(`cannot connect to ${url}: ${reason}. Is the server running?`);
    }
    if (why === "server") throw new CommandError(`refused: ${reason}`);
    throw new CommandError(`lost, after 5 attempts: ${reason}`);
  },
};

/** Prints events until there are no more. Resolves to false when nobody reads them any more. */
async function printAll(
  events: AsyncIterable<StreamEvent>,
  wanted: readonly string[] | undefined,
  asJson: boolean,
  stopped: AbortSignal,
): Promise<boolean> {
  try {
    for await (const { type, data, lastEventId } of events) {
      // The client's name for a gap; what else is named so is no event of a hub's.
      const event = type === "reset" ? "streamside:reset" : type;
      if (type === "reset") tell("events may have been missed: load the state anew", "yellow");
      if (wanted && !wanted.includes(event)) continue;
      const line = asJson
        ? json({ id: lastEventId, event, data })
        : `${coloured("cyan", printable(event))} ${printable(data).replaceAll("\n", "\n  ")}`;
      if (!await print(line) || stopped.aborted) return false;
    }
  } catch { /* The close event tells. */ }
  return true;
}
