/** The `fetch` option: called as every `fetch` is. */
import { describe, test } from "node:test";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import { type ClientOptions, createClient, EventSource } from "../../src/client/mod.ts";
import { feeds, next, serve, until } from "./helpers.ts";

type Fetch = NonNullable<ClientOptions["fetch"]>;

describe("the fetch option", () => {
  const clients = {
    createClient: (url: string, options: ClientOptions) => {
      const client = createClient(url, options);
      client.connect();
      return client;
    },
    EventSource: (url: string, { fetch, headers }: ClientOptions) =>
      new EventSource(url, { fetch: fetch!, headers: headers! }),
  };

  for (const [name, create] of Object.entries(clients)) {
    test(`may be the usual wrapper, which adds a header (${name})`, async () => {
      await using server = await serve((exchange) => exchange.stream("data: x\n\n"));
      const wrapper: Fetch = (input, init) =>
        fetch(input, { ...init, headers: { ...init.headers, Authorization: "Bearer 1" } });
      const client = create(server.url, { fetch: wrapper, headers: { "X-Session-Id": "ada" } });
      await next(client, "message");
      client.close();
      const { headers } = server.exchanges[0]!.request;
      assertEquals(
        [headers.authorization, headers["x-session-id"], headers.accept],
        ["Bearer 1", "ada", "text/event-stream"],
      );
    });

    test(`gets a URL string, and an init with plain headers and a signal (${name})`, async () => {
      const { fetch, all } = feeds();
      const calls: unknown[][] = [];
      const client = create("http://localhost/sse", {
        fetch: (...given) => {
          calls.push(given);
          return fetch(...given);
        },
        headers: new Headers({ "X-Session-Id": "ada" }),
      });
      await next(client, "open");
      client.close();
      const [url, init] = calls[0] as [string, RequestInit];
      assertEquals(url, "http://localhost/sse");
      assertEquals(Object.getPrototypeOf(init.headers), Object.prototype);
      assertEquals((init.headers as Record<string, string>)["x-session-id"], "ada");
      assertInstanceOf(init.signal, AbortSignal);
      assert(init.signal.aborted, "the end of the client reaches the fetch");
      assertEquals(all.length, 1);
    });
  }

  test("may be a hub's handler", async () => {
    const hub = createHub();
    const handler = createHandler(hub, {
      basePath: "/sse",
      authenticate: (request) => ({ session: request.headers.get("X-Session-Id")! }),
    });
    const client = createClient("/sse/subscribe", {
      fetch: handler as unknown as Fetch,
      headers: { "X-Session-Id": "ada" },
    });
    client.connect();
    try {
      await next(client, "open");
      const tick = next<MessageEvent>(client, "tick");
      await hub.send("ada", "tick", 1);
      assertEquals((await tick).data, "1");
    } finally {
      client.close();
    }
    await until(() => hub.stats().connections === 0, "the hub to forget the client");
    await hub.close();
  });
});
