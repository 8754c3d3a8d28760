/**
 * The files of the cluster's page.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { bundle } from "../app/page.ts";

/** Reads and bundles the page, once, at the start: the type and the content of each file, by its path. */
export async function loadPage(): Promise<Map<string, [type: string, content: string]>> {
  const read = (path: string) => readFile(new URL(path, import.meta.url), "utf8");
  const [html, theme, style, script] = await Promise.all([
    read("page/index.html"),
    read("../app/page/style.css"), // the demo's
    read("page/style.css"),
    bundle(fileURLToPath(new URL("page/main.ts", import.meta.url))),
  ]);
  return new Map([
    ["/", ["text/html", html]],
    ["/style.css", ["text/css", theme + style]],
    ["/page.js", ["text/javascript", script]],
  ]);
}
