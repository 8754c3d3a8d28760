/** Redirects: what goes along to another origin, and what may not. */
import { describe, test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  type ClientErrorEvent,
  type ClientOptions,
  type CloseEvent,
  createClient,
} from "../../src/client/mod.ts";
import { type Exchange, next, record, serve, type Server } from "../client/helpers.ts";

const HEADERS = {
  "X-Session-Id": "ada",
  Authorization: "Bearer secret",
  Cookie: "session=ada",
  "Content-Type": "text/plain",
};

/** Answers with a redirect to where `target` says when it is asked. */
const redirect = (status: number, target: () => string) => ({ response }: Exchange) => {
  response.writeHead(status, { Location: target() }).end();
};

/** Connects; resolves with the origin of the first event. */
async function origin(server: Server, options: ClientOptions): Promise<string> {
  const client = createClient(server.url, { reconnect: { maxAttempts: 0 }, ...options });
  try {
    const event = next<MessageEvent>(client, "message");
    client.connect();
    return (await event).origin;
  } finally {
    client.close();
  }
}

describe("a redirect", () => {
  for (const status of [301, 302, 303, 307, 308]) {
    test(`${status} to another origin: the user's headers stay at home`, async () => {
      await using target = await serve((exchange) => exchange.stream("data: x\n\n"));
      await using server = await serve(redirect(status, () => target.url));
      const at = await origin(server, { headers: HEADERS, lastEventId: "7" });
      assertEquals(at, new URL(target.url).origin);
      assertEquals(server.exchanges[0]!.request.headers["x-session-id"], "ada");
      const { headers } = target.exchanges[0]!.request;
      assertEquals([headers.accept, headers["last-event-id"]], ["text/event-stream", "7"]);
      for (const name of Object.keys(HEADERS)) {
        assertEquals(headers[name.toLowerCase()], undefined, name);
      }
    });
  }

  test("within an origin takes everything along; back from another origin nothing", async () => {
    await using away = await serve(redirect(307, () => `${server.url}back`));
    await using server = await serve((exchange) => {
      const { url } = exchange.request;
      if (url === "/") redirect(302, () => "/moved")(exchange);
      else if (url === "/moved") redirect(302, () => away.url)(exchange);
      else exchange.stream("data: x\n\n");
    });
    await origin(server, { headers: HEADERS });
    assertEquals(
      server.exchanges.map(({ request }) => [request.url, request.headers["x-session-id"]]),
      [["/", "ada"], ["/moved", "ada"], ["/back", undefined]],
    );
  });

  test("of a POST: 307 and 308 send it again, with its body; the others ask with GET", async () => {
    for (
      const [status, method, body] of [
        [301, "GET", ""],
        [302, "GET", ""],
        [303, "GET", ""],
        [307, "POST", "what"],
        [308, "POST", "what"],
      ] as const
    ) {
      await using target = await serve((exchange) => exchange.stream("data: x\n\n"));
      await using server = await serve(redirect(status, () => target.url));
      await origin(server, { method: "post", body: "what", headers: HEADERS });
      const [{ request, body: sent }] = target.exchanges as [Exchange];
      assertEquals([request.method, await sent], [method, body], String(status));
      assertEquals(request.headers["content-type"], body ? "text/plain" : undefined);
    }
  });

  test("the limit is 20, and only http leads anywhere", async () => {
    for (const location of ["/again", "file:///etc/passwd", "http://["]) {
      await using server = await serve(redirect(302, () => location));
      const client = createClient(server.url, { reconnect: { maxAttempts: 0 } });
      const error = next<ClientErrorEvent>(client, "error");
      client.connect();
      assertEquals((await error).status, undefined);
      assertEquals(server.exchanges.length, location === "/again" ? 21 : 1);
      client.close();
    }
  });

  test('with redirect: "error" it is the end', async () => {
    await using target = await serve((exchange) => exchange.stream("data: x\n\n"));
    await using server = await serve(redirect(302, () => target.url));
    const client = createClient(server.url, { redirect: "error" });
    const lines = record(client, "error", "reconnecting", "close");
    const error = next<ClientErrorEvent>(client, "error");
    client.connect();
    assertEquals((await next<CloseEvent>(client, "close")).reason, "server");
    assertEquals(lines, ["error 302", "close server"]);
    assertStringIncludes(String((await error).error), "302");
    assertEquals(target.exchanges.length, 0);
  });

  test("without a place to go to is a refusal", async () => {
    await using server = await serve(({ response }) => response.writeHead(302).end());
    const client = createClient(server.url);
    client.connect();
    assertEquals((await next<CloseEvent>(client, "close")).reason, "server");
  });
});
