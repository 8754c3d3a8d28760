/**
 * The cluster example: servers that are killed by the page's button, and a client that goes on exactly where it was.
 *
 * @module
 */
import process from "node:process";
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Count, Events } from "../../examples/cluster/server.ts";
import { type Client, createClient } from "../../src/client/mod.ts";
import { launch, skip } from "../client/browser-helpers.ts";
import { NATS, startNats } from "../nats.ts";
import { skipWithout } from "../programs.ts";
import { REDIS, startRedis } from "../redis.ts";
import { cases } from "../campaign.ts";
import { runtime } from "../server-helpers.ts";
import { type Server, startWith, stop } from "./server.ts";

const command = [
  process.execPath,
  ...{ node: ["--import=tsx"], deno: ["run", "-A", "--unstable-net"], bun: [] }[runtime],
  "examples/cluster.ts",
];
const start = (env: Record<string, string>) => startWith(command, env);

/** Bun and Deno share a port with `SO_REUSEPORT`, which elsewhere does not spread connections. */
const elsewhere = runtime !== "node" && process.platform !== "linux" && "it takes Linux";

/** How many servers are killed, one after the other. */
const KILLS = cases("CLUSTER_KILLS", 1, 3);

const ENGINES = {
  REDIS_URL: [REDIS, () => startRedis()],
  NATS_URL: [[NATS], () => startNats()],
} as const;

describe("examples/cluster.ts", { skip: elsewhere }, () => {
  for (const [variable, [programs, startEngine]] of Object.entries(ENGINES)) {
    test(`${variable}: the button kills the server of a client, which goes on elsewhere, exactly`, {
      skip: skipWithout(...programs),
    }, async () => {
      const engine = await startEngine();
      let server: Server | undefined;
      let reader: Reader | undefined;
      try {
        server = await start({ [variable]: engine.url });
        const { url } = server;
        reader = await Reader.start(url);
        await until(() => reader!.servers().size === 3, "all three servers to be heard");
        for (let killed = 0; killed < KILLS; killed++) {
          const victim = reader.pid!;
          const [{ server: number }] = reader.of(victim) as [Count];
          await fetch(`${url}/kill`, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ pid: victim }),
          }).then((response) => response.body?.cancel(), () => {}); // it may be its own that answers
          await until(() => reader!.pid !== victim, "the client to be on another server");
          await until(() => reader!.servers().get(number) !== victim, "another one in its place");
          const after = new Map(reader.servers());
          await until(
            () => [...after.values()].every((pid) => reader!.of(pid).length > 8),
            "all of them to go on",
          );
          assert(!after.has(victim) && !isRunning(victim), `process ${victim} is still there`);
        }
        reader.assertExact();
        assertEquals(await stop(server), 0, server.errors());
        const pids = reader.heard.map(({ pid }) => pid);
        await until(() => !pids.some(isRunning), "its processes to end");
      } finally {
        reader?.client.close();
        server?.process.kill("SIGKILL");
        await server?.ended;
        await engine.close();
      }
    });
  }

  test("the page shows which server a tab is on, kills it, and counts 0 missed, 0 twice", {
    skip: skip || skipWithout(...REDIS),
  }, async () => {
    const engine = await startRedis();
    let server: Server | undefined;
    const browser = await launch();
    try {
      server = await start({ REDIS_URL: engine.url });
      const page = await browser.newPage({ viewport: { width: 390, height: 800 } });
      await page.goto(server.url);
      const here = page.locator(".server[aria-current=true] .text");
      await here.waitFor();
      const pid = /process (\d+)/.exec((await here.textContent())!)![1]!;
      await page.getByRole("button", { name: /Kill server \d/ }).click();
      await page.getByText(`Process ${pid} was killed. Back on server`).waitFor();
      await page.locator(".marks .dead").waitFor(); // the one in its place counts, too
      for (const id of ["missed", "twice"]) {
        assertEquals(await page.locator(`#${id}`).textContent(), "0");
      }
      assertEquals(await page.locator("#lost").textContent(), "1");
      assertEquals(await page.locator("#problem").isVisible(), false);
      const wide = await page.evaluate("document.documentElement.scrollWidth");
      assertEquals(wide, 390, "a phone scrolls sideways");
    } finally {
      await browser.close();
      server?.process.kill("SIGKILL");
      await server?.ended;
      await engine.close();
    }
  });

  test("only a page of its own origin may kill, and only its own processes", {
    skip: skipWithout(...REDIS),
  }, async () => {
    const engine = await startRedis();
    let server: Server | undefined;
    try {
      server = await start({ REDIS_URL: engine.url, SERVERS: "1" });
      const kill = (headers: Record<string, string>, pid: number) =>
        fetch(`${server!.url}/kill`, {
          method: "POST",
          headers: { "Content-Type": "application/json", ...headers },
          body: JSON.stringify({ pid }),
        });
      const foreign = await kill({ Origin: "https://elsewhere.example" }, process.pid);
      assertEquals(foreign.status, 403, await foreign.text());
      assertEquals((await kill({}, process.pid)).status, 202); // and this process goes on
      assertEquals(await stop(server), 0, server.errors());
    } finally {
      server?.process.kill("SIGKILL");
      await server?.ended;
      await engine.close();
    }
  });

  test("without an engine, or one that is not there, it ends and says so", async () => {
    const none = { REDIS_URL: "", NATS_URL: "" };
    await assertRejects(() => start(none), Error, "Set REDIS_URL=");
    const redis = { ...none, REDIS_URL: "redis://:secret@127.0.0.1:1" };
    const error = await assertRejects(
      () => start(redis),
      Error,
      "Redis cannot be reached at 127.0.0.1:1",
    );
    assert(!error.message.includes("secret"), error.message);
    const nats = { ...none, NATS_URL: "nats://127.0.0.1:1" };
    await assertRejects(() => start(nats), Error, "NATS cannot be reached at 127.0.0.1:1");
  });

  test("a NATS without JetStream: it ends and says so", { skip: skipWithout(NATS) }, async () => {
    const engine = await startNats([]);
    try {
      await assertRejects(() => start({ NATS_URL: engine.url }), Error, "JetStream");
    } finally {
      await engine.close();
    }
  });
});

/** Listens as the page does. */
class Reader {
  readonly client: Client<Events>;
  readonly heard: Count[] = [];
  /** The process that the client is connected to. */
  pid: number | undefined;
  #resets = 0;
  readonly #since: number;

  private constructor(url: string, cursor: string, since: number) {
    this.#since = since;
    this.client = createClient<Events>(`${url}/events/subscribe`, {
      lastEventId: cursor,
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        if (response.ok) this.pid = Number(response.headers.get("x-process"));
        return response;
      },
      reconnect: { delay: 100, maxDelay: 1000, maxAttempts: Infinity },
    });
    this.client.addEventListener("count", (event) => this.heard.push(event.json()));
    this.client.addEventListener("reset", () => this.#resets++);
    this.client.connect();
  }

  static async start(url: string): Promise<Reader> {
    const { cursor, now } = await (await fetch(`${url}/state`)).json();
    return new Reader(url, cursor, now);
  }

  /** What a process has counted. */
  of(pid: number): Count[] {
    return this.heard.filter((count) => count.pid === pid);
  }

  /** The process of each server that was heard last. */
  servers(): Map<number, number> {
    return new Map(this.heard.map(({ server, pid }) => [server, pid]));
  }

  /** Every process's numbers follow each other, from 1 where it began while this listened. */
  assertExact(): void {
    assertEquals(this.#resets, 0);
    for (const pid of new Set(this.heard.map(({ pid }) => pid))) {
      const counts = this.of(pid);
      const first = counts[0]!.began > this.#since ? 1 : counts[0]!.n;
      assertEquals(counts.map(({ n }) => n), counts.map((_, i) => first + i), `process ${pid}`);
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits until something is so. A server takes seconds to start on a busy machine. */
async function until(condition: () => boolean, what: string): Promise<void> {
  const began = Date.now();
  while (!condition()) {
    if (Date.now() - began > 60_000) throw new Error(`waited 60 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
