/**
 * What presence costs: 10 000 connections on one server, a tenth of which is replaced by others each second, with another
 * server that listens, through Redis and in memory. Processor time is that of both servers, which are in this process.
 *
 * `npm run bench:presence`
 *
 * @module
 */
import process from "node:process";
import { createClient } from "redis";
import { createHub, type Log, memoryLog } from "../mod.ts";
import { redisLog } from "../src/log/redis.ts";
import { startRedis } from "../tests/redis.ts";

const CONNECTIONS = 10_000;
const SECONDS = 10;

/** A log without presence: what the connections themselves cost. */
function without(log: Log): Log {
  return {
    follow: (follower) => log.follow(follower),
    append: (record) => log.append(record),
    read: (after, limit) => log.read(after, limit),
  };
}

async function measure(name: string, one: Log, other: Log, calls?: () => Promise<number>) {
  const hubs = [createHub({ log: one }), createHub({ log: other })];
  let told = 0;
  if (other.presence) hubs[1]!.on("online", () => void told++);
  const streams: ReadableStream<Uint8Array>[] = [];
  let number = 0;
  const open = () => hubs[0]!.subscribe(`session-${number++}`, { channels: ["news", "sport"] });
  await new Promise((resolve) => setTimeout(resolve, 500));
  while (streams.length < CONNECTIONS) streams.push(open());
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  const before = { cpu: process.cpuUsage(), calls: await calls?.(), told, time: performance.now() };
  for (let tick = 0; tick < SECONDS * 10; tick++) {
    for (const stream of streams.splice(0, CONNECTIONS / 100)) {
      await stream.cancel();
      streams.push(open());
    }
    const due = before.time + (tick + 1) * 100;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
  }
  const seconds = (performance.now() - before.time) / 1_000;
  const { user, system } = process.cpuUsage(before.cpu);
  const perSecond = (value: number) => (value / seconds).toFixed(1);
  const commands = calls ? `${perSecond(await calls() - before.calls!)} scripts/s, ` : "";
  console.log(
    `${name.padEnd(24)} ${
      perSecond((user + system) / 1_000)
    } ms of processor time a second, ${commands}` +
      `${perSecond(told - before.told)} online/s told elsewhere`,
  );
  for (const stream of streams) await stream.cancel();
  for (const hub of hubs) await hub.close();
}

const memory = memoryLog();
await measure("memory, without presence", without(memory), without(memory));
await measure("memory", memory, memory);
const redis = await startRedis();
const clients = await Promise.all([1, 2, 3].map(async () => {
  const client = createClient({ url: redis.url });
  await client.connect();
  return client;
}));
const logs = clients.slice(0, 2).map((client) => redisLog(client));
/** How many scripts Redis has run. */
const scripts = async () => {
  const stats = await clients[2]!.info("commandstats");
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0);
};
await measure("Redis, without presence", without(logs[0]!), without(logs[1]!), scripts);
await measure("Redis", logs[0]!, logs[1]!, scripts);
for (const log of logs) await log.close?.();
for (const client of clients) client.destroy();
await redis.close();
