/**
 * The example of a durability adapter for `@tanstack/ai`: by itself, and under the package's own responses.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { describe, test } from "node:test";
import process from "node:process";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { tanstackDurability } from "../../examples/tanstack-ai.ts";
import { createHub, type Hub, memoryLog } from "../../mod.ts";
import { readEvents } from "../../src/client/mod.ts";
import { quietLogger, until, within } from "../server-helpers.ts";

const PACKAGE = new URL(
  "../../examples/tanstack/node_modules/@tanstack/ai/dist/esm/",
  import.meta.url,
);
const skip = existsSync(PACKAGE) || process.env.CI === "true"
  ? false
  : "npm ci --prefix examples/tanstack installs @tanstack/ai";

/** What the test uses of a `StreamChunk`. */
interface Chunk {
  type: string;
  delta?: string;
  name?: string;
}

type Durability = ReturnType<typeof tanstackDurability<Chunk>>;

/** Two servers of one log. */
async function withServers(
  test: (one: Durability, two: Durability, hub: Hub) => Promise<void>,
): Promise<void> {
  const log = memoryLog();
  const hubs = [1, 2].map(() => createHub({ log, logger: quietLogger }));
  const [one, two] = hubs.map((hub) => tanstackDurability<Chunk>(hub, log));
  try {
    await within(test(one!, two!, hubs[0]!), "the test", 60_000);
  } finally {
    await Promise.all(hubs.map((hub) => hub.close()));
  }
}

const request = (query = "", headers = {}) =>
  new Request(`http://localhost/chat${query}`, { headers });
const chunk = (delta: string): Chunk => ({ type: "TEXT_MESSAGE_CONTENT", delta });

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of source) found.push(each);
  return found;
}

describe("examples/tanstack-ai.ts", () => {
  test("gives each chunk an offset, after which any server goes on, live and to the end", () =>
    withServers(async (one, two, hub) => {
      const producer = one(request("?runId=a%3Ab"));
      assertEquals(producer.resumeFrom(), null);
      const offsets = await producer.append([chunk("1"), chunk("2")]);
      assertEquals(new Set(offsets).size, 2);
      const resumed = two(request("", { "Last-Event-ID": offsets[0] }));
      assertEquals(resumed.resumeFrom(), offsets[0]);
      const rest = all(resumed.read(offsets[0]!));
      const fromNow = one(request("?runId=a%3Ab&offset=now"));
      const next = fromNow.read("now")[Symbol.asyncIterator]();
      const coming = next.next();
      await until(() => hub.stats().connections === 1, "the reader");
      const [third] = await producer.append([chunk("3")]);
      await producer.close();
      const expected = [chunk("2"), chunk("3")].map((chunk, i) => ({
        offset: [offsets[1], third][i]!,
        chunk,
      }));
      assertEquals(await rest, expected);
      assertEquals(await coming, { done: false, value: expected[1]! });
      assertEquals((await next.next()).done, true);
      const whole = await all(two(request("?runId=a%3Ab&offset=-1")).read("-1"));
      assertEquals(whole.map(({ chunk }) => chunk.delta), ["1", "2", "3"]);
    }));

  test("a snapshot is what is stored now, and nothing for a run that never was", () =>
    withServers(async (one, two) => {
      const producer = one(request("?runId=r"));
      assertEquals(await producer.snapshot(), []);
      const offsets = await producer.append([chunk("1"), chunk("2")]);
      const stored = await two(request("?runId=r")).snapshot();
      assertEquals(stored.map(({ offset }) => offset), offsets);
      assertEquals(stored.map(({ chunk }) => chunk.delta), ["1", "2"]);
      await producer.append([chunk("3")]);
      assertEquals([stored.length, (await producer.snapshot()).length], [2, 3]);
      await producer.close();
      assertEquals((await producer.snapshot()).length, 3);
    }));

  test("what cannot be replayed whole is refused: no such run, an offset of another, one cut off", () =>
    withServers(async (one, two) => {
      const read = (offset: string, query = "") => all(two(request(query)).read(offset));
      await assertRejects(() => read("-1", "?runId=never"));
      const [offset] = await one(request("?runId=r")).append([chunk("1")]);
      await assertRejects(() => read(offset!, "?runId=other"), Error, "is not of run other");
      await assertRejects(() => read("%:x", "?runId=r"), Error, "is not of run r");
      const later = offset!.replace(/:.{16}-/, `:${"x".repeat(16)}-`);
      await assertRejects(() => read(later, "?runId=r"), Error, "is not held");
    }));

  test("a run has one producer, which is told when it was stopped; a reader that aborts ends", () =>
    withServers(async (one, two, hub) => {
      const producer = one(request("?runId=r"));
      await producer.append([chunk("1")]);
      const second = two(request("?runId=r"));
      await assertRejects(() => second.append([chunk("2")]), Error, "runs already");
      await second.close();
      const abort = new AbortController();
      const left = two(request("?runId=r")).read("-1", abort.signal)[Symbol.asyncIterator]();
      assertEquals((await left.next()).value?.chunk.delta, "1");
      abort.abort();
      assertEquals((await left.next()).done, true);
      const reading = all(two(request("?runId=r")).read("-1"));
      assert(await hub.stopRun("r"));
      await assertRejects(() => reading, Error, "stopped");
      await assertRejects(() => producer.append([chunk("2")]), Error, "has ended");
      await producer.close();
    }));

  test(
    "the package's own responses: a page that is cut off gets the rest, and the model is asked once",
    {
      skip,
    },
    () =>
      withServers(async (one, two) => {
        const { resumeServerSentEventsResponse, toServerSentEventsResponse } = await import(
          new URL("index.js", PACKAGE).href
        );
        let asked = 0;
        let goOn!: () => void;
        const isCut = new Promise<void>((resolve) => goOn = resolve);
        async function* chat(): AsyncGenerator<Chunk> {
          asked++;
          yield { type: "RUN_STARTED" };
          for (let i = 0; i < 50; i++) {
            if (i === 20) await isCut;
            yield chunk(`${i} `);
          }
          yield { type: "RUN_FINISHED" };
        }
        const text = (chunks: Chunk[]) => chunks.map(({ delta }) => delta ?? "").join("");
        const whole = Array.from({ length: 50 }, (_, i) => `${i} `).join("");

        const response: Response = toServerSentEventsResponse(chat(), {
          durability: { adapter: one(request("?runId=answer")), batch: 7 },
        });
        const seen: Chunk[] = [];
        let last = "";
        for await (const { data, lastEventId } of readEvents(response)) {
          seen.push(JSON.parse(data));
          last = lastEventId;
          if (seen.length === 10) break;
        }
        const resume = (request: Request): Response =>
          resumeServerSentEventsResponse({ adapter: two(request) });
        const rest = all(readEvents(resume(request("", { "Last-Event-ID": last }))));
        goOn();
        for (const { data } of await rest) seen.push(JSON.parse(data));
        assertEquals(seen.map(({ type }) => type).slice(0, 2), ["CUSTOM", "RUN_STARTED"]);
        assertEquals(text(seen), whole);
        assertEquals(seen.at(-1)!.type, "RUN_FINISHED");

        const again = await all(readEvents(resume(request("?runId=answer&offset=-1"))));
        assertEquals(text(again.map(({ data }) => JSON.parse(data))), whole);
        assertEquals(resume(request("?runId=answer")).status, 400);
        assertEquals(asked, 1);
      }),
  );
});
