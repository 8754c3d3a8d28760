/** Streams that never say anything: what the client holds of them is bounded, whatever their lines are. */
import { describe, test } from "node:test";
import process from "node:process";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type ClientErrorEvent, createClient } from "../../src/client/mod.ts";
import { collectGarbage } from "../garbage.ts";
import { type Feed, feeds, next, until } from "../client/helpers.ts";

const MAX = 2 ** 22;

/** Runs `body` with a client that is open, and the stream that it reads. */
async function withStream(
  maxEventBytes: number,
  body: (feed: Feed, lines: string[]) => Promise<void>,
): Promise<void> {
  const { fetch, all } = feeds();
  const lines: string[] = [];
  const client = createClient("http://localhost/", {
    fetch,
    maxEventBytes,
    reconnect: { maxAttempts: 0 },
  });
  client.addEventListener("error", (event) => {
    lines.push(String((event as ClientErrorEvent).error));
  });
  client.addEventListener("message", (event) => lines.push(`message of ${event.data.length}`));
  client.connect();
  await next(client, "open");
  try {
    await body(all[0]!, lines);
  } finally {
    client.close();
  }
}

/** Gives a client chunks, and waits now and then, so that it can take them. */
async function give(feed: Feed, chunk: string, times: number): Promise<void> {
  const bytes = new TextEncoder().encode(chunk);
  for (let i = 0; i < times && !feed.cancelled; i++) {
    feed.push(bytes);
    if (i % 16 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
}

/** What the heap holds that is not garbage, in bytes. */
function held(): number {
  collectGarbage!();
  return process.memoryUsage().heapUsed;
}

describe("an endless stream", () => {
  for (const line of ["data: ", "event: ", "id: ", "retry: "]) {
    test(`of one line of ${JSON.stringify(line)} is an error`, async () => {
      await withStream(100_000, async (feed, lines) => {
        feed.push(line);
        await give(feed, "\0".repeat(100_000), 20);
        await until(() => lines.length === 1, "the error");
        assertStringIncludes(lines[0]!, "maxEventBytes");
        assert(feed.cancelled);
      });
    });
  }

  for (const line of ["unknown: ", ": ", "", "\0"]) {
    test(`of one line of ${JSON.stringify(line)} is read and forgotten`, async () => {
      await withStream(1000, async (feed, lines) => {
        feed.push(line);
        await give(feed, "\0".repeat(100_000), 50);
        feed.push("\ndata: 1\n\n");
        await until(() => lines.length > 0, "the event");
        assertEquals(lines, ["message of 1"]);
      });
    });
  }

  test("of lines of data is an error", async () => {
    for (const line of ["data\n", "data:\n", "data: x\n", "data\r", "data:\r\n"]) {
      await withStream(100_000, async (feed, lines) => {
        await give(feed, line.repeat(1000), 120);
        await until(() => lines.length === 1, "the error");
        assertStringIncludes(lines[0]!, "maxEventBytes");
      });
    }
  });

  test("of other lines is read on, and the event after them arrives", async () => {
    for (
      const line of [":\n", ": beat\n\n", "event: x\n", "id: 1\n", "retry: 1\n", "x\n", "\0\n"]
    ) {
      await withStream(1000, async (feed, lines) => {
        await give(feed, line.repeat(1000), 20);
        feed.push("event: message\ndata: 1\n\n");
        await until(() => lines.length > 0, "the event");
        assertEquals(lines, ["message of 1"]);
      });
    }
  });

  for (const end of ["\n", "\r\n", "\r"]) {
    test(`of heartbeats with ${JSON.stringify(end)} is read on`, async () => {
      await withStream(1_000, async (feed, lines) => {
        await give(feed, `: ping${end}${end}`, 20_000);
        feed.push(`data: here${end}${end}`);
        if (end === "\r") feed.push("\n");
        await until(() => lines.length === 1, "the event");
        assertEquals(lines, ["message of 4"]);
      });
    });
  }

  test("an event as large as the limit arrives, however it is cut and however many lines it has", async () => {
    const line = (length: number) => `data:${"x".repeat(length)}\n`;
    for (
      const [text, length] of [
        [line(10_000), 10_000],
        [line(0).repeat(10_001), 10_000],
        [line(9).repeat(1000), 9999],
        [line(99).repeat(100), 9999],
      ] as const
    ) {
      for (const size of [7, 1000, text.length]) {
        await withStream(10_005, async (feed, lines) => {
          for (let i = 0; i < text.length; i += size) feed.push(text.slice(i, i + size));
          feed.push("\n");
          await until(() => lines.length > 0, "the event");
          assertEquals(lines, [`message of ${length}`]);
        });
      }
    }
  });

  // A piece of a line keeps the whole chunk that it was cut out of.
  const padded = `data: 14 characters\n:${"x".repeat(16_384)}\n`;
  for (
    const [what, chunk] of [
      ["empty lines of data", "data:\n".repeat(8192)],
      ["short lines of data", "data: x\n".repeat(8192)],
      ["lines of data that chunks cut", "ta:\nda"],
      ["lines of data between long comments", padded],
    ] as const
  ) {
    test(
      `${what}: at most four times maxEventBytes is held until the error`,
      { skip: collectGarbage ? false : "garbage cannot be collected from here" },
      async () => {
        const max = chunk.length < 10 ? 2 ** 14 : MAX;
        await withStream(max, async (feed, lines) => {
          feed.push(chunk.length < 10 ? "da" : "");
          const before = held();
          let most = 0;
          for (let i = 0; i < 1000 && lines.length === 0; i++) {
            await give(
              feed,
              chunk,
              Math.ceil(2 ** 17 / chunk.length / (chunk.length < 10 ? 16 : 1)),
            );
            await new Promise((resolve) => setTimeout(resolve));
            if (i % 8 === 0) most = Math.max(most, held() - before);
          }
          assertEquals(lines.length, 1);
          assertStringIncludes(lines[0]!, "maxEventBytes");
          assert(most < 4 * max + 2 ** 21, `${most} bytes for ${max}`);
        });
      },
    );
  }
});
