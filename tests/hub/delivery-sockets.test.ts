/**
 * Delivery over real sockets: random sends, and readers that stall, break at any byte of the response and resume, each
 * stream checked byte by byte against what was sent.
 *
 * `STREAMSIDE_SEED` repeats the choices of a run; the network adds its own.
 *
 * @module
 */
import process from "node:process";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { createHandler, createHub, type Hub, sessionFromRequest } from "../../mod.ts";
import { Account, Ledger, ScriptedLog, type Target } from "./delivery-model.ts";
import { turn } from "./delivery-time.ts";
import { quietLogger, servers, until } from "../server-helpers.ts";
import { SocketReader } from "./slow-readers-client.ts";

const SEED = Number(process.env.STREAMSIDE_SEED ?? Date.now() % 2 ** 31);
const SESSIONS = ["ada", "grace", "edsger"];
const CHANNELS = ["news", "sport"];
const READERS = 8;
const LIMIT = 64 * 1024;

type Step =
  | { do: "send"; to: number; except: number; key: number; size: number; times: number }
  | { do: "open"; reader: number; from: number; reads: boolean }
  | { do: "pause" | "resume" | "break"; reader: number }
  | { do: "cut"; reader: number; bytes: number }
  | { do: "wait"; turns: number };

const reader = fc.nat({ max: READERS - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant("send" as const),
      to: fc.nat({ max: 5 }),
      except: fc.nat({ max: 5 }),
      key: fc.nat({ max: 4 }),
      size: fc.constantFrom(0, 20, 150, 5_000, 40_000),
      times: fc.integer({ min: 1, max: 30 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("open" as const),
      reader,
      from: fc.nat({ max: 6 }),
      reads: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom("pause", "resume", "resume", "break"), reader }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("cut" as const), reader, bytes: fc.nat(20_000) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      turns: fc.integer({ min: 1, max: 20 }),
    }),
  },
) as fc.Arbitrary<Step>;

const history = fc.record({
  events: fc.constantFrom(20, 100_000),
  window: fc.constantFrom(5, 100_000),
  steps: fc.array(step, { minLength: 10, maxLength: 60 }),
});

/** One who reads, over all its connections. */
class Reader {
  readonly session: string;
  readonly channels: ReadonlySet<string>;
  readonly seen: string[] = [];
  account: Account | undefined;
  lastEventId: string | undefined;
  fault: unknown;
  #socket: SocketReader | undefined;
  readonly #world: World;

  constructor(world: World, session: string, channels: string[]) {
    this.#world = world;
    this.session = session;
    this.channels = new Set(channels);
  }

  get isOpen(): boolean {
    return this.#socket?.isOpen ?? false;
  }

  /** Connects, and waits until the hub has it: where its stream begins has to be known. */
  async open(lastEventId: string | undefined, reads: boolean): Promise<void> {
    this.#socket?.break();
    const { ledger, hub, port } = this.#world;
    const { connects } = hub.stats();
    const { life } = ledger;
    // Nothing is sent before the hub has it.
    const head = { life, position: life.head };
    this.account = new Account(
      ledger,
      {
        session: this.session,
        channels: this.channels,
        requestedAt: life.head,
        hub: 0,
        lastEventId,
        head,
      },
      LIMIT,
    );
    this.account.lag(); // a socket may be full at any moment
    const channels = [...this.channels].map((channel) => `&channel=${channel}`).join("");
    const socket = this.#socket = new SocketReader({
      port,
      path: `/api/v1/sse/subscribe?sessionId=${this.session}${channels}`,
      lastEventId,
      reads,
      onBytes: (bytes) => this.#take(socket, bytes),
      onEnd: (isWhole) => {
        if (isWhole) this.fault ??= new Error(`the stream of ${this.session} ended for no reason`);
      },
    });
    await until(() => hub.stats().connects > connects, "the connection");
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  break(): void {
    this.#socket?.break();
  }

  cut(bytes: number): void {
    if (this.#socket) this.#socket.cutAfter = bytes;
  }

  #take(socket: SocketReader, bytes: Uint8Array): void {
    if (socket !== this.#socket) return;
    try {
      this.account!.take(bytes, false);
    } catch (error) {
      this.fault ??= error;
    }
    if (this.account!.lastEventId === this.lastEventId) return;
    this.lastEventId = this.account!.lastEventId;
    this.seen.push(this.lastEventId!);
  }
}

/** Everything in one history. */
class World {
  readonly ledger: Ledger;
  readonly hub: Hub;
  readonly readers: Reader[];
  port = 0;
  #number = 0;

  constructor(bounds: { events: number; window: number }) {
    const age = 600_000;
    const bytes = 32 * 1024 * 1024;
    this.ledger = new Ledger({ events: bounds.events, bytes, age });
    const log = new ScriptedLog(this.ledger);
    this.hub = createHub({ log, history: { events: bounds.window }, logger: quietLogger });
    const channels = [[], ["news"], ["news", "sport"]];
    this.readers = Array.from(
      { length: READERS },
      (_, i) => new Reader(this, SESSIONS[i % 3]!, channels[(i >> 1) % 3]!),
    );
  }

  async run(serve: (typeof servers)[string], steps: readonly Step[]): Promise<void> {
    const handler = createHandler(this.hub, {
      authenticate: (request) => {
        const wanted = new URL(request.url).searchParams.getAll("channel");
        return { session: sessionFromRequest(request)!, channels: wanted };
      },
    });
    const server = await serve(handler);
    this.port = server.port;
    try {
      for (const step of steps) {
        await this.#take(step);
        this.#check();
      }
      await this.#settle();
    } finally {
      for (const reader of this.readers) reader.break();
      await this.hub.close();
      await server.close();
    }
  }

  async #take(step: Step): Promise<void> {
    const reader = this.readers["reader" in step ? step.reader : 0]!;
    switch (step.do) {
      case "send":
        for (let i = 0; i < step.times; i++) await this.#send(step);
        return;
      case "open": {
        const { seen, lastEventId } = reader;
        const id = step.from === 0
          ? undefined
          : step.from < 4
          ? lastEventId
          : seen[step.from % seen.length] ?? `${this.ledger.life.epoch}-0`;
        return await reader.open(id, step.reads);
      }
      case "cut":
        return reader.cut(step.bytes);
      case "wait":
        for (let i = 0; i < step.turns; i++) await turn();
        return;
      default:
        return reader[step.do]();
    }
  }

  async #send({ to, except, key: which, size }: Step & { do: "send" }): Promise<void> {
    const data = `${++this.#number}\n${"é".repeat(size / 2)}`;
    const key = which < 2 ? `key-${which}` : undefined;
    const target: Target = to < 3
      ? { kind: "session", name: SESSIONS[to]! }
      : to < 5
      ? { kind: "channel", name: CHANNELS[to - 3]! }
      : { kind: "all", except: new Set(except < 3 ? [SESSIONS[except]!] : []) };
    this.ledger.life.add({ to: target, key, event: "event", data });
    if (target.kind === "session") await this.hub.send(target.name, "event", data, { key });
    else if (target.kind === "channel") await this.hub.publish(target.name, "event", data, { key });
    else if (target.kind === "all") {
      await this.hub.broadcast("event", data, { key, except: [...target.except] });
    }
  }

  /** In the end everybody reads, and has to get everything. */
  async #settle(): Promise<void> {
    for (const reader of this.readers) {
      reader.cut(Infinity);
      reader.resume();
      if (!reader.isOpen) await reader.open(reader.lastEventId, true);
    }
    await until(() => {
      this.#check();
      return this.readers.every(({ account }) => account!.missing().length === 0);
    }, () => this.readers.map(({ account }) => account!.missing().slice(0, 3)).join("; "));
    await until(() => this.hub.stats().lagging === 0, "everyone to be live");
    assertEquals(this.hub.stats().connections, READERS);
    for (const reader of this.readers) reader.break();
    await until(() => this.hub.stats().connections === 0, "the hub to forget its connections");
    this.#check();
  }

  #check(): void {
    for (const { fault } of this.readers) if (fault !== undefined) throw fault;
  }
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`delivery behind ${name}`, () => {
    test("readers that stall, break anywhere and resume get everything once and in order, or a reset", async () => {
      await fc.assert(
        fc.asyncProperty(history, ({ steps, ...bounds }) => new World(bounds).run(serve, steps)),
        { numRuns: 100, seed: SEED, includeErrorInReport: true, endOnFailure: true },
      );
    });
  });
}
