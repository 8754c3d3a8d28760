/**
 * The example application's page, in Chromium, with two sessions side by side.
 *
 * @module
 */
import { appendFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { launch, skip } from "../client/browser-helpers.ts";
import { type Server, start, stop } from "./server.ts";
import { runtime } from "../server-helpers.ts";

describe("the example application's page", () => {
  let server: Server;
  let browser: Browser;
  let temporary: string;
  let watched: string;
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
    server = await start(runtime, { SOURCE: source, WATCH: watched });
    browser = await launch();
  });

  after(async () => {
    await browser?.close();
    if (server) assertEquals(await stop(server), 0, server.errors());
    if (temporary) await rm(temporary, { recursive: true, force: true });
  });

  /** Opens the page in a window of its own, and logs in. */
  async function logIn(name: string, { url }: Server = server): Promise<Page> {
    const page = await (await browser.newContext()).newPage();
    page.on("pageerror", (error) => faults.push(`${name}: ${error}`));
    page.on("console", (message) => {
      if (message.type() === "error") faults.push(`${name}: ${message.text()}`);
    });
    await page.goto(url);
    await page.getByLabel("Name").fill(name);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.locator("#connection[data-state=open]").waitFor();
    return page;
  }

  test("the four stories work with two sessions side by side", { skip }, async () => {
    // A name that would be an element if it were shown as markup.
    const [ada, grace] = [await logIn("Ada"), await logIn("<b>Grace</b>")];
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
    assertEquals(await events(grace), []);

    await grace.getByLabel("File").fill("file-7.txt");
    await grace.getByRole("button", { name: "Count" }).click();
    await grace.locator("#task-message", { hasText: "100 lines, 200 words, 700 bytes" }).waitFor();
    await grace.getByLabel("File").fill("none.txt");
    await grace.getByRole("button", { name: "Count" }).click();
    await grace.locator("#task-message", { hasText: "There is no such file." }).waitFor();

    await appendFile(join(watched, "notes.txt"), "hello");
    for (const page of [ada, grace]) {
      await page.locator("#watch-message", { hasText: "notes.txt: 5 bytes" }).waitFor();
    }

    await ada.reload();
    await ada.locator("#connection[data-state=open]").waitFor();
    assertEquals(await ada.locator("#name").textContent(), "Ada");
    await ada.getByText("locked by <b>Grace</b>").waitFor();

    await ada.getByRole("button", { name: "Reconnect" }).click();
    await ada.locator("#connection[data-state=open]").waitFor();

    await grace.getByRole("button", { name: "Log out" }).click();
    await grace.getByRole("button", { name: "Log in" }).waitFor();
    await ada.locator("[data-document=Contract]").getByText("free").waitFor();
    assertEquals(faults, []);
  });

  test("a reload while the server does not answer loses no session", { skip }, async () => {
    const ada = await logIn("Ada");
    await ada.route("**/api/v1/session", (route) => route.fulfill({ status: 502, body: "<html>" }));
    await ada.reload();
    await ada.getByRole("alert").getByText("The server answered 502.").waitFor();
    await ada.unroute("**/api/v1/session");
    await ada.reload();
    await ada.locator("#connection[data-state=open]").waitFor();
    assertEquals(await ada.locator("#name").textContent(), "Ada");
    assertEquals(await ada.getByRole("alert").count(), 0);
  });

  test("without a network nothing is shown that the server did not take", { skip }, async () => {
    const ada = await logIn("Ada");
    await ada.context().setOffline(true);
    for (const press of ["Lock Roadmap", "Start"]) {
      await ada.getByRole("button", { name: press }).click();
      await ada.getByRole("alert").getByText("The server cannot be reached.").waitFor();
      await ada.getByRole("button", { name: press, disabled: false }).waitFor();
    }
    await ada.locator("[data-document=Roadmap]").getByText("free").waitFor();

    await ada.getByRole("button", { name: "Reconnect" }).click();
    await ada.locator("#connection[data-state=connecting]").waitFor();
    await ada.context().setOffline(false);
    await ada.locator("#connection[data-state=open]").waitFor();
    await ada.locator("#problem").waitFor({ state: "hidden" });
  });

  test(
    "a server that drains is told; the page tries again, and asks who it is",
    { skip },
    async () => {
      const leaving = await start(runtime, { WATCH: watched });
      const ada = await logIn("Ada", leaving);
      const ended = stop(leaving);
      const connection = ada.locator("#connection[data-state=connecting]");
      await connection.waitFor();
      assertMatch(await connection.textContent() ?? "", /^attempt \d+ in \d+\.\d s$/);
      assertEquals(await ended, 0, leaving.errors());

      // The next one knows no session of the last.
      const next = await start(runtime, { WATCH: watched, PORT: new URL(leaving.url).port });
      try {
        await ada.getByRole("alert").getByText("Your session has ended. Log in again.").waitFor();
        assertEquals(await ada.locator("#connection").textContent(), "not connected");
        await ada.getByLabel("Name").fill("Ada");
        await ada.getByRole("button", { name: "Log in" }).click();
        await ada.locator("#connection[data-state=open]").waitFor();
        assertEquals(await ada.getByRole("alert").count(), 0);
      } finally {
        assertEquals(await stop(next), 0, next.errors());
      }
    },
  );
});
