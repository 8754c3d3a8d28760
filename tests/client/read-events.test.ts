/** `readEvents`: the events of one response, over real sockets. */
import { describe, test } from "node:test";
import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { readEvents, RefusedError } from "../../src/client/mod.ts";
import { serve, STREAM, until } from "./helpers.ts";

/** The data of all events of a response. */
async function dataOf(
  url: string,
  options?: Parameters<typeof readEvents>[1],
  got: string[] = [],
): Promise<string[]> {
  for await (const event of readEvents(await fetch(url), options)) got.push(event.data);
  return got;
}

describe("readEvents", () => {
  test("gives the events of a response, and ends with it", async () => {
    await using server = await serve((exchange) => {
      exchange.stream('data: 1\n\nid: a\nevent: tick\ndata: {"n":2}\n\nevent: error\ndata: 3\n\n');
      exchange.response.end("event: streamside:end\ndata: {}\n\ndata: incomplete");
    });
    const response = await fetch(server.url, { method: "POST", body: "a question" });
    const events = [];
    for await (const event of readEvents<{ tick: { n: number }; error: number }>(response)) {
      if (event.type === "tick") assertEquals(event.json().n, 2);
      events.push([event.type, event.data, event.lastEventId, event.origin]);
    }
    const origin = new URL(server.url).origin;
    assertEquals(events as unknown, [
      ["message", "1", "", origin],
      ["tick", '{"n":2}', "a", origin],
      ["error", "3", "a", origin],
      ["streamside:end", "{}", "a", origin],
    ]);
    assertEquals(server.exchanges.length, 1);
  });

  test("gives each event when it comes, and leaving the loop cancels the body", async () => {
    await using server = await serve((exchange) => exchange.stream("data: 1\n\n"));
    for await (const event of readEvents(await fetch(server.url))) {
      if (event.data === "2") break;
      server.exchanges[0]!.response.write("data: 2\n\ndata: 3\n\n");
    }
    await until(() => server.exchanges[0]!.gone, "the server to be left");
  });

  test("throws on a refusal, with status and problem", async () => {
    const problem = { title: "Forbidden", status: 403, detail: "Not yours." };
    await using server = await serve(({ response }, index) => {
      if (index === 0) {
        response.writeHead(403, { "Content-Type": "application/problem+json" });
        response.end(JSON.stringify(problem));
      } else if (index === 1) {
        response.writeHead(200, { ...STREAM, "Retry-After": "1" });
        response.end(
          'retry: 5\n\nevent: streamside:unavailable\ndata: {"status":503,"code":"closing"}\n\n',
        );
      } else response.writeHead(index === 2 ? 204 : 500).end();
    });
    for (
      const [status, given] of [
        [403, problem],
        [503, { status: 503, code: "closing" }],
        [204, undefined],
        [500, undefined],
      ] as const
    ) {
      const error = await assertRejects(() => dataOf(server.url));
      assertInstanceOf(error, RefusedError);
      assertEquals([error.status, error.problem], [status, given] as unknown[]);
    }
  });

  test("throws on another type, and leaves it unread", async () => {
    await using server = await serve(({ response }) => {
      response.writeHead(200, { "Content-Type": "text/html" }).write("<!doctype html>");
    });
    const error = await assertRejects(() => dataOf(server.url));
    assertStringIncludes(String(error), "text/html");
    await until(() => server.exchanges[0]!.gone, "the server to be left");
  });

  test("throws when the connection breaks, after the events before", async () => {
    await using server = await serve((exchange) => exchange.stream("data: 1\n\n"));
    const got: string[] = [];
    const reading = dataOf(server.url, {}, got);
    await until(() => got.length === 1, "the event");
    server.exchanges[0]!.response.destroy();
    await assertRejects(() => reading);
  });

  test("throws for an event that is too large, after the events before", async () => {
    await using server = await serve((exchange) => {
      exchange.stream(`data: 1\n\ndata: ${"x".repeat(2000)}`);
    });
    const got: string[] = [];
    const error = await assertRejects(() => dataOf(server.url, { maxEventBytes: 1000 }, got));
    assertStringIncludes(String(error), "maxEventBytes");
    assertEquals(got, ["1"]);
    await until(() => server.exchanges[0]!.gone, "the server to be left");
  });

  test("a signal ends it with its reason, before, while it waits, and between events", async () => {
    await using server = await serve((exchange) => exchange.stream("data: 1\n\n"));
    const reason = new Error("enough");
    const early = await assertRejects(() =>
      dataOf(server.url, { signal: AbortSignal.abort(reason) })
    );
    assertEquals(early, reason);
    const controller = new AbortController();
    const got: string[] = [];
    const reading = dataOf(server.url, { signal: controller.signal }, got);
    await until(() => got.length === 1, "the event");
    controller.abort(reason);
    assertEquals(await assertRejects(() => reading), reason);
    await until(() => server.exchanges.every(({ gone }) => gone), "the server to be left");
  });

  test("needs no network", async () => {
    const response = new Response("data: 1\n\ndata: 2\n\n", { headers: STREAM });
    const got: string[] = [];
    for await (const { data } of readEvents(response)) got.push(data);
    assertEquals(got, ["1", "2"]);
  });
});
