/**
 * Long measurements of what must stay within bounds:
 *
 * - stalled: 200 readers that never read and 800 that do, 2 000 events/s of 150 bytes. Memory grows by no more than the
 *   history, 64 KiB a stalled reader, and 32 MiB; the healthy miss nothing.
 * - churn: 1 000 connections opened and broken at random while events flow. Afterwards `stats()` is zero, and the heap
 *   within 2 MiB of where it began.
 *
 * ```sh
 * npm run soak                                         # both, 60 s each, on Node, Deno and Bun
 * npm run soak -- --seconds 10 --runtime node stalled
 * ```
 *
 * It exits with 1 if a bound was not kept.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { HubStats } from "../mod.ts";

const MIB = 1024 * 1024;
const HISTORY_BYTES = 8 * MIB;
const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules/.bin", name);

const runtimes: Record<string, string[]> = {
  node: [process.execPath, "--expose-gc", "--import=tsx"],
  deno: [bin("deno"), "run", "--allow-all", "--no-check", "--v8-flags=--expose-gc"],
  bun: [bin("bun"), "run"],
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "60" },
    runtime: { type: "string", multiple: true, default: Object.keys(runtimes) },
  },
});
const seconds = Number(values.seconds);
const soaks: Record<string, (server: Server) => Promise<Row>> = { stalled, churn };

interface Row {
  readonly kept: boolean;
  readonly [figure: string]: unknown;
}

interface Memory {
  readonly rss: number;
  readonly heapUsed: number;
  readonly stats: HubStats;
}

/** A server in a process of its own. */
class Server {
  readonly port: number;
  readonly #process: ChildProcess;

  constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#process = child;
  }

  static async start(runtime: string): Promise<Server> {
    const [command, ...args] = [...runtimes[runtime]!, join(root, "bench/soak-server.ts")];
    const child = spawn(command!, args, {
      env: { ...process.env, HISTORY_BYTES: String(HISTORY_BYTES) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const line of createInterface({ input: child.stdout! })) {
      return new Server(Number(line), child);
    }
    throw new Error(`the server on ${runtime} ended before it had a port`);
  }

  async memory(): Promise<Memory> {
    return await this.#get("/memory") as Memory;
  }

  async send(rate: number, seconds: number): Promise<{ sent: number; peak: number }> {
    const query = `/send?rate=${rate}&seconds=${seconds}&bytes=150`;
    return await this.#get(query) as { sent: number; peak: number };
  }

  async #get(path: string): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      headers: { Connection: "close" },
    });
    return await response.json();
  }

  stop(): void {
    this.#process.kill("SIGKILL");
  }
}

async function stalled(server: Server): Promise<Row> {
  const rate = 2_000;
  const client = spawn(compileLoadClient(), [
    String(server.port),
    "/api/v1/sse/subscribe?sessionId=%d",
    ...["1000", "50", "1000", "200", "0"],
  ], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value!) as Record<string, number>;
  try {
    await next();
    await server.send(rate, 5); // code is compiled, the runtime's heap and buffers have their size
    const before = await server.memory();
    client.stdin.write("mark\n");
    await next();
    const { sent, peak } = await server.send(rate, seconds);
    client.stdin.write(`wait ${sent * 800} 20\n`);
    const report = await next();
    const after = await server.memory();
    const grown = Math.max(peak, after.rss) - before.rss;
    const bound = HISTORY_BYTES + 200 * 64 * 1024 + 32 * MIB;
    const { lagging, stalled, connections } = after.stats;
    return {
      kept: grown <= bound && report.least === sent && report.most === sent,
      grown: mib(grown),
      bound: mib(bound),
      grownAfter: mib(after.rss - before.rss),
      heapGrown: mib(after.heapUsed - before.heapUsed),
      sent,
      least: report.least,
      most: report.most,
      p99: report.p99,
      lagging,
      stalled,
      connections,
    };
  } finally {
    client.kill();
  }
}

async function churn(server: Server): Promise<Row> {
  await shake(server, 5); // what is made once is made now, and the history is full
  await server.send(20_000, 3);
  const before = await settle(server);
  const opened = await shake(server, seconds);
  const after = await settle(server);
  const { connections, sessions, channels, lagging, connects, disconnects } = after.stats;
  const grown = after.heapUsed - before.heapUsed;
  const isZero = [connections, sessions, channels, lagging].every((value) => value === 0);
  return {
    kept: isZero && connects === disconnects && Math.abs(grown) <= 2 * MIB,
    heapGrown: mib(grown),
    heap: mib(after.heapUsed),
    rssGrown: mib(after.rss - before.rss),
    opened,
    connects,
    disconnects,
    connections,
  };
}

/** Opens and breaks up to 1 000 connections at random while events flow; all are gone in the end. */
async function shake(server: Server, seconds: number): Promise<number> {
  const open = new Set<Socket>();
  let isOver = false;
  let opened = 0;
  const sending = server.send(200, seconds).then(() => isOver = true);
  while (!isOver) {
    for (let i = 0; i < 25 && open.size < 1_000; i++) {
      const socket = connect({ port: server.port, host: "127.0.0.1" });
      open.add(socket);
      opened++;
      socket.write(
        `GET /api/v1/sse/subscribe?sessionId=${opened % 300} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      );
      // Some never read; the others break when so many bytes have come, wherever that is.
      if (Math.random() < 0.1) socket.pause();
      let left = Math.random() ** 3 * 100_000;
      socket.on("data", (bytes) => {
        left -= bytes.length;
        if (left < 0) Math.random() < 0.5 ? socket.destroy() : socket.resetAndDestroy();
      });
      socket.on("error", () => {}).on("close", () => open.delete(socket));
    }
    for (const socket of open) if (Math.random() < 0.01) socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await sending;
  for (const socket of open) socket.destroy();
  return opened;
}

/** What the server takes when it has forgotten every connection. */
async function settle(server: Server): Promise<Memory> {
  for (let i = 0; i < 20; i++) {
    const memory = await server.memory();
    if (memory.stats.connections === 0) return await server.memory();
  }
  return await server.memory();
}

function compileLoadClient(): string {
  const cache = join(root, "node_modules/.cache/streamside-soak");
  mkdirSync(cache, { recursive: true });
  const program = join(cache, "sseload");
  execFileSync("cc", ["-O2", "-o", program, join(root, "bench/sseload.c")], { stdio: "inherit" });
  return program;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

let isKept = true;
for (const runtime of values.runtime) {
  for (const [name, soak] of Object.entries(soaks)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const server = await Server.start(runtime);
    try {
      const row = await soak(server);
      isKept &&= row.kept;
      console.log(JSON.stringify({ runtime, soak: name, seconds, ...row }));
    } finally {
      server.stop();
    }
  }
}
process.exitCode = isKept ? 0 : 1;
