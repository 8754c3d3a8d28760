/**
 * An answer that is not complete never looks complete: what an end says that came early, and a run's stream without an
 * end.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assertEquals, assertInstanceOf } from "@std/assert";
import { type CloseEvent, createClient, readEvents } from "../../src/client/mod.ts";
import { next, serve, STREAM } from "./helpers.ts";

const RUN = { ...STREAM, "Streamside-End": "1" };

/** The data of some events, and what the loop threw. */
async function drain(
  events: AsyncIterable<{ type: string; data: string }>,
): Promise<[data: string[], error: unknown]> {
  const data: string[] = [];
  try {
    for await (const event of events) data.push(`${event.type} ${event.data}`);
  } catch (error) {
    return [data, error];
  }
  return [data, undefined];
}

describe("an end that says of an error", () => {
  const text = 'data: 1\n\nevent: streamside:end\ndata: {"error":"lost"}\nid: a\n\ndata: more\n\n';
  const all = ["message 1", 'streamside:end {"error":"lost"}'];

  test("is thrown by readEvents, after all events", async () => {
    await using server = await serve((exchange) => exchange.stream(text));
    const [data, error] = await drain(readEvents(await fetch(server.url)));
    assertEquals(data, all);
    assertInstanceOf(error, Error);
    assertEquals([error.message, error.cause], ["The stream ended: lost", "lost"]);
  });

  test("closes a client with the reason ended, and its events() throw", async () => {
    await using server = await serve((exchange) => exchange.stream(text));
    const client = createClient(server.url);
    const closed = next<CloseEvent>(client, "close");
    const events = drain(client.events());
    client.connect();
    assertEquals((await closed).reason, "ended");
    const [data, error] = await events;
    assertEquals(data, all);
    assertEquals((error as Error).cause, "lost");
    const [, later] = await drain(client.events());
    assertEquals((later as Error).cause, "lost");
    assertEquals(server.exchanges.length, 1);
  });
});

describe("an end that says of none", () => {
  test("ends readEvents, though the stream goes on", async () => {
    await using server = await serve((exchange) => {
      exchange.stream("data: 1\n\nevent: streamside:end\ndata: {}\n\ndata: more\n\n");
    });
    assertEquals(await drain(readEvents(await fetch(server.url))), [
      ["message 1", "streamside:end {}"],
      undefined,
    ]);
  });
});

describe("a run's stream that ends without an end", () => {
  test("is thrown by readEvents", async () => {
    await using server = await serve(({ response }) => {
      response.writeHead(200, RUN).end("data: 1\n\nretry: 1\n\n");
    });
    const [data, error] = await drain(readEvents(await fetch(server.url)));
    assertEquals(data, ["message 1"]);
    assertInstanceOf(error, Error);
  });

  test("is a failure of a client that makes one attempt", async () => {
    await using server = await serve(({ response }) => {
      response.writeHead(200, RUN).end("data: 1\n\n");
    });
    const client = createClient(server.url, { reconnect: { maxAttempts: 0 }, wake: false });
    const closed = next<CloseEvent>(client, "close");
    const events = drain(client.events());
    client.connect();
    assertEquals((await closed).reason, "attempts");
    const [data, error] = await events;
    assertEquals(data, ["message 1"]);
    assertInstanceOf(error, Error);
  });
});
