/**
 * Builds an example of a framework whose packages are too heavy for `npm ci`: it has a folder, a package.json and a lock
 * file of its own in `examples/frameworks`, and its test runs with the long campaigns.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Server, startWith } from "../examples/server.ts";
import { runtime } from "../server-helpers.ts";
import type { Example } from "./contract.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What is to know of such an example. */
export interface Build {
  /** Its folder in `examples/frameworks`. */
  readonly folder: string;
  /** What builds it: a script in its folder, and the script's arguments. */
  readonly build: readonly string[];
  /** What starts it, the same way. */
  readonly start: readonly string[];
  /** What it is built and started with, beside `NODE_ENV`. */
  readonly env?: Record<string, string>;
}

/** What an example that is built first does in place of one that runs as it stands. */
export function built(
  { folder, build, start, env }: Build,
): Pick<Example, "start" | "skip" | "clean"> {
  const example = join(root, "examples/frameworks", folder);
  const production = { NODE_ENV: "production", HOST: "127.0.0.1", ...env };
  let directory: string | undefined;

  const run = async (cwd: string, script: string, ...args: string[]) => {
    await promisify(execFile)(process.execPath, [script, ...args], {
      cwd,
      env: { ...process.env, ...production },
      timeout: 240_000,
    });
  };

  return {
    skip: runtime !== "node"
      ? "it is built for Node"
      : !process.env.STREAMSIDE_TEST_LONG
      ? "only with the long campaigns: npm run test:long"
      : !process.env.CI && !existsSync(join(example, "node_modules"))
      ? `needs npm ci --prefix examples/frameworks/${folder}`
      : false,

    async start(): Promise<Server> {
      directory = await mkdtemp(join(tmpdir(), `streamside-${folder}-`));
      const library = join(directory, "node_modules/streamside");
      // What an earlier build left there is no part of it.
      const leftovers = [".next", ".svelte-kit", ".nitro", ".output", "build", "dist"].map((name) =>
        join(example, name)
      );
      await cp(example, directory, {
        recursive: true,
        verbatimSymlinks: true,
        filter: (path) => !leftovers.includes(path),
      });
      await rm(library, { recursive: true, force: true });
      // The library as its package has it, of the sources that are there.
      const tsc = join(root, "node_modules/typescript/bin/tsc");
      await run(root, tsc, "-p", "tsconfig.build.json", "--outDir", join(library, "dist"));
      await cp(join(root, "package.json"), join(library, "package.json"));
      await cp(
        join(root, "node_modules/eventsource-parser"),
        join(directory, "node_modules/eventsource-parser"),
        { recursive: true },
      );
      await run(directory, join(directory, build[0]!), ...build.slice(1));
      const [script, ...args] = start;
      return await startWith([process.execPath, join(directory, script!), ...args], production, {
        cwd: directory,
      });
    },

    async clean(): Promise<void> {
      if (directory !== undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}
