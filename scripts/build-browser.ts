/**
 * Builds `dist/client.browser.js`: all of `streamside/client`, which a page can import without a bundler. The parser is
 * in it, and so are the notices that both licenses want in every copy.
 *
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { bundle } from "./bundle.ts";

const root = new URL("../", import.meta.url);

const licenses = await Promise.all(
  ["LICENSE", "node_modules/eventsource-parser/LICENSE"].map((path) =>
    readFile(new URL(path, root), "utf8")
  ),
);
const notices = `/*!\nstreamside\n\n${licenses[0]}\neventsource-parser\n\n${licenses[1]}*/\n`;
const script = bundle('export * from "./src/client/mod.ts";');

await mkdir(new URL("dist/", root), { recursive: true });
await writeFile(new URL("dist/client.browser.js", root), [notices, script]);
