/**
 * A real Redis of a test's own: its port, its directory, its end.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { assert } from "@std/assert";
import { freePort } from "./client/helpers.ts";
import { find } from "./programs.ts";
import { within } from "./server-helpers.ts";

/** Programs that are Redis. */
export const REDIS: readonly string[] = ["redis-server", "valkey-server"];

/** Starts a Redis with these options, such as `--appendonly yes`. It holds nothing on disk unless they say so. */
export async function startRedis(...options: string[]): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), "streamside-redis-"));
  const server = new RedisServer(await freePort(), directory, options);
  await server.start();
  return server;
}

/** A Redis that can be killed, stopped and started again. */
export class RedisServer {
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
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, with what its directory holds. Resolves when it answers. */
  async start(): Promise<void> {
    const program = find(...REDIS);
    assert(program !== undefined, "no redis-server on PATH");
    const args = ["--port", `${this.port}`, "--bind", "127.0.0.1", "--dir", this.directory];
    this.#process = spawn(program, [...args, "--save", "", ...this.#options], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    await within(this.#answers(), "Redis to answer");
  }

  async #answers(): Promise<void> {
    while (!/PONG|NOAUTH/.test(await this.command("PING").catch(() => ""))) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Sends one command over a connection of its own, and gives the bytes that come back first. */
  command(...words: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1", () => socket.write(`${words.join(" ")}\r\n`));
      socket.once("data", (data) => {
        socket.destroy();
        resolve(String(data));
      });
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("Redis closed the connection")));
    });
  }

  /** Kills it with SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    process.kill(child.pid!, "SIGKILL");
    await within(ended, "Redis to end");
  }

  /** Stops it in its tracks: it answers nothing, and its connections stay open. */
  freeze(): void {
    process.kill(this.#process!.pid!, "SIGSTOP");
  }

  /** Lets it go on. */
  thaw(): void {
    process.kill(this.#process!.pid!, "SIGCONT");
  }

  /** Ends it for good. */
  async close(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}
