/**
 * What a log costs: sends through a hub on Redis, against a bare loop of XADD and XREAD with the same client, and against
 * the log in memory.
 *
 * ```sh
 * npm run bench:logs                 # five rounds; starts a redis-server of its own
 * npm run bench:logs -- --rounds 3
 * ```
 *
 * The sender, the receiver and Redis share the machine's cores: trust the ratios of a run. A rate is what has arrived at
 * the other server by the time that the last event is there. A latency runs from before `publish` is called until the
 * other server's reader has the event, at 1 000 events/s.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createClient } from "redis";
import { createHub, type Hub, type Log, memoryLog } from "../mod.ts";
import { redisLog } from "../src/log/redis.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const EVENTS = 50_000;
/** How many sends are under way at a time. */
const BURST = 1_000;
const TEXT = "x".repeat(100);
const PORT = 7397;

const directory = await mkdtemp(join(tmpdir(), "streamside-bench-"));
const redis = spawn("redis-server", ["--port", `${PORT}`, "--save", "", "--dir", directory], {
  stdio: "ignore",
});
const url = `redis://127.0.0.1:${PORT}`;
const sender = createClient({ url }).on("error", () => {});
const receiver = createClient({ url }).on("error", () => {});
try {
  await Promise.all([sender.connect(), receiver.connect()]);
  const rounds: Record<string, number>[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    await sender.flushAll();
    const bare = await bareLoop();
    const logs = [redisLog(sender), redisLog(receiver)];
    const through = await rateOf(await hubsOn(logs));
    const added = await latencyOf(await hubsOn(logs));
    for (const log of logs) await log.close!();
    const memory = memoryLog();
    const inMemory = await latencyOf(await hubsOn([memory, memory]));
    rounds.push({ bare, through, added, inMemory });
    console.error(
      `round ${round + 1}: bare ${Math.round(bare)}/s, hub ${Math.round(through)}/s; p50 ` +
        `${added.toFixed(2)} ms, in memory ${inMemory.toFixed(2)} ms`,
    );
  }
  const median = (name: string) =>
    rounds.map((round) => round[name]!).sort((a, b) => a - b)[rounds.length >> 1]!;
  const ratio = rounds.map(({ bare, through }) => through! / bare!).sort((a, b) => a - b);
  console.log(`| median of ${rounds.length} rounds | |`);
  console.log("| --- | ---: |");
  console.log(`| a bare loop of XADD and XREAD | ${Math.round(median("bare"))} events/s |`);
  console.log(`| a hub on Redis, heard on another | ${Math.round(median("through"))} events/s |`);
  console.log(`| the hub's rate, of the bare loop's | ${ratio[ratio.length >> 1]!.toFixed(2)} |`);
  console.log(`| p50 at 1 000 events/s, on Redis | ${median("added").toFixed(2)} ms |`);
  console.log(`| p50 at 1 000 events/s, in memory | ${median("inMemory").toFixed(2)} ms |`);
} finally {
  sender.destroy();
  receiver.destroy();
  redis.kill();
  await rm(directory, { recursive: true, force: true });
}

/** Two hubs, once they have reached their logs. */
async function hubsOn(logs: readonly Log[]): Promise<Hub[]> {
  const hubs = logs.map((log) => createHub({ log }));
  for (const hub of hubs) {
    while (!isOpen(hub)) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return hubs;
}

function isOpen(hub: Hub): boolean {
  try {
    return hub.cursor() !== "";
  } catch {
    return false;
  }
}

/** Events/s through Redis, with nothing but commands and what must be parsed. */
async function bareLoop(): Promise<number> {
  let heard = 0;
  let last = "0-0";
  const record = JSON.stringify({ to: "#news", event: "tick", data: TEXT });
  const began = performance.now();
  const hearing = (async () => {
    while (heard < EVENTS) {
      const args = ["COUNT", "1000", "BLOCK", "1000", "STREAMS", "bare", last];
      const answer = await receiver.sendCommand(["XREAD", ...args]);
      if (answer === null) continue;
      const entries = Object.values(answer as object)[0] as [string, string[]][];
      for (const [, [, text]] of entries) JSON.parse(text!);
      heard += entries.length;
      last = entries.at(-1)![0];
    }
  })();
  await sendAll(() => sender.sendCommand(["XADD", "bare", "*", "r", record]));
  await hearing;
  return EVENTS * 1000 / (performance.now() - began);
}

/** Events/s that are sent on one hub and heard on the other. */
async function rateOf([one, two]: Hub[]): Promise<number> {
  const heard = hear(two!, EVENTS);
  const began = performance.now();
  await sendAll(() => one!.publish("news", "tick", TEXT));
  await heard;
  const rate = EVENTS * 1000 / (performance.now() - began);
  await Promise.all([one!.close(), two!.close()]);
  return rate;
}

/** The median latency, in ms. */
async function latencyOf([one, two]: Hub[]): Promise<number> {
  const latencies: number[] = [];
  const sends: Promise<unknown>[] = [];
  const count = 2_000;
  const heard = hear(two!, count, (data) => latencies.push(performance.now() - Number(data)));
  const began = performance.now();
  for (let sent = 0; sent < count;) {
    while (sent < count && sent < performance.now() - began) {
      sent++;
      sends.push(one!.publish("news", "tick", performance.now()));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all([heard, ...sends]);
  await Promise.all([one!.close(), two!.close()]);
  return latencies.sort((a, b) => a - b)[count >> 1]!;
}

/** Resolves when a subscriber of a hub has so many events. */
async function hear(hub: Hub, count: number, told?: (data: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let heard = 0;
  for await (const chunk of hub.subscribe("reader", { channels: ["news"] })) {
    const text = decoder.decode(chunk, { stream: true });
    for (const [, data] of text.matchAll(/^data: (.*)$/gm)) {
      heard++;
      told?.(data!);
    }
    if (heard >= count) return;
  }
}

async function sendAll(send: () => Promise<unknown>): Promise<void> {
  for (let sent = 0; sent < EVENTS; sent += BURST) {
    await Promise.all(Array.from({ length: BURST }, send));
  }
}
