/**
 * Bundles for browsers as a user's bundler would: with esbuild, minified, one ES module with everything in it.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * Bundles a module.
 *
 * @param source the module's text, which imports paths that begin at the project's root
 * @param options more of esbuild's options: the last of several counts
 */
export function bundle(source: string, ...options: string[]): Uint8Array {
  return execFileSync(
    join(root, "node_modules/.bin/esbuild"),
    ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning", ...options],
    { cwd: root, input: source, stdio: ["pipe", "pipe", "inherit"] },
  );
}
