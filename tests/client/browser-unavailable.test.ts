/**
 * The browser's own `EventSource`, in a real Chromium, refused for each reason that is only for now: it comes back by
 * itself, and misses nothing.
 */
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { type Log, type LogFollower, memoryLog } from "../../mod.ts";
import { sessionAddress } from "../../src/log/address.ts";
import { INTERCEPT, LATER, startNginx } from "../nginx.ts";
import { find, skipWithout } from "../programs.ts";
import { quietLogger, within } from "../server-helpers.ts";
import { launch, serveSite, type Site, skip } from "./browser-helpers.ts";

/** What the page keeps. */
interface Tab {
  source: EventSource;
  lines: string[];
}

declare const self: Tab;

const options = { retry: 50, logger: quietLogger };
/** What a failed scenario would leave open. */
const closers: (() => unknown)[] = [];

async function serve(...args: Parameters<typeof serveSite>): Promise<Site> {
  const site = await serveSite(...args);
  closers.push(() => site.close());
  return site;
}

const portOf = (site: Site) => Number(new URL(site.url).port);

/** What brings a refusal about, and what ends it, of a page that has heard `tick 1` and is to hear `tick 2`. */
type Scenario = (page: (url: string) => Promise<Visitor>) => Promise<void>;

/** A page with an `EventSource` that is open. */
interface Visitor {
  /** Waits until the page has been refused with a code. */
  refused(code: string): Promise<void>;
  /** Waits until the page has seen so many streams begin. */
  opened(count: number): Promise<unknown>;
  /** Waits until the page has heard the second event, and checks all that it has seen. */
  back(): Promise<void>;
}

const scenarios: Record<string, Scenario> = {
  "a server that drains, and a new one on the same port": async (visit) => {
    const log = memoryLog();
    const old = await serve({ ...options, log });
    const visitor = await visit(old.url);
    await old.hub.send("all", "tick", 1);
    await old.hub.close({ within: 100 });
    await visitor.refused("closed");
    await old.close();
    const site = await serve({ ...options, log }, { port: portOf(old) });
    await site.hub.send("all", "tick", 2);
    await visitor.back();
  },

  "too-many-connections": async (visit) => {
    const site = await serve({ ...options, maxConnections: 1 });
    const visitor = await visit(site.url);
    await site.hub.send("all", "tick", 1);
    const taken = new Promise<ReadableStream>((resolve) => {
      const stop = site.hub.on("disconnect", () => {
        stop();
        queueMicrotask(() => resolve(site.hub.subscribe("another")));
      });
    });
    site.sever();
    const another = await taken;
    await visitor.refused("too-many-connections");
    await site.hub.send("all", "tick", 2);
    await another.cancel();
    await visitor.back();
  },

  "too-many-connections-of-session, while the old connection is not noticed": async (visit) => {
    const site = await serve({ ...options, maxConnectionsPerSession: 1 });
    const relay = await openRelay(portOf(site));
    const visitor = await visit(`http://localhost:${relay.port}/`);
    await site.hub.send("all", "tick", 1);
    const vanished = relay.vanish();
    await visitor.refused("too-many-connections-of-session");
    await site.hub.send("all", "tick", 2);
    for (const socket of vanished) socket.destroy();
    await visitor.back();
  },

  "log-unavailable": async (visit) => {
    const log = memoryLog();
    const old = await serve({ ...options, log });
    const visitor = await visit(old.url);
    await old.hub.send("all", "tick", 1);
    await old.close();
    const followers: LogFollower[] = [];
    const late: Log = {
      follow: (follower) => {
        followers.push(follower);
        return () => {};
      },
      append: (record) => log.append(record),
      read: (after, limit) => log.read(after, limit),
    };
    await serve({ ...options, log: late }, { port: portOf(old) });
    await visitor.refused("log-unavailable");
    await log.append({ to: sessionAddress("all"), event: "tick", data: "2" });
    for (const follower of followers) log.follow(follower);
    await visitor.back();
  },

  "no server behind nginx, which then answers itself": async (visit) => {
    if (find("nginx") === undefined) throw new Error("no nginx on PATH");
    const log = memoryLog();
    const old = await serve({ ...options, log });
    const proxy = await startNginx([portOf(old)], INTERCEPT, LATER);
    closers.push(() => proxy.close());
    const visitor = await visit(`http://localhost:${proxy.port}/`);
    await old.hub.send("all", "tick", 1);
    await old.close();
    await visitor.opened(2);
    const site = await serve({ ...options, log }, { port: portOf(old) });
    await site.hub.send("all", "tick", 2);
    await visitor.back();
  },

  "authenticate that throws": (visit) =>
    failing(visit, "internal-error", () => {
      throw new Error("the database is down");
    }),

  "authenticate that is late": (visit) =>
    failing(visit, "unavailable", () => new Promise(() => {})),
};

/** A site whose `authenticate` fails for a while. */
async function failing(
  visit: Parameters<Scenario>[0],
  code: string,
  fail: () => Promise<never>,
): Promise<void> {
  let fails = false;
  const site = await serve(options, {
    authTimeout: 50,
    authenticate: () => fails ? fail() : { session: "all" },
  });
  const visitor = await visit(site.url);
  await site.hub.send("all", "tick", 1);
  fails = true;
  site.sever();
  await visitor.refused(code);
  await site.hub.send("all", "tick", 2);
  fails = false;
  await visitor.back();
}

/** Passes bytes on to a port, and can lose a client without the server's noticing. */
async function openRelay(port: number) {
  const pairs = new Map<Socket, Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    pairs.set(client, upstream);
    client.on("data", (bytes) => upstream.write(bytes));
    upstream.on("data", (bytes) => client.write(bytes));
    upstream.on("close", () => client.destroy());
    client.on("close", () => pairs.delete(client) && upstream.destroy());
    for (const socket of [client, upstream]) socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    server.close();
    for (const sockets of pairs) for (const socket of sockets) socket.destroy();
  });
  return {
    port: (server.address() as AddressInfo).port,
    /** Breaks the clients' connections; what is left of them on the server's side is given out. */
    vanish(): Socket[] {
      const left = [...pairs.values()];
      const clients = [...pairs.keys()];
      pairs.clear();
      for (const client of clients) client.destroy();
      return left;
    },
  };
}

describe("in Chromium, an EventSource that is refused for now comes back, and misses nothing", () => {
  let browser: Browser | undefined;
  // All at once: what each takes is the time that it is told to wait.
  const outcomes = new Map<string, Promise<void>>();

  before(async () => {
    if (skip) return;
    browser = await launch();
    for (const [name, run] of Object.entries(scenarios)) {
      const outcome = within(run(visit), "the end", 60_000);
      outcome.catch(() => {});
      outcomes.set(name, outcome);
    }
  });

  after(async () => {
    await browser?.close();
    await Promise.all(closers.map((close) => close()));
  });

  for (const name of Object.keys(scenarios)) {
    const without = name.includes("nginx") && skipWithout("nginx");
    test(name, { skip: skip || without }, () => outcomes.get(name));
  }

  async function visit(url: string): Promise<Visitor> {
    const context = await browser!.newContext();
    const page: Page = await context.newPage();
    // tsx has functions keep their names, those for the page, too.
    await page.addInitScript("globalThis.__name = (value) => value");
    await page.goto(url);
    await page.evaluate(() => {
      self.lines = [];
      self.source = new EventSource("/sse/subscribe");
      self.source.onopen = () => self.lines.push("open");
      self.source.onerror = () => self.lines.push(`error ${self.source.readyState}`);
      self.source.addEventListener("tick", (event) => self.lines.push(`tick ${event.data}`));
      self.source.addEventListener("streamside:unavailable", (event) => {
        const { code } = JSON.parse(event.data);
        self.lines.push(`unavailable ${code} ${event.lastEventId !== ""}`);
      });
    });
    const has = (line: string) => page.waitForFunction((line) => self.lines.includes(line), line);
    await has("open");
    return {
      async refused(code) {
        await has(`unavailable ${code} true`);
      },
      opened: (count) =>
        page.waitForFunction(
          (count) => self.lines.filter((line) => line === "open").length >= count,
          count,
        ),
      async back() {
        await has("tick 2");
        const lines: string[] = await page.evaluate(() => self.lines);
        assertEquals(lines.filter((line) => line.startsWith("tick")), ["tick 1", "tick 2"]);
        assertEquals(lines.includes("error 2"), false, lines.join(", "));
        // Refused, it sees each time that it opens, why not, and that it ended.
        const at = lines.findIndex((line) => line.startsWith("unavailable"));
        if (at > 0) assertEquals([lines[at - 1], lines[at + 1]], ["open", "error 0"], `${lines}`);
        await context.close();
      },
    };
  }
});
