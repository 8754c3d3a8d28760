/**
 * The page's files: its markup and style as they are, and its script bundled for the browser, our client in it.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

/** What a browser loads. */
export interface Page {
  html: string;
  style: string;
  script: string;
}

/** Reads and bundles the page, once, at the start. */
export async function loadPage(): Promise<Page> {
  const [html, style, script] = await Promise.all([
    readFile(path("index.html"), "utf8"),
    readFile(path("style.css"), "utf8"),
    bundle(path("main.ts")),
  ]);
  return { html, style, script };
}

async function bundle(entry: string): Promise<string> {
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

function path(name: string): string {
  return fileURLToPath(new URL(`page/${name}`, import.meta.url));
}
