/**
 * Who a request says it is: the handler sees the request as the framework sees it, with all that a middleware took out,
 * put in or rewrote before it was handed over. Over HTTP/1.1 and HTTP/2, on the node:http of each runtime.
 *
 * @module
 */
import type { IncomingHttpHeaders, IncomingMessage, Server } from "node:http";
import * as http2 from "node:http2";
import { describe, test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import { type FetchHandler, toNodeListener } from "../../src/node/mod.ts";
import {
  type AnyListener,
  listen,
  quietLogger,
  RawClient,
  serveNode,
  type TestServer,
  within,
} from "../server-helpers.ts";

/** What a middleware sees of a request, and may change. */
type Incoming = IncomingMessage & {
  originalUrl?: string;
};

/** Changes a request; what it does after `next()` is too late. */
type Middleware = (incoming: Incoming, next: () => void) => unknown;
type Fields = [name: string, value: string][];

/** A request to send. */
interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly fields?: Fields;
}

/** A server whose requests go through a middleware first, and how to ask it something. */
interface Transport {
  serve(
    handler: FetchHandler,
    middleware: Middleware,
    onError?: (error: unknown) => void,
  ): Promise<TestServer>;
  ask(port: number, asked: Asked): Promise<{ status: number }>;
}

function behind(
  middleware: Middleware,
  handler: FetchHandler,
  onError?: (error: unknown) => void,
): AnyListener {
  const listener = toNodeListener(handler, onError && { onError });
  return (incoming, outgoing) => {
    let isNext = false;
    const next = () => {
      isNext = true;
      listener(incoming, outgoing);
    };
    middleware(incoming as Incoming, next);
    if (!isNext) next();
  };
}

const transports: Record<string, Transport> = {
  "HTTP/1.1": {
    serve: (handler, middleware, onError) => serveNode(behind(middleware, handler, onError)),
    ask: async (port, { method = "GET", path = "/events", fields = [] }) => {
      const client = await RawClient.open(port);
      try {
        const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
        client.write(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n`);
        return await client.response();
      } finally {
        client.destroy();
      }
    },
  },
  "HTTP/2": {
    serve: async (handler, middleware, onError) => {
      const server = http2.createServer(behind(middleware, handler, onError));
      const sessions = new Set<http2.ServerHttp2Session>();
      server.on("session", (session) => sessions.add(session));
      const test = await listen(server as unknown as Server);
      const close = async () => {
        for (const session of sessions) session.destroy();
        await test.close();
      };
      return { ...test, close };
    },
    ask: async (port, { method = "GET", path = "/events", fields = [] }) => {
      const session = http2.connect(`http://127.0.0.1:${port}`);
      try {
        const headers: Record<string, string | string[]> = { ":method": method, ":path": path };
        for (const [name, value] of fields) {
          const earlier = headers[name.toLowerCase()];
          headers[name.toLowerCase()] = earlier === undefined ? value : [earlier, value].flat();
        }
        const stream = session.request(headers as http2.OutgoingHttpHeaders);
        let status = 0;
        stream.on("response", (headers) => status = Number(headers[":status"]));
        stream.resume();
        await within(
          new Promise((resolve, reject) => stream.once("end", resolve).once("error", reject)),
          `the answer to ${path}`,
        );
        return { status };
      } finally {
        session.destroy();
      }
    },
  },
};

/** What a handler saw of a request. */
interface Seen {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** Handlers that write down what they see: the library's own, which looks at it in `authenticate`, and any other. */
const handlers: Record<string, (seen: (request: Seen) => void) => FetchHandler> = {
  "createHandler's": (seen) =>
    createHandler(createHub({ logger: quietLogger }), {
      basePath: "/events",
      authenticate: async (request) => (seen(await look(request)), null),
    }).subscribe,
  "another's": (seen) => async (request) => (seen(await look(request)), new Response("seen")),
};

async function look(request: Request): Promise<Seen> {
  // What becomes of the request after it was handed over is of no interest.
  await new Promise((resolve) => setTimeout(resolve));
  const { method, url } = request;
  const headers = Object.fromEntries(request.headers);
  return { method, url, headers, body: method === "GET" ? "" : await request.text() };
}

for (const [protocol, { serve, ask }] of Object.entries(transports)) {
  for (const [whose, handlerOf] of Object.entries(handlers)) {
    describe(`${protocol}, ${whose} handler`, () => {
      /** What the handler sees of a request that a middleware had first. */
      async function seenBehind(middleware: Middleware, request: Asked): Promise<Seen> {
        let seen: Seen | undefined;
        const server = await serve(handlerOf((request) => seen = request), middleware);
        try {
          await ask(server.port, request);
          assert(seen !== undefined, "the handler was asked");
          return seen;
        } finally {
          await server.close();
        }
      }

      test("a header that a middleware took out is gone", async () => {
        const ways: Middleware[] = [
          ({ headers }) => delete headers["x-user"],
          ({ headers }) => headers["x-user"] = undefined,
          (incoming) => {
            const { "x-user": _, ...rest } = incoming.headers;
            Object.defineProperty(incoming, "headers", { value: rest });
          },
        ];
        for (const way of ways) {
          const { headers } = await seenBehind(way, { fields: [["X-User", "admin"]] });
          assertEquals(headers["x-user"], undefined);
        }
      });

      test("a header that a middleware set stands for the client's", async () => {
        const ways: Middleware[] = [
          ({ headers }) => headers["x-user"] = "ada",
          ({ headers }) => headers["X-User"] = "ada",
          ({ headers }) => headers["x-user"] = ["ada"],
        ];
        for (const way of ways) {
          const { headers } = await seenBehind(way, { fields: [["x-user", "admin"]] });
          assertEquals(headers["x-user"], "ada");
        }
        const { headers } = await seenBehind(({ headers }) => headers["x-user"] = "ada", {});
        assertEquals(headers["x-user"], "ada");
      });

      test("repeated headers are joined as the framework sees them", async () => {
        let framework: IncomingHttpHeaders = {};
        const fields: Fields = [
          ["X-Role", "reader"],
          ["X-Role", "writer"],
          ["Cookie", "a=1"],
          ["Cookie", "b=2"],
          ["Set-Cookie", "c=3"],
          ["Set-Cookie", "d=4"],
          // Node's HTTP/1.1 takes the first of those of which there can be one only.
          ...(protocol === "HTTP/1.1"
            ? [["Authorization", "one"], ["Authorization", "two"], ["Referer", "a"], [
              "Referer",
              "b",
            ]]
            : []) as Fields,
        ];
        const { headers } = await seenBehind((incoming) => framework = { ...incoming.headers }, {
          fields,
        });
        const expected = Object.entries(framework)
          .filter(([name]) => !name.startsWith(":"))
          .map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value!]);
        // `Object.fromEntries` keeps the last of several.
        const cookie = headers["set-cookie"];
        assertEquals({ ...headers, "set-cookie": "" }, {
          ...Object.fromEntries(expected),
          "set-cookie": "",
        });
        assertEquals(cookie, "d=4");
        assertEquals([headers["x-role"], headers.cookie], ["reader, writer", "a=1; b=2"]);
        if (protocol === "HTTP/1.1") assertEquals(headers.authorization, "one");
      });

      test("what becomes of a request after it was handed over is not seen", async () => {
        const middleware: Middleware = (incoming, next) => {
          next();
          incoming.headers["x-user"] = "admin";
          incoming.method = "DELETE";
          incoming.url = "/other";
        };
        const seen = await seenBehind(middleware, {
          fields: [["X-User", "ada"]],
          path: "/events?a",
        });
        assertEquals([seen.headers["x-user"], seen.method], ["ada", "GET"]);
        assertStringIncludes(seen.url, "/events?a");
      });

      test("a header that cannot be one is an error that says which, and not a guess", async () => {
        for (const value of ["Łukasz", "ada\r\nX-Role: admin", "ada\0"]) {
          const told: unknown[] = [];
          let seen: Seen | undefined;
          const middleware: Middleware = ({ headers }) => headers["x-user"] = value;
          const handler = handlerOf((request) => seen = request);
          const server = await serve(handler, middleware, (error) => told.push(error));
          try {
            assertEquals((await ask(server.port, { fields: [["X-User", "admin"]] })).status, 500);
            assertEquals(seen, undefined);
            assertStringIncludes((told[0] as Error).message, 'The header "x-user"');
          } finally {
            await server.close();
          }
        }
      });

      // RFC 9113, 8.3.1: over HTTP/2 the Host header says nothing about the URL beside ":authority".
      test("the host is the one that a middleware set", async () => {
        const { url } = await seenBehind(({ headers }) => {
          headers[protocol === "HTTP/2" ? ":authority" : "host"] = "app.example";
        }, { path: "/events" });
        assertEquals(url, "http://app.example/events");
      });

      test("a session that a middleware took out of the query is gone", async () => {
        const strip: Middleware = (incoming) => {
          // As Express and Connect do before they ask the first middleware.
          incoming.originalUrl = incoming.url!;
          incoming.url = incoming.url!.replace(/\?.*/, "?channel=news");
        };
        const { url } = await seenBehind(strip, { path: "/events/subscribe?sessionId=admin" });
        assertEquals(url.slice(url.indexOf("/events")), "/events/subscribe?channel=news");
      });
    });
  }
}
