/**
 * This library: `toNodeListener` on Node, and on the node:http of the others with `LISTENER=node`; else the plain
 * handler.
 *
 * @module
 */

import { createServer } from "node:http";
import process from "node:process";
import { createHandler, createHub } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { drive, PORT } from "./driver.ts";

interface Runtimes {
  Bun?: { serve(options: object): void };
  Deno?: { serve(options: object, handler: object): void };
}

const history = Number(process.env["HISTORY"] ?? 100_000);
const hub = createHub({ history: { events: history, bytes: Math.max(32 << 20, history * 1024) } });
const handler = createHandler(hub, {
  basePath: "",
  authenticate: (request) => {
    const { url } = request;
    return { session: url.slice(url.indexOf("session=") + 8) };
  },
});

const { Bun, Deno } = globalThis as Runtimes;
const hostname = "127.0.0.1";
if (process.env["LISTENER"] === "node" || !Bun && !Deno) {
  const server = createServer(toNodeListener(handler));
  await new Promise<void>((resolve) => server.listen({ port: PORT, host: hostname }, resolve));
} else if (Bun) Bun.serve({ port: PORT, hostname, idleTimeout: 0, fetch: handler });
else Deno!.serve({ port: PORT, hostname, onListen() {} }, handler);

drive({
  connections: () => hub.stats().connections,
  broadcast: (data) => hub.broadcast("tick", data),
  send: (number, data) => hub.send(`s${number}`, "tick", data),
  delivered: () => hub.stats().deliveries,
  cursor: () => hub.cursor(),
});
