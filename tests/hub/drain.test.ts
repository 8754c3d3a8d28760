/**
 * Ending well: a server that closes under load hands its clients over to another, and none of them loses anything
 * that it is not told of.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHandler, createHub, type Hub, memoryLog, sessionFromRequest } from "../../mod.ts";
import { createClient } from "../../src/client/mod.ts";
import { turn } from "./delivery-time.ts";
import {
  parseBlock,
  quietLogger,
  refusedForNow,
  servers,
  type TestServer,
  until,
} from "../server-helpers.ts";
import { SocketReader } from "./slow-readers-client.ts";

const CLIENTS = 1_000;
const WITHIN = 1_500;
const RETRY = 200;

/** One instance of a service. */
interface Instance {
  readonly hub: Hub;
  readonly server: TestServer;
}

/** Two instances, behind which there is one log or there are two. */
async function withInstances(
  serve: (typeof servers)[string],
  isShared: boolean,
  run: (first: Instance, second: Instance) => Promise<void>,
): Promise<void> {
  const log = memoryLog();
  const start = async (): Promise<Instance> => {
    const hub = createHub({ log: isShared ? log : memoryLog(), retry: RETRY, logger: quietLogger });
    const handler = createHandler(hub, {
      authenticate: (request) => ({ session: sessionFromRequest(request)! }),
    });
    return { hub, server: await serve(handler) };
  };
  const instances = [await start(), await start()] as const;
  try {
    await run(...instances);
  } finally {
    for (const { hub, server } of instances) {
      await hub.close();
      await server.close();
    }
  }
}

/** One who connects again to the second instance when its stream has ended, after the time that it was told. */
class Mover {
  readonly numbers: number[] = [];
  readonly retries: number[] = [];
  resets = 0;
  /** How its connections ended: whole, or broken off. */
  readonly ends: boolean[] = [];
  readonly #session: string;
  readonly #next: number;
  #reader: SocketReader;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastEventId: string | undefined;
  #text = "";

  constructor(session: string, port: number, next: number) {
    this.#session = session;
    this.#next = next;
    this.#reader = this.#connect(port);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#reader.break();
  }

  #connect(port: number): SocketReader {
    const decoder = new TextDecoder();
    this.#text = "";
    return new SocketReader({
      port,
      path: `/api/v1/sse/subscribe?sessionId=${this.#session}`,
      lastEventId: this.#lastEventId,
      onBytes: (bytes) => this.#take(decoder.decode(bytes, { stream: true })),
      onEnd: (isWhole) => {
        this.ends.push(isWhole);
        const delay = this.retries.at(-1)!;
        this.#timer = setTimeout(() => this.#reader = this.#connect(this.#next), delay);
      },
    });
  }

  #take(text: string): void {
    const blocks = (this.#text + text).split("\n\n");
    this.#text = blocks.pop()!;
    for (const { event, data, id, retry } of blocks.map(parseBlock)) {
      if (id !== undefined) this.#lastEventId = id;
      if (retry !== undefined) this.retries.push(Number(retry));
      if (event === "tick") this.numbers.push(Number(data));
      if (event === "streamside:reset") this.resets++;
    }
  }
}

/** Sends numbered events to everyone until it is told to stop. */
class Load {
  sent = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(...hubs: Hub[]) {
    this.#done = this.#run(hubs);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }

  async #run(hubs: Hub[]): Promise<void> {
    while (!this.#isOver) {
      // An instance that has closed takes nothing any more; the other one goes on.
      const hub = hubs.find((hub) => !hub.draining)!;
      await hub.broadcast("tick", ++this.sent);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`closing under load, behind ${name}`, () => {
    test("1 000 clients end, reconnect to another instance, and lose nothing", async () => {
      await withInstances(serve, true, async (first, second) => {
        const movers = await connectAll(first, second);
        const load = new Load(first.hub, second.hub);
        try {
          await until(() => movers.every(({ numbers }) => numbers.length > 5), "events for all");
          const closing = first.hub.close({ within: WITHIN });
          const { status, code } = await refusedForNow(
            fetch(`${first.server.url}/api/v1/sse/subscribe?sessionId=late`),
          );
          assertEquals([status, code], [503, "closed"]);

          await closing;
          // That they end evenly over that time is seen in virtual time: sweeper.test.ts.
          assertEquals(first.hub.stats().connections, 0);

          await until(() => second.hub.stats().connections === CLIENTS, "all at the second");
          await load.stop();
          await until(() => movers.every(({ numbers }) => numbers.at(-1) === load.sent), "the end");
          for (const mover of movers) {
            assertEquals(mover.numbers, sequence(mover.numbers[0]!, load.sent));
            assertEquals([mover.resets, mover.ends], [0, [true]]);
            assert(mover.numbers[0]! <= 6, `the first was ${mover.numbers[0]}`);
          }
          const farewells = movers.map(({ retries }) => retries[1]!);
          assert(farewells.every((ms) => ms >= RETRY / 2 && ms <= RETRY * 1.5));
          assert(new Set(farewells).size > RETRY / 4, "they come back at times of their own");
        } finally {
          await load.stop();
          for (const mover of movers) mover.stop();
        }
        await until(() => second.hub.stats().connections === 0, "the second to forget them");
      });
    });

    test("where each instance has a log of its own, each of 1 000 clients gets a reset", async () => {
      await withInstances(serve, false, async (first, second) => {
        const movers = await connectAll(first, second);
        try {
          await first.hub.broadcast("tick", 1);
          await until(() => movers.every(({ numbers }) => numbers.length === 1), "the event");
          await first.hub.close({ within: 300 });
          await until(() => movers.every(({ resets }) => resets === 1), "a reset for each");
          await second.hub.broadcast("tick", 2);
          await until(() => movers.every(({ numbers }) => numbers.length === 2), "what comes then");
          for (const mover of movers) assertEquals([mover.numbers, mover.resets], [[1, 2], 1]);
        } finally {
          for (const mover of movers) mover.stop();
        }
        await until(() => second.hub.stats().connections === 0, "the second to forget them");
      });
    });

    test("our client moves to another instance and goes on where it was", async () => {
      await withInstances(serve, true, async (first, second) => {
        // What a load balancer does: a request goes to an instance that takes it.
        const balanced = (input: string | URL | Request, init?: RequestInit) => {
          const request = new Request(input, init);
          const { server } = first.hub.draining ? second : first;
          return fetch(request.url.replace(first.server.url, server.url), {
            headers: request.headers,
            signal: request.signal,
          });
        };
        const clients = Array.from({ length: 20 }, (_, i) => {
          const url = `${first.server.url}/api/v1/sse/subscribe?sessionId=${i}`;
          const client = createClient<{ tick: number }>(url, { fetch: balanced as typeof fetch });
          const numbers: number[] = [];
          client.addEventListener("tick", (event) => numbers.push(event.json()));
          client.connect();
          return { client, numbers };
        });
        await until(() => first.hub.stats().connections === 20, "the clients");
        const load = new Load(first.hub, second.hub);
        try {
          await until(() => clients.every(({ numbers }) => numbers.length > 5), "events for all");
          await first.hub.close({ within: 200 });
          await until(() => second.hub.stats().connections === 20, "all at the second");
          await load.stop();
          await until(
            () => clients.every(({ numbers }) => numbers.at(-1) === load.sent),
            "the end",
          );
          for (const { numbers } of clients) assertEquals(numbers, sequence(1, load.sent));
        } finally {
          await load.stop();
          for (const { client } of clients) client.close();
        }
        await until(() => second.hub.stats().connections === 0, "the second to forget them");
      });
    });

    test("a reader that takes nothing does not keep a hub from closing", async () => {
      await withInstances(serve, true, async ({ hub, server }) => {
        const path = "/api/v1/sse/subscribe?sessionId=stalled";
        const reader = new SocketReader({ port: server.port, path, reads: false });
        await until(() => hub.stats().connections === 1, "the connection");
        for (let i = 0; i < 2_000 && hub.stats().lagging === 0; i++) {
          await hub.broadcast("filler", "x".repeat(16 * 1024));
          await turn();
        }
        await hub.close({ within: 100 });
        assertEquals(hub.stats().connections, 0);
        reader.break();
      });
    });
  });
}

/** Connects all clients to the first of two instances. */
async function connectAll(first: Instance, second: Instance): Promise<Mover[]> {
  const movers: Mover[] = [];
  for (let i = 0; i < CLIENTS; i++) {
    movers.push(new Mover(String(i), first.server.port, second.server.port));
    // A backlog of connections that nobody has accepted yet is not what this is about.
    if (i % 50 === 49) {
      await until(() => first.hub.stats().connections === movers.length, "the connections");
    }
  }
  await until(() => movers.every(({ retries }) => retries.length === 1), "the preambles");
  return movers;
}

function sequence(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
