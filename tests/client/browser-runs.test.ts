/**
 * A run in a real Chromium: a tab that is reloaded twenty times in the middle of an answer shows the same text as one
 * that is not.
 */
import { after, before, test } from "node:test";
import { assertEquals } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { quietLogger, until, within } from "../server-helpers.ts";
import { launch, serveSite, skip } from "./browser-helpers.ts";

const RELOADS = 20;
const TOKENS = 600;

/** What a page shows, and whether all of it is there. */
interface Shown {
  text: string;
  end: string | undefined;
}

declare const self: { shown: Shown };

/** Shows the answer with the library's client, or with the browser's own `EventSource`. */
async function show(page: Page, isOwn: boolean): Promise<void> {
  await page.evaluate(async (isOwn) => {
    const shown: Shown = self.shown = { text: "", end: undefined };
    const url = "/sse/runs/answer";
    const source = isOwn
      ? new EventSource(url)
      : (await import("/client.js" as string)).createClient(url);
    source.addEventListener("token", (event: MessageEvent) => shown.text += event.data);
    source.addEventListener("streamside:reset", () => shown.text = "a reset");
    source.addEventListener("reset", () => shown.text = "a reset");
    source.addEventListener("streamside:end", (event: MessageEvent) => shown.end = event.data);
    if (!isOwn) source.connect();
  }, isOwn);
}

const shownIn = (page: Page): Promise<Shown> => page.evaluate(() => self.shown);

let browser: Browser;
before(async () => {
  if (!skip) browser = await launch();
});
after(() => browser?.close());

for (const isOwn of [false, true]) {
  const name = isOwn ? "EventSource" : "the client";
  test(
    `a tab that is reloaded in the middle of an answer shows all of it (${name})`,
    { skip },
    async () => {
      const site = await serveSite(
        { logger: quietLogger },
        { authenticate: () => ({ session: "a", channels: ["answer"] }) },
      );
      try {
        const [still, reloaded] = [await browser.newPage(), await browser.newPage()];
        await still.goto(site.url);
        await reloaded.goto(site.url);
        let published = 0;
        let allowed = 0;
        let wake = () => {};
        const allow = (count: number) => {
          allowed = count;
          wake();
        };
        const run = await site.hub.run("answer", async function* () {
          while (published < TOKENS) {
            while (published >= allowed) await new Promise<void>((resolve) => wake = resolve);
            yield { event: "token", data: `${published++} ` };
          }
        });
        await show(still, isOwn);
        await show(reloaded, isOwn);
        for (let i = 1; i <= RELOADS; i++) {
          // The answer goes on while the page is away.
          allow(i * TOKENS / (RELOADS + 1));
          await reloaded.reload();
          await show(reloaded, isOwn);
        }
        allow(TOKENS);
        assertEquals(await within(run.done, "the end"), {});
        const whole = Array.from({ length: TOKENS }, (_, i) => `${i} `).join("");
        for (const page of [still, reloaded]) {
          await page.waitForFunction(() => self.shown.end !== undefined);
          assertEquals(await shownIn(page), { text: whole, end: "{}" });
        }
        // Both stay away from now on: the browser's own comes back once, and gets 204.
        await until(() => site.hub.stats().connections === 0, "the readers to leave");
        await still.close();
        await reloaded.close();
      } finally {
        await site.close();
      }
    },
  );
}
