/**
 * Bodies that are refused before they have come as a whole: the client gets the answer that says so, and no reset, also
 * through proxies that open a connection for each request. And a body without an end holds no connection for ever.
 *
 * @module
 */
import { request } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { createServer as createVite } from "vite";
import { startNginx } from "../nginx.ts";
import { skipWithout } from "../programs.ts";
import {
  RawClient,
  runtime,
  servers,
  type ServiceOptions,
  type TestServer,
  until,
  within,
  withService,
} from "../server-helpers.ts";

const handler: ServiceOptions["handler"] = { authorize: () => true };
const SIZE = 3_000_000;
const TIMES = 20;

/** A body of a size, whose length is told before it or not. */
function bodyOf(size: number, isTold: boolean): BodyInit {
  const bytes = new Uint8Array(size).fill(32);
  if (isTold) return bytes;
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= size) return controller.close();
      controller.enqueue(bytes.subarray(at, at += 65_536));
    },
  });
}

/** What becomes of many POSTs, one after the other: how often each status, or error. */
async function outcomes(url: string, isTold: boolean): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < TIMES; i++) {
    const what = await within(
      fetch(`${url}/api/v1/sse/send`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Session-Id": "ada" },
        body: bodyOf(SIZE, isTold),
        duplex: "half",
      } as RequestInit).then(async (response) =>
        `${response.status} ${(await response.json()).code}`
      )
        .catch((error) => String(error.cause?.code ?? error)),
      "an answer",
    );
    counts[what] = (counts[what] ?? 0) + 1;
  }
  return counts;
}

/** A server with another in front of it. */
function through(
  serve: NonNullable<ServiceOptions["serve"]>,
  proxy: (port: number) => Promise<TestServer>,
): ServiceOptions["serve"] {
  return async (handler) => {
    const server = await serve(handler);
    const front = await proxy(server.port);
    const close = async () => {
      await front.close();
      await server.close();
    };
    return { ...front, close };
  };
}

/** Vite's own server, which hands `/api` on. */
async function startVite(port: number): Promise<TestServer> {
  const root = await mkdtemp(join(tmpdir(), "streamside-vite-"));
  const vite = await createVite({
    configFile: false,
    root,
    logLevel: "silent",
    optimizeDeps: { noDiscovery: true },
    server: {
      host: "127.0.0.1",
      port: 0,
      hmr: false,
      watch: null,
      proxy: { "/api": `http://127.0.0.1:${port}` },
    },
  });
  await vite.listen();
  const { port: own } = vite.httpServer!.address() as AddressInfo;
  const close = async () => {
    await within(vite.close(), "Vite to close");
    await rm(root, { recursive: true });
  };
  return { port: own, url: `http://127.0.0.1:${own}`, close };
}

const proxies: Record<
  string,
  [start: (port: number) => Promise<TestServer>, skip: string | false]
> = {
  "no proxy": [
    (port) => Promise.resolve({ port, url: `http://127.0.0.1:${port}`, close: async () => {} }),
    false,
  ],
  // It is a program of Node's.
  "Vite's proxy": [startVite, runtime !== "node" && "Vite runs on Node"],
  "nginx as it comes": [
    (port) => startNginx([port], "client_max_body_size 100m;"),
    skipWithout("nginx"),
  ],
  "nginx with HTTP/1.1 and kept connections": [
    (port) =>
      startNginx(
        [port],
        'client_max_body_size 100m; proxy_http_version 1.1; proxy_set_header Connection "";',
      ),
    skipWithout("nginx"),
  ],
};

for (const [kind, serve] of Object.entries(servers)) {
  for (const [name, [proxy, skip]] of Object.entries(proxies)) {
    for (const isTold of [true, false]) {
      const length = isTold ? "whose length is told" : "in chunks";
      test(
        `${kind}, ${name}: of ${TIMES} bodies ${length}, all get their 413`,
        { skip },
        () =>
          withService({ handler, serve: through(serve, proxy) }, async ({ server }) => {
            assertEquals(await outcomes(server.url, isTold), { "413 body-too-large": TIMES });
          }),
      );
    }
  }
}

describe("node:http", () => {
  for (const connection of ["keep-alive", "close"]) {
    test(`70 MB that a node:http client sends, Connection: ${connection}, gets its 413`, () =>
      withService({ handler, serve: servers["node:http"]! }, async ({ server }) => {
        const size = 70_000_000;
        const status = await within(
          new Promise((resolve, reject) => {
            const post = request({
              port: server.port,
              host: "127.0.0.1",
              path: "/api/v1/sse/send",
              method: "POST",
              headers: {
                "Content-Type": "application/json",
                "Content-Length": size,
                "X-Session-Id": "ada",
                Connection: connection,
              },
            }, (response) => response.resume().once("end", () => resolve(response.statusCode)));
            post.once("error", reject);
            post.end(new Uint8Array(size).fill(32));
          }),
          "the answer",
        );
        assertEquals(status, 413);
      }));
  }

  for (const connection of ["keep-alive", "close"]) {
    test(`a body without an end, Connection: ${connection}, gets its 413, and then its connection ends`, () =>
      withService({ handler, serve: servers["node:http"]! }, async ({ server }) => {
        const client = await RawClient.open(server.port);
        try {
          client.write(
            "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: ada\r\n" +
              `Connection: ${connection}\r\nContent-Type: application/json\r\n` +
              "Transfer-Encoding: chunked\r\n\r\n",
          );
          const chunk = `100000\r\n${" ".repeat(0x100000)}\r\n`;
          let sent = 0;
          const write = () => {
            if (client.ended) return;
            sent++;
            // More slowly in the end, but without one: what is on its way when a connection closes resets it, and with it
            // an answer that the client has not read. Bun's node:http closes as soon as it has answered.
            client.socket.write(chunk, "latin1", sent > 120 ? () => setTimeout(write, 50) : write);
          };
          write();
          const { status } = await client.head();
          assertEquals(status, 413);
          await until(() => client.ended, "the connection to end");
        } finally {
          client.destroy();
        }
      }));
  }
});
