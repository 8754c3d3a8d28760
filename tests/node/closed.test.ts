/**
 * What a listener returns: a promise that waits until the response has closed, so that whoever called it knows when it
 * is theirs again. Runs on the node:http of each runtime.
 *
 * @module
 */
import * as http2 from "node:http2";
import type { Server } from "node:http";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { createHandler, createHub, eventStream } from "../../mod.ts";
import { type NodeListener, toNodeListener } from "../../src/node/mod.ts";
import { listen, quietLogger, RawClient, serveNode, until } from "../server-helpers.ts";

/** A listener whose promises are counted. */
function counting(listener: NodeListener) {
  const counts = { asked: 0, settled: 0 };
  const counted: NodeListener = async (request, response) => {
    counts.asked++;
    await listener(request, response);
    counts.settled++;
  };
  return { counted, counts };
}

const request = (method: string, path: string) =>
  `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

describe("the promise of a listener", () => {
  test("settles when an answer was sent, whatever it was", async () => {
    const hub = createHub({ logger: quietLogger });
    const handler = createHandler(hub, {
      authenticate: () => new Promise<null>((resolve) => setTimeout(() => resolve(null))),
    });
    const others = (request: Request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/throw") throw new Error("on purpose");
      if (pathname === "/stream") return eventStream(["a", "b"]);
      return handler(request);
    };
    for (const each of [handler, others]) {
      const { counted, counts } = counting(toNodeListener(each, { onError: () => {} }));
      const server = await serveNode(counted);
      const client = await RawClient.open(server.port);
      try {
        let asked = 0;
        for (const path of ["/api/v1/sse/subscribe", "/health", "/throw", "/stream"]) {
          for (const method of ["GET", "HEAD"]) {
            client.write(request(method, path));
            await client.response(method);
            asked++;
            await until(() => counts.settled === asked, () => `${method} ${path} to settle`);
          }
        }
        assertEquals(counts.asked, asked);
      } finally {
        client.destroy();
        await server.close();
      }
    }
    await hub.close();
  });

  test("waits as long as a stream is open: until the hub ends it, or its reader goes", async () => {
    const hub = createHub({ logger: quietLogger });
    const handler = createHandler(hub, { authenticate: () => ({ session: "ada" }) }).subscribe;
    const wrapped = async (request: Request) => {
      const { body, headers } = await handler(request);
      return new Response(body!.pipeThrough(new TransformStream()), { headers });
    };
    for (const each of [handler, wrapped]) {
      const { counted, counts } = counting(toNodeListener(each));
      const server = await serveNode(counted);
      try {
        for (const ending of ["hub", "reader"]) {
          const settled = counts.settled;
          const client = await RawClient.open(server.port);
          client.write(request("GET", "/"));
          await client.head();
          await client.streamUntil(true, "retry: ");
          await hub.broadcast("e", "there");
          await client.streamUntil(true, "there");
          assertEquals(counts.settled, settled);
          if (ending === "hub") await hub.disconnect("ada");
          else client.destroy();
          await until(() => counts.settled === settled + 1, () => `the ${ending} to end it`);
          client.destroy();
        }
      } finally {
        await server.close();
      }
    }
    await hub.close();
  });

  test("over HTTP/2, and for a client that went before the answer", async () => {
    let answer = () => {};
    const { counted, counts } = counting(toNodeListener(async () => {
      await new Promise<void>((resolve) => answer = resolve);
      return new Response("late");
    }));
    const server = http2.createServer(counted);
    const { port, close } = await listen(server as unknown as Server);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    try {
      const left = session.request({ ":path": "/" });
      left.on("error", () => {}); // it is reset on purpose
      await until(() => counts.asked === 1, "the request");
      left.close(http2.constants.NGHTTP2_CANCEL);
      await until(() => counts.settled === 1, "the one that left");
      answer();
      const stayed = session.request({ ":path": "/" });
      stayed.resume();
      await until(() => counts.asked === 2, "the request");
      answer();
      await until(() => counts.settled === 2, "the one that stayed");
    } finally {
      session.destroy();
      await close();
    }
  });
});
