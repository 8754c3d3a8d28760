/** Answers without a stream: what a client learns from them, and when it asks again. */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type ClientErrorEvent,
  type ClientOptions,
  createClient,
  EventSource,
  type ReconnectingEvent,
} from "../../src/client/mod.ts";
import { type Exchange, next, record, serve, STREAM, until } from "./helpers.ts";

const PROBLEM = {
  type: "about:blank",
  title: "Service Unavailable",
  status: 503,
  detail: "The hub is closing.",
  code: "closing",
};

/** Answers as a hub does that has no stream for now. */
function unavailable({ response }: Exchange, after: string, problem: string): void {
  response.writeHead(200, { ...STREAM, "Retry-After": after });
  response.end(
    `retry: 3000\nid: 7\n\nevent: streamside:unavailable\ndata: ${problem}\n\n`,
  );
}

/** Connects once; resolves with what the first error says. */
async function errorOf(url: string, options: ClientOptions = {}): Promise<ClientErrorEvent> {
  const client = createClient(url, { reconnect: { maxAttempts: 0 }, ...options });
  try {
    const error = next<ClientErrorEvent>(client, "error");
    client.connect();
    return await error;
  } finally {
    client.close();
  }
}

describe("a stream that says that there is none for now", () => {
  test("is an error with the status and the problem; open is not said, the attempt counts", async () => {
    await using server = await serve((exchange, index) => {
      if (index === 0) unavailable(exchange, "0", JSON.stringify(PROBLEM));
      else exchange.stream("data: x\n\n");
    });
    const client = createClient(server.url, {
      lastEventId: "7",
      reconnect: { jitter: 0, maxAttempts: 1 },
    });
    const lines = record(client, "open", "error", "reconnecting", "streamside:unavailable");
    const error = next<ClientErrorEvent>(client, "error");
    client.connect();
    const { delay } = await next<ReconnectingEvent>(client, "reconnecting");
    assertEquals(delay, 3000);
    const { status, problem } = await error;
    assertEquals([status, problem], [503, PROBLEM]);
    assertEquals(client.reconnectAttempts, 1);
    assertEquals(client.lastEventId, "7");
    assertEquals(lines, ["error 503", "reconnecting 1"]);
    client.close();
  });

  test("is asked again no earlier than it says", async () => {
    await using server = await serve((exchange) =>
      unavailable(exchange, "120", JSON.stringify(PROBLEM))
    );
    const client = createClient(server.url);
    client.connect();
    const { delay } = await next<ReconnectingEvent>(client, "reconnecting");
    assertEquals(delay, 120_000);
    client.close();
  });

  test("is over after maxAttempts", async () => {
    await using server = await serve((exchange) =>
      unavailable(exchange, "0", JSON.stringify(PROBLEM))
    );
    const client = createClient(server.url, { reconnect: { maxAttempts: 0 } });
    const lines = record(client, "open", "error", "close");
    client.connect();
    await next(client, "close");
    assertEquals(lines, ["error 503", "close attempts"]);
  });

  test("is a refusal without a problem, too, and one that never ends", async () => {
    await using server = await serve(({ response }, index) => {
      response.writeHead(200, { ...STREAM, "Retry-After": "0" });
      if (index === 0) response.end("data: what\n\n");
      else response.write(": and nothing more\n\n");
    });
    assertEquals((await errorOf(server.url)).status, 200);
    const { status, problem } = await errorOf(server.url);
    assertEquals([status, problem], [200, undefined]);
    await until(() => server.exchanges[1]!.gone, "the server to be left");
  });

  test("is not waited for when the client closes meanwhile", async () => {
    await using server = await serve(({ response }) => {
      response.writeHead(200, { ...STREAM, "Retry-After": "0" });
      response.write(":\n\n");
    });
    const client = createClient(server.url);
    const lines = record(client, "open", "error", "close");
    client.connect();
    await until(() => server.exchanges.length === 1, "the request");
    client.close();
    await until(() => server.exchanges[0]!.gone, "the server to be left");
    assertEquals(lines, ["close closed"]);
  });

  test("is a stream to EventSource: open, the event, error, and it comes back", async () => {
    let requests = 0;
    const source = new EventSource("http://localhost/", {
      fetch: () => {
        requests++;
        return new Response("retry: 1\n\nevent: streamside:unavailable\ndata: {}\n\n", {
          headers: { ...STREAM, "Retry-After": "0" },
        });
      },
    });
    const lines = record(source, "open", "streamside:unavailable", "error");
    await until(() => requests >= 2, "the second request");
    source.close();
    assertEquals(lines.slice(0, 3), ["open", "streamside:unavailable {}", "error"]);
  });
});

describe("the problem of a refusal", () => {
  test("is in the error", async () => {
    await using server = await serve(({ response }) => {
      response.writeHead(403, { "Content-Type": "application/problem+json; charset=utf-8" });
      response.end(JSON.stringify({ ...PROBLEM, status: 403 }));
    });
    const { status, problem, error } = await errorOf(server.url);
    assertEquals([status, problem?.code], [403, "closing"]);
    assert((error as Error).message.includes("The hub is closing."));
  });

  test("is left out when it is none, too large, cut off, or late", async () => {
    const json = { "Content-Type": "application/problem+json" };
    const answers: ((exchange: Exchange) => void)[] = [
      ({ response }) => response.writeHead(403, { "Content-Type": "text/html" }).end("{}"),
      ({ response }) => response.writeHead(403, json).end("null"),
      ({ response }) => response.writeHead(403, json).end("[1]"),
      ({ response }) => response.writeHead(403, json).end("{"),
      ({ response }) => response.writeHead(403, json).end(),
      ({ response }) => {
        response.writeHead(403, json);
        response.end(JSON.stringify({ detail: "x".repeat(70_000) }));
      },
      ({ response }) => {
        response.writeHead(403, json);
        response.write('{"detail":', () => response.destroy());
      },
      ({ response }) => response.writeHead(403, json).write('{"detail":'),
    ];
    for (const answer of answers) {
      await using server = await serve(answer);
      const { status, problem } = await errorOf(server.url);
      assertEquals([status, problem], [403, undefined]);
      await until(() => server.exchanges[0]!.gone, "the server to be left");
    }
  });
});
