/**
 * What channels cost: joins, many connections with channels of their own, and how long finding the recipients of a
 * burst keeps the event loop.
 *
 * ```sh
 * npm run bench:channels          # 9 runs of each, some two minutes
 * npm run bench:channels -- 3     # fewer runs
 * ```
 *
 * Everything is in one process: the hub, streams that are read, and for the memory sinks that take what they are given.
 * Each figure is the median of several runs, and says how far apart the quarters of these are.
 *
 * @module
 */
import process from "node:process";
import { CONNECT, type InternalHub } from "../src/hub/hub.ts";
import type { Chunk, Sink, SinkOwner } from "../src/hub/sink.ts";
import { createHub } from "../mod.ts";

const CONNECTIONS = 10_000;

/** A reader that takes everything at once. */
class Taker implements Sink {
  write(_chunk: Chunk): boolean {
    return true;
  }
  end(): void {}
  abort(): void {}
}

const taker = new Taker();

function newHub(): InternalHub {
  return createHub({ heartbeat: 600_000, history: { events: 20_000 } }) as unknown as InternalHub;
}

function connect(hub: InternalHub, session: string, channels: Iterable<string>): SinkOwner {
  const connection = hub[CONNECT](session, { channels });
  connection.sink = taker;
  connection.drained();
  return connection;
}

/** A connection whose stream is read. */
function read(hub: InternalHub, session: string, channels: Iterable<string>): void {
  const reader = hub.subscribe(session, { channels }).getReader();
  const pump = async (): Promise<void> => {
    while (!(await reader.read()).done);
  };
  void pump();
}

/** The channels of a connection that has a set of its own. */
function own(i: number, shared = "all"): string[] {
  return [shared, `user-${i}`, `team-${i % 100}`, `room-${i % 1_000}`];
}

interface Figure {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

async function figure(runs: number, measure: () => Promise<number>): Promise<Figure> {
  const values: number[] = [];
  for (let i = 0; i <= runs; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    const value = await measure();
    // The first one compiles.
    if (i > 0) values.push(value);
  }
  values.sort((a, b) => a - b);
  const at = (part: number) => values[Math.floor(part * (values.length - 1))]!;
  return { median: at(0.5), low: at(0.25), high: at(0.75) };
}

function print(what: string, { median, low, high }: Figure, unit: string): void {
  const format = (value: number) => value.toPrecision(3);
  console.log(`| ${what} | ${format(median)} ${unit} | ${format(low)} to ${format(high)} |`);
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * The longest turn of the event loop while something is done, in ms: of what a turn took by the clock and of the CPU
 * time of all threads, the less, since the machine may give the core to others meanwhile.
 */
async function longestTurn(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let isDone = false;
  let last = performance.now();
  let used = process.cpuUsage();
  const look = () => {
    const now = performance.now();
    const { user, system } = process.cpuUsage(used);
    longest = Math.max(longest, Math.min(now - last, (user + system) / 1_000));
    used = process.cpuUsage();
    last = now;
    if (!isDone) setImmediate(look);
  };
  setImmediate(look);
  await turn();
  await work();
  isDone = true;
  await turn();
  return longest;
}

/** 1 000 publishes at once to a channel of all, by connections with sets of their own. */
async function burst(): Promise<number> {
  const hub = newHub();
  for (let i = 0; i < CONNECTIONS; i++) read(hub, `s${i}`, own(i));
  await turn();
  const longest = await longestTurn(async () => {
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => hub.publish("all", "n", `${i}`)));
    while (hub.stats().deliveries < CONNECTIONS * 1_000) await turn();
  });
  await hub.close();
  return longest;
}

/** What one of 20 000 calls takes of the CPU, in µs, until it has come to its connection; 100 are on their way. */
async function each(
  channels: (i: number) => Iterable<string>,
  act: (hub: InternalHub, session: string, round: number) => Promise<unknown>,
): Promise<number> {
  const hub = newHub();
  for (let i = 0; i < 1_000; i++) read(hub, `s${i}`, channels(i));
  await turn();
  const before = process.cpuUsage();
  for (let i = 0; i < 20_000; i += 100) {
    const calls = Array.from(
      { length: 100 },
      (_, j) => act(hub, `s${(i + j) % 1_000}`, Math.floor(i / 1_000)),
    );
    // It resolves when all before it have come to their connections, as each join does.
    await Promise.all([...calls, hub.join("nobody", "c")]);
  }
  const { user, system } = process.cpuUsage(before);
  await hub.close();
  return (user + system) / 20_000;
}

/** In one round a session joins a channel, and in the next it leaves it. */
function change(hub: InternalHub, session: string, round: number): Promise<void> {
  return round % 2 === 0 ? hub.join(session, "c") : hub.leave(session, "c");
}

/** How many joins a hub does in a second of the CPU, for a caller that does not wait for each. */
async function joinsASecond(): Promise<number> {
  const hub = newHub();
  for (let i = 0; i < 1_000; i++) read(hub, `s${i}`, []);
  await turn();
  const before = process.cpuUsage();
  await Promise.all(
    Array.from({ length: 20_000 }, (_, i) => hub.join(`s${i % 1_000}`, `c${(i * 7) % 50}`)),
  );
  const { user, system } = process.cpuUsage(before);
  await hub.close();
  return 20_000 / (user + system) * 1_000_000;
}

/** What a broadcast takes, in ms. */
async function broadcast(channels: (i: number) => Iterable<string>): Promise<number> {
  const hub = newHub();
  for (let i = 0; i < CONNECTIONS; i++) read(hub, `s${i}`, channels(i));
  await turn();
  const before = process.cpuUsage();
  for (let i = 0; i < 20; i++) {
    const { deliveries } = hub.stats();
    await hub.broadcast("n", "x".repeat(100));
    while (hub.stats().deliveries < deliveries + CONNECTIONS) await turn();
  }
  const { user, system } = process.cpuUsage(before);
  await hub.close();
  return (user + system) / 20 / 1_000;
}

/** The heap of a hub with many connections, in bytes a connection. */
async function heap(channels: (i: number) => Iterable<string>): Promise<number> {
  const gc = (globalThis as { gc?: () => void }).gc!;
  gc();
  const hub = newHub();
  const names = Array.from({ length: CONNECTIONS }, (_, i) => `s${i}`);
  gc();
  const before = process.memoryUsage();
  for (let i = 0; i < CONNECTIONS; i++) connect(hub, names[i]!, channels(i));
  await turn();
  gc();
  const after = process.memoryUsage();
  await hub.close();
  const bytes = after.heapUsed + after.external - before.heapUsed - before.external;
  return bytes / CONNECTIONS;
}

/** 100 of a thousand channels, in a set of its own. */
function hundred(i: number): string[] {
  return Array.from({ length: 100 }, (_, j) => `channel-${(i * 7 + j * (1 + i % 9)) % 1_000}`);
}

if (!(globalThis as { gc?: unknown }).gc) {
  console.error("It needs --expose-gc: npm run bench:channels");
  process.exit(1);
}
const runs = Number(process.argv[2] ?? 9);
console.log(`Node ${process.versions.node}, ${CONNECTIONS} connections, ${runs} runs`);
console.log("| what | median | quarters |");
console.log("| --- | --- | --- |");
const none = () => [];
print("longest turn of the event loop, 1 000 publishes at once", await figure(runs, burst), "ms");
print(
  "a send",
  await figure(runs, () => each(none, (hub, session) => hub.send(session, "n", "x"))),
  "µs of CPU",
);
print(
  "a join or a leave, sessions in no other channel",
  await figure(runs, () => each(none, change)),
  "µs of CPU",
);
print(
  "a join or a leave, sessions in 100 channels",
  await figure(runs, () => each(hundred, change)),
  "µs of CPU",
);
print("joins on one hub", await figure(runs, joinsASecond), "a second of CPU");
print(
  "a broadcast, all in one channel",
  await figure(runs, () => broadcast(() => ["all"])),
  "ms of CPU",
);
print(
  "a broadcast, channel sets of their own",
  await figure(runs, () => broadcast(own)),
  "ms of CPU",
);
print("a connection in no channel", await figure(3, () => heap(none)), "bytes");
print("a connection in 100 channels", await figure(3, () => heap(hundred)), "bytes");
