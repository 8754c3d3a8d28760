/**
 * The page's files: its markup with the code of the stories in it, its style, and its script bundled for the browser,
 * our client in it.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { type Excerpt, highlight, readExcerpts } from "./code.ts";

/** What a browser loads. */
export interface Page {
  html: string;
  style: string;
  script: string;
}

/** Reads and bundles the page, once, at the start. */
export async function loadPage(): Promise<Page> {
  const [markup, excerpts, style, chartStyle, script] = await Promise.all([
    readFile(new URL("page/index.html", import.meta.url), "utf8"),
    readExcerpts(),
    readFile(new URL("page/style.css", import.meta.url), "utf8"),
    readFile(new URL("../../node_modules/uplot/dist/uPlot.min.css", import.meta.url), "utf8"),
    bundle(fileURLToPath(new URL("page/main.ts", import.meta.url))),
  ]);
  const html = markup.replace(/<!-- code: (\S+) -->/g, (_, story: string) => {
    const found = excerpts.get(story);
    if (!found) throw new Error(`index.html shows the code of ${story}; no file has that region`);
    return found.map((excerpt) => figure(story, excerpt)).join("\n");
  });
  return { html, style: chartStyle + style, script };
}

/** A block of code. It can be scrolled sideways, so that the keyboard has to reach it. */
function figure(story: string, { file, code }: Excerpt): string {
  const side = file.startsWith("page/") ? "Page" : "Server";
  return `<figure class="code"><figcaption>${side} <span>${file}</span></figcaption>` +
    `<pre tabindex="0" role="group" aria-label="${side}: ${story}"><code>${
      highlight(code)
    }</code></pre></figure>`;
}

/** A script of the page and all that it imports, as one for the browser. */
export async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await esbuild.build({
    entryPoints: [entry],
    bundle: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  await esbuild.stop(); // its process would keep ours alive
  return outputFiles[0]!.text;
}
