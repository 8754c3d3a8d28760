/**
 * The node:http listener in bytes: what a client sees of HTTP/1.1, HTTP/1.0, pipelining, HEAD, and what is left when it
 * goes. Runs on the node:http of each runtime.
 *
 * @module
 */
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { describe, test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventStream } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { collectGarbage } from "../garbage.ts";
import {
  listen,
  parseBlock,
  RawClient,
  runtime,
  serveNode,
  servers,
  type Service,
  until,
  untilIdle,
  withService,
} from "../server-helpers.ts";

const serve = servers["node:http"]!;

/** For what only Node does: "clientError", and a `Request` that forgets its signal. */
const onNode = { skip: runtime !== "node" && "it is about what only Node does" };

/** A subscribe request in bytes. */
function subscribeRequest(session: string, version = "1.1", method = "GET"): string {
  return `${method} /api/v1/sse/subscribe?sessionId=${session} HTTP/${version}\r\nHost: localhost\r\n\r\n`;
}

/** A send request in bytes. */
function sendRequest(session: string, data: unknown): string {
  const body = JSON.stringify({ session, event: "e", data });
  return "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: sender\r\n" +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** The data of the events in a stream's text. */
function dataOf(text: string): string[] {
  return text.split("\n\n").slice(0, -1).map(parseBlock)
    .flatMap(({ data }) => data === undefined ? [] : [data]);
}

async function withClient(
  service: Service,
  run: (client: RawClient) => Promise<void>,
): Promise<void> {
  const client = await RawClient.open(service.server.port);
  try {
    await run(client);
  } finally {
    client.destroy();
  }
}

describe("the stream in bytes", () => {
  test("HTTP/1.1: chunked, headers at once, whole events; the end is a last chunk, and the connection goes on", () =>
    withService(
      { serve, handler: { authorize: () => true } },
      (service) =>
        withClient(service, async (client) => {
          client.write(subscribeRequest("ada"));
          const head = await client.head();
          assertEquals([head.version, head.status], ["1.1", 200]);
          assertEquals(head.headers.get("transfer-encoding"), "chunked");
          assertEquals(head.headers.get("content-type"), "text/event-stream");
          assertEquals(head.headers.get("content-length"), null);
          await client.streamUntil(true, "retry: 2000");
          for (let i = 0; i < 50; i++) service.hub.send("ada", "e", i);
          await service.hub.send("ada", "mark", "");
          const text = await client.streamUntil(true, "event: mark");
          assertEquals(dataOf(text), [...Array(50).keys()].map(String).concat(""));

          // The stream ends as a body ends, and the same connection takes the next request.
          await service.hub.disconnect("ada");
          assertEquals(await client.chunk(), "");
          client.write(sendRequest("nobody", 1));
          assertEquals((await client.response()).status, 202);
          client.write(subscribeRequest("ada"));
          assertEquals((await client.head()).status, 200);
          await client.streamUntil(true, "retry: 2000");
          await service.hub.send("ada", "e", "again");
          assertStringIncludes(await client.streamUntil(true, "\n\n"), "data: again");
        }),
    ));

  test("HTTP/1.0: not chunked, the connection's end is the stream's end", () =>
    withService({ serve }, (service) =>
      withClient(service, async (client) => {
        client.write(subscribeRequest("ada", "1.0"));
        const head = await client.head();
        assertEquals(head.status, 200);
        assertEquals(head.headers.get("transfer-encoding"), null);
        await client.streamUntil(false, "retry: 2000");
        for (let i = 0; i < 5; i++) service.hub.send("ada", "e", i);
        await service.hub.send("ada", "mark", "");
        const text = await client.streamUntil(false, "event: mark");
        assertEquals(dataOf(text), ["0", "1", "2", "3", "4", ""]);
        await service.hub.disconnect("ada");
        await client.waitFor(() => false);
        assertEquals([client.ended, client.received], [true, ""]);
      })));

  test("HEAD: the headers of the stream, no stream, and the connection goes on", () =>
    withService({ serve }, (service) =>
      withClient(service, async (client) => {
        client.write(subscribeRequest("ada", "1.1", "HEAD"));
        const { status, headers } = await client.response("HEAD");
        assertEquals([status, headers.get("content-type")], [200, "text/event-stream"]);
        assertEquals(service.hub.stats().connects, 0);
        client.write("HEAD /api/v1/sse/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assertEquals((await client.response("HEAD")).status, 404);
        client.write("GET /api/v1/sse/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assertEquals((await client.response()).body, '{"status":"ok"}');
      })));

  test("requests that come together are answered in order, a stream among them", () =>
    withService(
      { serve, handler: { authorize: () => true } },
      (service) =>
        withClient(service, async (client) => {
          const health = "GET /api/v1/sse/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
          client.write(health + sendRequest("nobody", 1) + health + subscribeRequest("ada"));
          assertEquals((await client.response()).status, 200);
          assertEquals((await client.response()).status, 202);
          assertEquals((await client.response()).body, '{"status":"ok"}');
          assertEquals((await client.head()).status, 200);
          await client.streamUntil(true, "retry: 2000");
          await service.hub.send("ada", "e", "live");
          assertStringIncludes(await client.streamUntil(true, "data: "), "data: live");
        }),
    ));

  test("a request behind a stream is answered when the stream ends", () =>
    withService(
      { serve, handler: { authorize: () => true } },
      (service) =>
        withClient(service, async (client) => {
          client.write(subscribeRequest("ada") + subscribeRequest("grace"));
          assertEquals((await client.head()).status, 200);
          await client.streamUntil(true, "retry: 2000");
          await service.hub.broadcast("e", "one");
          await client.streamUntil(true, "data: one");
          await service.hub.disconnect("ada");
          assertEquals(await client.chunk(), "");
          assertEquals((await client.head()).status, 200);
          await service.hub.send("grace", "e", "two");
          const text = await client.streamUntil(true, "data: two");
          assertEquals(dataOf(text).at(-1), "two");
        }),
    ));

  test("a client that goes away with a second stream waiting behind the first leaves neither", () =>
    withService({ serve }, async (service) => {
      const client = await RawClient.open(service.server.port);
      client.write(subscribeRequest("ada") + subscribeRequest("grace"));
      await client.head();
      await client.streamUntil(true, "retry: 2000");
      client.destroy();
      await untilIdle(service.hub);
    }));

  test("a client that goes away with answers waiting behind a stream leaves none of them at work", async () => {
    let [begun, returned, aborted] = [0, 0, 0];
    const handler = async (request: Request): Promise<Response> => {
      // With its body read, nothing that comes of the request tells of its end.
      await request.text();
      request.signal.addEventListener("abort", () => aborted++);
      return eventStream(async function* () {
        begun++;
        try {
          for (;;) yield await Promise.resolve("x".repeat(1000));
        } finally {
          returned++;
        }
      }());
    };
    const server = await serveNode(toNodeListener(handler));
    try {
      const client = await RawClient.open(server.port);
      const request = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
      client.write(request.repeat(3));
      await client.head();
      client.socket.pause();
      await until(() => begun === 3, () => `${begun} of 3 to begin`);
      client.destroy();
      await until(
        () => returned === 3,
        () => `${returned} of 3 to be returned from`,
      );
      await until(() => aborted === 3, () => `${aborted} of 3 signals`);
    } finally {
      await server.close();
    }
  });

  test(
    "the signal of a Request aborts though nobody holds the Request any more",
    onNode,
    async () => {
      let aborted = 0;
      const handler = (request: Request): Response => {
        request.signal.addEventListener("abort", () => aborted++);
        return eventStream(async function* () {
          yield "first";
          await new Promise(() => {});
        }());
      };
      const server = await serveNode(toNodeListener(handler));
      try {
        const client = await RawClient.open(server.port);
        client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        await client.head();
        await client.streamUntil(true, "data: first");
        // What nobody holds is collected by the next turn of the event loop.
        for (let i = 0; i < 3; i++) {
          collectGarbage!();
          await new Promise((resolve) => setImmediate(resolve));
        }
        client.destroy();
        await until(() => aborted === 1, "the signal");
      } finally {
        await server.close();
      }
    },
  );

  test("a stream that the application ends by itself gets nothing more, and the connection goes on", async () => {
    const responses: ServerResponse[] = [];
    await withService({
      serve: (handler) => {
        const listener = toNodeListener(handler);
        return serveNode((request, response) => {
          responses.push(response as ServerResponse);
          listener(request, response);
        });
      },
    }, async (service) => {
      for (const version of ["1.1", "1.0"]) {
        await withClient(service, async (client) => {
          const chunked = version === "1.1";
          client.write(subscribeRequest("ada", version));
          await client.head();
          await client.streamUntil(chunked, "retry: 2000");
          responses.at(-1)!.end();
          // It is on its way to the socket now, and to be told of as closed only later.
          await service.hub.send("ada", "e", "nobody's");
          await untilIdle(service.hub);
          if (chunked) {
            assertEquals(await client.chunk(), "");
            client.write("GET /api/v1/sse/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assertEquals((await client.response()).body, '{"status":"ok"}');
          } else {
            await client.waitFor(() => false);
            assertEquals([client.ended, client.received], [true, ""]);
          }
        });
      }
    });
  });

  test("a client that has closed its side only is no error of the connection", onNode, async () => {
    const told: unknown[] = [];
    let onEnd = () => {};
    await withService({
      serve: async (handler) => {
        const server = createServer(toNodeListener(handler) as RequestListener);
        server.on("clientError", (error) => told.push(error));
        // Node's own listener comes first, and has ended the socket then.
        server.on("connection", (socket) => socket.on("end", () => onEnd()));
        return await listen(server);
      },
    }, (service) =>
      withClient(service, async (client) => {
        client.write(subscribeRequest("ada"));
        await client.head();
        await client.streamUntil(true, "retry: 2000");
        const sent = new Promise((resolve) =>
          onEnd = () => resolve(service.hub.send("ada", "e", "too late"))
        );
        client.socket.end();
        await sent;
        await untilIdle(service.hub);
        assertEquals(told, []);
      }));
  });

  test("many streams one after the other on one connection leave no listener behind", () => {
    const sockets: Socket[] = [];
    const counts = () =>
      ["drain", "close", "error", "end", "data", "timeout"]
        .map((type) => `${type}: ${sockets[0]!.listenerCount(type)}`);
    return withService({
      serve: (handler) => {
        const listener = toNodeListener(handler);
        return serveNode((request, response) => {
          sockets.push(request.socket as Socket);
          listener(request, response);
        });
      },
    }, (service) =>
      withClient(service, async (client) => {
        let first: string[] = [];
        for (let i = 0; i < 30; i++) {
          client.write(subscribeRequest("ada"));
          await client.head();
          await client.streamUntil(true, "retry: 2000");
          await service.hub.send("ada", "e", i);
          assertStringIncludes(await client.streamUntil(true, "\n\n"), `data: ${i}\n`);
          await service.hub.disconnect("ada");
          assertEquals(await client.chunk(), "");
          if (i === 1) first = counts();
        }
        assertEquals(counts(), first);
      }));
  });

  test("a client that sends half a request and goes is nobody's loss", () =>
    withService({ serve, handler: { authorize: () => true } }, async (service) => {
      const reader = await service.subscribe("ada");
      for (
        const half of [
          "GET /api/v1/sse/subscr",
          sendRequest("ada", "never").slice(0, -5),
          "POST /api/v1/sse/send HTTP/1.1\r\nHost: x\r\nX-Session-Id: a\r\n" +
          "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        ]
      ) {
        const client = await RawClient.open(service.server.port);
        client.write(half);
        // The server has read it once it has answered somebody who came later.
        await (await fetch(`${service.base}/health`)).text();
        client.destroy();
      }
      await service.hub.send("ada", "e", "after");
      assertEquals((await reader.event()).data, "after");
      assertEquals(service.log.filter(([level]) => level === "error"), []);
    }));

  test("a reader that stops reading, and then reads on, gets everything in order", () =>
    withService(
      { serve, hub: { maxBufferedBytes: 16 * 1024 } },
      (service) =>
        withClient(service, async (client) => {
          client.write(subscribeRequest("ada"));
          await client.head();
          await client.streamUntil(true, "retry: 2000");
          client.socket.pause();
          const padding = "x".repeat(8000);
          let sent = 0;
          while (service.hub.stats().lagging === 0 && sent < 3000) {
            await service.hub.send("ada", "e", `${sent++} ${padding}`);
            if (sent % 10 === 0) await new Promise((resolve) => setTimeout(resolve));
          }
          assertEquals(service.hub.stats().lagging, 1, `it lags after ${sent} events`);
          for (let i = 0; i < 20; i++) await service.hub.send("ada", "e", `${sent++} ${padding}`);
          client.socket.resume();
          await service.hub.send("ada", "mark", "");
          let rest = "";
          const seen: number[] = [];
          for (let done = false; !done;) {
            rest += await client.chunk();
            const end = rest.lastIndexOf("\n\n") + 2;
            for (const data of dataOf(rest.slice(0, end))) {
              if (data === "") done = true;
              else seen.push(parseInt(data));
            }
            rest = rest.slice(end);
          }
          assertEquals(seen, [...Array(sent).keys()]);
        }),
    ));
});

describe("requests in bytes", () => {
  test("a Host or target that is no URL gets 400 or 404, never 500", () =>
    withService({ serve, handler: { authorize: () => true } }, async (service) => {
      const path = "/api/v1/sse/health";
      for (
        const [host, target] of [
          ["localhost:99999", path],
          ["999.999.999.999", path],
          ["[::::]", path],
          ["xn--a", path],
          ["a b", path],
          ["evil/../../", path],
          ["user:password@localhost", path],
          ["localhost", "http://user:password@localhost/api/v1/sse/send"],
          ["localhost", "http://[/"],
          ["localhost", "//"],
          ["localhost", "//evil.example/x"],
          ["localhost", "/%"],
          ["localhost", "/api/v1/sse/%2e%2e/subscribe"],
          ["localhost", "*"],
          ["", path],
        ]
      ) {
        for (const method of ["GET", "POST", "OPTIONS"]) {
          await withClient(service, async (client) => {
            client.write(
              `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nX-Session-Id: a\r\nConnection: close\r\n` +
                `Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
            );
            const { status } = await client.response();
            assert(status < 500, `${method} ${target} of ${host}: ${status}`);
          });
        }
      }
      assertEquals(service.log.filter(([level]) => level === "error"), []);
    }));

  test("a body that is refused before it is read whole still gets its answer", () =>
    withService(
      { serve, handler: { authorize: () => true, maxBodyBytes: 1000 } },
      (service) =>
        withClient(service, async (client) => {
          client.write(
            "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: a\r\n" +
              "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
          );
          const chunk = `${(4096).toString(16)}\r\n${" ".repeat(4096)}\r\n`;
          // There is no end to it: the answer comes before.
          let writing = true;
          const write = () => writing && client.socket.write(chunk, () => setTimeout(write, 1));
          write();
          const { status, body } = await client.response();
          writing = false;
          assertEquals([status, JSON.parse(body).code], [413, "body-too-large"]);
        }),
    ));

  test("a body that nobody reads to its end does not hold up the next request", async () => {
    await withService(
      { serve, handler: { maxBodyBytes: 1000 } },
      (service) =>
        withClient(service, async (client) => {
          const head = "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\n" +
            "Content-Type: application/json\r\n";
          const chunk = `${(50_000).toString(16)}\r\n${" ".repeat(50_000)}\r\n`;
          for (const session of ["", "X-Session-Id: a\r\n"]) {
            client.write(`${head}${session}Content-Length: 200000\r\n\r\n${" ".repeat(200_000)}`);
            assertEquals((await client.response()).status, session === "" ? 401 : 403);
            client.write(
              `${head}${session}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(4)}0\r\n\r\n`,
            );
            assertEquals((await client.response()).status, session === "" ? 401 : 403);
          }
        }),
    );
    await withService(
      { serve, handler: { maxBodyBytes: 1000, authorize: () => true } },
      (service) =>
        withClient(service, async (client) => {
          const head = "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: a\r\n" +
            "Content-Type: application/json\r\n";
          const chunk = `${(50_000).toString(16)}\r\n${" ".repeat(50_000)}\r\n`;
          for (
            const body of [
              `Content-Length: 200000\r\n\r\n${" ".repeat(200_000)}`,
              `Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(4)}0\r\n\r\n`,
            ]
          ) {
            client.write(head + body);
            assertEquals((await client.response()).status, 413);
          }
          client.write(sendRequest("ada", 1));
          assertEquals((await client.response()).status, 202);
        }),
    );
  });

  test("a response that somebody else has given already, by a timeout say, leaves no connection", () => {
    let answer = () => {};
    const authenticate = async () => {
      await new Promise<void>((resolve) => answer = resolve);
      return { session: "ada" };
    };
    const errors: unknown[] = [];
    return withService({
      handler: { authenticate },
      serve: (handler) => {
        const listener = toNodeListener(handler, { onError: (error) => errors.push(error) });
        return serveNode((request, response) => {
          listener(request, response);
          response.statusCode = 503;
          response.end("too late");
          answer();
        });
      },
    }, async (service) => {
      const response = await service.get("ada");
      assertEquals([response.status, await response.text()], [503, "too late"]);
      await until(() => service.hub.stats().connects === 1, "the stream to be opened");
      await untilIdle(service.hub);
      assertEquals(errors.length, 1);
    });
  });

  test("an answer that cannot be written is a whole 500, not the head of one", async () => {
    const told: unknown[] = [];
    const handler = () =>
      new Response("hello", { headers: { "Content-Length": "5", "X-Control": "\x01" } });
    const server = await serveNode(
      toNodeListener(handler, { onError: (error) => told.push(error) }),
    );
    try {
      const client = await RawClient.open(server.port);
      for (let i = 1; i <= 2; i++) {
        client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        const { status, body } = await client.response();
        // Bun and Deno write such a header.
        assertEquals([status, body], told.length > 0 ? [500, ""] : [200, "hello"]);
      }
      client.destroy();
    } finally {
      await server.close();
    }
  });

  test("a Request that is looked at when its client has gone says so", async () => {
    let look = () => {};
    let aborted: boolean | undefined;
    const gone: boolean[] = [];
    const authenticate = async (request: Request) => {
      await new Promise<void>((resolve) => look = resolve);
      aborted = request.signal.aborted;
      return null;
    };
    await withService({
      handler: { authenticate },
      serve: (handler) => {
        const listener = toNodeListener(handler);
        return serveNode((request, response) => {
          (response as ServerResponse).on("close", () => gone.push(true));
          listener(request, response);
        });
      },
    }, async (service) => {
      const client = await RawClient.open(service.server.port);
      client.write(subscribeRequest("ada"));
      await (await fetch(`${service.base}/health`)).text();
      const before = gone.length;
      client.destroy();
      await until(() => gone.length > before, "the server to see it go");
      look();
      await until(() => aborted !== undefined, "authenticate");
      assertEquals(aborted, true);
    });
  });

  test("what is made of a Request for `authenticate` is a real one", async () => {
    const seen: unknown[] = [];
    const authenticate = async (request: Request) => {
      const made = [
        request.clone(),
        new Request(request.clone()),
        new Request("http://auth.example/check", request),
        new Request(request.url, { method: request.method, headers: request.headers }),
      ];
      for (const each of made) {
        seen.push([each.method, each.headers.get("cookie"), each.signal.aborted]);
        // What a framework keeps of a Request is not to be seen from without: only a real one has it.
        assertEquals(await new Response(new Request(each).body).text(), "");
      }
      return { session: "ada" };
    };
    await withService({ serve, handler: { authenticate } }, async (service) => {
      const reader = await service.subscribe("ada", "?a=b", { Cookie: "c=d" });
      assertEquals(seen, Array(4).fill(["GET", "c=d", false]));
      await reader.cancel();
    });
  });

  test("handlers of others: a real Request, its body, its signal; bodies, cookies and errors go out", async () => {
    const told: unknown[] = [];
    let aborted = () => {};
    const left = new Promise<void>((resolve) => aborted = resolve);
    const handler = async (request: Request): Promise<Response> => {
      const { pathname } = new URL(request.url);
      if (pathname === "/echo") {
        const copy = new Request(request);
        return new Response(`${copy.method} ${await copy.text()}`, {
          status: 201,
          headers: [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], [
            "X-Seen",
            request.headers.get("X-Sent") ?? "",
          ]],
        });
      }
      if (pathname === "/throw") throw new Error("secret detail");
      if (pathname === "/break") {
        return new Response(
          new ReadableStream({
            pull(controller) {
              controller.enqueue(new TextEncoder().encode("begun"));
              controller.error(new Error("broken"));
            },
          }),
        );
      }
      if (pathname === "/stream") {
        return eventStream(async function* () {
          try {
            for (let i = 0;; i++) {
              yield String(i);
              await new Promise((resolve) => setTimeout(resolve, 1));
            }
          } finally {
            aborted();
          }
        }());
      }
      return new Response("no", { status: 404 });
    };
    const server = await serveNode(
      toNodeListener(handler, { onError: (error) => told.push(error) }),
    );
    try {
      const echo = await fetch(`${server.url}/echo`, {
        method: "POST",
        body: "héllo",
        headers: { "X-Sent": "x" },
      });
      assertEquals([echo.status, await echo.text()], [201, "POST héllo"]);
      assertEquals(echo.headers.getSetCookie(), ["a=1", "b=2"]);
      assertEquals(echo.headers.get("X-Seen"), "x");

      const thrown = await fetch(`${server.url}/throw`);
      assertEquals([thrown.status, await thrown.text()], [500, ""]);
      assertEquals((told[0] as Error).message, "secret detail");

      // No `Request` can have this method; as another it would do what nobody asked for.
      const tracing = await RawClient.open(server.port);
      tracing.write("TRACE /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      const traced = await tracing.response();
      assertEquals([traced.status, JSON.parse(traced.body).code], [501, "not-implemented"]);
      tracing.destroy();

      for (const host of ["a:99999", "999.999.999.999", "a b"]) {
        const stranger = await RawClient.open(server.port);
        stranger.write(`GET /echo HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
        assertEquals((await stranger.response()).status, 400, host);
        stranger.destroy();
      }
      assertEquals(told.length, 1);

      const client = await RawClient.open(server.port);
      client.write("GET /break HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await client.waitFor(() => false);
      assert(!client.received.endsWith("0\r\n\r\n"), "it is not ended as if it were whole");
      client.destroy();

      const abort = new AbortController();
      const stream = await fetch(`${server.url}/stream`, { signal: abort.signal });
      await stream.body!.getReader().read();
      abort.abort();
      await left;

      // 200 KB that nobody looks at, then the next request of the same connection.
      const next = await RawClient.open(server.port);
      next.write(`POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n`);
      next.write("x".repeat(200_000));
      assertEquals((await next.response()).status, 404);
      next.write("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
      assertEquals((await next.response()).body, "POST hi");
      next.destroy();
    } finally {
      await server.close();
    }
  });
});
