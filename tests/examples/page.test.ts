/**
 * The example application's page, in Chromium.
 *
 * `DEMO_PICTURE=docs/demo.png npm test -- examples/page --runtime node` also writes the picture of the README.
 *
 * @module
 */
import { appendFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, afterEach, before, describe, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import type { Events } from "../../examples/app/events.ts";
import { createClient } from "../../src/client/mod.ts";
import { launch, skip } from "../client/browser-helpers.ts";
import { type Server, start, stop } from "./server.ts";
import { runtime, until } from "../server-helpers.ts";
import { skipWithoutSqlite } from "../sqlite.ts";

describe("the example application's page", () => {
  let server: Server;
  let browser: Browser;
  let temporary: string;
  let watched: string;
  let env: Record<string, string>;
  let observerToken = "";
  const faults: string[] = [];

  before(async () => {
    if (skip) return;
    temporary = await mkdtemp(join(tmpdir(), "streamside-page-test-"));
    watched = join(temporary, "watched");
    const source = join(temporary, "source");
    await mkdir(watched);
    await mkdir(source);
    for (let file = 0; file < 300; file++) {
      await writeFile(join(source, `file-${file}.txt`), `line ${file}\n`.repeat(100));
    }
    env = { SOURCE: source, WATCH: watched, DATA: join(temporary, "data") };
    [server, browser] = await Promise.all([start(runtime, env), launch()]);
    observerToken = (await ask("POST", "login", { name: "Observer" })).token;
  });

  after(async () => {
    await browser?.close();
    if (server) assertEquals(await stop(server), 0, server.errors());
    if (temporary) await rm(temporary, { recursive: true, force: true });
  });

  afterEach(async () => {
    if (skip) return;
    await ask("POST", "rate", { perSecond: 10 });
    await Promise.all(browser.contexts().map((context) => context.close()));
  });

  /** A browser of its own. What need not move does not: the drawing is not what these tests are about. */
  function newContext(options?: BrowserContextOptions): Promise<BrowserContext> {
    return browser.newContext({ reducedMotion: "reduce", ...options });
  }

  /** Asks the server for something, as somebody without a browser. */
  async function ask(method: string, path: string, body: unknown): Promise<{ token: string }> {
    const response = await fetch(`${server.url}/api/v1/${path}`, {
      method,
      headers: { "Content-Type": "application/json", "X-Session-Id": observerToken },
      body: JSON.stringify(body),
    });
    assertEquals(response.status, 200);
    return await response.json();
  }

  /** Opens the page as somebody, in a tab of a browser, or in a browser of its own. */
  async function enter(name: string, options: { context?: BrowserContext } = {}): Promise<Page> {
    const { context } = options;
    const page = await (context ?? await newContext()).newPage();
    page.on("pageerror", (error) => faults.push(`${name}: ${error}`));
    page.on("console", (message) => {
      if (message.type() === "error") faults.push(`${name}: ${message.text()}`);
    });
    await page.goto(`${server.url}/?as=${encodeURIComponent(name)}`);
    await connected(page);
    return page;
  }

  const connected = (page: Page) => page.locator("#connection[data-state=open]").waitFor();
  const number = async (page: Page, id: string) =>
    Number((await page.locator(id).textContent())!.replace(/\D/g, ""));
  const cutSwitch = (page: Page) => page.getByRole("switch", { name: "Cut my connection" });

  test("four stories work with two sessions side by side", { skip }, async () => {
    const ada = await (await newContext()).newPage();
    await ada.goto(server.url);
    await ada.getByRole("button", { name: "Enter as Ada" }).click();
    await connected(ada);
    assertEquals(
      await ada.getByRole("link", { name: "Open a second window as Grace" }).first()
        .getAttribute("href"),
      "/?as=Grace",
    );
    // A name that would be an element if it were shown as markup.
    const grace = await enter("<b>Grace</b>");
    const events = (page: Page) => page.locator("#events td:nth-child(2)").allTextContents();

    await ada.getByRole("button", { name: "Start" }).click();
    await ada.locator("#sync-message").getByText(/^Done: 300 files/).waitFor();
    assertEquals(
      await ada.locator("#sync-progress").evaluate((bar) => Reflect.get(bar, "value")),
      100,
    );
    assert(await ada.getByRole("button", { name: "Start" }).isEnabled());
    assert((await events(ada)).includes("syncProgress"));
    assertEquals(await events(grace), []);

    await grace.getByRole("button", { name: "Lock Contract" }).click();
    await ada.getByText("locked by <b>Grace</b>").waitFor();
    assert(await ada.getByRole("button", { name: "Lock Contract" }).isDisabled());
    await grace.getByText("locked by you").waitFor();
    // Another tab of hers knows that it is hers.
    const tab = await enter("<b>Grace</b>", { context: grace.context() });
    await tab.getByText("locked by you").waitFor();
    await tab.close();

    await grace.getByLabel("File", { exact: true }).fill("file-7.txt");
    await grace.getByRole("button", { name: "Count" }).click();
    await grace.locator("#task-message", { hasText: "100 lines, 200 words, 700 bytes" }).waitFor();
    await grace.getByLabel("File", { exact: true }).fill("none.txt");
    await grace.getByRole("button", { name: "Count" }).click();
    await grace.locator("#task-message", { hasText: "There is no such file." }).waitFor();

    await appendFile(join(watched, "notes.txt"), "hello");
    for (const page of [ada, grace]) {
      await page.locator("#watch-message", { hasText: "notes.txt has 5 bytes" }).waitFor();
    }

    await ada.reload();
    await connected(ada);
    assertEquals(await ada.locator("#name").textContent(), "Ada");
    await ada.getByText("locked by <b>Grace</b>").waitFor();
    await ada.getByRole("button", { name: "Reconnect" }).click();
    await connected(ada);

    await grace.getByRole("button", { name: "Log out" }).click();
    await grace.getByRole("button", { name: "Enter as Ada" }).waitFor();
    await ada.locator("[data-document=Contract]").getByText("free").waitFor();
    assertEquals(faults, []);
  });

  test(
    "the answer: a reload in the middle, a second tab and another session show all of it; Stop",
    {
      skip,
    },
    async () => {
      const ada = await enter("Ada");
      const grace = await enter("Grace");
      const shown = (page: Page) => page.locator("#answer-text").textContent();
      await ada.locator("#answer-ask").click();
      await ada.locator("#answer-text", { hasText: /\w/ }).waitFor();
      const tab = await ada.context().newPage();
      await tab.goto(ada.url());
      await connected(tab);
      for (let reload = 0; reload < 3; reload++) {
        const before = (await shown(ada))!;
        await ada.reload();
        await connected(ada);
        // What it showed is there again, and what came meanwhile.
        await ada.waitForFunction(
          (length) => document.querySelector("#answer-text")!.textContent!.length > length,
          before.length,
        );
        assert((await shown(ada))!.startsWith(before), "it begins as before");
      }
      await grace.locator("#answer-stop").click();
      for (const page of [ada, tab, grace]) {
        await page.locator("#answer-message", { hasText: "stopped" }).waitFor();
      }
      const texts = await Promise.all([ada, tab, grace].map(shown));
      assertEquals(new Set(texts).size, 1, "all show the same");
      // And it can be asked for again.
      await tab.locator("#answer-ask").click();
      for (const page of [ada, tab, grace]) {
        await page.locator("#answer-message", { hasText: "Writing" }).waitFor();
      }
      await ada.locator("#answer-stop").click();
      await grace.locator("#answer-message", { hasText: "stopped" }).waitFor();
    },
  );

  test(
    "cut and return: what was missed fills in, and the numbers are right",
    { skip },
    async () => {
      const ada = await enter("Ada", {
        context: await newContext({ reducedMotion: "no-preference" }),
      });
      // Somebody who is never cut says what there was.
      await ask("POST", "rate", { perSecond: 50 });
      const ticks: number[] = [];
      const observer = createClient<Events>(`${server.url}/api/v1/sse/subscribe`, {
        headers: { "X-Session-Id": observerToken },
      });
      observer.addEventListener("tick", (event) => ticks.push(event.json().n));
      observer.connect();
      await until(() => ticks.length > 0, "the first tick");
      await ada.locator("#count-received").getByText(/^[1-9]/).waitFor();

      await cutSwitch(ada).click();
      await ada.locator("#connection[data-state=cut]").waitFor();
      await ada.locator("#detail-state").getByText("waiting").waitFor();
      assertMatch(await ada.locator("#detail-next").textContent() ?? "", /^\d\.\d s$|^now$/);
      for (const name of ["Start", "Lock Budget", "Count", "Reconnect", "Log out"]) {
        assert(await ada.getByRole("button", { name, exact: true }).isDisabled(), name);
      }
      const from = ticks.at(-1)! + 1;
      await ask("POST", "lock", { document: "Budget" });
      await until(() => ticks.at(-1)! >= from + 60, "sixty ticks");
      const to = ticks.at(-1)!;
      assert(await number(ada, "#count-last") < from, "the page is cut");

      await cutSwitch(ada).click();
      await ada.locator("#caught[data-state=right]").waitFor();
      const line = (await ada.locator("#caught").textContent())!.replaceAll("\u202f", "");
      const pattern =
        /^Caught up (\d+) events in [\d.]+ m?s, (\d+) missed, (\d+) twice\. Away for \d+\.\d s, from number (\d+) to (\d+)\.$/;
      const [count, missed, twice, first, last] = pattern.exec(line)?.slice(1).map(Number) ?? [];
      assertEquals([missed, twice, count], [0, 0, last! - first! + 1], line);
      assert(first! <= from && last! >= to, `${line}; there were ${from} to ${to}`);
      await ada.locator("[data-document=Budget]").getByText("locked by Observer").waitFor();
      assert(await ada.getByRole("button", { name: "Start", exact: true }).isEnabled());
      assertEquals([await number(ada, "#count-missed"), await number(ada, "#count-twice")], [0, 0]);

      await ask("DELETE", "lock", { document: "Budget" });
      observer.close();
    },
  );

  test("at the slider's end the page answers, and counts right", { skip }, async () => {
    const ada = await enter("Ada", {
      context: await newContext({ reducedMotion: "no-preference" }),
    });
    const seen = async (more: number) => {
      const least = await number(ada, "#count-last") + more;
      await ada.waitForFunction(
        (least) =>
          Number(document.getElementById("count-last")!.textContent!.replace(/\D/g, "")) >= least,
        least,
      );
    };
    await ada.locator("#count-received").getByText(/^[1-9]/).waitFor();
    await ada.locator("#rate").focus();
    await ada.keyboard.press("End");
    await ada.locator("#rate-asked").getByText("5\u202f000 events/s").waitFor();
    await seen(5000);

    // Its timers and frames take turns with the events, and so does what the user does.
    await ada.evaluate("globalThis.__name = (value) => value"); // tsx has functions keep their names
    const turns = await ada.evaluate(async () => {
      const shown = () => document.getElementById("count-last")!.textContent;
      const [before, counts] = [shown(), { timers: 0, frames: 0 }];
      const frame = () => {
        counts.frames++;
        requestAnimationFrame(frame);
      };
      frame();
      while (shown() === before || counts.frames < 3) {
        await new Promise((resolve) => setTimeout(resolve));
        counts.timers++;
      }
      return counts;
    });
    assert(turns.timers > 3 && turns.frames >= 3, JSON.stringify(turns));
    await ada.getByRole("button", { name: "Lock Roadmap" }).click();
    await ada.locator("[data-document=Roadmap]").getByText("locked by you").waitFor();
    await ada.getByRole("button", { name: "Unlock Roadmap" }).click();
    await ada.locator("[data-document=Roadmap]").getByText("free").waitFor();

    await cutSwitch(ada).click();
    await ada.locator("#detail-state").getByText("waiting").waitFor();
    await cutSwitch(ada).click();
    await ada.locator("#caught[data-state=right]").getByText(/ 0 missed, 0 twice/).waitFor();
    await seen(5000);
    const counted = await ada.evaluate(() =>
      ["last", "received", "missed", "twice"].map((id) =>
        Number(document.getElementById(`count-${id}`)!.textContent!.replace(/\D/g, ""))
      )
    );
    const [last, received, missed, twice] = counted as [number, number, number, number];
    assert(received > 10_000 && received <= last, String(counted));
    assertEquals([missed, twice], [0, 0]);
    assertEquals(faults, []);
  });

  test("ten tabs share one connection; a cut of one is one of all", { skip }, async () => {
    await ask("POST", "rate", { perSecond: 50 }); // a tab that comes later catches up with the next event
    const context = await newContext();
    // The first logs in, and the others find its token.
    const pages = [await enter("Ada", { context })];
    pages.push(...await Promise.all(Array.from({ length: 9 }, () => enter("Ada", { context }))));
    for (const page of pages) {
      await page.locator("#detail-tabs").getByText("10 tabs").waitFor();
      await page.locator("#connections-now").getByText("1", { exact: true }).waitFor();
    }

    const [first, last] = [pages[0]!, pages[9]!];
    await cutSwitch(last).click();
    for (const page of pages) await page.locator("#connection[data-state=cut]").waitFor();
    await cutSwitch(first).click();
    for (const page of pages) {
      await page.locator("#caught[data-state=right]").getByText(/ 0 missed, 0 twice/).waitFor();
    }

    // One that wants a connection of its own has it, from where it was.
    await last.getByRole("switch", { name: "Shared by tabs" }).click();
    await last.locator("#detail-tabs").getByText("this tab’s own").waitFor();
    await last.locator("#connections-now").getByText("2", { exact: true }).waitFor();
    await first.locator("#detail-tabs").getByText("9 tabs").waitFor();
    for (const page of pages) {
      assertEquals([await number(page, "#count-missed"), await number(page, "#count-twice")], [
        0,
        0,
      ]);
    }
  });

  test("works with the keyboard alone", { skip }, async () => {
    const page = await (await newContext()).newPage();
    await page.goto(server.url);
    const focused = () =>
      page.evaluate(() => {
        const { ariaLabel, id, textContent } = document.activeElement!;
        const name = document.activeElement === document.body ? "" : textContent!.trim();
        return `${ariaLabel ?? name} #${id}`;
      });
    const tabTo = async (what: string) => {
      for (let pressed = 0; pressed < 80; pressed++) {
        if ((await focused()).includes(what)) return;
        await page.keyboard.press("Tab");
      }
      throw new Error(`the Tab key does not reach ${what}`);
    };
    await tabTo("Enter as Ada");
    await page.keyboard.press("Enter");
    await connected(page);
    assertEquals(await focused(), "Cut my connection #cut");
    await page.keyboard.press("Space");
    await page.locator("#connection[data-state=cut]").waitFor();
    assertEquals(await focused(), "Cut my connection #cut");
    await page.keyboard.press("Space");
    await page.locator("#caught[data-state=right]").waitFor();

    await tabTo("#rate");
    // Quick presses are not undone by what the server says of the first of them.
    const shown: string[] = [];
    await page.exposeFunction("shown", (text: string) => shown.push(text));
    await page.evaluate(() => {
      const { shown } = globalThis as unknown as { shown(text: string | null): void };
      const asked = document.querySelector("#rate-asked")!;
      new MutationObserver(() => shown(asked.textContent)).observe(asked, { childList: true });
    });
    const told: string[] = [];
    page.on("response", (response) => {
      if (response.url().endsWith("/rate")) told.push(response.request().postData()!);
    });
    for (let press = 0; press < 5; press++) await page.keyboard.press("ArrowRight");
    await until(() => told.at(-1) === '{"perSecond":500}', "the server's answer to the last press");
    assertEquals(await page.locator("#rate-asked").textContent(), "500 events/s");
    const numbers = shown.map((text) => parseInt(text));
    assertEquals(numbers, numbers.toSorted((a, b) => a - b), "the slider moved back");
    await tabTo("Start #sync-start");
    await page.keyboard.press("Enter");
    await page.locator("#sync-message").getByText(/^Done/).waitFor();
    assertEquals(await focused(), "Start #sync-start");
    await tabTo("Lock Roadmap");
    await page.keyboard.press("Space");
    await page.getByText("locked by you").waitFor();
    assertEquals(await focused(), "Unlock Roadmap #");
    await page.keyboard.press("Space");
    await tabTo("#task-file");
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("file-1.txt");
    await page.keyboard.press("Enter");
    await page.locator("#task-message", { hasText: "100 lines" }).waitFor();
    await tabTo("Log out");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Enter as Ada" }).waitFor();
    assertEquals(await focused(), "Enter as Ada #enter-first");
  });

  test("axe finds nothing, light and dark, logged in or not, connected or not", {
    skip,
  }, async () => {
    const axe = await readFile("node_modules/axe-core/axe.min.js", "utf8");
    const page = await (await newContext()).newPage();
    const check = async (what: string, ...schemes: ("light" | "dark")[]) => {
      for (const colorScheme of schemes) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        const found = await page.evaluate(async () => {
          const { violations } = await Reflect.get(globalThis, "axe").run();
          return violations.map(({ id, help, nodes }: {
            id: string;
            help: string;
            nodes: { target: string[] }[];
          }) => `${id}: ${help}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
        });
        assertEquals(found, [], `${what}, ${colorScheme}`);
      }
    };
    await page.goto(server.url);
    await page.evaluate(axe);
    await check("before the login", "light", "dark");
    await page.getByRole("button", { name: "Enter as Ada" }).click();
    await connected(page);
    await page.getByText("The code that resumes").click();
    await page.getByRole("button", { name: "Lock Budget" }).click();
    await page.locator("#events tr").first().waitFor();
    await check("connected", "light", "dark");
    await cutSwitch(page).click();
    await page.locator("#connection[data-state=cut]").waitFor();
    await check("cut", "dark");
    await cutSwitch(page).click();
    await page.locator("#caught[data-state=right]").waitFor();
    await check("back", "light");
  });

  test("a reload while the server does not answer loses no session", { skip }, async () => {
    const ada = await enter("Ada");
    await ada.route("**/api/v1/session", (route) => route.fulfill({ status: 502, body: "<html>" }));
    await ada.reload();
    await ada.getByRole("alert").getByText("The server answered 502.").waitFor();
    await ada.unroute("**/api/v1/session");
    await ada.reload();
    await connected(ada);
    assertEquals(await ada.locator("#name").textContent(), "Ada");
    assertEquals(await ada.getByRole("alert").count(), 0);
  });

  test("without a network nothing is shown that the server did not take", { skip }, async () => {
    const ada = await enter("Ada");
    await ada.context().setOffline(true);
    for (const press of ["Lock Roadmap", "Start"]) {
      await ada.getByRole("button", { name: press, exact: true }).click();
      await ada.getByRole("alert").getByText("The server cannot be reached.").waitFor();
      await ada.getByRole("button", { name: press, exact: true, disabled: false }).waitFor();
    }
    await ada.locator("[data-document=Roadmap]").getByText("free").waitFor();

    await ada.getByRole("button", { name: "Reconnect" }).click();
    await ada.locator("#connection[data-state=waiting]").waitFor();
    await ada.context().setOffline(false);
    await connected(ada);
    await ada.locator("#problem").waitFor({ state: "hidden" });
  });

  test("the server is killed and started again: the page is back, and says what happened", {
    skip,
  }, async () => {
    const ada = await enter("Ada");
    await ada.getByRole("button", { name: "Lock Contract" }).click();
    await ada.getByText("locked by you").waitFor();
    await ada.locator("#count-received").getByText(/^[1-9]/).waitFor();
    process.kill(server.process.pid!, "SIGKILL");
    await ada.locator("#connection[data-state=waiting]").getByText("Lost, trying again").waitFor();
    await server.ended;

    server = await start(runtime, { ...env, PORT: new URL(server.url).port });
    const [line, more] = skipWithoutSqlite
      ? [
        /^Back; [\d.]+ m?s away\.$/,
        /^The server has started anew.* the page has loaded the state again\.$/,
      ]
      : [
        /^Caught up [\d,]+ events in [\d.]+ m?s, 0 missed, 0 twice\.$/,
        /The server was restarted meanwhile: its history is in a file, and nothing is lost\.$/,
      ];
    await ada.locator("#caught").getByText(line).waitFor();
    await ada.locator("#caught").getByText(more).waitFor();
    await connected(ada);
    assertEquals(await ada.locator("#name").textContent(), "Ada");
    // Its locks were in the memory of the one before.
    await ada.locator("[data-document=Contract]").getByText("free").waitFor();
    assertEquals([await number(ada, "#count-missed"), await number(ada, "#count-twice")], [0, 0]);

    // Logged out elsewhere, the page says so, and knows that a login is needed.
    const tab = await enter("Ada", { context: ada.context() });
    await tab.getByRole("button", { name: "Log out" }).click();
    await ada.getByRole("alert").getByText("Your session has ended. Log in again.").waitFor();
    await ada.getByRole("button", { name: "Enter as Ada" }).click();
    await connected(ada);
    assertEquals(await ada.getByRole("alert").count(), 0);
  });

  const picture = process.env.DEMO_PICTURE;
  test("the picture of the README", {
    skip: skip || (picture === undefined && "DEMO_PICTURE is not set"),
  }, async () => {
    const context = await newContext({
      viewport: { width: 1280, height: 1072 },
      colorScheme: "light",
      reducedMotion: "no-preference",
    });
    const [ada, grace] = [await enter("Ada", { context }), await enter("Grace")];
    /** Waits until a page has seen so many more numbers. */
    const more = async (page: Page, numbers: number) => {
      const least = await number(page, "#count-last") + numbers;
      await page.waitForFunction(
        (least) =>
          Number(document.getElementById("count-last")!.textContent!.replace(/\D/g, "")) >= least,
        least,
      );
    };
    await more(ada, 220);
    await ada.getByRole("button", { name: "Start", exact: true }).click();
    await more(ada, 20);
    await grace.getByRole("button", { name: "Lock Contract" }).click();
    await more(ada, 40);
    await ada.evaluate(() => scrollTo(0, 0));
    await cutSwitch(ada).click();
    await more(grace, 15);
    await grace.getByRole("button", { name: "Unlock Contract" }).click();
    await more(grace, 10);
    await appendFile(join(watched, "notes.txt"), "hello");
    await more(grace, 12);
    await cutSwitch(ada).click();
    await ada.locator("#caught[data-state=right]").waitFor();
    await more(ada, 40);
    await ada.mouse.move(0, 0);
    await ada.screenshot({ path: picture! });
    assert((await stat(picture!)).size <= 200_000, "at most 200 KB");
  });
});
