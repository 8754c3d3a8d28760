/**
 * The client in Chromium, Firefox and WebKit: a page runs the checks of `browser-checks.ts` and reports what it saw. No
 * driver is needed for that, which is why it can be WebKit's own little browser, too.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { createHandler, createHub, sessionFromRequest } from "../../mod.ts";
import { bundle } from "../../scripts/bundle.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { onNodeAlone } from "../campaign.ts";
import { find, skipWithout } from "../programs.ts";
import { quietLogger, until, within } from "../server-helpers.ts";
import type { Report } from "./browser-checks.ts";
import { CHROMIUM_OPTIONS } from "./browser-helpers.ts";

interface Browser {
  /** Its names on PATH, or where Debian keeps it. */
  readonly programs: readonly string[];
  /** What it needs besides. */
  readonly also?: string;
  /** How it is started, with a directory for all that it keeps. */
  command(program: string, url: string, home: string): string[];
}

const browsers: Record<string, Browser> = {
  Chromium: {
    programs: ["chromium", "chromium-browser", "google-chrome"],
    command: (program, url, home) => [
      program,
      ...CHROMIUM_OPTIONS,
      `--user-data-dir=${home}`,
      url,
    ],
  },
  Firefox: {
    programs: ["firefox-esr", "firefox"],
    command: (program, url, home) => [
      program,
      "--headless",
      "--no-remote",
      "--profile",
      home,
      url,
    ],
  },
  WebKit: {
    programs: [
      "MiniBrowser",
      "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
      "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
    ],
    also: "xvfb-run",
    command: (program, url) => [
      "xvfb-run",
      "--auto-servernum",
      program,
      "--private",
      url,
    ],
  },
};

/** Serves the page, its scripts, and a hub that the page can steer; resolves the report that the page sends. */
async function serveChecks() {
  const scripts: Record<string, Uint8Array> = {
    "/checks.js": bundle(
      'import { runChecks } from "./tests/client/browser-checks.ts"; runChecks();',
    ),
    "/client.js": bundle('export * from "./src/client/mod.ts";'),
  };
  const hub = createHub({ heartbeat: 500, retry: 50, logger: quietLogger });
  const refused = new Set<string>();
  const handler = createHandler(hub, {
    basePath: "/sse",
    authenticate: (request) => {
      const session = sessionFromRequest(request) ??
        new URL(request.url).searchParams.get("session") ?? "";
      if (refused.has(session)) throw new Error("refused for now");
      return session.startsWith("a-") ? { session } : null;
    },
  });
  const listener = toNodeListener(handler);
  const sockets = new Map<string, Set<Socket>>();
  let appeared = false;
  let reported: (report: Report) => void;
  const report = new Promise<Report>((resolve) => reported = resolve);

  const sessions = () => hub.sessions();
  const cut = (session: string) => {
    for (const socket of sockets.get(session) ?? []) socket.destroy();
  };
  const act: Record<string, (session: string, data: string) => Promise<string> | string> = {
    send: async (session, data) => String((await hub.send(session, "tick", data)).connections),
    message: async (session, data) =>
      String((await hub.send(session, "message", data)).connections),
    "cut-and-send": async (session, data) => {
      cut(session);
      return (await hub.send(session, "tick", data)).id;
    },
    "until-gone": async (session) => {
      await until(() => !sessions().includes(session), `${session} to be gone`);
      return "gone";
    },
    "refuse-and-cut": (session) => {
      refused.add(session);
      cut(session);
      return "";
    },
    "let-in": (session) => String(refused.delete(session)),
    connections: (session) => String(sockets.get(session)?.size ?? 0),
    appear: () => {
      appeared = true;
      return "";
    },
  };

  const answer = async (
    request: IncomingMessage,
  ): Promise<[type: string, body: string | Uint8Array]> => {
    const { pathname } = new URL(request.url!, "http://localhost");
    const [, first, ...rest] = pathname.split("/");
    if (scripts[pathname]) return ["text/javascript", scripts[pathname]];
    if (first === "report") {
      let text = "";
      for await (const chunk of request) text += chunk;
      reported(JSON.parse(text));
      return ["text/plain", ""];
    }
    if (first === "do") {
      const [what, session = "", data = ""] = rest.map(decodeURIComponent);
      return ["text/plain", await act[what!]!(session, data)];
    }
    const body = pathname === "/"
      ? '<body><script type="module" src="/checks.js"></script>'
      : "<script>globalThis.load = (script) => import(script)</script>";
    return ["text/html", `<!doctype html><title>checks</title>${body}`];
  };

  const server = createServer((request, response) => {
    if (request.url === "/nothing-here-yet") {
      if (!appeared) return void response.writeHead(503).end();
      request.url = "/sse/subscribe?session=a-appeared";
    }
    if (request.url!.startsWith("/sse")) {
      const { searchParams } = new URL(request.url!, "http://localhost");
      const session = searchParams.get("session") ?? "";
      const { socket } = request;
      const ofSession = sockets.get(session) ?? new Set();
      sockets.set(session, ofSession.add(socket));
      response.on("close", () => ofSession.delete(socket));
      return void listener(request, response);
    }
    answer(request).then(([type, body]) => {
      response.setHeader("Content-Type", type).end(body);
    }, (error) => response.writeHead(500).end(String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    // A name, so that the context is secure.
    url: `http://localhost:${(server.address() as AddressInfo).port}/`,
    report,
    async close() {
      await hub.close();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections?.();
      await closed;
    },
  };
}

describe("the client in browsers", () => {
  for (const [name, { programs, also, command }] of Object.entries(browsers)) {
    const skip = onNodeAlone || skipWithout(...programs) ||
      (also !== undefined && skipWithout(also));
    test(name, { skip }, async () => {
      const site = await serveChecks();
      const home = await mkdtemp(join(tmpdir(), "streamside-browser-"));
      const [program, ...args] = command(find(...programs)!, site.url, home);
      let browser: ChildProcess | undefined;
      try {
        browser = spawn(program!, args, {
          // Its processes are one group, and what it keeps is in one directory.
          detached: true,
          stdio: "ignore",
          env: {
            ...process.env,
            HOME: home,
            XDG_RUNTIME_DIR: home,
            // The sandbox needs what a container does not give; the pages are our own.
            WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
          },
        });
        const failed = new Promise<never>((_, reject) => browser!.once("error", reject));
        const report = await within(
          Promise.race([site.report, failed]),
          `the report of ${name}`,
          90_000,
        );
        const wrong = Object.entries(report).filter(([, why]) => why !== null);
        assertEquals(wrong, []);
        assertEquals(Object.keys(report).length, 13);
      } finally {
        if (browser?.pid !== undefined) process.kill(-browser.pid, "SIGKILL");
        await site.close();
        await rm(home, { recursive: true, force: true, maxRetries: 5 });
      }
    });
  }
});
