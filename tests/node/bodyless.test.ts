/**
 * Answers that have no body (RFC 9110, 6.4.1): to HEAD, and with the statuses 204 and 304. Whatever stream the handler
 * gave for one, it is answered at once, nobody is left to feed the stream, and the connection goes on.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { createHandler, createHub, eventStream, type Hub } from "../../mod.ts";
import { type FetchHandler, toNodeListener } from "../../src/node/mod.ts";
import {
  quietLogger,
  RawClient,
  serveNode,
  servers,
  type TestServer,
  until,
} from "../server-helpers.ts";

const request = (method: string, path = "/") =>
  `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** Asks for `/` twice and then for `/next` on one connection; the statuses of the first two. */
async function statuses(server: TestServer, method: string): Promise<number[]> {
  const client = await RawClient.open(server.port);
  try {
    const seen: number[] = [];
    for (let i = 0; i < 2; i++) {
      client.write(request(method));
      seen.push((await client.response(method)).status);
    }
    client.write(request("GET", "/next"));
    assertEquals((await client.response()).body, "next");
    return seen;
  } finally {
    client.destroy();
    await server.close();
  }
}

/** Answers `/next` by itself, so that a test sees whether the connection goes on. */
function besideNext(handler: FetchHandler): FetchHandler {
  return (request) =>
    new URL(request.url).pathname === "/next" ? new Response("next") : handler(request);
}

async function untilNobody(hub: Hub, connects: number): Promise<void> {
  await until(() => hub.stats().connections === 0, "the hub to have no connection");
  assertEquals(hub.stats().connects, connects);
  await hub.close();
}

for (const [kind, serve] of Object.entries(servers)) {
  describe(`HEAD, ${kind}`, () => {
    test("on a handler's subscribe route: no connection is opened", async () => {
      const hub = createHub({ logger: quietLogger });
      const handler = createHandler(hub, { authenticate: () => ({ session: "ada" }) });
      assertEquals(await statuses(await serve(besideNext(handler.subscribe)), "HEAD"), [200, 200]);
      await untilNobody(hub, 0);
    });

    test("on a route made of hub.subscribe", async () => {
      const hub = createHub({ logger: quietLogger });
      const handler = () => new Response(hub.subscribe("ada"));
      assertEquals(await statuses(await serve(besideNext(handler)), "HEAD"), [200, 200]);
      await untilNobody(hub, 2);
    });

    test("on a stream of hub.subscribe that a middleware wrapped", async () => {
      const hub = createHub({ logger: quietLogger });
      const handler = () => new Response(hub.subscribe("ada").pipeThrough(new TransformStream()));
      assertEquals(await statuses(await serve(besideNext(handler)), "HEAD"), [200, 200]);
      await untilNobody(hub, 2);
    });

    test("on an eventStream", async () => {
      const handler = () =>
        eventStream(async function* () {
          yield "first";
          await new Promise(() => {});
        }());
      assertEquals(await statuses(await serve(besideNext(handler)), "HEAD"), [200, 200]);
    });
  });
}

describe("no body, node:http", () => {
  test("HEAD on a source that never returns is answered all the same", async () => {
    const source = {
      [Symbol.asyncIterator]: () => source,
      next: () => new Promise<IteratorResult<string>>(() => {}),
      return: () => new Promise<IteratorResult<string>>(() => {}),
    };
    const listener = toNodeListener(besideNext(() => eventStream(source)));
    assertEquals(await statuses(await serveNode(listener), "HEAD"), [200, 200]);
  });

  test("HEAD that a middleware made a GET of, for a handler that has a stream for GET", async () => {
    const hub = createHub({ logger: quietLogger });
    const options = { authenticate: () => ({ session: "ada" }) };
    for (
      const handler of [
        createHandler(hub, options).subscribe,
        () => new Response(hub.subscribe("ada")),
      ]
    ) {
      const listener = toNodeListener(handler);
      const server = await serveNode((incoming, outgoing) => {
        if (incoming.url === "/next") return void (outgoing as ServerResponse).end("next");
        (incoming as IncomingMessage).method = "GET";
        listener(incoming, outgoing);
      });
      assertEquals(await statuses(server, "HEAD"), [200, 200]);
    }
    await untilNobody(hub, 4);
  });

  test("204 and 304 whose response brings a stream", async () => {
    const hub = createHub({ logger: quietLogger });
    for (const status of [204, 304]) {
      // Fetch forbids it; a Response of somebody else's may have it.
      const handler = () =>
        Object.defineProperty(new Response(hub.subscribe("ada")), "status", { value: status });
      const server = await serveNode(toNodeListener(besideNext(handler)));
      assertEquals(await statuses(server, "GET"), [status, status]);
    }
    await untilNobody(hub, 4);
  });
});
