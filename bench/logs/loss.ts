/**
 * How many events clients miss when their server is killed, while they come back to another.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "../../src/client/mod.ts";

/** What 100 clients have missed, all together, and what came to them twice. */
export interface Loss {
  readonly missed: number;
  readonly twice: number;
}

const CLIENTS = 100;
/** Events/s to everyone. */
const RATE = 500;
/** After how long a client comes back, in ms. */
const DELAY = 100;
/** How long there is sending before and after, in ms. */
const SPAN = 1_500;

/** Kills one of three servers. */
export async function lossOf(kind: string, env: Record<string, string>): Promise<Loss> {
  const servers = await Promise.all([1, 2, 3].map(() => Server.start({ KIND: kind, ...env })));
  const [victim, other, sender] = servers as [Server, Server, Server];
  const clients: Client[] = [];
  const heard: number[][] = [];
  let target = victim;
  try {
    for (let i = 0; i < CLIENTS; i++) {
      const numbers: number[] = heard[i] = [];
      const client = createClient("http://server/subscribe", {
        fetch: (url, init) => fetch(`${target.url}${new URL(url).pathname}`, init),
        reconnect: { delay: DELAY, factor: 1, jitter: 0, maxAttempts: Infinity },
      });
      client.addEventListener("message", (event) => {
        const data = event.json() as number | { payload: number };
        numbers.push(typeof data === "number" ? data : data.payload);
      });
      client.connect();
      clients.push(client);
    }
    await until(() => clients.every(({ readyState }) => readyState === 1));
    await sleep(200); // transmit subscribes once the stream is open
    sender.say(RATE);
    await sleep(SPAN);
    target = other;
    victim.kill();
    await until(() => clients.every(({ readyState }) => readyState !== 1));
    await until(() => clients.every(({ readyState }) => readyState === 1));
    await sleep(SPAN);
    const count = await sender.stop();
    await until(() => heard.every((numbers) => numbers.at(-1) === count - 1));
    let [missed, twice] = [0, 0];
    for (const numbers of heard) {
      const known = new Set(numbers.filter((number) => number >= 0));
      missed += count - known.size;
      twice += numbers.filter((number) => number >= 0).length - known.size;
    }
    return { missed, twice };
  } finally {
    for (const client of clients) client.close();
    for (const server of servers) server.kill();
  }
}

/** A server in a process of its own. */
class Server {
  readonly url: string;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(port: string, process: ChildProcess, lines: AsyncIterator<string>) {
    this.url = `http://127.0.0.1:${port}`;
    this.#process = process;
    this.#lines = lines;
  }

  static async start(env: Record<string, string>): Promise<Server> {
    const file = fileURLToPath(new URL("server.ts", import.meta.url));
    const child = spawn(process.execPath, ["--import=tsx", file], {
      env: { ...process.env, ...env },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const { value, done } = await lines.next();
    if (done) throw new Error(`the server ended with ${(await once(child, "exit"))[0]}`);
    return new Server(value, child, lines);
  }

  /** Has it send so many events a second. */
  say(rate: number): void {
    this.#process.stdin!.write(`${rate}\n`);
  }

  /** Ends the sending, with one more event. Resolves to how many there were. */
  async stop(): Promise<number> {
    this.say(0);
    return Number((await this.#lines.next()).value);
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }
}

async function until(condition: () => boolean): Promise<void> {
  const began = performance.now();
  while (!condition()) {
    if (performance.now() - began > 60_000) throw new Error(`waited 60 s for ${condition}`);
    await sleep(2);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
