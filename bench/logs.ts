/**
 * What a log costs: sends through a hub on Redis and on JetStream, each against a bare loop of the same commands with the
 * same client, against the log in memory, and against `@boringnode/transmit` on Redis. And what is lost when a server is
 * killed.
 *
 * ```sh
 * npm run bench:logs                 # five rounds; starts a redis-server and a nats-server of its own
 * npm run bench:logs -- --rounds 3
 * npm run bench:logs -- --write      # and writes its table into bench/README.md
 * ```
 *
 * The sender, the receiver and the engine share the machine's cores: trust the ratios of a run. A rate is what has arrived
 * at the other server by the time that the last event is there. A latency runs from before `publish` is called until the
 * other server's reader has the event, at 1 000 events/s. What is lost is counted by clients of a server of its own
 * process, which is killed (SIGKILL) while a third one sends, and which come back to another after a tenth of a second.
 *
 * @module
 */

import { Transmit } from "@boringnode/transmit";
// What `@boringnode/transmit/transports` exports, without the other transport, which wants a client for MQTT.
import { redis as transmitOnRedis } from "@boringnode/bus/transports/redis";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import process from "node:process";
import { Writable } from "node:stream";
import { parseArgs } from "node:util";
import { createClient } from "redis";
import { createHub, type Hub, type Log, memoryLog } from "../mod.ts";
import { jetStreamLog } from "../src/log/jetstream.ts";
import { redisLog } from "../src/log/redis.ts";
import { startNats } from "../tests/nats.ts";
import { startRedis } from "../tests/redis.ts";
import { type Loss, lossOf } from "./logs/loss.ts";
import { othersBusy } from "./process.ts";
import { table } from "./table.ts";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, write: { type: "boolean" } },
});
const EVENTS = 50_000;
/** How many sends are under way at a time. */
const UNDER_WAY = 1_000;
const TEXT = "x".repeat(100);
const RECORD = JSON.stringify({ to: "#news", event: "tick", data: TEXT });

const redis = await startRedis();
const nats = await startNats();
const sender = createClient({ url: redis.url }).on("error", () => {});
const receiver = createClient({ url: redis.url }).on("error", () => {});
const natsSender = await nats.connect();
const natsReceiver = await nats.connect();
try {
  await Promise.all([sender.connect(), receiver.connect()]);
  const rates: Record<string, number>[] = [];
  const latencies: Record<string, number>[] = [];
  const losses: Record<string, Loss>[] = [];
  const began = performance.now();
  const busyBefore = othersBusy() - engineCpu();
  for (let round = 0; round < Number(values.rounds); round++) {
    const rate: Record<string, number> = {};
    const latency: Record<string, number> = {};
    await sender.flushAll();
    rate["Redis, bare"] = await bareRedis();
    const onRedis = () => [redisLog(sender), redisLog(receiver)];
    rate["Redis"] = await onLogs(onRedis, rateOf);
    latency["Redis"] = await onLogs(onRedis, latencyOf);
    rate["NATS, bare"] = await bareJetStream();
    const history = { events: 100_000, bytes: 64 * 1024 * 1024 };
    const onNats = () => [natsSender, natsReceiver].map((nats) => jetStreamLog(nats, { history }));
    rate["NATS"] = await onLogs(onNats, rateOf);
    latency["NATS"] = await onLogs(onNats, latencyOf);
    await (await jetstreamManager(natsSender)).streams.delete("streamside");
    const memory = memoryLog();
    latency["memory"] = await latencyOf(onHubs(await hubsOn([memory, memory])));
    rate["transmit"] = await rateOf(onTransmit());
    latency["transmit"] = await latencyOf(onTransmit());
    rates.push(rate);
    latencies.push(latency);
    losses.push({
      Redis: await lossOf("streamside", { REDIS_URL: redis.url }),
      NATS: await lossOf("streamside", { NATS_URL: nats.url }),
      transmit: await lossOf("transmit", { REDIS_URL: redis.url }),
    });
    console.error(`round ${round + 1}:`, rate, latency, losses.at(-1));
  }

  const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[numbers.length >> 1]!;
  const ofRate = (name: string) => median(rates.map((round) => round[name]!));
  const ratio = (name: string, other: string) =>
    median(rates.map((round) => round[name]! / round[other]!));
  const p50 = (name: string) => median(latencies.map((round) => round[name]!));
  const missed = (name: string) => median(losses.map((round) => round[name]!.missed));
  const row = (name: string, subject: string, bare: string | undefined) => [
    name,
    Math.round(ofRate(subject) / 100) * 100,
    bare === undefined ? "" : ratio(subject, bare).toFixed(2),
    (p50(subject) - p50("memory")).toFixed(2),
    missed(subject),
    losses.reduce((sum, round) => sum + round[subject]!.twice, 0),
  ];
  const seconds = (performance.now() - began) / 1000;
  const busy = (othersBusy() - engineCpu() - busyBefore) / seconds;
  const text = table(
    [
      "",
      "events/s",
      "of the bare loop's",
      "p50 ms more than in memory, at 1 000/s",
      "missed of 100 clients' when their server is killed",
      "twice",
    ],
    [
      [
        "a bare loop of XADD and XREAD",
        Math.round(ofRate("Redis, bare") / 100) * 100,
        "1",
        "",
        "",
        "",
      ],
      row("**Streamside** on Redis", "Redis", "Redis, bare"),
      [
        "a bare loop of publish and consume",
        Math.round(ofRate("NATS, bare") / 100) * 100,
        "1",
        "",
        "",
        "",
      ],
      row("**Streamside** on JetStream", "NATS", "NATS, bare"),
      row("@boringnode/transmit on Redis", "transmit", "Redis, bare"),
    ],
    `Median of ${rates.length} rounds on Node.js ${process.versions.node}, ${cpus().length} × ${
      cpus()[0]!.model.replace(/ Processor.*| @.*/, "")
    }, redis-server ${versionOf("redis-server", /v=([\d.]+)/)}, nats-server ${
      versionOf("nats-server", /v([\d.]+)/)
    }; other processes took ${
      busy.toFixed(2)
    } of a core. Goal: 0.8 of the bare loop, 1 ms on Redis, and none missed, ` +
      "none twice.",
  );
  console.log(text);
  if (values.write) await write(text);
} finally {
  sender.destroy();
  receiver.destroy();
  await Promise.all([natsSender.close(), natsReceiver.close()]);
  await Promise.all([redis.close(), nats.close()]);
}

/** Two servers: what one sends, the other one's reader hears. */
interface Subject {
  send(data: unknown): Promise<unknown>;
  /** Resolves when a reader of the other server has so many events. `told` gets what each of them has as its data. */
  hear(count: number, told?: (data: string) => void): Promise<void>;
  close(): Promise<unknown>;
}

/** Measures two hubs on two servers' logs. */
async function onLogs(
  open: () => Log[],
  measure: (subject: Subject) => Promise<number>,
): Promise<number> {
  const logs = open();
  const measured = await measure(onHubs(await hubsOn(logs)));
  for (const log of logs) await log.close!();
  return measured;
}

function onHubs([one, two]: Hub[]): Subject {
  return {
    send: (data) => one!.publish("news", "tick", data),
    async hear(count, told) {
      const decoder = new TextDecoder();
      let heard = 0;
      for await (const chunk of two!.subscribe("reader", { channels: ["news"] })) {
        const text = decoder.decode(chunk, { stream: true });
        for (const [, data] of text.matchAll(/^data: (.*)$/gm)) {
          heard++;
          told?.(data!);
        }
        if (heard >= count) return;
      }
    },
    close: () => Promise.all([one!.close(), two!.close()]),
  };
}

/** Transmit says neither when an event is with Redis nor whether: its sends are as many at once as come. */
function onTransmit(): Subject {
  const [one, two] = [0, 1].map(() =>
    new Transmit(
      { pingInterval: false, transport: null },
      transmitOnRedis({ host: "127.0.0.1", port: redis.port })(),
    )
  ) as [Transmit<object>, Transmit<object>];
  return {
    async send(data) {
      one.broadcast("news", { event: "tick", data: data as string });
      await new Promise(setImmediate);
    },
    async hear(count, told) {
      let heard = 0;
      await new Promise<void>((resolve, reject) => {
        const response = new Writable({
          write(chunk, _encoding, done) {
            for (const [, data] of String(chunk).matchAll(/"data":"?([^"}]*)"?/g)) {
              heard++;
              told?.(data!);
            }
            if (heard >= count) resolve();
            done();
          },
        });
        two.createStream({ uid: "reader", response, context: {} } as never);
        two.subscribe({ uid: "reader", channel: "news", context: {} } as never).catch(reject);
      });
    },
    close: () => Promise.all([one.shutdown(), two.shutdown()]),
  };
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
async function bareRedis(): Promise<number> {
  let heard = 0;
  let last = "0-0";
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
  await sendAll(() => sender.sendCommand(["XADD", "bare", "*", "r", RECORD]));
  await hearing;
  return EVENTS * 1000 / (performance.now() - began);
}

/** Events/s through JetStream, with nothing but the client's own publish and consume and what must be parsed. */
async function bareJetStream(): Promise<number> {
  const manager = await jetstreamManager(natsSender);
  await manager.streams.add({ name: "bare", subjects: ["bare"], max_bytes: 64 * 1024 * 1024 });
  try {
    const consumer = await jetstream(natsReceiver).consumers.get("bare");
    const messages = await consumer.consume({ max_messages: 1_000 });
    const js = jetstream(natsSender);
    const began = performance.now();
    const hearing = (async () => {
      let heard = 0;
      for await (const message of messages) {
        message.json();
        if (++heard === EVENTS) return;
      }
    })();
    await sendAll(() => js.publish("bare", RECORD));
    await hearing;
    return EVENTS * 1000 / (performance.now() - began);
  } finally {
    await manager.streams.delete("bare");
  }
}

/** Events/s that are sent on one server and heard on the other. */
async function rateOf(subject: Subject): Promise<number> {
  const heard = subject.hear(EVENTS);
  await settle();
  const began = performance.now();
  await sendAll(() => subject.send(TEXT));
  await heard;
  const rate = EVENTS * 1000 / (performance.now() - began);
  await subject.close();
  return rate;
}

/** The median latency, in ms. */
async function latencyOf(subject: Subject): Promise<number> {
  const latencies: number[] = [];
  const sends: Promise<unknown>[] = [];
  const count = 2_000;
  const heard = subject.hear(count, (data) => latencies.push(performance.now() - Number(data)));
  await settle();
  const began = performance.now();
  for (let sent = 0; sent < count;) {
    while (sent < count && sent < performance.now() - began) {
      sent++;
      sends.push(subject.send(performance.now()));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all([heard, ...sends]);
  await subject.close();
  return latencies.sort((a, b) => a - b)[count >> 1]!;
}

/** Transmit does not say when it has subscribed to Redis. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 100));
}

/** Keeps so many sends under way until all are sent. */
async function sendAll(send: () => Promise<unknown>): Promise<void> {
  let sent = 0;
  const sending = async () => {
    while (sent < EVENTS) {
      sent++;
      await send();
    }
  };
  await Promise.all(Array.from({ length: UNDER_WAY }, sending));
}

/** Processor time of the two engines until now, in seconds: they are part of what is measured. */
function engineCpu(): number {
  const pids = [redis.pid, nats.pid].join(",");
  const times = execFileSync("ps", ["-o", "cputimes=", "-p", pids], { encoding: "utf8" });
  return times.trim().split(/\s+/).reduce((sum, time) => sum + Number(time), 0);
}

function versionOf(program: string, pattern: RegExp): string {
  return pattern.exec(execFileSync(program, ["--version"], { encoding: "utf8" }))?.[1] ?? "?";
}

async function write(text: string): Promise<void> {
  const file = new URL("README.md", import.meta.url);
  const page = await readFile(file, "utf8");
  const written = page.replace(
    /(<!-- logs -->\n)[^]*(\n<!-- \/logs -->)/,
    (_, head, tail) =>
      `${head}\n### Logs that servers share\n\n\`npm run bench:logs\`\n\n${text}\n${tail}`,
  );
  await writeFile(file, written);
}
