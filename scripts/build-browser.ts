/**
 * Builds `dist/client.browser.js`: all of `streamside/client`, which a page can import without a bundler.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { bundle } from "./bundle.ts";

const dist = new URL("../dist/", import.meta.url);

await mkdir(dist, { recursive: true });
await writeFile(new URL("client.browser.js", dist), bundle('export * from "./src/client.ts";'));
