/**
 * Several processes on one file, one after the other and together, and one that is killed again and again.
 *
 * `SQLITE_KILLS`, `SQLITE_CLIENTS` say how often, and how many clients listen.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import type { LogPosition } from "../../mod.ts";
import { createClient } from "../../src/client/mod.ts";
import { sqliteLog } from "../../src/log/sqlite.ts";
import { cases } from "../campaign.ts";
import { type Server, start } from "../examples/server.ts";
import { runtime, within } from "../server-helpers.ts";
import { DatabaseFile, skipWithoutSqlite } from "../sqlite.ts";

const skip = skipWithoutSqlite;
const root = fileURLToPath(new URL("../../", import.meta.url));
const bin = (name: string): string => join(root, "node_modules/.bin", name);

/** How each runtime runs a file. A Node with SQLite is the one that runs this, or one that CI has installed. */
const runtimes: Record<string, string[]> = {
  deno: [bin("deno"), "run", "--allow-all", "--no-check"],
  bun: [bin("bun"), "run"],
};
const nodes = ["node26", "node24", "node22"].map((name) =>
  join(root, ".ci/nodes/node_modules", name, "bin/node")
);
const node = runtime === "node" ? process.execPath : nodes.find((path) => existsSync(path));
if (node !== undefined) runtimes.node = [node, "--import=tsx"];

interface Heard {
  readonly epochs: string[];
  readonly all: string[];
}

/** Runs a peer; what the log held in the end, as it was told. */
async function peer(command: string[], env: Record<string, string>): Promise<Heard> {
  const [program, ...args] = [...command, join(root, "tests/log/sqlite-peer.ts")];
  const child = spawn(program!, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [output, errors] = ["", ""];
  child.stdout.on("data", (chunk) => output += chunk);
  child.stderr.on("data", (chunk) => errors += chunk);
  try {
    await within(new Promise((resolve) => child.once("close", resolve)), program!, 120_000);
  } finally {
    child.kill("SIGKILL");
  }
  const line = output.split("\n").find((line) => line.startsWith("{"));
  assert(line, `${program} said ${output}${errors}`);
  return JSON.parse(line);
}

describe("sqliteLog, several processes on one file", { skip }, () => {
  test("Node, Deno and Bun in turn, and then together: one order for all, in one epoch", async () => {
    const file = new DatabaseFile();
    const COUNT = cases("SQLITE_APPENDS", 60, 1_000);
    const env = (NAME: string, count: number, total: number) => ({
      FILE: file.path,
      NAME,
      COUNT: `${count}`,
      TOTAL: `${total}`,
    });
    try {
      const names = Object.keys(runtimes);
      const wanted: string[] = [];
      const epochs = new Set<string>();
      for (const [i, name] of names.entries()) {
        const heard = await peer(runtimes[name]!, env(name, 5, 5 * (i + 1)));
        for (let n = 0; n < 5; n++) wanted.push(`${name} ${n}`);
        assertEquals(heard.all, wanted);
        for (const epoch of heard.epochs) epochs.add(epoch);
      }
      const total = wanted.length + names.length * COUNT;
      const heard = await Promise.all(
        names.map((name) => peer(runtimes[name]!, env(`${name}, together`, COUNT, total))),
      );
      for (const { all } of heard) assertEquals(all, heard[0]!.all);
      const [{ all }] = heard as [Heard];
      assertEquals([all.length, new Set(all).size], [total, total]);
      for (const name of names) {
        const own = all.filter((data) => data.startsWith(`${name}, `));
        assertEquals(own, Array.from({ length: COUNT }, (_, n) => `${name}, together ${n}`));
      }
      for (const { epochs: told } of heard) for (const epoch of told) epochs.add(epoch);
      assertEquals(epochs.size, 1);
    } finally {
      file.remove();
    }
  });

  test("a server that is killed while clients listen: what was acknowledged is heard once, in order, without a reset", async () => {
    const KILLS = cases("SQLITE_KILLS", 3, 50);
    const CLIENTS = cases("SQLITE_CLIENTS", 20, 100);
    const file = new DatabaseFile();
    const ACKNOWLEDGED = join(file.directory, "acknowledged");
    writeFileSync(ACKNOWLEDGED, "");
    let server: Server | undefined;
    const listeners = Array.from({ length: CLIENTS }, (_, i) => {
      const heard: number[] = [];
      const state = { heard, resets: 0 };
      const client = createClient("http://any/api/v1/sse/subscribe", {
        headers: { "X-Session-Id": `client-${i}` },
        fetch: (url, init) => fetch(server!.url + new URL(url as string).pathname, init),
        reconnect: { delay: 50, factor: 1, maxAttempts: Infinity },
      });
      client.on("n", ({ data }) => heard.push(Number(data)));
      client.addEventListener("reset", () => state.resets++);
      return Object.assign(state, { client });
    });
    const [first] = listeners;
    try {
      for (let life = 0; life <= KILLS; life++) {
        const isLast = life === KILLS;
        const FIRST = life * 1_000_000;
        const last = isLast ? FIRST + 100 : FIRST + 999_999;
        server = await start("../tests/log/sqlite-server", {
          FILE: file.path,
          ACKNOWLEDGED,
          FIRST: `${FIRST}`,
          LAST: `${last}`,
          // At first all are there before anything is sent; from then on they come back in the middle of it.
          CLIENTS: `${life === 0 ? CLIENTS : 0}`,
          RATE: "500",
        });
        if (life === 0) { for (const { client } of listeners) client.connect(); }
        if (isLast) break;
        const enough = FIRST + 1 + Math.random() * 200;
        await untilSlow(() => (first!.heard.at(-1) ?? -1) >= enough, "events of this life");
        server.process.kill("SIGKILL");
        await server.ended;
      }
      const end = KILLS * 1_000_000 + 100;
      await untilSlow(
        () => listeners.every(({ heard }) => heard.at(-1) === end),
        "everyone to hear the last event",
      );
      const acknowledged = readFileSync(ACKNOWLEDGED, "utf8").trim().split("\n").map(Number);
      assert(acknowledged.length > KILLS, `${acknowledged.length} were acknowledged`);
      const wanted = new Set(acknowledged);
      for (const { heard, resets } of listeners) {
        assertEquals(resets, 0);
        assertEquals(heard, first!.heard, "all hear the same");
        assert(heard.every((n, i) => i === 0 || n > heard[i - 1]!), "in order, and once");
        assertEquals(heard.filter((n) => wanted.has(n)).length, wanted.size, "all acknowledged");
      }
    } finally {
      for (const { client } of listeners) client.close();
      server?.process.kill("SIGKILL");
      await server?.ended;
      file.remove();
    }
  });

  test("a process that is killed in the middle of transactions: rows and events agree", async () => {
    const KILLS = cases("SQLITE_TRANSACTION_KILLS", 2, 30);
    const file = new DatabaseFile();
    const history = { events: 1_000_000, bytes: 2 ** 40, age: 2 ** 40 };
    let running: Server | undefined;
    try {
      let before = 0;
      for (let life = 0; life < KILLS; life++) {
        running = await start("../tests/log/sqlite-transactions", {
          FILE: file.path,
          FIRST: `${life * 1_000_000}`,
        });
        const database = file.open();
        const rows = () =>
          database.prepare("SELECT id FROM orders ORDER BY id").all().map(({ id }) => `${id}`);
        const enough = before + 1 + Math.random() * 100;
        await untilSlow(() => rows().length >= enough, "some transactions");
        running.process.kill("SIGKILL");
        await running.ended;
        const log = sqliteLog(database, { history });
        const events: string[] = [];
        for (let after: LogPosition = { position: 0 };;) {
          const next = await log.read(after, 1_000);
          if (!next || next.length === 0) break;
          events.push(...next.map(({ record }) => record.data));
          after = next.at(-1)!;
        }
        assertEquals(events, rows());
        assert(events.length > before);
        before = events.length;
        log.close!();
        file.close(database);
      }
    } finally {
      running?.process.kill("SIGKILL");
      await running?.ended;
      file.remove();
    }
  });
});

/** Waits for what takes a process to start, beside others. */
async function untilSlow(holds: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 60_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited 60 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
