/**
 * What a subscribe that is refused only for now comes to behind nginx: docs/unavailable.md has the same directives.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { createHandler, createHub, type HandlerOptions, type Hub } from "../../mod.ts";
import { freePort } from "../client/helpers.ts";
import { FAIL_OVER, INTERCEPT, LATER, startNginx } from "../nginx.ts";
import { skipWithout } from "../programs.ts";
import {
  authenticate,
  EventReader,
  quietLogger,
  RawClient,
  refusedForNow,
  serve,
  type TestServer,
} from "../server-helpers.ts";

const skip = skipWithout("nginx");

/** Runs a test with two servers behind nginx, the first of which is closed for good. */
async function withProxy(
  options: Partial<HandlerOptions>,
  directives: string,
  run: (proxy: TestServer, second: Hub) => Promise<void>,
): Promise<void> {
  const hubs = [createHub({ logger: quietLogger }), createHub({ logger: quietLogger })] as const;
  await hubs[0].close();
  const servers: TestServer[] = [];
  try {
    for (const hub of hubs) {
      servers.push(await serve(createHandler(hub, { authenticate, ...options })));
    }
    servers.push(await startNginx(servers.map(({ port }) => port), directives));
    await run(servers[2]!, hubs[1]);
  } finally {
    for (const server of servers.reverse()) await server.close();
    await hubs[1].close();
  }
}

const subscribe = ({ url }: TestServer, headers: Record<string, string> = {}) =>
  fetch(`${url}/api/v1/sse/subscribe?sessionId=ada`, { headers });

describe("behind nginx", () => {
  test(
    '"stream": it reaches the client as it is, and the next attempt another server',
    { skip },
    () =>
      withProxy({}, "", async (proxy) => {
        const answers: boolean[] = [];
        for (let i = 0; i < 4; i++) {
          const response = await subscribe(proxy, { "Last-Event-ID": "abc-7" });
          answers.push(response.headers.has("retry-after"));
          if (!answers.at(-1)) await response.body!.cancel();
          else assertEquals((await refusedForNow(response)).id, "abc-7");
        }
        // One server after the other.
        assertEquals(answers.filter(Boolean).length, 2, answers.join());
        const client = await RawClient.open(proxy.port);
        client.write("GET /api/v1/sse/subscribe HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2));
        for (const response of [await client.response(), await client.response()]) {
          // The other server knows no session here.
          assertEquals(response.status, response.headers.has("retry-after") ? 200 : 401);
        }
        client.destroy();
      }),
  );

  test(
    '"status" and proxy_next_upstream: the same request reaches another server',
    { skip },
    () =>
      withProxy({ unavailable: "status" }, FAIL_OVER, async (proxy, hub) => {
        for (let i = 0; i < 4; i++) {
          const response = await subscribe(proxy);
          assertEquals(response.status, 200);
          const reader = new EventReader(response);
          assertEquals((await reader.block()).id, hub.cursor());
          await reader.cancel();
        }
      }),
  );

  test("no server at all: nginx itself brings an EventSource back", { skip }, async () => {
    const proxy = await startNginx(
      [await freePort()],
      INTERCEPT,
      LATER,
    );
    try {
      const response = await subscribe(proxy);
      assertEquals(response.status, 200);
      assertEquals(response.headers.get("content-type"), "text/event-stream");
      assertEquals(response.headers.get("retry-after"), "5");
      assertEquals(await response.text(), "retry: 5000\n");
    } finally {
      await proxy.close();
    }
  });

  test("the directives are those of the page", async () => {
    const path = fileURLToPath(new URL("../../docs/unavailable.md", import.meta.url));
    const page = (await readFile(path, "utf8")).replace(/\s+/g, " ");
    for (const directives of [FAIL_OVER, INTERCEPT, LATER]) {
      assertStringIncludes(page, directives.replace(/\s+/g, " "));
    }
  });
});
