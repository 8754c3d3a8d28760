/** One answer to one request: what is not sent again by itself, how a stream ends, and what iterators make of it. */
import { describe, test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type ClientErrorEvent,
  type ClientOptions,
  type CloseEvent,
  createClient,
  createSharedClient,
  RefusedError,
} from "../../src/client/mod.ts";
import { freePort, next, record, serve, type Server, until } from "./helpers.ts";
import { withPage } from "./page.ts";

const POST: ClientOptions = { method: "POST", body: "a question" };

/** Sends a request; resolves with what the client raised until it closed. With `breaks`, an event breaks the connection. */
async function closed(
  server: Server,
  options: ClientOptions,
  breaks?: boolean,
): Promise<string[]> {
  const client = createClient(server.url, options);
  if (breaks) {
    client.addEventListener("message", () => server.exchanges.at(-1)!.response.destroy());
  }
  const lines = record(client, "message", "error", "reconnecting", "close", "streamside:end");
  const close = next(client, "close");
  client.connect();
  await close;
  return lines;
}

/** A server that answers each request with an event, and nothing more. */
const answering = (): Promise<Server> =>
  serve((exchange) => exchange.stream("data: an answer\n\n"));

describe("a request that is not idempotent", () => {
  test("is sent once: a stream that ends is complete, one that breaks off has failed", async () => {
    for (const method of ["POST", "PATCH", "post", "LOCK"]) {
      for (const reconnect of [undefined, { jitter: 0.1 }, { maxAttempts: undefined }]) {
        await using ends = await serve((exchange) => {
          exchange.stream("data: an answer\n\n");
          exchange.response.end();
        });
        await using breaks = await answering();
        const options = { ...POST, method, reconnect } as ClientOptions;
        assertEquals(await closed(ends, options), ["message an answer", "close ended"]);
        assertEquals(await closed(breaks, options, true), [
          "message an answer",
          "error",
          "close attempts",
        ]);
        assertEquals([ends.exchanges.length, breaks.exchanges.length], [1, 1]);
      }
    }
  });

  test("is not sent again after a refusal for now, nor after silence", async () => {
    await using refuses = await serve(({ response }) => response.writeHead(503).end());
    assertEquals(await closed(refuses, POST), ["error 503", "close attempts"]);
    await using silent = await serve((exchange) => exchange.stream());
    assertEquals(await closed(silent, { ...POST, timeout: 100 }), ["error", "close attempts"]);
    assertEquals([refuses.exchanges.length, silent.exchanges.length], [1, 1]);
  });

  test("is not sent again when the machine has slept", async () => {
    await using server = await serve((exchange) => exchange.stream());
    const client = createClient(server.url, { ...POST, timeout: 200 });
    client.connect();
    await next(client, "open");
    const { now } = Date;
    Date.now = () => now() + 3_600_000;
    try {
      assertEquals((await next<CloseEvent>(client, "close")).reason, "attempts");
    } finally {
      Date.now = now;
    }
    assertEquals(server.exchanges.length, 1);
  });

  test("is not sent again when the network or the page comes back, unless asked to", async () => {
    await withPage(async (raise) => {
      for (const wake of [undefined, true]) {
        await using server = await serve(({ response }) => response.writeHead(503).end());
        const options = wake ? { ...POST, wake } : POST;
        const client = createClient(server.url, options);
        client.connect();
        await next(client, "close");
        for (const type of ["online", "pageshow", "visibilitychange"]) raise(type);
        assertEquals(client.readyState, wake ? client.CONNECTING : client.CLOSED);
        client.close();
      }
    });
  });

  test("is sent again when that is asked for, and after a 401 with new headers", async () => {
    await using server = await serve(({ response }) => response.writeHead(503).end());
    const lines = await closed(server, { ...POST, reconnect: { delay: 1, maxAttempts: 1 } });
    assertEquals(lines, ["error 503", "reconnecting 1", "error 503", "close attempts"]);
    await using guarded = await serve((exchange, index) => {
      if (index === 0) exchange.response.writeHead(401).end();
      else exchange.response.writeHead(200, { "Content-Type": "text/event-stream" }).end();
    });
    assertEquals(await closed(guarded, { ...POST, headers: () => ({}) }), ["close ended"]);
    assertEquals(await guarded.exchanges[1]!.body, "a question");
  });
});

describe("a stream that says that it is complete", () => {
  test("closes the client, and is not asked for again", async () => {
    for (const options of [{}, POST]) {
      await using server = await serve((exchange) => {
        exchange.stream("data: 1\n\nevent: streamside:end\ndata: {}\n\ndata: more\n\n");
      });
      assertEquals(await closed(server, options), [
        "message 1",
        "streamside:end {}",
        "close ended",
      ]);
      await until(() => server.exchanges[0]!.gone, "the server to be left");
      assertEquals(server.exchanges.length, 1);
    }
  });

  test("does not close a client that a listener has started anew", async () => {
    await using server = await serve((exchange, index) => {
      exchange.stream(index === 0 ? "event: streamside:end\ndata: {}\n\n" : "data: anew\n\n");
    });
    const client = createClient(server.url);
    const lines = record(client, "close", "message");
    client.addEventListener("streamside:end", () => client.reconnect());
    client.connect();
    await next(client, "message");
    assertEquals(lines, ["message anew"]);
    client.close();
  });
});

describe("events() of a client that has failed", () => {
  const problem = { title: "Unauthorized", status: 401, detail: "Who are you?" };

  test("throws the refusal, after the events before it, and when it is asked later", async () => {
    await using server = await serve((exchange, index) => {
      const { response } = exchange;
      if (index === 0) {
        exchange.stream("data: 1\n\ndata: 2\n\n");
        response.end();
      } else {
        response.writeHead(401, { "Content-Type": "application/problem+json" });
        response.end(JSON.stringify(problem));
      }
    });
    const client = createClient(server.url, { reconnect: { delay: 1 } });
    const heard: string[] = [];
    const loop = async () => {
      for await (const event of client.events()) heard.push(event.data);
    };
    const first = loop();
    const error = next<CloseEvent>(client, "close");
    client.connect();
    await error;
    const refusal = await assertRejects(() => first);
    assertInstanceOf(refusal, RefusedError);
    assertEquals([refusal.status, refusal.problem], [401, problem]);
    assertEquals(heard, ["1", "2"]);
    assert(await assertRejects(loop) === refusal);
    const events = client.events("message");
    await assertRejects(() => events.next());
    assertEquals(await events.next(), { done: true, value: undefined });
  });

  test("throws when no attempt came through", async () => {
    const client = createClient(`http://127.0.0.1:${await freePort()}/`, {
      reconnect: { delay: 1, maxAttempts: 1 },
    });
    const errors: unknown[] = [];
    client.addEventListener("error", (event) => errors.push((event as ClientErrorEvent).error));
    const event = client.events().next();
    client.connect();
    assert(await assertRejects(() => event) === errors.at(-1));
    assertEquals(errors.length, 2);
  });

  test("ends quietly when it was closed, aborted, or the stream is complete", async () => {
    let controller = new AbortController();
    for (
      const [reason, text, close] of [
        ["closed", "", (client: { close(): void }) => client.close()],
        ["aborted", "", () => controller.abort()],
        ["ended", "event: streamside:end\ndata: {}\n\n", () => {}],
      ] as const
    ) {
      controller = new AbortController();
      await using server = await serve((exchange) => exchange.stream(text));
      const client = createClient(server.url, { signal: controller.signal });
      const closed = next<CloseEvent>(client, "close");
      const event = client.events("message").next();
      const opened = next(client, "open");
      client.connect();
      await opened;
      close(client);
      assertEquals((await closed).reason, reason);
      assertEquals(await event, { done: true, value: undefined });
    }
  });
});

describe("createSharedClient", () => {
  test("refuses a method that is not idempotent", () => {
    for (const method of ["POST", "PATCH"]) {
      const error = assertThrows(() => createSharedClient("/sse", { name: "all", method }));
      assertInstanceOf(error, TypeError);
      assertStringIncludes(String(error), method);
    }
  });

  test("events() throws the refusal, with status and problem", async () => {
    const problem = { status: 403, detail: "Not yours." };
    await using server = await serve(({ response }) => {
      response.writeHead(403, { "Content-Type": "application/problem+json" });
      response.end(JSON.stringify(problem));
    });
    const client = createSharedClient(server.url, { name: crypto.randomUUID() });
    const event = client.events().next();
    client.connect();
    const refusal = await assertRejects(() => event);
    assertInstanceOf(refusal, RefusedError);
    assertEquals([refusal.status, refusal.problem], [403, problem]);
    client.close();
  });
});
