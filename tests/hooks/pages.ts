/**
 * Bundles the pages of the frameworks, as a project of each would: with esbuild, and Svelte's compiler.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { compile } from "svelte/compiler";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Bundles a module that imports paths which begin at the project's root: for a page, or for a server that renders. */
export async function bundle(source: string, target: "client" | "server"): Promise<string> {
  const svelte: esbuild.Plugin = {
    name: "svelte",
    setup(build) {
      build.onLoad({ filter: /\.svelte$/ }, async ({ path }) => ({
        contents:
          compile(await readFile(path, "utf8"), { filename: path, generate: target }).js.code,
      }));
    },
  };
  const { outputFiles } = await esbuild.build({
    stdin: { contents: source, resolveDir: root },
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: target === "client" ? "browser" : "node",
    // React's StrictMode mounts twice only here, and warnings are told.
    define: { "process.env.NODE_ENV": '"development"' },
    plugins: [svelte],
    write: false,
    logLevel: "error",
  });
  await esbuild.stop(); // its process would keep ours alive
  return outputFiles![0]!.text;
}
