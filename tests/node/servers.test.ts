/**
 * The node:http listener in the company it keeps: TLS, HTTP/2, Express, Fastify, a compressing middleware, nginx.
 *
 * @module
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { constants, createGzip } from "node:zlib";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { toNodeListener } from "../../src/node/mod.ts";
import { cert, key } from "./certificate.ts";
import { startNginx } from "../nginx.ts";
import { skipWithout } from "../programs.ts";
import {
  authenticate,
  listen,
  RawClient,
  serveNode,
  servers,
  type Service,
  type ServiceOptions,
  until,
  within,
  withService,
} from "../server-helpers.ts";

const allowed: ServiceOptions["handler"] = { authorize: () => true };
const MESSAGE = JSON.stringify({ session: "ada", event: "posted", data: "by the client" });

/** What a client has of the handler behind any server: a live stream, a POST, a refusal, and the end of it. */
async function works(service: Service): Promise<void> {
  const { hub } = service;
  const refused = await service.get(null);
  assertEquals([refused.status, (await refused.json()).code], [401, "not-authenticated"]);

  const reader = await service.subscribe("ada", "?channel=news");
  assertEquals(reader.response!.headers.get("content-type"), "text/event-stream");
  for (let i = 0; i < 100; i++) hub.publish("news", "n", i);
  await hub.send("ada", "large", "x".repeat(300_000));
  const data = await reader.data(101);
  assertEquals(data.slice(0, 100), [...Array(100).keys()].map(String));
  assertEquals(data[100]!.length, 300_000);

  const answer = await service.post("/send", MESSAGE);
  assertEquals([answer.status, (await answer.json()).connections], [202, 1]);
  const event = await reader.event();
  assertEquals([event.event, event.data], ["posted", "by the client"]);

  const resumed = await service.subscribe("ada", "", { "Last-Event-ID": event.id! });
  await hub.send("ada", "e", "both");
  assertEquals((await resumed.event()).data, "both");
  assertEquals((await reader.event()).data, "both");
  await resumed.cancel();
  await until(() => hub.stats().connections === 1, "the one that left to be forgotten");
  await hub.disconnect("ada");
  assertEquals(await reader.rest(), []);
}

/** The same over a socket that is there already, such as a TLS one, in bytes. */
async function worksInBytes(service: Service, client: RawClient): Promise<void> {
  const request = (line: string, rest = "") => `${line} HTTP/1.1\r\nHost: localhost\r\n${rest}\r\n`;
  client.write(request("GET /api/v1/sse/subscribe?sessionId=ada"));
  assertEquals((await client.head()).status, 200);
  await client.streamUntil(true, "retry: 2000");
  for (let i = 0; i < 200; i++) {
    await service.hub.send("ada", "e", `${i} ${"x".repeat(500)}`);
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  const text = await client.streamUntil(true, "data: 199 ");
  assertEquals([...text.matchAll(/^data: (\d+) /gm)].map(([, i]) => Number(i)), [
    ...Array(200).keys(),
  ]);
  await service.hub.disconnect("ada");
  assertEquals(await client.chunk(), "");
  client.write(
    request(
      "POST /api/v1/sse/send",
      `X-Session-Id: ada\r\nContent-Type: application/json\r\nContent-Length: ${MESSAGE.length}\r\n`,
    ) + MESSAGE,
  );
  assertEquals((await client.response()).status, 202);
  client.write(request("GET /api/v1/sse/subscribe?sessionId=ada"));
  await client.head();
  await client.streamUntil(true, "retry: 2000");
  client.destroy();
}

/** Starts any server whose requests go to a listener. */
function behind(
  start: (listener: (request: IncomingMessage, response: ServerResponse) => void) => Server,
): ServiceOptions["serve"] {
  return (handler) => listen(start(toNodeListener(handler)));
}

async function openTls(port: number, alpn: string[]): Promise<RawClient> {
  const socket = connectTls({
    port,
    host: "127.0.0.1",
    rejectUnauthorized: false,
    ALPNProtocols: alpn,
  });
  const client = new RawClient(socket);
  await within(
    new Promise((resolve, reject) => {
      socket.once("secureConnect", resolve).once("error", reject);
    }),
    "a TLS connection",
  );
  return client;
}

describe("TLS and HTTP/2", () => {
  test("https: the stream, a POST on the same connection, and the end", () =>
    withService({
      handler: allowed,
      serve: behind((listener) => https.createServer({ key, cert }, listener)),
    }, async (service) => {
      await worksInBytes(service, await openTls(service.server.port, ["http/1.1"]));
    }));

  test("http2.createSecureServer with allowHTTP1: HTTP/1.1", () =>
    withService({ handler: allowed, serve: serveHttp2 }, async (service) => {
      await worksInBytes(service, await openTls(service.server.port, ["http/1.1"]));
    }));

  test("http2.createSecureServer: streams side by side on one connection, a POST, refusals, and their ends", () => {
    const cookies: string[] = [];
    const seeing = (request: Request) => {
      const cookie = request.headers.get("Cookie");
      if (cookie !== null) cookies.push(cookie);
      return authenticate(request);
    };
    return withService({
      handler: { ...allowed, authenticate: seeing },
      serve: serveHttp2,
    }, async (service) => {
      const { hub } = service;
      const session = http2.connect(`https://127.0.0.1:${service.server.port}`, {
        rejectUnauthorized: false,
      });
      try {
        const ada = await Http2Stream.open(session, "/api/v1/sse/subscribe?sessionId=ada");
        assertEquals([ada.status, ada.type], [200, "text/event-stream"]);
        const grace = await Http2Stream.open(session, "/api/v1/sse/subscribe?sessionId=grace");
        await ada.until("retry: 2000");
        await grace.until("retry: 2000");
        for (let i = 0; i < 100; i++) hub.broadcast("e", `${i} ${"x".repeat(2000)}`);
        for (const stream of [ada, grace]) {
          await stream.until("data: 99 ");
          const seen = [...stream.text.matchAll(/^data: (\d+) /gm)].map(([, i]) => Number(i));
          assertEquals(seen, [...Array(100).keys()]);
        }

        const posted = await Http2Stream.open(session, "/api/v1/sse/send", {
          ":method": "POST",
          "content-type": "application/json",
          "x-session-id": "ada",
        }, MESSAGE);
        await posted.ended;
        assertEquals([posted.status, JSON.parse(posted.text).connections], [202, 1]);
        await ada.until("data: by the client");

        const refused = await Http2Stream.open(session, "/api/v1/sse/subscribe");
        await refused.ended;
        assertEquals([refused.status, refused.type], [401, "application/problem+json"]);
        const head = await Http2Stream.open(session, "/api/v1/sse/subscribe?sessionId=ada", {
          ":method": "HEAD",
        });
        await head.ended;
        assertEquals([head.status, head.text], [200, ""]);

        // RFC 9113, 8.2.3: a client may send a cookie in pieces; to others they are one again.
        const crumbs = await Http2Stream.open(session, "/api/v1/sse/send", {
          ":method": "POST",
          cookie: ["a=1", "b=2"] as unknown as string,
        }, "{}");
        await crumbs.ended;
        assertEquals(crumbs.status, 401);
        assertEquals(cookies, ["a=1; b=2"]);

        await hub.disconnect("ada");
        await ada.ended;
        grace.stream.close(http2.constants.NGHTTP2_CANCEL);
        await until(() => hub.stats().connections === 0, "the stream that was reset");

        // A whole connection that breaks takes its streams with it.
        await Http2Stream.open(session, "/api/v1/sse/subscribe?sessionId=ada");
        await Http2Stream.open(session, "/api/v1/sse/subscribe?sessionId=grace");
        assertEquals(hub.stats().connections, 2);
      } finally {
        session.destroy();
      }
    });
  });

  test("HTTP/2: streams that are reset, and connections that break, while `authenticate` is at work", async () => {
    const waiting: (() => void)[] = [];
    const authenticate = async () => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return { session: "ada" };
    };
    await withService({ handler: { authenticate }, serve: serveHttp2 }, async (service) => {
      const connect = () => {
        const session = http2.connect(`https://127.0.0.1:${service.server.port}`, {
          rejectUnauthorized: false,
        });
        session.on("error", () => {}); // it is broken on purpose
        return session;
      };
      const ask = (session: http2.ClientHttp2Session) => {
        const stream = session.request({ ":path": "/api/v1/sse/subscribe" });
        stream.on("error", () => {}); // it is reset on purpose
        return stream;
      };
      const [lasting, breaking] = [connect(), connect()];
      try {
        const reset = ask(lasting);
        ask(breaking);
        await until(() => waiting.length === 2, "both requests");
        reset.close(http2.constants.NGHTTP2_CANCEL);
        breaking.destroy();
        // Seen by the server, since it comes after the reset on the same connection.
        ask(lasting);
        await until(() => waiting.length === 3, "the third request");
        for (const answer of waiting) answer();
        await until(() => service.hub.stats().connects === 3, "all to be answered");
        await until(() => service.hub.stats().connections === 1, "those that left to be forgotten");
      } finally {
        lasting.destroy();
        breaking.destroy();
      }
    });
  });

  async function serveHttp2(handler: Parameters<typeof toNodeListener>[0]) {
    const server = http2.createSecureServer(
      { key, cert, allowHTTP1: true },
      toNodeListener(handler),
    );
    const sessions = new Set<http2.ServerHttp2Session>();
    server.on("session", (session) => sessions.add(session));
    const test = await listen(server as unknown as Server);
    return {
      ...test,
      close: async () => {
        for (const session of sessions) session.destroy();
        await test.close();
      },
    };
  }
});

/** A stream of an HTTP/2 connection, and what came of it. */
class Http2Stream {
  readonly stream: http2.ClientHttp2Stream;
  readonly status: number;
  readonly type: string | undefined;
  readonly ended: Promise<void>;
  text = "";

  constructor(stream: http2.ClientHttp2Stream, headers: http2.IncomingHttpHeaders) {
    this.stream = stream;
    this.status = Number(headers[":status"]);
    this.type = headers["content-type"];
    stream.setEncoding("utf8");
    stream.on("data", (text) => this.text += text);
    stream.on("error", () => {}); // "close" follows
    this.ended = within(
      new Promise((resolve) => stream.once("end", () => resolve()).once("close", () => resolve())),
      "an HTTP/2 stream to end",
    );
  }

  static async open(
    session: http2.ClientHttp2Session,
    path: string,
    headers: Record<string, string> = {},
    body = "",
  ): Promise<Http2Stream> {
    const stream = session.request({ ":path": path, ...headers }, { endStream: body === "" });
    if (body !== "") stream.end(body);
    return await within(
      new Promise<Http2Stream>((resolve, reject) => {
        stream.once("response", (headers) => resolve(new Http2Stream(stream, headers)));
        stream.once("error", reject);
      }),
      `the answer to ${path}`,
    );
  }

  async until(mark: string): Promise<void> {
    await until(() => this.text.includes(mark), () => `${mark} after ${this.text.slice(-200)}`);
  }
}

/** As much of Express as these tests use. */
interface Express {
  use(...handlers: unknown[]): void;
  get(path: string, handler: (request: IncomingMessage, response: ServerResponse) => void): void;
  (request: IncomingMessage, response: ServerResponse): void;
}

/** Express and Fastify bring no types that every runtime takes, and are needed by these tests alone. */
async function load<Module>(name: string): Promise<Module> {
  return (await import(name)).default as Module;
}

describe("Express 5", () => {
  interface ExpressModule {
    (): Express;
    json(): unknown;
    raw(options: object): unknown;
    text(options: object): unknown;
    Router(): Express;
  }

  for (const parsing of [false, true]) {
    test(`mounted as middleware${parsing ? " behind express.json()" : ""}, beside other routes`, async () => {
      const express = await load<ExpressModule>("express");
      await withService({
        handler: allowed,
        serve: (handler) => {
          const app = express();
          if (parsing) app.use(express.json());
          app.use("/api/v1/sse", toNodeListener(handler));
          app.get("/other", (_, response) => {
            response.end("other");
          });
          return serveNode(app as unknown as ReturnType<typeof toNodeListener>);
        },
      }, async (service) => {
        await works(service);
        assertEquals(await (await fetch(`${service.server.url}/other`)).text(), "other");
        const missing = await fetch(`${service.base}/nothing`);
        assertEquals([missing.status, (await missing.json()).code], [404, "not-found"]);
      });
    });
  }

  test("behind a parser that keeps the body as bytes, and one that keeps it as text", async () => {
    const express = await load<ExpressModule>("express");
    for (const parser of [express.raw, express.text]) {
      await withService({
        handler: allowed,
        serve: (handler) => {
          const app = express();
          app.use(parser({ type: "*/*" }));
          app.use("/api/v1/sse", toNodeListener(handler));
          return serveNode(app as unknown as ReturnType<typeof toNodeListener>);
        },
      }, works);
    }
  });

  test("in a router of its own, under a deeper path", async () => {
    const express = await load<ExpressModule>("express");
    await withService({
      handler: { ...allowed, basePath: "/deep/events" },
      serve: async (handler) => {
        const app = express();
        const router = express.Router();
        router.use("/events", toNodeListener(handler));
        app.use("/deep", router);
        return await serveNode(app as unknown as ReturnType<typeof toNodeListener>);
      },
    }, async (service) => {
      const url = `${service.server.url}/deep/events/subscribe?sessionId=ada`;
      const response = await fetch(url);
      assertEquals(response.status, 200);
      await response.body!.cancel();
    });
  });
});

describe("Express 5, whose middleware changed the request", () => {
  interface Changed extends IncomingMessage {
    body?: unknown;
    rawBody?: string;
  }
  interface Seen {
    method: string;
    path: string;
    body: string;
  }

  /** What a handler sees behind a middleware, mounted under a path. */
  async function seenBehind(
    change: (request: Changed) => void,
    [method, path]: readonly [method: string, path: string],
    mounted = "/events",
  ): Promise<Seen> {
    const express = await load<{ (): Express; json(options: object): unknown }>("express");
    const app = express();
    app.use(express.json({
      verify: (request: Changed, _: unknown, bytes: Uint8Array) =>
        request.rawBody = new TextDecoder().decode(bytes),
    }));
    app.use((request: Changed, _: unknown, next: () => void) => (change(request), next()));
    app.use(
      mounted,
      toNodeListener(async (request) =>
        Response.json({
          method: request.method,
          path: request.url.slice(request.url.indexOf("/", 8)),
          body: await request.text(),
        })
      ),
    );
    const server = await serveNode(app as unknown as ReturnType<typeof toNodeListener>);
    try {
      const init = method === "GET" ? {} : { body: '{"session":"admin"}' };
      const headers = { "Content-Type": "application/json" };
      return await (await fetch(`${server.url}${path}`, { method, headers, ...init })).json();
    } finally {
      await server.close();
    }
  }

  test("the URL: a query and a path that it rewrote, mounted or not", async () => {
    const withoutQuery = (request: Changed) => request.url = request.url!.replace(/\?.*/, "?a");
    const to = (url: string) => (request: Changed) => request.url = url;
    for (
      const [change, asked, mounted, expected] of [
        [() => {}, "/events/subscribe?b", "/events", "/events/subscribe?b"],
        [() => {}, "/events?b", "/events", "/events?b"],
        [withoutQuery, "/events/subscribe?sessionId=admin", "/events", "/events/subscribe?a"],
        [withoutQuery, "/events?sessionId=admin", "/events", "/events/?a"],
        [to("/events/subscribe"), "/secret/events/subscribe", "/events", "/events/subscribe"],
        [to("/subscribe"), "/events/subscribe", "/", "/subscribe"],
      ] as const
    ) {
      const { path } = await seenBehind(change, ["GET", asked], mounted);
      assertEquals(path, expected);
    }
  });

  test("the method", async () => {
    const override = (request: Changed) => request.method = "PUT";
    assertEquals((await seenBehind(override, ["POST", "/events"])).method, "PUT");
  });

  test("the parsed body, though the bytes that came are kept beside it", async () => {
    const asAda = (request: Changed) => request.body = { session: "ada" };
    assertEquals((await seenBehind(asAda, ["POST", "/events"])).body, '{"session":"ada"}');
    assertEquals((await seenBehind(() => {}, ["POST", "/events"])).body, '{"session":"admin"}');
  });
});

describe("Fastify 5", () => {
  /** As much of Fastify as this test uses. */
  interface Fastify {
    all(
      path: string,
      handler: (
        request: { raw: IncomingMessage; body: unknown },
        reply: { hijack(): void; raw: ServerResponse },
      ) => void,
    ): void;
    addContentTypeParser(
      type: string,
      parser: (request: unknown, payload: unknown, done: (error: null) => void) => void,
    ): void;
    listen(options: object): Promise<string>;
    close(): Promise<void>;
    server: Server;
  }

  for (const parsing of [false, true]) {
    test(`hijacked, beside other routes, ${parsing ? "with the body that Fastify read" : "reading the body itself"}`, async () => {
      const fastify = await load<() => Fastify>("fastify");
      await withService({
        handler: allowed,
        serve: async (handler) => {
          const app = fastify();
          const listener = toNodeListener(handler);
          if (!parsing) {
            app.addContentTypeParser("application/json", (_request, _payload, done) => done(null));
          }
          app.all("/api/v1/sse/*", (request, reply) => {
            reply.hijack();
            if (parsing) Object.assign(request.raw, { body: request.body });
            listener(request.raw, reply.raw);
          });
          await app.listen({ port: 0, host: "127.0.0.1" });
          const { port } = app.server.address() as AddressInfo;
          return {
            port,
            url: `http://127.0.0.1:${port}`,
            close: async () => {
              app.server.closeAllConnections?.();
              await within(app.close(), "Fastify to close");
            },
          };
        },
      }, works);
    });
  }
});

describe("middleware between the listener and the socket", () => {
  test("a middleware that compresses what goes through res.write gets all of it", () =>
    withService({
      handler: allowed,
      serve: (handler) => {
        const listener = toNodeListener(handler);
        return serveNode((request, response) => {
          compress(response as ServerResponse);
          listener(request, response);
        });
      },
    }, async (service) => {
      const response = await service.get("ada");
      assertEquals(response.headers.get("content-encoding"), "gzip");
      await response.body!.cancel();
      await works(service);
    }));

  test("a middleware that only looks at what goes through res.write sees all of it", () => {
    let seen = "";
    return withService({
      handler: allowed,
      serve: (handler) => {
        const listener = toNodeListener(handler);
        return serveNode((request, response) => {
          watch(response as ServerResponse, (text) => seen += text);
          listener(request, response);
        });
      },
    }, async (service) => {
      const reader = await service.subscribe("ada");
      for (let i = 0; i < 20; i++) await service.hub.send("ada", "e", i);
      await reader.events(20);
      for (let i = 0; i < 20; i++) assertStringIncludes(seen, `data: ${i}\n`);
    });
  });

  test("a res.write that throws costs its own stream, which is told of, and no other", () =>
    withService({
      handler: allowed,
      serve: (handler) => {
        const listener = toNodeListener(handler);
        return serveNode((request, response) => {
          const isGrace = request.headers["x-session-id"] === "grace";
          watch(response as ServerResponse, (text) => {
            if (isGrace && text.includes("data: fatal")) throw new Error("the middleware failed");
          });
          listener(request, response);
        });
      },
    }, async (service) => {
      const sessions = ["ada", "grace", "edsger"];
      const [ada, , edsger] = await Promise.all(
        sessions.map((session) => service.subscribe(session)),
      );
      await service.hub.broadcast("e", "fatal");
      await service.hub.broadcast("e", "more");
      for (const reader of [ada!, edsger!]) {
        assertEquals((await reader.events(2)).map(({ data }) => data), ["fatal", "more"]);
      }
      assertEquals(service.hub.sessions().sort(), ["ada", "edsger"]);
      const told = service.log.filter(([level]) => level === "error").map(([, text]) => text);
      assertEquals(told.length, 1);
      assertStringIncludes(told[0]!, "the middleware failed");
    }));

  /** Shows what goes through `write` of this one response. */
  function watch(response: ServerResponse, look: (text: string) => void): void {
    const write = response.write.bind(response) as (chunk: Uint8Array) => boolean;
    response.write = ((chunk: Uint8Array) => {
      look(new TextDecoder().decode(chunk));
      return write(chunk);
    }) as typeof response.write;
  }

  /** What compressing middlewares do, in short: `write` and `end` of this one response go through a compressor. */
  function compress(response: ServerResponse): void {
    const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
    const write = response.write.bind(response) as (chunk: Uint8Array) => boolean;
    const end = response.end.bind(response) as () => void;
    response.setHeader("Content-Encoding", "gzip");
    gzip.on("data", write);
    gzip.on("end", end);
    gzip.on("drain", () => response.emit("drain"));
    response.write = ((chunk: Uint8Array) => gzip.write(chunk)) as typeof response.write;
    response.end = ((chunk?: Uint8Array) => {
      if (chunk === undefined) gzip.end();
      else gzip.end(chunk);
    }) as typeof response.end;
  }
});

describe("behind nginx", () => {
  for (
    const [name, upstream] of [
      ["as it comes (HTTP/1.0 to the server)", ""],
      [
        "with HTTP/1.1 and kept connections",
        'proxy_http_version 1.1; proxy_set_header Connection "";',
      ],
    ] as const
  ) {
    for (const [kind, serve] of Object.entries(servers)) {
      test(`${name}, ${kind}`, { skip: skipWithout("nginx") }, async () => {
        await withService({
          handler: allowed,
          serve: async (handler) => {
            const server = await serve(handler);
            const proxy = await startNginx([server.port], upstream);
            return {
              ...proxy,
              close: async () => {
                await proxy.close();
                await server.close();
              },
            };
          },
        }, works);
      });
    }
  }
});
