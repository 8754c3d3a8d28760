/**
 * Chromium, and a site for it: a hub behind node:http, an empty page, and the client as it is built for browsers.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type Browser, chromium } from "playwright-core";
import {
  createHandler,
  createHub,
  type HandlerOptions,
  type Hub,
  type HubOptions,
} from "../../mod.ts";
import { bundle } from "../../scripts/bundle.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { onNodeAlone } from "../campaign.ts";
import { find, skipWithout } from "../programs.ts";

const browsers = ["chromium", "chromium-browser", "google-chrome"];

/** Why browser tests are skipped, or `false`. */
export const skip: string | false = onNodeAlone || skipWithout(...browsers);

/** How Chromium starts: without a window, and without asking anybody for anything. */
export const CHROMIUM_OPTIONS: readonly string[] = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Launches Chromium. */
export async function launch(): Promise<Browser> {
  const executablePath = find(...browsers);
  if (executablePath === undefined) throw new Error(`None of ${browsers.join(", ")} is on PATH.`);
  return await chromium.launch({
    executablePath,
    timeout: 120_000,
    args: [...CHROMIUM_OPTIONS],
  });
}

/** A site with a hub. */
export interface Site {
  url: string;
  hub: Hub;
  /** Breaks every connection, as a crash of the server would. */
  sever(): void;
  close(): Promise<void>;
}

/**
 * Serves an empty page at every path but `/client.js` and the hub's, `/sse/…`. Whoever asks gets the session in
 * `?session=`, in `X-Session-Id`, or in the cookie `session`, or `all`; without a leading `a`, none. At a port of its own, unless one is given.
 */
export async function serveSite(
  options?: HubOptions,
  { port = 0, ...handlerOptions }: { port?: number } & Partial<HandlerOptions> = {},
): Promise<Site> {
  const client = bundle('export * from "./src/client/mod.ts";');
  const hub = createHub(options);
  const listener = toNodeListener(createHandler(hub, {
    basePath: "/sse",
    authenticate: (request) => {
      const session = new URL(request.url).searchParams.get("session") ??
        request.headers.get("X-Session-Id") ??
        /session=(\w+)/.exec(request.headers.get("Cookie") ?? "")?.[1] ?? "all";
      return session.startsWith("a") ? { session, channels: ["news"] } : null;
    },
    ...handlerOptions,
  }));
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    if (request.url!.startsWith("/sse")) return void listener(request, response);
    const script = request.url == "/client.js";
    response.setHeader("Content-Type", script ? "text/javascript" : "text/html");
    response.end(script ? client : "<!doctype html><title>empty</title>");
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const sever = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    // A name, so that the context is secure and the limit of six connections holds.
    url: `http://localhost:${(server.address() as AddressInfo).port}/`,
    hub,
    sever,
    async close() {
      await hub.close();
      const closed = new Promise((resolve) => server.close(resolve));
      sever();
      await closed;
    },
  };
}
