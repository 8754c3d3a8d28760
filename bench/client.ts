/**
 * Events per second through the client, its peers from npm, and the bare parser, from one local server in one run.
 *
 * ```sh
 * npm run bench:client                 # on Node.js, Deno and Bun
 * npm run bench:client -- node bun     # on some of them
 * ```
 *
 * Each client has a process of its own: in one process they share the compiled parser, and what the engine learns of
 * one slows down another. They take turns, so that what disturbs the machine disturbs all; the medians are compared.
 *
 * @module
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { pinned } from "./process.ts";
import { median, table } from "./table.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 5);

const runtimes: Record<string, { version: () => string; command: string[] }> = {
  node: { version: () => process.versions.node, command: ["node", "--import", "tsx"] },
  deno: { version: () => installed("deno"), command: [bin("deno"), "run", "--allow-all"] },
  bun: { version: () => installed("bun"), command: [bin("bun")] },
};

const contenders = [
  "eventsource-parser 4, bare",
  "eventsource-parser 3, bare",
  "streamside createClient",
  "streamside EventSource",
  "eventsource",
  "eventsource-client",
  "@microsoft/fetch-event-source",
];

const scenarios = [
  { what: "150 bytes, with id and type, many a chunk", stream: "typical?count=400000" },
  { what: "20 bytes, with type, many a chunk", stream: "small?count=1000000" },
  { what: "150 bytes, with id and type, one a write", stream: "single?count=20000" },
];

interface Result {
  /** Events a second. */
  rate: number;
  /** Processor time of the process for an event, in ns. */
  cost: number;
}

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(runtimes);
for (const name of chosen) {
  if (Object.hasOwn(runtimes, name)) continue;
  throw new Error(`a runtime is one of ${Object.keys(runtimes).join(", ")}; got ${name}`);
}

const server = spawn(...pin(0, ["node", "--import", "tsx", path("client-server.ts")]), {
  stdio: ["ignore", "pipe", "inherit", "ipc"],
});
try {
  const [port] = await once(createInterface({ input: server.stdout! }), "line") as [string];
  const streams = scenarios.map(({ stream }) => `http://127.0.0.1:${port}/${stream}`);
  console.log(
    `${cpus()[0]?.model.trim()}, median of ${ROUNDS} rounds, each client in processes of its own`,
  );
  for (const name of chosen) {
    const { version, command } = runtimes[name]!;
    console.log(`\n## ${name} ${version()}\n`);
    const results = new Map(contenders.map((contender) => [contender, [] as Result[][]]));
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < contenders.length; i++) {
        const contender = contenders[(i + round) % contenders.length]!;
        results.get(contender)!.push(
          measure([...command, path("client-contenders.ts"), contender, ...streams]),
        );
      }
    }
    scenarios.forEach(({ what }, index) => {
      const figures = [...results].map(([contender, rounds]) => ({
        contender,
        rate: median(rounds.map((of) => of[index]!.rate)),
        cost: median(rounds.map((of) => of[index]!.cost)),
      }));
      const base = figures[0]!.rate;
      const rows = figures.map(({ contender, rate, cost }) => {
        return [contender, rate, (rate / base).toFixed(2), cost];
      });
      const head = [what, "events/s", "of the bare parser", "ns of processor time"];
      console.log(table(head, rows, ""));
    });
  }
} finally {
  server.kill();
}

/** What a client in a process of its own has measured. */
function measure(line: string[]): Result[] {
  return JSON.parse(execFileSync(...pin(1, line), { encoding: "utf8" })) as Result[];
}

/** A command, on a core of its own where that can be. */
function pin(core: number, [command, ...rest]: string[]): [string, string[]] {
  return pinned ? ["taskset", ["-c", String(core), command!, ...rest]] : [command!, rest];
}

function path(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

function bin(name: string): string {
  return path(`../node_modules/.bin/${name}`);
}

function installed(name: string): string {
  return execFileSync(bin(name), ["--version"], { encoding: "utf8" }).match(/\d+\.\d+\.\d+/)![0];
}
