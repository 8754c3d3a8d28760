/**
 * The benchmark: this library and its peers, in one run.
 *
 *     npm run bench                     everything (about 30 minutes), and writes the tables of bench/README.md
 *     npm run bench -- cpu rate         only those
 *     npm run bench -- --write cpu      only that, and writes its table
 *     npm run bench -- --quick          one short round of everything, nothing written
 *     npm run bench -- --rounds 5 cpu   more rounds
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { nchan, pinned, prepare } from "./process.ts";
import { scenarios } from "./scenarios.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    write: { type: "boolean", default: false },
  },
});

const unknown = positionals.filter((name) => !scenarios.some((scenario) => scenario.name === name));
if (unknown.length > 0) {
  console.error(
    `No scenario ${unknown.join(", ")}: there are ${scenarios.map(({ name }) => name).join(", ")}.`,
  );
  process.exit(2);
}

const chosen = positionals.length > 0
  ? scenarios.filter(({ name }) => positionals.includes(name))
  : scenarios;
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
const effort = { rounds, scale: values.quick ? 0.4 : 1 };

await prepare();
if (!pinned) console.error("No taskset, or one core: server and clients share what there is.");

const machine = describe();
console.log(`${machine}\n`);
const started = performance.now();
for (const { name, title, run } of chosen) {
  console.error(`\n${name}: ${title}`);
  const tables = await run(effort);
  const text = tables.join("\n");
  console.log(`\n### ${title}\n\n${text}`);
  const writes = values.write || (!values.quick && positionals.length === 0);
  if (writes) write(name, `### ${title}\n\n\`npm run bench -- ${name}\`\n\n${text}`);
}
console.error(`\n${((performance.now() - started) / 60_000).toFixed(1)} minutes`);

/** What it was measured on, and with. */
function describe(): string {
  const version = (name: string): string => {
    const manifest = new URL(`../node_modules/${name}/package.json`, import.meta.url);
    return `${name} ${(JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version}`;
  };
  const peers = ["better-sse", "@boringnode/transmit", "hono", "@hono/node-server"].map(version);
  const runtimes = [`Node.js ${process.versions.node}`, version("bun"), version("deno")];
  const processors = cpus();
  const cores = pinned
    ? "server on one core, load client on another"
    : "server and load client unpinned";
  const nginx = nchan ? `, ${nginxVersion()} with nchan` : "";
  return [
    `- ${new Date().toISOString().slice(0, 10)}, ${processors.length} × ${
      processors[0]?.model.trim()
    }, Linux ${release()}; ${cores}`,
    `- ${runtimes.join(", ")}`,
    `- ${peers.join(", ")}${nginx}`,
    `- median of ${rounds} rounds, the servers taking turns; events of about 150 bytes with id and type`,
  ].join("\n");
}

function nginxVersion(): string {
  return execFileSync("sh", ["-c", "nginx -v 2>&1"], { encoding: "utf8" }).trim().split("/")
    .pop() ?? "";
}

/** Puts a result between its marks in the README. */
function write(name: string, text: string): void {
  const file = new URL("./README.md", import.meta.url);
  let page = readFileSync(file, "utf8");
  for (const [mark, content] of [["machine", machine], [name, text]] as const) {
    const [open, close] = [`<!-- ${mark} -->`, `<!-- /${mark} -->`];
    const [start, end] = [page.indexOf(open), page.indexOf(close)];
    if (start < 0 || end < start) {
      throw new Error(`bench/README.md has no place for ${mark}: ${open} … ${close}.`);
    }
    page = `${page.slice(0, start + open.length)}\n\n${content.trim()}\n\n${page.slice(end)}`;
  }
  writeFileSync(file, page);
  const deno = fileURLToPath(new URL("../node_modules/.bin/deno", import.meta.url));
  execFileSync(deno, ["fmt", "-q", fileURLToPath(file)]);
}
