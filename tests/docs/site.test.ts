/**
 * The documentation as a site, in a browser: its sidebar is the index, its search finds, and it asks no other host.
 *
 * It needs what `npm run docs` builds, which itself fails where a link leads nowhere.
 *
 * @module
 */
import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { allPages, contents } from "../../scripts/documentation.ts";
import { launch, skip as noBrowser } from "../client/browser-helpers.ts";
import { listen } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const site = join(root, "site/dist");
const time = (path: string) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const changed = Math.max(...(await allPages()).map(({ path }) => time(join(root, path))));
const skip = !process.env.CI && time(join(site, "index.html")) < changed
  ? "needs npm run docs, anew after each change of a page"
  : noBrowser;
const types: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
};

describe("the documentation as a site", () => {
  test(
    "the sidebar is the index, the search finds, the reference is there, nothing is from elsewhere",
    {
      skip,
    },
    async () => {
      const server = await listen(createServer(async (request, response) => {
        const path = new URL(request.url!, "http://localhost").pathname.replace(
          /\/$/,
          "/index.html",
        );
        const body = await readFile(join(site, decodeURIComponent(path))).catch(() => undefined);
        const type = types[extname(path)] ?? "application/octet-stream";
        response.writeHead(body ? 200 : 404, { "Content-Type": type }).end(body);
      }));
      const browser = await launch();
      try {
        const page = await browser.newPage();
        const faults: string[] = [];
        page.on("request", (request) => {
          if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(server.url)) {
            faults.push(request.url());
          }
        });
        page.on("response", (response) => {
          if (response.status() >= 400) faults.push(`${response.status()} ${response.url()}`);
        });
        page.on("pageerror", (error) => faults.push(String(error)));

        await page.goto(server.url);
        await page.getByRole("heading", { name: "Streamside", exact: false }).first().waitFor();
        const entries = (await contents()).flatMap(({ pages }) => pages);
        const links = page.locator(".VPSidebar a");
        assertEquals(await links.count(), entries.length + 1); // and the README

        for (const name of await links.all()) {
          const text = await name.innerText();
          await name.click();
          await page.locator(".VPSidebar .is-active").getByText(text, { exact: true }).waitFor();
          assert(await page.locator("main h1").count() === 1, text);
        }

        await page.keyboard.press("Control+k");
        await page.getByRole("searchbox").fill("tcp_retries2");
        await page.locator(".VPLocalSearchBox .result").first().click();
        await page.waitForURL("**/docs/production.html#*");

        await page.getByRole("button", { name: "API reference" }).hover();
        await page.getByRole("link", { name: "Every export" }).first().click();
        await page.waitForURL("**/api/all_symbols.html");
        await page.getByRole("link", { name: "createHub" }).first().click();
        await page.waitForURL("**/createHub.html");
        assertEquals(faults, []);
      } finally {
        await browser.close();
        await server.close();
      }
    },
  );
});
