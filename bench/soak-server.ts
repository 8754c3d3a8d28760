/**
 * The server of a soak, served as its runtime serves: `node:http` through the listener, `Deno.serve` or `Bun.serve`.
 * It sends when it is told to, and tells what memory it takes.
 *
 * @module
 */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { createHandler, createHub, sessionFromRequest } from "../mod.ts";
import { toNodeListener } from "../src/node/mod.ts";

const scope = globalThis as unknown as {
  gc?: () => void;
  Bun?: {
    gc(force: boolean): void;
    serve(options: object): { port: number };
  };
  Deno?: { serve(options: object, handler: (request: Request) => Promise<Response>): Served };
};

interface Served {
  addr: { port: number };
}

const hub = createHub({ history: { bytes: Number(process.env.HISTORY_BYTES) } });
const handler = createHandler(hub, {
  authenticate: (request) => ({ session: sessionFromRequest(request)! }),
});

async function answer(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const number = (name: string) => Number(url.searchParams.get(name));
  if (url.pathname === "/memory") return Response.json(await memory());
  if (url.pathname !== "/send") return await handler(request);
  return Response.json(await send(number("rate"), number("seconds"), number("bytes")));
}

/** What the process takes, after collection. */
async function memory(): Promise<unknown> {
  for (let i = 0; i < 5; i++) {
    scope.gc?.();
    scope.Bun?.gc(true);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heapUsed, stats: hub.stats() };
}

/** Sends evenly: what was due since the last look at the clock. */
async function send(rate: number, seconds: number, bytes: number): Promise<unknown> {
  const began = performance.now();
  let sent = 0;
  let peak = 0;
  while (sent < rate * seconds) {
    const due = Math.min(rate * seconds, ((performance.now() - began) / 1000) * rate);
    while (sent < due) {
      const stamp = `@${String(BigInt(Date.now()) * 1_000_000n)}@`;
      await hub.broadcast("tick", stamp + "x".repeat(Math.max(0, bytes - stamp.length)));
      sent++;
    }
    peak = Math.max(peak, process.memoryUsage().rss);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return { sent, peak, seconds: (performance.now() - began) / 1000 };
}

if (scope.Deno) {
  const { addr } = scope.Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, answer);
  console.log(addr.port);
} else if (scope.Bun) {
  console.log(
    scope.Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 0, fetch: answer }).port,
  );
} else {
  const own = toNodeListener(handler);
  const other = toNodeListener(answer);
  const server = createServer((request, response) => {
    const isSubscribe = request.url!.startsWith("/api/");
    (isSubscribe ? own : other)(request, response);
  }) as ReturnType<typeof createServer> & { on(type: "request", listener: RequestListener): void };
  server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
}
