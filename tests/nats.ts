/**
 * A real NATS server of a test's own, with JetStream: its ports, its directory, its end. And three of them as a cluster.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assert } from "@std/assert";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { freePort } from "./client/helpers.ts";
import { find } from "./programs.ts";
import { within } from "./server-helpers.ts";

/** The program. */
export const NATS = "nats-server";

/** Starts a server with these options, without any with JetStream, and with this configuration. */
export async function startNats(
  options: readonly string[] = ["--jetstream"],
  configuration?: string,
): Promise<NatsServer> {
  const directory = await mkdtemp(join(tmpdir(), "streamside-nats-"));
  if (configuration !== undefined) {
    const file = join(directory, "nats.conf");
    await writeFile(file, configuration);
    options = [...options, "--config", file];
  }
  const server = new NatsServer(await freePort(), directory, options);
  await server.start();
  return server;
}

/** Starts three servers as one cluster. Resolves when they have a leader. */
export async function startCluster(): Promise<NatsServer[]> {
  const routes = await Promise.all([freePort(), freePort(), freePort()]);
  const servers = await Promise.all(routes.map(async (port, i) => {
    const directory = await mkdtemp(join(tmpdir(), "streamside-nats-"));
    const others = routes.filter((route) => route !== port);
    return new NatsServer(await freePort(), directory, [
      ...["--jetstream", "--name", `server-${i}`, "--cluster_name", "streamside"],
      ...["--cluster", `nats://127.0.0.1:${port}`],
      ...["--routes", others.map((route) => `nats://127.0.0.1:${route}`).join(",")],
    ]);
  }));
  await Promise.all(servers.map((server) => server.start()));
  const connection = await servers[0]!.connect();
  try {
    await within(
      (async () => {
        while (!await hasLeader(connection)) {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      })(),
      "the cluster to have a leader",
      120_000,
    );
  } finally {
    await connection.close();
  }
  return servers;
}

async function hasLeader(connection: NatsConnection): Promise<boolean> {
  try {
    const answer = await connection.request("$JS.API.INFO", "", { timeout: 500 });
    return answer.json<{ error?: unknown }>().error === undefined;
  } catch {
    return false;
  }
}

/** A server that can be killed, stopped and started again. */
export class NatsServer {
  readonly port: number;
  readonly directory: string;
  readonly #options: readonly string[];
  #process: ChildProcess | undefined;

  constructor(port: number, directory: string, options: readonly string[]) {
    this.port = port;
    this.directory = directory;
    this.#options = options;
  }

  /** Its process. */
  get pid(): number {
    return this.#process!.pid!;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  /** Where it keeps what it stores. */
  get store(): string {
    return join(this.directory, "store");
  }

  /** A connection that comes back quickly. */
  async connect(options: object = {}): Promise<NatsConnection> {
    return await connect({
      servers: this.url,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 50,
      reconnectJitter: 10,
      ...options,
    });
  }

  /** Starts it, with what its directory holds. Resolves when it answers. */
  async start(): Promise<void> {
    const program = find(NATS);
    assert(program !== undefined, "no nats-server on PATH");
    const own = ["--addr", "127.0.0.1", "--port", `${this.port}`, "--store_dir", this.store];
    this.#process = spawn(program, [...own, ...this.#options], {
      stdio: ["ignore", "ignore", process.env.NATS_LOG ? "inherit" : "ignore"],
    });
    await within(this.#answers(), "nats-server to answer");
  }

  async #answers(): Promise<void> {
    while (!await this.#says("INFO").catch(() => false)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  #says(word: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const socket = connectSocket(this.port, "127.0.0.1");
      socket.once("data", (data) => {
        socket.destroy();
        resolve(String(data).startsWith(word));
      });
      socket.once("error", reject);
    });
  }

  /** Kills it with SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return;
    if (child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    process.kill(child.pid!, "SIGKILL");
    await within(ended, "nats-server to end");
  }

  /** Stops it in its tracks: it answers nothing, and its connections stay open. */
  freeze(): void {
    process.kill(this.#process!.pid!, "SIGSTOP");
  }

  /** Lets it go on. */
  thaw(): void {
    process.kill(this.#process!.pid!, "SIGCONT");
  }

  /** Kills it, and copies what it has stored. Resolves to what puts the copy in place of the store, while it is down. */
  async copyStore(): Promise<() => Promise<void>> {
    const copy = join(this.directory, "copy");
    await this.kill();
    await cp(this.store, copy, { recursive: true });
    return async () => {
      await this.wipe();
      await cp(copy, this.store, { recursive: true });
    };
  }

  /** Deletes what it has stored, while it is down. */
  async wipe(): Promise<void> {
    await rm(this.store, { recursive: true, force: true });
  }

  /** Ends it for good. */
  async close(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}
