/**
 * The processes of a measurement: a server, pinned to one core, and load clients, pinned to another.
 *
 * @module
 */

import { build } from "esbuild";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Order } from "./servers/driver.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const cache = join(root, "node_modules/.cache/streamside-bench");
const client = join(cache, "sseload");

/** Whether a command is on the PATH. */
export function has(command: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
}

/** Whether server and clients get a core each. */
export const pinned: boolean = has("taskset") && availableParallelism() > 1;

/** How many files a process may open: the hard limit, which each child is given. */
export const maxFiles: number = Number(
  execFileSync("sh", ["-c", "ulimit -Hn"], { encoding: "utf8" }).trim().replace("unlimited", "1e9"),
);

/**
 * How many seconds the cores were busy since the machine started with what is not ours: this process, and the children
 * that have ended; NaN where nobody tells.
 */
export function othersBusy(): number {
  if (!pinned) return NaN;
  const TICKS = 100;
  const cores = readFileSync("/proc/stat", "utf8").split("\n").filter((line) =>
    /^cpu[01] /.test(line)
  );
  const busy = cores.reduce((sum, line) => {
    const [user, nice, system, , , irq, softirq] = line.split(/\s+/).slice(1).map(Number);
    return sum + user! + nice! + system! + irq! + softirq!;
  }, 0);
  const self = readFileSync("/proc/self/stat", "utf8");
  const [utime, stime, cutime, cstime] = self.slice(self.lastIndexOf(")") + 2).split(" ").slice(11)
    .map(Number);
  return (busy - utime! - stime! - cutime! - cstime!) / TICKS;
}

/** Where nginx's nchan module is; `undefined` where it is not. */
export const nchan: string | undefined = has("nginx") && pinned
  ? ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"]
    .map((folder) => join(folder, "ngx_nchan_module.so")).find(existsSync)
  : undefined;

/** Compiles the load client and bundles the servers, so that none is transpiled while it runs. */
export async function prepare(): Promise<void> {
  mkdirSync(cache, { recursive: true });
  const source = join(root, "bench/sseload.c");
  const compiler = ["gcc", "clang", "cc"].find(has);
  if (!compiler) {
    throw new Error("The load client is written in C: it needs gcc or clang on the PATH.");
  }
  if (process.platform !== "linux") throw new Error("The load client uses epoll: it needs Linux.");
  execFileSync(compiler, ["-O3", "-march=native", "-o", client, source], { stdio: "inherit" });
  const servers = join(root, "bench/servers");
  await build({
    entryPoints: readdirSync(servers).filter((file) => file !== "driver.ts").map((file) =>
      join(servers, file)
    ),
    outdir: cache,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    packages: "external",
    target: "node20",
  });
}

/** Who waits for a line of a child. */
interface Waiting {
  readonly id: number | undefined;
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** A child that is spoken to in lines. */
class Child {
  readonly #process: ChildProcess;
  readonly #waiting = new Set<Waiting>();
  #over: Error | undefined;

  constructor(core: number, command: string[], env: Record<string, string> = {}) {
    const pin = pinned ? ["taskset", "-c", String(core)] : [];
    const raise = 'ulimit -n $(ulimit -Hn); exec "$@"';
    this.#process = spawn("sh", ["-c", raise, "sh", ...pin, ...command], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...env },
    });
    createInterface({ input: this.#process.stdout! }).on("line", (line) => this.#take(line));
    this.#process.stdin!.on("error", () => {});
    this.#process.on("exit", (code, signal) => {
      this.#over = new Error(`${command.join(" ")} ended: ${signal ?? code}`);
      for (const { reject } of this.#waiting) reject(this.#over);
    });
  }

  #take(line: string): void {
    if (!line.startsWith("{")) return void console.error(line);
    const answer = JSON.parse(line) as { id?: number };
    for (const waiting of this.#waiting) {
      if (waiting.id === answer.id) return waiting.resolve(answer);
    }
  }

  get pid(): number {
    return this.#process.pid!;
  }

  /** Says a line. */
  say(line: string): void {
    this.#process.stdin!.write(`${line}\n`);
  }

  /** The next line that it says, or the one with this id. To be called before it can have been said. */
  hear<Answer>({ id, seconds = 120 }: { id?: number; seconds?: number } = {}): Promise<Answer> {
    if (this.#over) return Promise.reject(this.#over);
    return new Promise<Answer>((resolve, reject) => {
      const silent = new Error(`${this.#process.spawnargs.join(" ")}: silent for ${seconds} s`);
      const timer = setTimeout(() => waiting.reject(silent), seconds * 1000);
      const settle = () => {
        clearTimeout(timer);
        this.#waiting.delete(waiting);
      };
      const waiting: Waiting = {
        id,
        resolve: (answer) => (settle(), resolve(answer as Answer)),
        reject: (error) => (settle(), reject(error)),
      };
      this.#waiting.add(waiting);
    });
  }

  async end(): Promise<void> {
    if (this.#over) return;
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.stdin!.end();
    this.#process.kill("SIGTERM");
    const force = setTimeout(() => this.#process.kill("SIGKILL"), 3000);
    await gone;
    clearTimeout(force);
  }
}

/** A server and what it is run with. */
export interface ServerKind {
  /** The file in `bench/servers`, without its ending. */
  readonly file: string;
  /** Default: Node. */
  readonly runtime?: "node" | "bun" | "deno";
  /** More environment variables. */
  readonly env?: Record<string, string>;
  /** More arguments for the runtime. */
  readonly args?: readonly string[];
}

/** Processor time, in seconds. */
export interface Cpu {
  user: number;
  system: number;
}

/** A server that listens. */
export class Server {
  readonly port: number;
  readonly #child: Child;
  #orders = 0;

  private constructor(port: number, child: Child) {
    this.port = port;
    this.#child = child;
  }

  static async start(kind: ServerKind): Promise<Server> {
    const port = await freePort();
    const bundle = join(cache, `${kind.file}.mjs`);
    const bin = join(root, "node_modules/.bin");
    const command = {
      node: [process.execPath, "--expose-gc", ...kind.args ?? [], bundle],
      bun: [join(bin, "bun"), ...kind.args ?? [], bundle],
      deno: [
        join(bin, "deno"),
        "run",
        "-A",
        "--no-check",
        "--no-config",
        "--v8-flags=--expose-gc",
        ...kind.args ?? [],
        bundle,
      ],
    }[kind.runtime ?? "node"];
    // Of nchan only nginx is the server: what publishes to it is beside the load client.
    const core = kind.file === "nchan" ? 1 : 0;
    const child = new Child(core, command, {
      PORT: String(port),
      CORE: "0",
      NODE_ENV: "production",
      ...kind.env,
    });
    const server = new Server(port, child);
    await child.hear({ seconds: 30 });
    return server;
  }

  /** Its process. */
  get pid(): number {
    return this.#child.pid;
  }

  order<Answer = { sent: number }>(order: Order): Promise<Answer> {
    const id = ++this.#orders;
    this.#child.say(JSON.stringify({ ...order, id }));
    return this.#child.hear<Answer>({ id });
  }

  cpu(): Promise<Cpu> {
    return this.order<Cpu>({ do: "cpu" });
  }

  end(): Promise<void> {
    return this.#child.end();
  }
}

/** What a load client has seen since its mark. Latencies are in ms. */
export interface Report {
  events: number;
  bytes: number;
  /** From the first event to the last. */
  seconds: number;
  /** From the mark to the last event. */
  sinceMark: number;
  /** Events of the connection that got the fewest, stalled ones aside. */
  least: number;
  most: number;
  closed: number;
  p50: number;
  p99: number;
  max: number;
  samples: number;
  /** Processor time of the client, in seconds. */
  cpu: number;
  /** Connections that have got what they expect, and how long after the first began to connect the last had it. */
  caught: number;
  caughtSeconds: number;
}

/** How a load client connects. */
export interface LoadOptions {
  readonly connections: number;
  /** How many wait for their head at a time. Default: 200. */
  readonly inflight?: number;
  /** The latency of one read in so many. Default: 17. */
  readonly sample?: number;
  /** How many never read. Default: 0. */
  readonly stalled?: number;
  /** How many events a connection has to get to have caught up. */
  readonly expect?: number;
  /** One more request header, or one for each connection. */
  readonly header?: string | readonly string[];
  /** Default: `/subscribe?session=s%d`. */
  readonly path?: string;
}

/** A load client. */
export class Load {
  readonly connections: number;
  readonly #child: Child;
  /** How long all took to connect, in seconds. */
  connectSeconds = 0;

  private constructor(connections: number, child: Child) {
    this.connections = connections;
    this.#child = child;
  }

  static async connect(server: Server, options: LoadOptions): Promise<Load> {
    const { connections, inflight = 200, sample = 17, stalled = 0, expect = 0 } = options;
    const numbers = [connections, inflight, sample, stalled, expect].map(String);
    const { path = "/subscribe?session=s%d", header = "" } = options;
    const lines = join(cache, "headers");
    if (typeof header !== "string") writeFileSync(lines, header.join("\n"));
    const command = [
      client,
      String(server.port),
      path,
      ...numbers,
      typeof header === "string" ? header : `@${lines}`,
    ];
    const child = new Child(1, command);
    const load = new Load(connections, child);
    try {
      load.connectSeconds = (await child.hear<{ seconds: number }>({ seconds: 90 })).seconds;
    } catch (error) {
      await child.end();
      throw error;
    }
    return load;
  }

  async mark(): Promise<void> {
    this.#child.say("mark");
    await this.#child.hear();
  }

  report(): Promise<Report> {
    this.#child.say("report");
    return this.#child.hear<Report>();
  }

  /** Reports when so many events have come since the mark, or after so many seconds. */
  wait(events: number, seconds: number): Promise<Report> {
    this.#child.say(`wait ${events} ${seconds}`);
    return this.#child.hear<Report>({ seconds: seconds + 30 });
  }

  end(): Promise<void> {
    return this.#child.end();
  }
}

/** Shares of a process's time: of functions with all that they call, and of binaries alone. */
export interface Profile {
  readonly inclusive: Map<string, number>;
  readonly byObject: Map<string, number>;
}

/** Samples a process for so long. */
export async function profileOf(pid: number, seconds: number): Promise<Profile> {
  const data = join(cache, "perf.data");
  const record = ["record", "-q", "-F", "1999", "-g", "-o", data, "-p", String(pid)];
  await once(
    spawn("perf", [...record, "--", "sleep", String(seconds)], { stdio: "ignore" }),
    "exit",
  );
  const report = (...args: string[]): Map<string, number> => {
    const command = ["report", "-i", data, "-g", "none", "--percent-limit", "0", ...args];
    const text = execFileSync("perf", command, {
      encoding: "utf8",
      maxBuffer: 1 << 28,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const lines = text.matchAll(
      /^ +([\d.]+)%(?: +[\d.]+%)? +(?:\[[k.]\] )?(\S.*?) *(?: - +-)? *$/gm,
    );
    return new Map([...lines].map(([, share, name]) => [name!, Number(share) / 100]));
  };
  return {
    inclusive: report("--children", "--sort", "symbol"),
    byObject: report("--no-children", "--sort", "dso"),
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
