/** One connection for all tabs, in a real Chromium: tabs that come, go, crash and freeze. */
import { after, before, describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type * as library from "../../src/client/mod.ts";
import { launch, serveSite, type Site, skip } from "./browser-helpers.ts";
import { until } from "./helpers.ts";

/** What the tests keep in their pages. */
interface Tab {
  library: typeof library;
  client: library.Client;
  /** The numbers of the ticks that the tab heard. */
  ticks: number[];
  lines: string[];
  /** How many requests for streams the tab has sent. */
  requests: number;
}

declare const self: Tab;

describe("createSharedClient in Chromium", () => {
  let browser: Browser;
  let site: Site;

  before(async () => {
    if (skip) return;
    site = await serveSite({ heartbeat: 200, retry: 50 });
    browser = await launch();
  });

  after(async () => {
    await browser?.close();
    await site?.close();
  });

  /** Opens a tab whose client is open. */
  async function open(
    context: BrowserContext,
    options: Pick<
      library.SharedClientOptions,
      "headers" | "lastEventId" | "name" | "reconnect" | "timeout"
    > = {},
    url: string = site.url,
  ): Promise<Page> {
    const page = await context.newPage();
    await page.addInitScript("globalThis.__name = (value) => value");
    await page.goto(url);
    await page.evaluate(async (options) => {
      Object.assign(self, { ticks: [], lines: [], requests: 0 });
      self.library = await import("/client.js" as string);
      self.client = self.library.createSharedClient("/sse/subscribe", {
        name: "all",
        ...options,
        fetch: (url, init) => {
          self.requests++;
          return fetch(url, init);
        },
      });
      self.client.addEventListener("tick", (event) => self.ticks.push(Number(event.data)));
      for (const type of ["open", "error", "reset", "close"]) {
        self.client.addEventListener(type, () => self.lines.push(type));
      }
      self.client.connect();
    }, options);
    await page.waitForFunction(() => self.lines.includes("open"));
    return page;
  }

  const ticks = (page: Page) => page.evaluate(() => self.ticks);

  /** Waits until a tab has heard the number `last`. */
  async function heard(page: Page, last: number): Promise<void> {
    await page.waitForFunction((last) => self.ticks.at(-1)! >= last, last);
  }

  async function leaderOf(pages: Page[]): Promise<Page> {
    const requests = await Promise.all(pages.map((page) => page.evaluate(() => self.requests)));
    const index = requests.findIndex((count) => count > 0);
    assert(index >= 0, "no tab has a connection");
    return pages[index]!;
  }

  const connections = (count: number) =>
    until(() => site.hub.stats().connections == count, `${count} connections`);

  const range = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i);

  /** Broadcasts ticks with the numbers, some at a time, and calls `between` after half of them. */
  async function burst(from: number, to: number, between = () => {}): Promise<void> {
    for (let n = from; n <= to; n++) {
      const sent = site.hub.broadcast("tick", n);
      if (n == Math.floor((from + to) / 2)) between();
      if (n % 10 == 0) {
        await sent;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
  }

  test("eight tabs over HTTP/1.1 hear everything over one connection", { skip }, async () => {
    const context = await browser.newContext();
    const pages: Page[] = [];
    for (let i = 0; i < 8; i++) pages.push(await open(context));
    await connections(1);
    await burst(1, 100);
    for (const page of pages) {
      await heard(page, 100);
      assertEquals(await ticks(page), range(1, 100));
    }
    await context.close();
    await connections(0);
  });

  test("tabs that open and close: each hears all from when it came", { skip }, async () => {
    const context = await browser.newContext();
    const pages = [await open(context)];
    await burst(1, 10);
    await heard(pages[0]!, 10);
    pages.push(await open(context));
    await burst(11, 20);
    for (const page of pages) await heard(page, 20);
    // The leader closes as a tab does, then as a client does.
    await pages.shift()!.close();
    pages.push(await open(context));
    await burst(21, 30);
    for (const page of pages) await heard(page, 30);
    assertEquals(await ticks(pages[0]!), range(11, 30));
    assertEquals(await ticks(pages[1]!), range(21, 30));
    await (await leaderOf(pages)).evaluate(() => self.client.close());
    await burst(31, 40);
    await heard(pages[1]!, 40);
    assertEquals(await ticks(pages[1]!), range(21, 40));
    assertEquals((await ticks(pages[0]!)).at(-1), 30);
    await context.close();
    await connections(0);
  });

  test("the leader crashes in the middle of a burst: no tab misses an event or sees one twice", {
    skip,
  }, async () => {
    for (let round = 0; round < 3; round++) {
      const context = await browser.newContext();
      let pages: Page[] = [];
      for (let i = 0; i < 4; i++) pages.push(await open(context));
      const leader = await leaderOf(pages);
      const session = await context.newCDPSession(leader);
      await burst(1, 2000, () => void session.send("Page.crash").catch(() => {}));
      pages = pages.filter((page) => page != leader);
      for (const page of pages) {
        await heard(page, 2000);
        assertEquals(await ticks(page), range(1, 2000));
      }
      await connections(1);
      await context.close();
      await connections(0);
    }
  });

  test(
    "the leader freezes: another takes over; thawed, it has missed nothing either",
    { skip },
    async () => {
      const context = await browser.newContext();
      const pages: Page[] = [];
      for (let i = 0; i < 3; i++) pages.push(await open(context, { timeout: 900 }));
      const leader = await leaderOf(pages);
      const others = pages.filter((page) => page != leader);
      const session = await context.newCDPSession(leader);
      await burst(1, 10);
      for (const page of pages) await heard(page, 10);
      // Chromium freezes hidden tabs only, and Playwright keeps them visible: a debugger stops a tab as thoroughly.
      await session.send("Debugger.enable");
      const paused = new Promise((resolve) => session.once("Debugger.paused", resolve));
      await session.send("Debugger.pause");
      await Promise.all([paused, burst(11, 20)]);
      for (const page of others) {
        await heard(page, 20);
        assertEquals(await ticks(page), range(1, 20));
      }
      await session.send("Debugger.disable");
      await burst(21, 30);
      for (const page of pages) {
        await heard(page, 30);
        assertEquals(await ticks(page), range(1, 30));
      }
      await connections(1);
      await context.close();
      await connections(0);
    },
  );

  test("a tab that comes with a cursor of its own hears all since, once", { skip }, async () => {
    const context = await browser.newContext();
    const first = await open(context);
    await burst(1, 10);
    const cursor = site.hub.cursor();
    await burst(11, 20);
    await heard(first, 20);
    const late = await open(context, { lastEventId: cursor });
    const current = await open(context, { lastEventId: site.hub.cursor() });
    await heard(late, 20);
    await burst(21, 30);
    for (const page of [first, late, current]) await heard(page, 30);
    assertEquals(await ticks(first), range(1, 30));
    assertEquals(await ticks(late), range(11, 30));
    assertEquals(await ticks(current), range(21, 30));
    await connections(1);
    await context.close();
    await connections(0);
  });

  test("a tab that comes after the others gave up connects, for them, too", { skip }, async () => {
    const context = await browser.newContext();
    const reconnect = { maxAttempts: 0 };
    const first = await open(context, { reconnect });
    site.sever();
    await first.waitForFunction(() => self.lines.at(-1) == "close");
    const second = await open(context, { reconnect });
    await first.waitForFunction(() => self.lines.at(-1) == "open");
    await burst(1, 10);
    for (const page of [first, second]) {
      await heard(page, 10);
      assertEquals(await ticks(page), range(1, 10));
    }
    await connections(1);
    await context.close();
    await connections(0);
  });

  test(
    "the server breaks the connection: every tab is told, and misses nothing",
    { skip },
    async () => {
      const context = await browser.newContext();
      const pages = [await open(context), await open(context)];
      await burst(1, 10);
      for (const page of pages) await heard(page, 10);
      site.sever();
      await burst(11, 20);
      for (const page of pages) {
        await heard(page, 20);
        assertEquals(await ticks(page), range(1, 20));
        assertEquals(await page.evaluate(() => self.lines), ["open", "error", "open"]);
      }
      await context.close();
      await connections(0);
    },
  );

  test("two sessions in two tabs: each hears its own events", { skip }, async () => {
    const context = await browser.newContext();
    const as = (session: string) =>
      open(context, { name: session, headers: { "X-Session-Id": session } });
    const [ada, anna, again] = [await as("ada"), await as("anna"), await as("anna")];
    await connections(2);
    await site.hub.send("ada", "tick", 1);
    await site.hub.send("anna", "tick", 2);
    await site.hub.broadcast("tick", 3);
    for (const page of [ada, anna, again]) await heard(page, 3);
    assertEquals(await Promise.all([ada, anna, again].map(ticks)), [[1, 3], [2, 3], [2, 3]]);
    await context.close();
    await connections(0);
  });

  test("logged in as somebody else in the tab that leads: the other one stays who it was", {
    skip,
  }, async () => {
    const context = await browser.newContext();
    const ada = { name: "ada", headers: { "X-Session-Id": "ada" } };
    const first = await open(context, ada);
    const second = await open(context, ada);
    await site.hub.send("ada", "tick", 1);
    for (const page of [first, second]) await heard(page, 1);
    await first.evaluate(() => {
      self.client.close();
      self.client = self.library.createSharedClient("/sse/subscribe", {
        name: "anna",
        headers: { "X-Session-Id": "anna" },
      });
      self.client.addEventListener("tick", (event) => self.ticks.push(Number(event.data)));
      self.client.addEventListener("open", () => self.lines.push("open as anna"));
      self.client.connect();
    });
    await first.waitForFunction(() => self.lines.includes("open as anna"));
    await connections(2);
    await site.hub.send("ada", "tick", 2);
    await site.hub.send("anna", "tick", 3);
    await site.hub.broadcast("tick", 4);
    for (const page of [first, second]) await heard(page, 4);
    assertEquals(await ticks(first), [1, 3, 4]);
    assertEquals(await ticks(second), [1, 2, 4]);
    await context.close();
    await connections(0);
  });

  test("a cookie that changes: after a disconnect no tab hears what the old session gets", {
    skip,
  }, async () => {
    const context = await browser.newContext();
    const cookie = (session: string) =>
      context.addCookies([{ name: "session", value: session, url: site.url }]);
    await cookie("ada");
    const pages = [await open(context), await open(context)];
    await site.hub.send("ada", "tick", 1);
    for (const page of pages) await heard(page, 1);
    await cookie("anna");
    await site.hub.disconnect("ada");
    for (const page of pages) {
      await page.waitForFunction(() => self.lines.join() == "open,error,open");
    }
    await site.hub.send("ada", "tick", 2);
    await site.hub.send("anna", "tick", 3);
    for (const page of pages) {
      await heard(page, 3);
      assertEquals(await ticks(page), [1, 3]);
    }
    // Logged out, all tabs are refused, and close.
    await cookie("nobody");
    await site.hub.disconnect("anna");
    for (const page of pages) {
      await page.waitForFunction(() => self.lines.at(-1) == "close");
      assertEquals(await page.evaluate(() => self.client.readyState), 2);
    }
    await connections(0);
    await context.close();
  });

  test("the server no longer knows the position: every tab is told", { skip }, async () => {
    const context = await browser.newContext();
    const pages = [await open(context), await open(context)];
    await burst(1, 10);
    for (const page of pages) await heard(page, 10);
    await context.route(
      "**/sse/subscribe",
      (route) =>
        route.continue({ headers: { ...route.request().headers(), "last-event-id": "unknown" } }),
    );
    site.sever();
    for (const page of pages) await page.waitForFunction(() => self.lines.includes("reset"));
    await burst(11, 20);
    for (const page of pages) {
      await heard(page, 20);
      assertEquals(await ticks(page), range(1, 20));
      assertEquals(await page.evaluate(() => self.lines), ["open", "error", "open", "reset"]);
    }
    await context.close();
    await connections(0);
  });

  test(
    "a second tab with a cursor, where a session may have one connection: it is told what it misses",
    {
      skip,
    },
    async () => {
      const narrow = await serveSite({ heartbeat: 200, retry: 50, maxConnectionsPerSession: 1 });
      const context = await browser.newContext();
      try {
        const first = await open(context, {}, narrow.url);
        await narrow.hub.broadcast("tick", 1);
        const cursor = narrow.hub.cursor();
        await narrow.hub.broadcast("tick", 2);
        await heard(first, 2);
        const second = await open(context, { lastEventId: cursor }, narrow.url);
        await second.waitForFunction(() => self.lines.includes("reset"));
        await narrow.hub.broadcast("tick", 3);
        for (const page of [first, second]) await heard(page, 3);
        assertEquals(await ticks(first), [1, 2, 3]);
        assertEquals(await ticks(second), [3]);
        assertEquals(await second.evaluate(() => self.lines), ["open", "reset"]);
        assertEquals(narrow.hub.stats().connections, 1);
      } finally {
        await context.close();
        await narrow.close();
      }
    },
  );
});
