/**
 * Many runs at once: how late their events are, and whether the memory comes back when all have ended.
 *
 * ```sh
 * npm run bench:runs                        # 1 000 runs at 20 events/s with 2 readers each, for 30 s
 * npm run bench:runs -- --runs 100 --seconds 10
 * ```
 *
 * The server has one core and the readers have another, where `taskset` is. A latency runs from before a source yields an
 * event until the reader's socket has given it, by the clock that all processes share. A timer of the server that does
 * nothing says how long anything had to wait for the core.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { createHandler, createHub } from "../mod.ts";
import { toNodeListener } from "../src/node/mod.ts";

/** How long a run is held after its end, in ms. */
const AGE = 3_000;
/** A token, and what makes an event of it some 100 bytes on the wire. */
const TEXT = "x".repeat(16);

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "1000" },
    rate: { type: "string", default: "20" },
    readers: { type: "string", default: "2" },
    seconds: { type: "string", default: "30" },
    role: { type: "string" },
  },
});
const runs = Number(values.runs);
const rate = Number(values.rate);
const readers = Number(values.readers);
const seconds = Number(values.seconds);

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const now = () => Number(process.hrtime.bigint()) / 1e6;

if (values.role === "server") await serve();
else if (values.role === "load") await read();
else await measure();

/** What the server's memory is, in MiB, after a collection. */
async function memory(): Promise<{ heap: number; rss: number }> {
  // Buffers go one collection after what held them.
  for (let i = 0; i < 3; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await sleep(50);
  }
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  return { heap: (heapUsed + arrayBuffers) / 2 ** 20, rss: rss / 2 ** 20 };
}

/** What a child of this program is told next. */
function told(): Promise<unknown> {
  return new Promise((resolve) => process.once("message", resolve));
}

/** Begins the runs, and tells its memory before, at the end, and when all is forgotten. */
async function serve(): Promise<void> {
  const hub = createHub({ runHistory: { age: AGE } });
  const channels = Array.from({ length: runs }, (_, i) => `run-${i}`);
  const granted = ["warm", ...channels];
  const handler = createHandler(hub, {
    authenticate: () => ({ session: "reader", channels: granted }),
  });
  const server = createServer(toNodeListener(handler));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // What code and sockets take comes first: as many connections as there will be.
  await (await hub.run("warm", ["x"])).done;
  process.send!({ port: (server.address() as AddressInfo).port });
  await told();
  while (hub.stats().runHistoryBytes > 0 || hub.stats().connections > 0) await sleep(100);
  await sleep(500);
  const before = await memory();
  let isOver = false;
  const all = await Promise.all(channels.map((channel) =>
    hub.run(channel, async function* () {
      await sleep(Math.random() * 1_000 / rate);
      for (let due = performance.now(); !isOver;) {
        yield { event: "token", data: `${now()} ${TEXT}` };
        due += 1_000 / rate;
        await sleep(Math.max(0, due - performance.now()));
      }
    })
  ));
  process.send!({});
  await told();
  const late: number[] = [];
  const look = setInterval(() => {
    const since = performance.now();
    setTimeout(() => late.push(performance.now() - since - 1), 1);
  }, 50);
  const { runEvents } = hub.stats();
  const cpu = process.cpuUsage();
  const began = performance.now();
  await sleep(seconds * 1_000);
  const { user, system } = process.cpuUsage(cpu);
  clearInterval(look);
  late.sort((a, b) => a - b);
  const busy = (user + system) / 1_000 / (performance.now() - began);
  const each = (user + system) / (hub.stats().runEvents - runEvents);
  const during = { ...await memory(), held: hub.stats().runHistoryBytes / 2 ** 20 };
  isOver = true;
  await Promise.all(all.splice(0).map(({ done }) => done));
  while (hub.stats().runHistoryBytes > 0 || hub.stats().connections > 0) await sleep(100);
  await sleep(500);
  const timer = { p50: late[late.length >> 1], p99: late[Math.floor(late.length * 0.99)] };
  const events = hub.stats().runEvents;
  process.send!({ before, during, after: await memory(), busy, each, timer, events });
  await hub.close();
  server.close();
  process.disconnect();
}

/** Reads each run so often, over sockets, and tells the latencies. */
async function read(): Promise<void> {
  const port = await told() as number;
  const warm = Array.from({ length: runs * readers }, async () => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/sse/runs/warm`);
    await response.text();
  });
  await Promise.all(warm);
  process.send!({});
  await told();
  const latencies: number[] = [];
  let isMeasuring = false;
  let ended = 0;
  const opened: Promise<void>[] = [];
  for (let i = 0; i < runs * readers; i++) {
    const socket = connect(port, "127.0.0.1");
    socket.setNoDelay(true);
    socket.write(
      `GET /api/v1/sse/runs/run-${
        i % runs
      } HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    );
    opened.push(new Promise((resolve) => socket.once("data", () => resolve())));
    socket.on("data", (bytes) => {
      const at = now();
      if (!isMeasuring) return;
      for (const [, sent] of bytes.toString("latin1").matchAll(/data: ([\d.]+) /g)) {
        latencies.push(at - Number(sent));
      }
    });
    socket.on("close", () => ended++);
    socket.on("error", () => {});
    if (i % 50 === 49) await Promise.all(opened);
  }
  await Promise.all(opened);
  await sleep(2_000);
  isMeasuring = true;
  process.send!("opened");
  await sleep(seconds * 1_000 - 500);
  isMeasuring = false;
  while (ended < runs * readers) await sleep(50);
  latencies.sort((a, b) => a - b);
  const part = (share: number) => latencies[Math.floor(latencies.length * share)] ?? NaN;
  process.send!({
    events: latencies.length,
    p50: part(0.5),
    p99: part(0.99),
    max: latencies.at(-1) ?? NaN,
  });
  process.disconnect();
}

async function measure(): Promise<void> {
  const start = (role: string, core: string) => {
    const args = ["--expose-gc", "--import", "tsx", import.meta.filename, "--role", role];
    for (const [name, value] of Object.entries({ runs, rate, readers, seconds })) {
      args.push(`--${name}`, String(value));
    }
    const isPinned = process.platform === "linux";
    return spawn(
      isPinned ? "taskset" : process.execPath,
      isPinned ? ["-c", core, process.execPath, ...args] : args,
      { stdio: ["ignore", "inherit", "inherit", "ipc"] },
    );
  };
  const next = (child: ReturnType<typeof start>) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      child.once("message", resolve as () => void);
      child.once("exit", (code) => code === 0 || reject(new Error(`a process ended: ${code}`)));
    });
  const server = start("server", "0");
  const { port } = await next(server) as { port: number };
  const load = start("load", "1");
  load.send(port);
  await next(load);
  server.send("begin");
  await next(server);
  load.send("read");
  await next(load);
  const reported = next(server);
  server.send("measure");
  const read = await next(load) as Record<"events" | "p50" | "p99" | "max", number>;
  const { before, during, after, busy, each, timer, events } = await reported as {
    before: { heap: number; rss: number };
    during: { heap: number; rss: number; held: number };
    after: { heap: number; rss: number };
    busy: number;
    each: number;
    timer: { p50: number; p99: number };
    events: number;
  };
  const mib = (value: number) => `${value.toFixed(1)} MiB`;
  console.log(`${runs} runs at ${rate} events/s, ${readers} readers each, ${seconds} s`);
  console.log(
    `published ${events}, measured ${read.events}; ${(busy * 100).toFixed(0)} % of a core, ` +
      `${each.toFixed(1)} µs of it an event`,
  );
  console.log(
    `latency: p50 ${read.p50.toFixed(1)} ms, p99 ${read.p99.toFixed(1)} ms, max ${
      read.max.toFixed(1)
    } ms; a bare timer of the server: p50 ${timer.p50.toFixed(1)} ms late, p99 ${
      timer.p99.toFixed(1)
    } ms`,
  );
  console.log(
    `memory: ${mib(before.heap)} before, ${mib(during.heap)} with ${mib(during.held)} held, ` +
      `${mib(after.heap)} when all is forgotten (rss ${mib(before.rss)}, ${mib(during.rss)}, ${
        mib(after.rss)
      })`,
  );
}
