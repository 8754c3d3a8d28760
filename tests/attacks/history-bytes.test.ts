/**
 * What a history takes in memory is what it is counted as: whatever the addresses, keys, names and sizes of its events.
 *
 * @module
 */
import { execFile } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { assert, assertEquals } from "@std/assert";
import { EntryWriter } from "../../src/log/entry.ts";
import { runtime, until, withHub } from "../server-helpers.ts";

const run = promisify(execFile);
const program = fileURLToPath(new URL("history-bytes-program.ts", import.meta.url));
const options = {
  node: ["--expose-gc", "--import", "tsx"],
  deno: ["run", "--allow-all", "--no-check", "--v8-flags=--expose-gc"],
  bun: [],
}[runtime];

test("historyBytes is within a fifth of what the events take in memory", async () => {
  const { stdout } = await run(process.execPath, [...options, program]);
  const kinds = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(kinds.length, 18);
  const wrong = kinds.filter(({ held, counted }) => Math.abs(counted / held - 1) > 0.2);
  assertEquals(wrong, []);
});

test("long keys and sessions push older events out of a history of few bytes", () =>
  withHub({ history: { bytes: 100_000 } }, async (hub) => {
    for (let i = 0; i < 200; i++) {
      await hub.send("session-1", "e", 1, { key: `${i}`.padStart(1024, "k") });
      await hub.send(`${i}`.padStart(1024, "Δ"), "e", 1);
    }
    await until(() => hub.stats().historyBytes <= 100_000, "older events to be forgotten");
    const { historyEvents } = hub.stats();
    assert(historyEvents > 40 && historyEvents < 70, `${historyEvents} events are held`);
  }));

test("a small history has small pages", () => {
  const writer = new EntryWriter("e", { bytes: 50_000 });
  const entries = Array.from({ length: 500 }, (_, i) => {
    const record = { to: "*", event: "e", data: "x".repeat(50) };
    return writer.write({ position: i + 1, time: 0, record });
  }).slice(400);
  const pages = new Set(entries.map(({ page }) => page.buffer));
  const held = [...pages].reduce((sum, { byteLength }) => sum + byteLength, 0);
  const used = entries.reduce((sum, { start, end }) => sum + end - start, 0);
  assert(held < used + 2 * 2_048, `${held} bytes of pages for ${used} of events`);
});
