/**
 * Makes the documentation a site: README.md, docs/ and what stands beside them, with search, and the reference of every
 * export. What VitePress needs is installed in `site/` first, unless it is there.
 *
 * ```sh
 * npm run docs             # builds site/dist/, and checks that each of its links leads somewhere
 * npm run docs -- dev      # serves the pages, and shows each change of them at once
 * npm run docs -- preview  # serves what was built
 * ```
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { checkSite } from "./check-site.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const site = join(root, "site");
const [command = "build", ...options] = process.argv.slice(2);
if (!["build", "dev", "preview"].includes(command)) {
  throw new Error(`npm run docs takes build, dev or preview, got ${JSON.stringify(command)}`);
}

const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { cwd: root, stdio: "inherit" });

if (!isInstalled()) run("npm", "ci", "--no-audit", "--no-fund", "--prefix", site);
if (command !== "preview") {
  await rm(join(site, "public"), { recursive: true, force: true });
  await mkdir(join(site, "public"));
  const entries = [
    "mod.ts",
    "src/client/mod.ts",
    "src/node/mod.ts",
    "src/log/jetstream.ts",
    "src/log/postgres.ts",
    "src/log/redis.ts",
    "src/log/sqlite.ts",
    "src/testing.ts",
  ];
  const deno = join(root, "node_modules/.bin/deno");
  run(deno, "doc", "-q", "--html", "--name=Streamside", "--output=site/public/api", ...entries);
}
run(join(site, "node_modules/.bin/vitepress"), command, site, ...options);
if (command === "build") await checkSite(join(site, "dist"));

/** Whether VitePress is there in the version that the lock file names. */
function isInstalled(): boolean {
  const path = "node_modules/vitepress/package.json";
  if (!existsSync(join(site, path))) return false;
  const json = (path: string) => JSON.parse(readFileSync(join(site, path), "utf8"));
  return json(path).version ===
    json("package-lock.json").packages["node_modules/vitepress"].version;
}
