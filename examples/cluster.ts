/**
 * Several servers, one port, one hub: each is a process of its own, and their log is in Redis or in NATS with JetStream.
 * The page shows which server a tab is on, and has a button that kills it (SIGKILL): the tab comes back on another one,
 * and has every event once.
 *
 * ```txt
 * REDIS_URL=redis://localhost:6379 npm run cluster       # or NATS_URL=nats://localhost:4222
 * REDIS_URL=redis://localhost:6379 deno run -A --unstable-net examples/cluster.ts
 * REDIS_URL=redis://localhost:6379 bun examples/cluster.ts
 * ```
 *
 * `SERVERS` says how many (3), `PORT` and `HOST` where. On Node the processes share the port by `node:cluster`, on Deno and
 * Bun by `reusePort`, which takes Linux.
 *
 * @module
 */
import cluster from "node:cluster";
import { type ChildProcess, fork } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { announce, port } from "./app/address.ts";
import { runServer } from "./cluster/server.ts";

const onNode = !("Deno" in globalThis || "Bun" in globalThis);
const count = Number(process.env.SERVERS) || 3;
const children = new Map<number, ChildProcess>();
/** Those that have not listened yet: the address is told when all have. */
const starting = new Set(Array.from({ length: count }, (_, i) => i + 1));
/** The port that all ask for, once the first one listens. */
let sharedPort: number | undefined;
let isStopping = false;

if (process.env.CLUSTER_SERVER) {
  await runServer(Number(process.env.CLUSTER_SERVER)).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
} else if (!process.env.REDIS_URL && !process.env.NATS_URL) {
  console.error(
    "The servers need a log that all of them reach. Set REDIS_URL=redis://localhost:6379 or " +
      "NATS_URL=nats://localhost:4222 (nats-server -js).",
  );
  process.exitCode = 1;
} else {
  startServer(1);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      isStopping = true;
      for (const child of children.values()) child.kill("SIGTERM");
    });
  }
}

/** What a server says to the process that started it. */
type Message = { listens: number } | { kill: number };

/** Starts a server, and another one in its place when it has ended. */
function startServer(number: number): void {
  const env = { ...process.env, CLUSTER_SERVER: `${number}`, PORT: `${sharedPort ?? port}` };
  const child = onNode
    ? cluster.fork(env).process
    : fork(fileURLToPath(import.meta.url), { env, execArgv: [] });
  children.set(number, child);
  let isListening = false;
  child.on("message", (message: Message) => {
    if ("kill" in message) return void killServer(message.kill);
    isListening = true;
    if (sharedPort === undefined) {
      // `node:cluster` gives all that ask for port 0 the same one.
      sharedPort = onNode ? port : message.listens;
      for (let other = 2; other <= count; other++) startServer(other);
    }
    if (starting.delete(number) && starting.size === 0) announce(message.listens);
  });
  child.once("exit", () => {
    children.delete(number);
    if (isStopping) return;
    if (sharedPort === undefined) process.exitCode = 1; // the first one has said why
    // One that could not start, say because the engine is away, is tried again later.
    else setTimeout(() => isStopping || startServer(number), isListening ? 0 : 1000);
  });
}

/** Kills the server of this process id, if it is one of ours. It cannot say goodbye to anybody. */
function killServer(pid: number): void {
  for (const child of children.values()) if (child.pid === pid) child.kill("SIGKILL");
}
