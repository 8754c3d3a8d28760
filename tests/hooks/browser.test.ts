/** The hooks for React, Vue and Svelte in a real Chromium, with the real frameworks. */
import { after, afterEach, before, describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch, serveSite, type Site, skip as skipped } from "../client/browser-helpers.ts";
import { runtime, until } from "../server-helpers.ts";
import type { Demo, Props } from "./demo.ts";
import { bundle } from "./pages.ts";

/** What is tested runs in the browser, so that one runtime beside it is enough. */
const skip = runtime === "node" ? skipped : "the browser is the runtime";

/** What the tests keep in their pages. */
declare const self: { demo: Demo; states: string[] };

/** The modules with a demo of each framework. */
const frameworks = {
  React: 'import { demo } from "./tests/hooks/react-page.ts"; self.demo = demo(false);',
  "React in StrictMode":
    'import { demo } from "./tests/hooks/react-page.ts"; self.demo = demo(true);',
  Vue: 'import { demo } from "./tests/hooks/vue-page.ts"; self.demo = demo();',
  Svelte: 'import { demo } from "./tests/hooks/svelte-page.svelte"; self.demo = demo();',
};

let browser: Browser;

before(async () => {
  if (!skip) browser = await launch();
});

after(async () => {
  await browser?.close();
});

for (const [framework, source] of Object.entries(frameworks)) {
  describe(`${framework}, in Chromium`, () => {
    let context: BrowserContext;
    let site: Site;
    let script: string;
    /** How many requests for a stream have come. */
    let asked = 0;
    let faults: string[] = [];

    before(async () => {
      if (skip) return;
      script = await bundle(source, "client");
      site = await serveSite({ retry: 50 }, {
        authenticate(request) {
          asked++;
          const known = !request.url.endsWith("channel=unknown");
          return known ? { session: "ada", channels: ["news", "sport"] } : null;
        },
      });
    });

    after(async () => {
      await site?.close();
    });

    afterEach(async () => {
      if (skip) return;
      await context.close();
      await alone();
      assertEquals(faults, []);
    });

    /** Opens a page with the framework in it, of a new context or of the one that there is. */
    async function open(same = false): Promise<Page> {
      if (!same) {
        context = await browser.newContext();
        [asked, faults] = [0, []];
      }
      const page = await context.newPage();
      page.on("pageerror", (error) => faults.push(String(error)));
      page.on("console", (message) => {
        // What the network says of a refusal and of a lost connection is what the tests are about.
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
          faults.push(message.text());
        }
      });
      // tsx has functions keep their names, those for the page, too.
      await page.addInitScript("globalThis.__name = (value) => value");
      await page.goto(site.url);
      await page.evaluate(() => {
        document.body.innerHTML = '<div id="app"></div>';
        self.states = [];
        new MutationObserver(() => {
          const state = document.getElementById("state")?.textContent;
          if (state && state !== self.states.at(-1)) self.states.push(state);
        }).observe(document.body, { childList: true, subtree: true, characterData: true });
      });
      await page.addScriptTag({ content: script, type: "module" });
      await page.waitForFunction(() => self.demo);
      return page;
    }

    const mount = (page: Page, props: Props) =>
      page.evaluate((props) => self.demo.mount(props), props);
    /** Gives the component other values, and waits until it shows them. */
    const update = async (page: Page, props: Props) => {
      await page.evaluate((props) => self.demo.update(props), props);
      await page.locator(`p[title=${props.label}]`).waitFor({ state: "attached" });
    };
    const unmount = (page: Page) => page.evaluate(() => self.demo.unmount());
    const heard = (page: Page) => page.evaluate(() => self.demo.heard);
    const shows = (page: Page, id: "state" | "last", text: string) =>
      page.locator(`#${id}`).getByText(text, { exact: true }).waitFor();
    const publish = (channel: string, text: string) => site.hub.publish(channel, "note", { text });
    const connections = (count: number) =>
      until(() => site.hub.stats().connections === count, `${count} connections`);
    const alone = () => connections(0);

    test("shows events and the state; an unmount ends the connection", { skip }, async () => {
      const page = await open();
      await mount(page, { channel: "news", label: "a" });
      await shows(page, "state", "open");
      await connections(1);
      for (const text of ["one", "two", "three"]) await publish("news", text);
      await publish("sport", "four");
      await shows(page, "last", "three");
      assertEquals(await heard(page), ["a one", "a two", "a three"]);
      assertEquals(await page.evaluate(() => self.states), ["connecting", "open"]);
      assertEquals(site.hub.stats().connections, 1);
      await unmount(page);
      await alone();
      assertEquals(await page.locator("#state").count(), 0);
    });

    test("hears what was sent since the state was read, once", { skip }, async () => {
      const cursor = site.hub.cursor();
      for (const text of ["one", "two", "three"]) await publish("news", text);
      const page = await open();
      await mount(page, { channel: "news", label: "a", cursor });
      await shows(page, "last", "three");
      await publish("news", "four");
      await shows(page, "last", "four");
      assertEquals(await heard(page), ["a one", "a two", "a three", "a four"]);
      await connections(1);
      await unmount(page);
      await alone();
    });

    test("a lost connection comes back with its listeners, and misses nothing", {
      skip,
    }, async () => {
      const page = await open();
      await mount(page, { channel: "news", label: "a" });
      await shows(page, "state", "open");
      await publish("news", "one");
      await shows(page, "last", "one");
      site.sever();
      await publish("news", "two");
      await shows(page, "last", "two");
      await shows(page, "state", "open");
      assertEquals(await heard(page), ["a one", "a two"]);
      assertEquals(await page.evaluate(() => self.states), [
        ...["connecting", "open", "reconnecting, attempt 1, true", "open"],
      ]);
      await connections(1);
    });

    test("another channel moves the subscription; other values do not", { skip }, async () => {
      const page = await open();
      await mount(page, { channel: "news", label: "a" });
      await shows(page, "state", "open");
      const before = asked;
      await update(page, { channel: "news", label: "b" });
      await publish("news", "one");
      await shows(page, "last", "one");
      assertEquals(asked, before, "the same connection");

      await update(page, { channel: "sport", label: "c" });
      await until(() => asked > before, "another request");
      await shows(page, "state", "open");
      await connections(1);
      await publish("news", "two");
      await publish("sport", "three");
      await shows(page, "last", "three");
      assertEquals(await heard(page), ["b one", "c three"]);
      await unmount(page);
      await alone();
    });

    test("a refusal is shown", { skip }, async () => {
      const page = await open();
      await mount(page, { channel: "unknown", label: "a" });
      await shows(page, "state", "closed: server");
      // Another URL is another attempt.
      await update(page, { channel: "news", label: "b" });
      await shows(page, "state", "open");
    });

    test("tabs share a connection", { skip }, async () => {
      const first = await open();
      const second = await open(true);
      for (const page of [first, second]) {
        await mount(page, { channel: "news", label: "a", shared: true });
        await shows(page, "state", "open");
      }
      await publish("news", "one");
      for (const page of [first, second]) await shows(page, "last", "one");
      assertEquals(site.hub.stats().connections, 1);
      await unmount(first);
      await publish("news", "two");
      await shows(second, "last", "two");
      assertEquals([await heard(first), await heard(second)], [["a one"], ["a one", "a two"]]);
      await connections(1);
      await unmount(second);
      await alone();
    });

    test("what is hidden and shown again has missed nothing, and hears nothing twice", {
      skip: skip || (!framework.startsWith("React") && "Activity is React's"),
    }, async () => {
      const cursor = site.hub.cursor();
      const page = await open();
      await mount(page, { channel: "news", label: "a", cursor });
      await publish("news", "one");
      await shows(page, "last", "one");
      await page.evaluate(() => self.demo.hide!(true));
      await alone();
      await publish("news", "two");
      assertEquals(await heard(page), ["a one"]);
      await page.evaluate(() => self.demo.hide!(false));
      await shows(page, "last", "two");
      assertEquals(await heard(page), ["a one", "a two"]);
      assertEquals(site.hub.stats().connections, 1);
    });
  });
}
