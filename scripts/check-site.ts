/**
 * The built site, as its files are.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** What a page links to or loads. */
const used =
  /<(\w+)(?=\s)[^>]*?\s(?:href|src)=(?:"([^"]*)"|'([^']*)')|(?:url\(\s*|@import\s+)["']?([^"')\s;]+)/g;

/**
 * Every link of the site leads to a file of it, and nothing is loaded from another host. VitePress itself checks the
 * links between pages, and no others.
 */
export async function checkSite(folder: string): Promise<void> {
  const names = new Set((await readdir(folder, { recursive: true })).map((name) => `/${name}`));
  const faults = new Set<string>();
  let links = 0;
  for (const name of names) {
    if (!/\.(html|css)$/.test(name)) continue;
    const text = await readFile(join(folder, name), "utf8");
    for (const [what, tag, double, single, css] of text.matchAll(used)) {
      const target = unescape((double ?? single ?? css)!);
      if (target === "" || /^(data|about|mailto):/.test(target)) continue;
      const url = new URL(target, `http://site.invalid${name}`);
      if (url.host !== "site.invalid") {
        if (tag !== "a") faults.add(`${name}: ${what} loads from another host`);
        continue;
      }
      links++;
      const path = decodeURIComponent(url.pathname).replace(/\/$/, "/index.html");
      if (!names.has(path)) faults.add(`${name}: ${target}: there is no such file`);
    }
  }
  if (faults.size > 0) throw new Error(`site/dist:\n${[...faults].join("\n")}`);
  console.log(`site/dist: ${names.size} files, ${links} links, each to a file of the site`);
}

function unescape(text: string): string {
  return text.replaceAll(/&#x([0-9a-f]+);/gi, (_, code) => String.fromCharCode(parseInt(code, 16)))
    .replaceAll("&quot;", '"').replaceAll("&amp;", "&");
}
