/** Servers that are not ours: their event names are not the client's own, and their ids need not fit into a header. */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createClient, createSharedClient, EventSource } from "../../src/client/mod.ts";
import { feeds, next, record, serve, until } from "../client/helpers.ts";

const OWN = ["open", "error", "reconnecting", "reset", "close"];

describe("events that are called as the client's own", () => {
  for (const create of [createClient, createSharedClient]) {
    test(`reach events(), and no listener of the client's own events (${create.name})`, async () => {
      const { fetch, all } = feeds();
      const client = create("/sse", { fetch, name: crypto.randomUUID() });
      const lines = record(client, ...OWN);
      const heard: string[] = [];
      client.onopen = () => heard.push("onopen");
      client.onerror = () => heard.push("onerror");
      const events = client.events();
      const errors = client.events("error");
      client.connect();
      try {
        await next(client, "open");
        for (const type of OWN) all[0]!.push(`event: ${type}\ndata: of the stream\n\n`);
        all[0]!.push("event: streamside:reset\ndata: {}\n\nevent: last\ndata: x\n\n");
        await next(client, "last");
        const types: string[] = [];
        for await (const event of events) {
          types.push(event.type);
          if (event.type === "last") break;
        }
        assertEquals(types, [...OWN, "reset", "last"]);
        assertEquals((await errors.next()).value?.data, "of the stream");
        assertEquals(lines, ["open", "reset {}"]);
        assertEquals(heard, ["onopen"]);
        assertEquals(client.readyState, client.OPEN);
      } finally {
        client.close();
      }
    });
  }

  test("are events like any other to EventSource, as the standard has it", async () => {
    const { fetch, all } = feeds();
    const source = new EventSource("http://localhost/", { fetch });
    await next(source, "open");
    const errors: unknown[] = [];
    source.onerror = (event) => errors.push((event as MessageEvent).data);
    all[0]!.push("event: error\ndata: of the stream\n\n");
    await next(source, "error");
    source.close();
    assertEquals(errors, ["of the stream"]);
  });
});

describe("an id that cannot be sent", () => {
  for (
    const [what, id] of [
      ["with a control character", "a\x01b"],
      ["with DEL", "a\x7fb"],
      ["longer than servers take", "x".repeat(20_000)],
    ] as const
  ) {
    test(`${what}: the client comes back without it, and says that events may be missing`, async () => {
      await using server = await serve((exchange, index) => {
        exchange.stream(index === 0 ? `id: ${id}\ndata: 0\n\n` : `data: ${index}\n\n`);
        if (index < 2) exchange.response.end();
      });
      const notes: unknown[] = [];
      const client = createClient(server.url, {
        reconnect: { delay: 1, jitter: 0 },
        logger: { debug: (...message) => notes.push(message[0]) },
      });
      const lines = record(client, "message", "open", "reset", "close");
      client.connect();
      try {
        await until(() => lines.includes("message 2"), "the third connection");
        assertEquals(lines, [
          "open",
          "message 0",
          "open",
          "reset {}",
          "message 1",
          "open",
          "reset {}",
          "message 2",
        ]);
        for (const { request } of server.exchanges) {
          assertEquals(request.headers["last-event-id"], undefined);
        }
        assert(notes.includes("The last event id cannot be sent"));
      } finally {
        client.close();
      }
    });
  }

  test("EventSource comes back without it", async () => {
    await using server = await serve((exchange, index) => {
      exchange.stream(index === 0 ? "retry: 1\nid: \x01\ndata: 0\n\n" : "data: 1\n\n");
      if (index === 0) exchange.response.end();
    });
    const source = new EventSource(server.url);
    const lines = record(source, "message", "reset");
    await until(() => lines.length === 2, "the second connection's event");
    source.close();
    assertEquals(lines, ["message 0", "message 1"]);
  });

  test("an id that no text can hold is left out", async () => {
    await using server = await serve((exchange) => exchange.stream());
    const client = createClient(server.url, { lastEventId: "a\ud800" });
    client.connect();
    await next(client, "open");
    client.close();
    assertEquals(server.exchanges.length, 1);
  });
});
