/**
 * One of the servers of `cluster.ts`: a hub on the log that all share, the page, and numbered events.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { createHandler, createHub, type StreamsideError } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { host, port } from "../app/address.ts";
import { connectEngine } from "../app/engine.ts";
import { asset, isOwn, Problem, readObject, wholeNumber } from "../app/http.ts";
import { loadPage } from "./page.ts";

/** What every server tells everyone, four times a second. */
export interface Events {
  count: Count;
}

/** The next number of one server. */
export interface Count {
  /** Which of the servers: 1, 2, 3. The one that takes a killed one's place has its number. */
  server: number;
  /** Its process: another one counts from 1 again. */
  pid: number;
  /** From 1, one more each time. */
  n: number;
  /** When the process began to count, and when this was sent, in ms since 1970. */
  began: number;
  at: number;
  /** How many connections it has. */
  connections: number;
}

const PAUSE = 250;

/**
 * Runs a server until its process is told to stop.
 *
 * @throws An error that says what is missing: an engine, or the port.
 */
export async function runServer(server: number): Promise<void> {
  const { pid } = process;
  // Nobody is to be left without the process that started it.
  process.on("disconnect", () => process.exit());
  const [engine, page] = [await connectEngine(), await loadPage()];
  const log = engine!.log("streamside-cluster");
  const hub = createHub<Events>({ log, retry: 250 });
  const began = Date.now();
  let n = 0;
  let isStopping = false;

  /** Tells the next number. What the log has not confirmed is told again: with the same key it stands there once. */
  async function count(): Promise<void> {
    const { connections } = hub.stats();
    const told = { server, pid, n: n + 1, began, at: Date.now(), connections };
    await hub.broadcast("count", told, { idempotencyKey: `${pid} ${began} ${n + 1}` });
    n++;
  }

  async function countOn(): Promise<void> {
    while (!isStopping) {
      await count().catch((error: StreamsideError) => isStopping || console.error(error.message));
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  const sse = createHandler(hub, {
    basePath: "/events",
    // Who opens the page may listen. It is on this machine only, unless HOST says otherwise.
    authenticate: () => ({ session: crypto.randomUUID() }),
  });

  async function answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/events/")) {
      const response = await sse(request);
      response.headers.set("x-server", `${server}`);
      response.headers.set("x-process", `${pid}`);
      return response;
    }
    if (pathname === "/state") return Response.json({ cursor: hub.cursor(), now: Date.now() });
    if (pathname === "/kill" && request.method === "POST") {
      if (!isOwn(request)) throw new Problem(403, "A page of another origin may not do that.");
      // The request may have come to any server: the process that started them all knows the one that is meant.
      process.send!({ kill: wholeNumber(await readObject(request), "pid", 2 ** 31) });
      return new Response(null, { status: 202 });
    }
    const file = page.get(pathname);
    if (!file) throw new Problem(404, "There is nothing here.");
    return asset(...file);
  }

  async function fetch(request: Request): Promise<Response> {
    try {
      return await answer(request);
    } catch (error) {
      if (error instanceof Problem) return error.toResponse();
      console.error(error);
      return new Problem(500, "The server failed; its log says why.").toResponse();
    }
  }

  await count(); // it rejects, and says why, where the engine keeps no log
  const { listens, close } = await serve(fetch);
  process.send!({ listens });
  void countOn();
  process.on("SIGTERM", async () => {
    isStopping = true;
    await hub.close({ within: 1000 });
    await close();
    await log.close!();
    await engine!.close();
    process.exit();
  });
  process.on("SIGINT", () => {}); // the terminal tells all of a group; the first process passes it on
}

/** Serves on the port that all share. */
async function serve(
  fetch: (request: Request) => Promise<Response>,
): Promise<{ listens: number; close(): Promise<unknown> }> {
  if ("Deno" in globalThis) {
    const options = { hostname: host, port, reusePort: true, onListen: () => {} };
    const server = Deno.serve(options, fetch);
    return { listens: server.addr.port, close: () => server.shutdown() };
  }
  if ("Bun" in globalThis) {
    const options = { hostname: host, port, reusePort: true, idleTimeout: 0, fetch };
    const server = Bun.serve(options);
    return { listens: server.port, close: () => server.stop() };
  }
  const server = createServer(toNodeListener(fetch));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, host, resolve);
  });
  const close = () => {
    server.closeIdleConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { listens: (server.address() as AddressInfo).port, close };
}

/** As much of two runtimes as is used here, for those who type-check on another. */
declare const Deno: {
  serve(
    options: { hostname: string; port: number; reusePort: boolean; onListen(): void },
    fetch: (request: Request) => Promise<Response>,
  ): { addr: { port: number }; shutdown(): Promise<void> };
};
declare const Bun: {
  serve(options: {
    hostname: string;
    port: number;
    reusePort: boolean;
    idleTimeout: number;
    fetch: (request: Request) => Promise<Response>;
  }): { port: number; stop(): Promise<void> };
};
