/**
 * Delivery durability for `@tanstack/ai` on runs: a page that is reloaded, or whose connection breaks, gets the rest of
 * an answer from any server of the log, and the model is asked once.
 *
 * ```ts
 * const log = memoryLog();
 * const durability = tanstackDurability(createHub({ log }), log);
 * POST: toServerSentEventsResponse(chat({ … }), { durability: { adapter: durability(request) } });
 * GET: resumeServerSentEventsResponse({ adapter: durability(request) });
 * ```
 *
 * @module
 */
import { createHandler, type Hub, type Log } from "../mod.ts";
import { readEvents } from "../src/client/mod.ts";

/** How many events of the log are read at once. */
const PAGE = 1000;

/** What `@tanstack/ai` calls `StreamDurability`. `Chunk` is its `StreamChunk`. */
export interface TanstackDurability<Chunk> {
  resumeFrom(): string | null;
  append(chunks: Chunk[]): Promise<string[]>;
  read(offset: string, signal?: AbortSignal): AsyncIterable<{ offset: string; chunk: Chunk }>;
  close(): Promise<void>;
  snapshot(): Promise<{ offset: string; chunk: Chunk }[]>;
}

/**
 * The durability of each request: that of the run that its `X-Run-Id` header, its `runId` or its offset names, or of a
 * new one. Whether this reader may read that run is for the route to say, before it asks for this.
 *
 * A run has one producer. So `hub.stopRun(runId)` ends it on whichever server it is, a server that dies leaves a run that
 * is `lost`, and a second producer is refused: what the package calls taking over a run (its `driver`) is not possible.
 */
export function tanstackDurability<Chunk>(
  hub: Hub,
  log: Log,
): (request: Request) => TanstackDurability<Chunk> {
  const runs = log.runs!;
  const handler = createHandler(hub, {
    authenticate: () => ({ session: crypto.randomUUID(), channels: () => true }),
  });

  return (request) => {
    const { searchParams } = new URL(request.url);
    const resumeFrom = request.headers.get("Last-Event-ID") ?? searchParams.get("offset");
    const channel = channelOf(resumeFrom) ?? request.headers.get("X-Run-Id") ??
      searchParams.get("runId") ?? crypto.randomUUID();
    const offsetOf = (id: string) => `${encodeURIComponent(channel)}:${id}`;
    const newest = async () => (await runs.list(channel)).at(-1);
    let producer: Promise<Producer<Chunk>> | undefined;

    return {
      resumeFrom: () => resumeFrom,

      async append(chunks) {
        const ids = await (await (producer ??= produce<Chunk>(hub, channel))).append(chunks);
        return ids.map(offsetOf);
      },

      async close() {
        // A run that was refused has nothing to close.
        const running = await producer?.catch(() => undefined);
        await running?.close();
      },

      async *read(offset, signal) {
        const headers = new Headers();
        if (offset === "now") {
          const run = await newest();
          if (run) headers.set("Last-Event-ID", `${run.run}-${run.events}`);
        } else if (offset !== "-1") {
          if (channelOf(offset) !== channel) throw new Error(`${offset} is not of run ${channel}`);
          headers.set("Last-Event-ID", offset.slice(offset.lastIndexOf(":") + 1));
        }
        const response = await handler.follow(new Request(request.url, { headers }), channel);
        try {
          for await (const { type, data, lastEventId } of readEvents(response, { signal })) {
            if (type === "streamside:reset") throw new Error(`what follows ${offset} is not held`);
            if (type !== "message") continue;
            yield { offset: offsetOf(lastEventId), chunk: JSON.parse(data) };
          }
        } catch (error) {
          if (!signal?.aborted) throw error;
        }
      },

      async snapshot() {
        const found: { offset: string; chunk: Chunk }[] = [];
        const run = await newest();
        if (run === undefined) return found;
        for (let last = 0; last < run.events;) {
          const events = await runs.read(run.run, last, PAGE);
          for (const { number, data } of events) {
            found.push({ offset: offsetOf(`${run.run}-${number}`), chunk: JSON.parse(data!) });
          }
          last = events.at(-1)?.number ?? Infinity;
        }
        return found;
      },
    };
  };
}

/** The run that an offset is of; not `-1` (the beginning) and `now`, which are of any. */
function channelOf(offset: string | null): string | undefined {
  const end = offset?.lastIndexOf(":") ?? -1;
  try {
    return end === -1 ? undefined : decodeURIComponent(offset!.slice(0, end));
  } catch {
    return undefined;
  }
}

interface Producer<Chunk> {
  /** Resolves to the ids of the chunks, once the log holds them. */
  append(chunks: Chunk[]): Promise<string[]>;
  close(): Promise<void>;
}

/** Begins a run whose source is what is appended. */
async function produce<Chunk>(hub: Hub, channel: string): Promise<Producer<Chunk>> {
  interface Batch {
    readonly chunks: Chunk[];
    readonly next: Promise<Batch | undefined>;
    stored(): void;
    failed(error: Error): void;
  }
  let give!: (batch: Batch | undefined) => void;
  const promise = () => new Promise<Batch | undefined>((resolve) => give = resolve);
  const first = promise();
  let isOver = false;
  const over = () => new Error(`The run of ${channel} has ended.`);

  const run = await hub.run(channel, async function* () {
    let batch: Batch | undefined;
    try {
      for (batch = await first; batch; batch = await batch.next) {
        for (const chunk of batch.chunks) yield { data: JSON.stringify(chunk) };
        // It is asked for more when the log holds the last.
        batch.stored();
      }
    } finally {
      isOver = true;
      batch?.failed(over());
    }
  });
  const prefix = run.cursor.slice(0, run.cursor.lastIndexOf("-"));
  let count = 0;

  return {
    async append(chunks) {
      if (isOver) throw over();
      const ids = chunks.map(() => `${prefix}-${++count}`);
      await new Promise<void>((stored, failed) => {
        const last = give;
        last({ chunks, next: promise(), stored, failed });
      });
      return ids;
    },
    async close() {
      give(undefined);
      await run.done;
    },
  };
}
