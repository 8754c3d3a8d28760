/** What `streamside/testing` gives to the tests of applications. */
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHandler, createHub } from "../mod.ts";
import { createClient } from "../src/client/mod.ts";
import { collect, createTestClient } from "../src/testing.ts";
import { until } from "./client/helpers.ts";

interface Events {
  progress: number;
  note: { text: string };
}

const authenticate = () => ({ session: "a" });

describe("streamside/testing", () => {
  test("a client on a handler without a network, and its events collected", async () => {
    const hub = createHub<Events>();
    const client = createTestClient<Events>(
      createHandler(hub, { authenticate, basePath: "/sse" }),
      {
        url: "/sse/subscribe",
      },
    );
    client.connect();
    await until(() => client.readyState == client.OPEN, "the client to open");
    const progress = collect(client, "progress", 3);
    const notes = collect(client, "note");
    for (const part of [25, 50, 100]) await hub.send("a", "progress", part);
    await hub.send("b", "progress", 1);
    await hub.broadcast("note", { text: "line\nline" });
    const parts: number[] = (await progress).map((event) => event.json());
    assertEquals(parts, [25, 50, 100]);
    const [note] = await notes;
    assertEquals(note!.json().text, "line\nline");
    client.close();
    await until(() => hub.stats().connections == 0, "the hub to forget the client");
    await hub.close();
  });

  test("createClient with a handler as its fetch needs no address either, and resumes", async () => {
    const hub = createHub<Events>();
    const handler = createHandler(hub, { authenticate, basePath: "/sse" });
    const client = createClient<Events>("/sse/subscribe", {
      fetch: (url, init) => handler(new Request(url, init)),
      lastEventId: await hub.cursor(),
    });
    await hub.send("a", "progress", 1);
    const events = collect(client, "progress", 2);
    client.connect();
    await until(() => client.readyState == client.OPEN, "the client to open");
    await hub.send("a", "progress", 2);
    assertEquals((await events).map((event) => event.data), ["1", "2"]);
    client.close();
    await hub.close();
  });

  test("collect says what had come when not all comes", async () => {
    const hub = createHub<Events>();
    const client = createTestClient<Events>(createHandler(hub, { authenticate }));
    client.connect();
    await until(() => client.readyState == client.OPEN, "the client to open");
    const late = collect(client, "progress", 2, { timeout: 200 });
    const closed = collect(client, "note", 1);
    await hub.send("a", "progress", 7);
    const error = await assertRejects(() => late, Error, '1 of 2 "progress" events');
    assert(error.message.includes('["7"]'), error.message);
    client.close();
    await assertRejects(() => closed, Error, "closed (closed)");
    assertEquals(await collect(client, "note", 0), []);
    await hub.close();
  });
});
