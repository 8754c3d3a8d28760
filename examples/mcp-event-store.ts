/**
 * An `EventStore` for servers of `@modelcontextprotocol/sdk` on a log: a client whose connection is cut in the middle of
 * a tool call comes back with its last id, on any server of the log, and gets what it missed.
 *
 * ```ts
 * const eventStore = mcpEventStores(memoryLog());
 * const session = crypto.randomUUID();
 * new StreamableHTTPServerTransport({ sessionIdGenerator: () => session, eventStore: eventStore(session) });
 * ```
 *
 * @module
 */
import type { Address, Log, LogEntry } from "../mod.ts";

/** How many entries of the log are read at once. */
const PAGE = 1000;

/** What the SDK calls `EventStore`. `Message` is its `JSONRPCMessage`. */
export interface McpEventStore<Message> {
  storeEvent(streamId: string, message: Message): Promise<string>;
  getStreamIdForEventId(eventId: string): Promise<string | undefined>;
  replayEventsAfter(
    lastEventId: string,
    options: { send: (eventId: string, message: Message) => Promise<void> },
  ): Promise<string>;
}

/**
 * The event stores of a log, one for each MCP session. An id gives the events of its own session and stream alone: the
 * SDK names streams alike in all sessions (`_GET_stream`), so that a store that goes by their names gives them away.
 * The log is for this alone: a hub on it would count these events as its own.
 */
export function mcpEventStores<Message>(log: Log): (session: string) => McpEventStore<Message> {
  let epoch = "";
  const opened = new Promise<void>((resolve) =>
    log.follow({
      opened: (name) => {
        epoch = name;
        resolve();
      },
      appended: () => {},
      // What is asked meanwhile rejects by itself.
      failed: () => {},
    })
  );

  const idOf = ({ position, tag = "" }: { position: number; tag?: string | undefined }) =>
    [position, tag, epoch].map(encodeURIComponent).join(":");

  /** The entry that an id stands for, if the log holds it and has not started over since. */
  async function entryOf(id: string): Promise<LogEntry | undefined> {
    await opened;
    const position = Number(/^[1-9]\d{0,15}(?=:)/.exec(id)?.[0]);
    if (!Number.isSafeInteger(position)) return undefined;
    const entry = (await log.read({ position: position - 1 }, 1))?.[0];
    return entry && idOf(entry) === id ? entry : undefined;
  }

  return (session) => {
    const prefix = `#${encodeURIComponent(session)}/`;
    const streamOf = (entry: LogEntry | undefined) =>
      entry?.record.to.startsWith(prefix) ? entry.record.to.slice(prefix.length) : undefined;

    return {
      async storeEvent(streamId, message) {
        await opened;
        const to: Address = `#${prefix.slice(1)}${streamId}`;
        return idOf(await log.append({ to, event: "message", data: JSON.stringify(message) }));
      },

      async getStreamIdForEventId(eventId) {
        return streamOf(await entryOf(eventId));
      },

      async replayEventsAfter(lastEventId, { send }) {
        let last = await entryOf(lastEventId);
        const stream = streamOf(last);
        if (!last || stream === undefined) throw new Error(`no event has the id ${lastEventId}`);
        for (;;) {
          const { position, tag }: LogEntry = last;
          const entries = await log.read({ position, tag }, PAGE);
          if (!entries) throw new Error(`not everything after ${lastEventId} is held any more`);
          if (entries.length === 0) return stream;
          for (const entry of entries) {
            // The SDK stores `{}` for an event without data, which only gives the client an id.
            if (streamOf(entry) === stream && entry.record.data !== "{}") {
              await send(idOf(entry), JSON.parse(entry.record.data));
            }
            last = entry;
          }
        }
      },
    };
  };
}
