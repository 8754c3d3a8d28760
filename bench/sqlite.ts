/**
 * What a log in a file costs: appends in bursts of 100, against inserts of the same rows in transactions of 100; what it
 * adds to the latency of a hub in memory; and how soon another handle on the file is told.
 *
 * ```sh
 * npm run bench:sqlite                 # five rounds, on the Node that runs it, from 22.13 on
 * npx deno run -A bench/sqlite.ts      # the same on Deno
 * npm run bench:sqlite -- --rounds 3
 * ```
 *
 * All of it runs on one core. A latency runs from before `publish` is called until a reader of the hub, or of another
 * hub on a handle of its own, has the event, at 1 000 events/s.
 *
 * @module
 */

import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { createHub, type Hub, type Log, memoryLog } from "../mod.ts";
import { sqliteLog } from "../src/log/sqlite.ts";

const { DatabaseSync } = await import("node:sqlite").catch(() => {
  console.error(`Node ${process.version} has no node:sqlite: it came with 22.13.`);
  process.exit(1);
});

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const EVENTS = 50_000;
const BURST = 100;
const TEXT = "x".repeat(100);
const SETTINGS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";

interface Round {
  bare: number;
  appends: number;
  memory: number;
  file: number;
  other: number;
  late: number;
}

const rounds: Round[] = [];
for (let i = 0; i < Number(values.rounds); i++) {
  const directory = await mkdtemp(join(tmpdir(), "streamside-bench-"));
  try {
    rounds.push(await measure(directory));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
const median = (name: keyof Round) =>
  rounds.map((round) => round[name]).sort((a, b) => a - b)[rounds.length >> 1]!;
const ratio = rounds.map(({ bare, appends }) => appends / bare).sort((a, b) => a - b);
console.log(`| median of ${rounds.length} rounds, load ${loadavg()[0]!.toFixed(1)} | |`);
console.log("| --- | ---: |");
console.log(`| bare inserts, 100 in a transaction | ${Math.round(median("bare"))} rows/s |`);
console.log(`| appends, 100 at a time | ${Math.round(median("appends"))} events/s |`);
console.log(`| the appends' rate, of the inserts' | ${ratio[ratio.length >> 1]!.toFixed(2)} |`);
console.log(`| p50 at 1 000 events/s, in memory | ${median("memory").toFixed(2)} ms |`);
console.log(`| p50 at 1 000 events/s, in a file | ${median("file").toFixed(2)} ms |`);
console.log(`| p50 on another handle | ${median("other").toFixed(1)} ms |`);
console.log(`| p99 on another handle | ${median("late").toFixed(1)} ms |`);

async function measure(directory: string): Promise<Round> {
  const database = new DatabaseSync(join(directory, "events.db"));
  const bare = new DatabaseSync(join(directory, "bare.db"));
  bare.exec(`${SETTINGS}; CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)`);
  const insert = bare.prepare("INSERT INTO rows (text) VALUES (?)");
  const rows = rate(() => {
    bare.exec("BEGIN IMMEDIATE");
    for (let i = 0; i < BURST; i++) {
      insert.run(JSON.stringify({ to: "#news", event: "tick", data: TEXT }));
    }
    bare.exec("COMMIT");
  });
  const log = sqliteLog(database);
  const stop = log.follow({ opened() {}, appended() {}, failed() {} });
  const appends = rate(() =>
    Promise.all(Array.from({ length: BURST }, () => {
      return log.append({ to: "#news", event: "tick", data: TEXT });
    }))
  );
  const round = { bare: await rows, appends: await appends };
  stop();
  const inMemory = memoryLog();
  const memory = at(await latencies(inMemory, inMemory), 0.5);
  const file = at(await latencies(log, log), 0.5);
  const far = new DatabaseSync(join(directory, "events.db"));
  const other = sqliteLog(far);
  const late = await latencies(log, other);
  for (const each of [log, other]) await each.close!();
  for (const each of [database, far, bare]) each.close();
  return { ...round, memory, file, other: at(late, 0.5), late: at(late, 0.99) };
}

/** How many rows or events a second go in bursts. */
async function rate(burst: () => unknown): Promise<number> {
  const began = performance.now();
  for (let done = 0; done < EVENTS; done += BURST) await burst();
  return EVENTS * 1000 / (performance.now() - began);
}

/** From before each send on one log until the reader on the other has the event, in ms, in order of size. */
async function latencies(one: Log, two: Log): Promise<number[]> {
  const hubs = [createHub({ log: one }), createHub({ log: two })] as const;
  const took: number[] = [];
  const count = 2_000;
  const heard = hear(hubs[1], count, (data) => took.push(performance.now() - Number(data)));
  const began = performance.now();
  const sends: Promise<unknown>[] = [];
  for (let sent = 0; sent < count;) {
    while (sent < count && sent < performance.now() - began) {
      sent++;
      sends.push(hubs[0].publish("news", "tick", performance.now()));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all([heard, ...sends]);
  for (const hub of hubs) await hub.close();
  return took.sort((a, b) => a - b);
}

function at(sorted: number[], share: number): number {
  return sorted[Math.floor(sorted.length * share)]!;
}

/** Resolves when a subscriber of a hub has so many events. */
async function hear(hub: Hub, count: number, told: (data: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let heard = 0;
  for await (const chunk of hub.subscribe("reader", { channels: ["news"] })) {
    const text = decoder.decode(chunk, { stream: true });
    for (const [, data] of text.matchAll(/^data: (.*)$/gm)) {
      heard++;
      told(data!);
    }
    if (heard >= count) return;
  }
}
