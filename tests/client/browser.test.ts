/** The client in a real Chromium, and the native `EventSource` against our server. */
import { after, before, describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type * as library from "../../src/client/mod.ts";
import { launch, serveSite, type Site, skip } from "./browser-helpers.ts";
import { until } from "./helpers.ts";

/** What the tests keep in their pages. */
interface Tab {
  library: typeof library;
  source: EventSource;
  client: library.Client;
  lines: string[];
}

declare const self: Tab;

describe("in Chromium", () => {
  let browser: Browser;
  let context: BrowserContext;
  let site: Site;

  before(async () => {
    if (skip) return;
    site = await serveSite({ heartbeat: 500, retry: 50 });
    browser = await launch();
  });

  after(async () => {
    await browser?.close();
    await site?.close();
  });

  /** Opens a page of a context of its own, with the built client in it. */
  async function open(): Promise<Page> {
    context = await browser.newContext();
    const page = await context.newPage();
    // tsx has functions keep their names, those for the page, too.
    await page.addInitScript("globalThis.__name = (value) => value");
    await page.goto(site.url);
    await page.evaluate(async () => {
      self.lines = [];
      self.library = await import("/client.js" as string);
    });
    return page;
  }

  const lines = (page: Page) => page.evaluate(() => self.lines);

  /** Waits until a page has the line. */
  async function has(page: Page, line: string): Promise<void> {
    await page.waitForFunction((line) => self.lines.includes(line), line);
  }

  const alone = () => until(() => site.hub.stats().connections == 0, "the hub to be alone");

  test(
    "the native EventSource hears our server, resumes where it was, and is refused",
    { skip },
    async () => {
      const page = await open();
      await page.evaluate(() => {
        self.source = new EventSource("/sse/subscribe?channel=news");
        self.source.onopen = () => self.lines.push("open");
        self.source.onmessage = (event) => self.lines.push(event.data);
        self.source.addEventListener("tick", (event) => self.lines.push("tick " + event.data));
      });
      await has(page, "open");
      await site.hub.send("all", "message", "one\ntwo");
      await site.hub.publish("news", "tick", { n: 1 });
      await has(page, 'tick {"n":1}');
      site.sever();
      await site.hub.broadcast("tick", 2);
      await has(page, "tick 2");
      assertEquals(await lines(page), ["open", "one\ntwo", 'tick {"n":1}', "open", "tick 2"]);

      const refused = await page.evaluate(() =>
        new Promise<number>((resolve) => {
          const source = new EventSource("/sse/subscribe?session=nobody");
          source.onerror = () => resolve(source.readyState);
        })
      );
      assertEquals(refused, 2);
      await context.close();
      await alone();
    },
  );

  test("the native EventSource hears a heartbeat that is an event", { skip }, async () => {
    const beating = await serveSite({ heartbeat: { interval: 50, event: "ping" } });
    const page = await open();
    await page.goto(beating.url);
    const [data, id] = await page.evaluate(() =>
      new Promise<string[]>((resolve) => {
        const source = new EventSource("/sse/subscribe");
        source.addEventListener("ping", (event) => {
          source.close();
          resolve([event.data, event.lastEventId]);
        });
      })
    );
    assertEquals([data, id], ["50", beating.hub.cursor()]);
    await context.close();
    await beating.close();
  });

  test("our client: relative URL, headers, events, resuming, closing", { skip }, async () => {
    const page = await open();
    await page.evaluate(() => {
      self.client = self.library.createClient("/sse/subscribe", {
        headers: () => Promise.resolve({ "X-Tab": "1" }),
        reconnect: { delay: 10 },
      });
      for (const type of ["open", "tick", "error", "close"]) {
        self.client.addEventListener(type, (event) => {
          self.lines.push(
            [type, (event as unknown as MessageEvent).data].filter(Boolean).join(" "),
          );
        });
      }
      self.client.connect();
    });
    await has(page, "open");
    assertEquals(await page.evaluate(() => self.client.url), site.url + "sse/subscribe");
    await site.hub.send("all", "tick", 1);
    await has(page, "tick 1");
    site.sever();
    await site.hub.send("all", "tick", 2);
    await has(page, "tick 2");
    await page.evaluate(() => self.client.close());
    assertEquals(await lines(page), ["open", "tick 1", "error", "open", "tick 2", "close"]);
    await alone();
    await context.close();
  });

  test("our EventSource takes the place of the native one", { skip }, async () => {
    const page = await open();
    await page.evaluate(() => {
      const source = new self.library.EventSource("sse/subscribe");
      source.onopen = () => self.lines.push("open " + source.url);
      source.onmessage = (event) => {
        self.lines.push([event instanceof MessageEvent, event.origin, event.data].join(" "));
        source.close();
        self.lines.push("closed");
      };
    });
    await has(page, `open ${site.url}sse/subscribe`);
    await site.hub.send("all", "message", "hello");
    await has(page, "closed");
    assertEquals((await lines(page))[1], `true ${new URL(site.url).origin} hello`);
    await alone();
    await context.close();
  });

  test("offline and online: it tries at once when the network is back", { skip }, async () => {
    const page = await open();
    await page.evaluate(() => {
      self.client = self.library.createClient("/sse/subscribe", { reconnect: { delay: 600_000 } });
      for (const type of ["open", "error", "reconnecting"]) {
        self.client.addEventListener(type, () => self.lines.push(type));
      }
      self.client.connect();
    });
    await has(page, "open");
    await context.setOffline(true);
    site.sever();
    await has(page, "reconnecting");
    await context.setOffline(false);
    await page.waitForFunction(() => self.lines.length == 4);
    assertEquals(await lines(page), ["open", "error", "reconnecting", "open"]);
    await context.close();
    await alone();
  });

  test("hidden and shown: it tries at once when the page is seen again, after giving up, too", {
    skip,
  }, async () => {
    const page = await open();
    await page.evaluate(() => {
      self.client = self.library.createClient("/sse/subscribe", { reconnect: { maxAttempts: 0 } });
      for (const type of ["open", "error", "close"]) {
        self.client.addEventListener(type, () => self.lines.push(type));
      }
      document.addEventListener(
        "visibilitychange",
        () => self.lines.push(document.visibilityState),
      );
      self.client.connect();
    });
    await has(page, "open");
    // Playwright keeps every page visible, so what the page says of itself is changed, with the event of the standard.
    const become = (state: DocumentVisibilityState) =>
      page.evaluate((state) => {
        Object.defineProperties(document, {
          visibilityState: { value: state, configurable: true },
          hidden: { value: state == "hidden", configurable: true },
        });
        document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
      }, state);
    await become("hidden");
    site.sever();
    await has(page, "close");
    await become("hidden");
    await become("visible");
    await page.waitForFunction(() => self.lines.length == 7);
    assertEquals(await lines(page), [
      "open",
      "hidden",
      "error",
      "close",
      "hidden",
      "visible",
      "open",
    ]);
    await context.close();
    await alone();
  });

  test("the page that is left takes its connection along", { skip }, async () => {
    const page = await open();
    await page.evaluate(() => {
      self.client = self.library.createClient("/sse/subscribe");
      self.client.connect();
    });
    await until(() => site.hub.stats().connections == 1, "the connection");
    await page.goto(site.url + "elsewhere");
    await alone();
    await context.close();
  });
});
