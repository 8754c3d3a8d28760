/**
 * Builds what browsers get of `streamside/client`: beside the compiled modules, the `package.json` by which bundlers
 * choose among them; and `dist/client.browser.js`, all of it in one file, which a page can import without a bundler.
 * The parser is in that, and so are the notices that both licenses want in every copy.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { bundle } from "./bundle.ts";

const root = new URL("../", import.meta.url);

const licenses = await Promise.all(
  ["LICENSE", "node_modules/eventsource-parser/LICENSE"].map((path) =>
    readFile(new URL(path, root), "utf8")
  ),
);
const notices = `/*!\nstreamside\n\n${licenses[0]}\neventsource-parser\n\n${licenses[1]}*/\n`;
const script = bundle('export * from "./src/client/mod.ts";');

const choices = await readFile(new URL("src/client/package.json", root), "utf8");
await writeFile(new URL("dist/src/client/package.json", root), choices.replaceAll('.ts"', '.js"'));
await writeFile(new URL("dist/client.browser.js", root), [notices, script]);
