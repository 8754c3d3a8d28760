/**
 * The nginx configuration of docs/production.md, as it stands there but for its port, its certificate and its timeout.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { startNginxOf } from "../nginx.ts";
import { skipWithout } from "../programs.ts";
import {
  authenticate,
  EventReader,
  quietLogger,
  refusedForNow,
  serveNode,
  until,
  untilIdle,
} from "../server-helpers.ts";

const skip = skipWithout("nginx");

/** The first nginx block of the page. */
async function configuration(): Promise<string> {
  const path = fileURLToPath(new URL("../../docs/production.md", import.meta.url));
  const [, block] = /```nginx\n(.*?)```/s.exec(await readFile(path, "utf8")) ?? [];
  assert(block !== undefined, "the page has no nginx block");
  return block;
}

/** Replaces what has to be there once. */
function replaced(text: string, from: string, to: string): string {
  assertEquals(text.split(from).length, 2, `${from} in ${text}`);
  return text.replace(from, () => to);
}

describe("the nginx configuration of the page", () => {
  test("streams at once, outlives its timeout, knows the page's own origin, and drains", {
    skip,
  }, async () => {
    const hub = createHub({ logger: quietLogger, heartbeat: 250 });
    const handler = createHandler(hub, { authenticate, authorize: () => true });
    const server = await serveNode(toNodeListener(handler, { trustProxy: true }));
    const text = await configuration();
    const proxy = await startNginxOf((port) => {
      let http = replaced(text, "server 127.0.0.1:8080;", `server 127.0.0.1:${server.port};`);
      http = replaced(http, "listen 443 ssl http2;", `listen 127.0.0.1:${port};`);
      http = http.replace(/^ *ssl_.*\n/gm, "");
      return `proxy_read_timeout 2s; ${http}`;
    });
    try {
      const subscribe = () => fetch(`${proxy.url}/api/v1/sse/subscribe?sessionId=ada`);
      const response = await subscribe();
      assertEquals(response.headers.get("content-type"), "text/event-stream");
      const reader = new EventReader(response);
      await reader.block();
      await hub.send("ada", "greeting", "hello");
      assertEquals((await reader.event()).data, "hello");
      // Nothing but heartbeats, for longer than the timeout.
      for (let i = 0; i < 12; i++) assertEquals((await reader.block()).data, undefined);

      const post = async (origin: string) => {
        const { status, body } = await fetch(`${proxy.url}/api/v1/sse/send?sessionId=ada`, {
          method: "POST",
          headers: { "Content-Type": "application/json", Origin: origin },
          body: JSON.stringify({ session: "ada", event: "greeting", data: "posted" }),
        });
        await body?.cancel();
        return status;
      };
      assertEquals(await post(proxy.url), 202);
      assertEquals((await reader.event()).data, "posted");
      assertEquals(await post("https://evil.example"), 403);

      await reader.cancel();
      await untilIdle(hub);

      const last = new EventReader(await subscribe());
      await last.block();
      await until(() => hub.stats().connections === 1, () => "the connection");
      await hub.close({ within: 0 });
      await last.rest(); // it ends
      assertEquals((await refusedForNow(subscribe())).code, "closed");
    } finally {
      await proxy.close();
      await server.close();
      await hub.close();
    }
  });
});
