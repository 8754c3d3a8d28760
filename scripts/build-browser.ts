/**
 * Builds `dist/client.browser.js`: all of `streamside/client`, which a page can import without a bundler,
 * with the notice that the license wants in every copy.
 *
 * @module
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { bundle } from "./bundle.ts";

const root = new URL("../", import.meta.url);

const license = await readFile(new URL("LICENSE", root), "utf8");
const script = bundle('export * from "./src/client/mod.ts";');

await mkdir(new URL("dist/", root), { recursive: true });
await writeFile(new URL("dist/client.browser.js", root), [
  `/*!\nstreamside\n\n${license}*/\n`,
  script,
]);
