/**
 * Checks what the entry points may reach, types included: the server and the client run on web standards alone, so
 * neither imports a runtime's modules; each imports no package but `eventsource-parser`; and the client imports
 * nothing of the server's but the files listed here. The command line may use Node's modules, and no other package;
 * nothing else reaches it.
 *
 * Globals of a runtime (`Deno`, `Bun`, `process`, `Buffer`) are the type checker's matter: `tsconfig.web.json`.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const packages = ["eventsource-parser"];
/** What server and client share: the reconnection policy, and what a map of events may hold. */
const shared = ["src/client/backoff.ts", "src/event-map.ts"];

const server = reach("mod.ts");
const client = new Set(
  ["mod.ts", "runtime.browser.ts"].flatMap((name) => [...reach("src/client/" + name)]),
);
const cli = reach("src/cli/mod.ts");
/** Logs that are elsewhere. Their clients are the user's, passed in: no package is imported for them. */
const logs = [
  "src/log/redis.ts",
  "src/log/jetstream.ts",
  "src/log/postgres.ts",
  "src/log/sqlite.ts",
];
const faults = [
  ...[...server].filter(foreign).map((name) => `mod.ts reaches ${name}`),
  ...[...client].filter(foreign).map((name) => `src/client/mod.ts reaches ${name}`),
  ...[...client].filter((name) => name.startsWith("src/") && server.has(name))
    .filter((name) => !shared.includes(name))
    .map((name) => `src/client/mod.ts reaches the server's ${name}`),
  ...logs.flatMap((log) => [...reach(log)].filter(foreign).map((name) => `${log} reaches ${name}`)),
  ...logs.filter((log) => server.has(log))
    .map((log) => `mod.ts reaches ${log}, which is an entry point of its own`),
  ...[...cli].filter((name) => foreign(name) && !name.startsWith("node:"))
    .map((name) => `src/cli/mod.ts reaches ${name}`),
  ...[...reach("src/node/mod.ts"), ...reach("src/testing.ts"), ...server, ...client]
    .filter((name) => name.startsWith("src/cli/"))
    .map((name) => `an entry point of the library reaches ${name}`),
];
for (const fault of faults) console.error(fault);
console.log(`mod.ts reaches ${server.size} modules, src/client/mod.ts ${client.size}`);
process.exitCode = faults.length > 0 ? 1 : 0;

function foreign(name: string): boolean {
  return name !== "mod.ts" && !name.startsWith("src/") && !packages.includes(name);
}

/** The modules that an entry point reaches: paths inside the project, names of packages, or `node:…`. */
function reach(entry: string): Set<string> {
  const json = execFileSync(join(root, "node_modules/.bin/deno"), ["info", "--json", entry], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const graph = JSON.parse(json) as { modules: { specifier: string; error?: string }[] };
  const names = graph.modules.map((module) => {
    if (module.error) throw new Error(`${module.specifier}: ${module.error}`);
    return nameOf(module.specifier);
  });
  // Deno adds Node's declarations to every graph that holds a package.
  return new Set(names.filter((name) => name !== "@types/node"));
}

function nameOf(specifier: string): string {
  const inPackage = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(specifier);
  if (inPackage) return inPackage[1]!;
  const home = pathToFileURL(root).href;
  return specifier.startsWith(home) ? specifier.slice(home.length) : specifier;
}
