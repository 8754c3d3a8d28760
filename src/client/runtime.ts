/**
 * What differs between browsers and other runtimes: this is for Node.js, Deno, Bun and workers. Bundles for browsers get
 * `runtime.browser.ts` in its place, which is smaller. What `#runtime` is, the `package.json` beside it says for the
 * source, and the project's own for what is built. In both, workers come before browsers, since bundlers for workers take
 * what is for browsers, too.
 *
 * @module
 */
export { onAbort } from "./abort.ts";
export { report } from "./report.ts";
export { request } from "./request.ts";
