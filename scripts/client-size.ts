/**
 * What the client costs a page: bundled, minified and gzipped, with the parser in it. Exits with 1 above the limits.
 *
 * ```sh
 * npm run size
 * ```
 *
 * @module
 */
import process from "node:process";
import { gzipSync } from "node:zlib";
import { bundle } from "./bundle.ts";

const client = size("createClient, EventSource");
const shared = size("createClient, EventSource, createSharedClient") - client;

const lines: [string, number, number][] = [
  ["createClient alone", size("createClient"), 5120],
  ["streamside/client without createSharedClient", client, 5120],
  ["createSharedClient, more", shared, 1536],
  ["readEvents alone", size("readEvents"), 2560],
];
for (const [what, bytes, limit] of lines) {
  console.log(`${what}: ${bytes} of at most ${limit} bytes`);
  if (bytes > limit) process.exitCode = 1;
}

function size(names: string): number {
  return gzipSync(bundle(`export { ${names} } from "./src/client/mod.ts";`), { level: 9 }).length;
}
