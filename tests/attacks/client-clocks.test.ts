/** Clocks that are set while a client waits or listens, and machines that sleep. */
import { describe, test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  type ClientErrorEvent,
  createClient,
  type ReconnectingEvent,
} from "../../src/client/mod.ts";
import { feeds, next, record, until } from "../client/helpers.ts";

const HOUR = 3_600_000;

/** Runs `body`, which can set the clock of the day, in milliseconds from the true one. */
async function withClock(body: (set: (offset: number) => void) => Promise<void>): Promise<void> {
  const { now } = Date;
  let offset = 0;
  Date.now = () => now() + offset;
  try {
    await body((to) => offset = to);
  } finally {
    Date.now = now;
  }
}

describe("the client's clock", () => {
  test("set back: a dead connection is noticed all the same", async () => {
    await withClock(async (set) => {
      const { fetch, all } = feeds();
      const client = createClient("http://localhost/", {
        fetch,
        timeout: 100,
        reconnect: { delay: 60_000 },
      });
      client.connect();
      await next(client, "open");
      all[0]!.push("data: 1\n\n");
      await next(client, "message");
      set(-HOUR);
      assertStringIncludes(String((await next<ClientErrorEvent>(client, "error")).error), "100 ms");
      client.close();
    });
  });

  test("set back while it waits: the wait is no longer", async () => {
    await withClock(async (set) => {
      const { fetch, all } = feeds();
      const client = createClient("http://localhost/", { fetch, reconnect: { delay: 50 } });
      client.connect();
      await next(client, "open");
      all[0]!.end();
      await next(client, "reconnecting");
      set(-HOUR);
      await next(client, "open");
      client.close();
    });
  });

  test("set forward: a connection that is heard from goes on", async () => {
    await withClock(async (set) => {
      const { fetch, all } = feeds();
      const client = createClient("http://localhost/", { fetch, timeout: 500 });
      const lines = record(client, "error", "open");
      client.connect();
      await next(client, "open");
      set(HOUR);
      // Before the timer looks, the server is heard.
      const began = performance.now();
      while (performance.now() - began < 1200) {
        all[0]!.push("data: 1\n\n");
        await next(client, "message");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assertEquals(lines, ["open"]);
      assertEquals(all.length, 1);
      client.close();
    });
  });

  test("set back: a connection that stood for a second has lasted", async () => {
    await withClock(async (set) => {
      const { fetch, all } = feeds();
      let calls = 0;
      const client = createClient("http://localhost/", {
        fetch: (url, init) => ++calls < 3 ? Promise.reject(new Error("down")) : fetch(url, init),
        reconnect: { delay: 1, jitter: 0 },
      });
      client.connect();
      await next(client, "open");
      set(-HOUR);
      await until(() => client.reconnectAttempts === 0, "the open to count as lasting");
      all[0]!.end();
      assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).attempt, 1);
      client.close();
    });
  });

  test("ahead of the server's: a Retry-After date is taken by the server's clock", async () => {
    await withClock(async (set) => {
      set(HOUR);
      const date = Date.parse("2026-01-01T00:00:00Z");
      const client = createClient("http://localhost/", {
        fetch: () =>
          new Response(null, {
            status: 503,
            headers: {
              Date: new Date(date).toUTCString(),
              "Retry-After": new Date(date + 60_000).toUTCString(),
            },
          }),
        reconnect: { delay: 1 },
      });
      client.connect();
      assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).delay, 60_000);
      client.close();
    });
  });
});
