/**
 * Random histories of tabs that share a connection, against a server that is cut off, restarted and refuses. Each tab
 * must hear what a client of its own would have heard from the same position, or a reset where it cannot: nothing
 * dropped in silence, nothing twice within one life of the server, nothing out of order.
 */
import { describe, test } from "node:test";
import process from "node:process";
import fc from "fast-check";
import { type Client, createSharedClient } from "../../src/client/mod.ts";
import { STREAM } from "../client/helpers.ts";
import { Channel, type Locks, withTabs } from "../client/tabs.ts";

const SEED = Number(process.env.SHARED_SEED ?? 20_261_125);
const RUNS = Number(process.env.SHARED_RUNS ?? 40);

/** Timers from this on wait for silence, or are deadlines, in milliseconds; they are over when the history says so. */
const WATCH = 500;
const DEADLINE = 20_000;

const encoder = new TextEncoder();

/** Real time, in which the clients go on: enough for what is under way. */
const real = { setTimeout, clearTimeout };
const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => real.setTimeout(resolve));
};

/** Runs `body` with long timers that go off only when they are asked to. */
async function withSilence(
  body: (silence: { watches(): void; deadlines(): void }) => Promise<void>,
): Promise<void> {
  const timers = new Map<unknown, { then: () => void; time: number }>();
  Object.assign(globalThis, {
    setTimeout(then: () => void, time = 0, ...rest: unknown[]) {
      if (time < WATCH) return real.setTimeout(then, time, ...rest);
      const timer = Symbol();
      timers.set(timer, { then, time });
      return timer;
    },
    clearTimeout(timer: unknown) {
      if (typeof timer == "symbol") timers.delete(timer);
      else real.clearTimeout(timer as number);
    },
  });
  const end = (isDue: (time: number) => boolean) => {
    for (const [timer, { then, time }] of [...timers]) {
      if (isDue(time) && timers.delete(timer)) then();
    }
  };
  try {
    await body({
      watches: () => end((time) => time < DEADLINE),
      deadlines: () => end((time) => time >= DEADLINE),
    });
  } finally {
    Object.assign(globalThis, real);
  }
}

interface Connection {
  tab: Tab;
  controller: ReadableStreamDefaultController<Uint8Array>;
}

/** An event's place: which life of the server, and which event of it. */
interface Place {
  life: number;
  number: number;
}

/**
 * A server whose ids are a counter that begins at 1 in each life, or that tell the lives apart. It goes on after the id
 * that a request came with. An id that it does not know is answered with a reset, or as a plain server does, with all.
 */
class Server {
  readonly epochs: boolean;
  readonly limit: number;
  life = 1;
  count = 0;
  refusing = false;
  readonly #connections = new Set<Connection>();

  constructor(epochs: boolean, limit: number) {
    this.epochs = epochs;
    this.limit = limit;
  }

  id(number: number, life: number = this.life): string {
    return this.epochs ? `${life}-${number}` : String(number);
  }

  answer(tab: Tab, request: Request): Response {
    if (this.refusing || this.#connections.size >= this.limit) {
      return new Response(null, { status: 503 });
    }
    const last = request.headers.get("Last-Event-ID") ?? "";
    let text = ": hello\n";
    if (this.epochs) {
      const [life, number] = last.split("-").map(Number);
      const known = life == this.life && number! <= this.count;
      if (last && !known) text += "event: streamside:reset\ndata: {}\n";
      text += `id: ${known ? last : this.id(this.count)}\n\n`;
      if (known) text += this.#events(number!);
    } else if (last) {
      const number = Number(last);
      text += this.#events(number <= this.count ? number : 0);
    }
    let connection: Connection;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        connection = { tab, controller };
        this.#connections.add(connection);
      },
      cancel: () => void this.#connections.delete(connection),
    });
    request.signal.addEventListener("abort", () => this.#connections.delete(connection));
    this.#write(connection!, text);
    return new Response(body, { headers: STREAM });
  }

  #events(after: number): string {
    let text = "";
    for (let n = after + 1; n <= this.count; n++) {
      text += `id: ${this.id(n)}\ndata: ${this.life}.${n}\n\n`;
    }
    return text;
  }

  #write(connection: Connection, text: string): void {
    connection.tab.whenAwake(() => {
      if (this.#connections.has(connection)) connection.controller.enqueue(encoder.encode(text));
    });
  }

  send(count: number, inOne: boolean): void {
    const before = this.count;
    for (let i = 0; i < count; i++) {
      this.count++;
      if (inOne) continue;
      for (const each of this.#connections) this.#write(each, this.#events(this.count - 1));
    }
    if (!inOne) return;
    for (const each of this.#connections) this.#write(each, this.#events(before));
  }

  /** Breaks connections; some have got half of an event. */
  cut(half: boolean): void {
    for (const connection of this.#connections) {
      if (half) this.#write(connection, `id: ${this.id(this.count + 1)}\ndata: half`);
      connection.tab.whenAwake(() => {
        if (this.#connections.delete(connection)) connection.controller.error(new Error("cut"));
      });
    }
  }

  restart(): void {
    this.cut(false);
    this.life++;
    this.count = 0;
  }
}

/** A tab, and what it has heard. */
class Tab {
  readonly client: Client;
  readonly cursor: string;
  readonly heard: (Place | "reset")[] = [];
  /** From where on it has to hear all; with how much it had heard then. */
  base: Place | undefined;
  channel!: Channel;
  signal!: AbortSignal;
  gone = false;
  #asleep: (() => void)[] | undefined;

  constructor(server: Server, cursor: string) {
    this.cursor = cursor;
    this.client = createSharedClient("/model", {
      name: "model",
      fetch: async (...request: unknown[]) => {
        const sent = new Request(...request as [string]);
        await new Promise<void>((resolve) => this.whenAwake(resolve));
        return server.answer(this, sent);
      },
      lastEventId: cursor,
      timeout: 40_000,
      reconnect: { delay: 1, maxDelay: 2, maxAttempts: Infinity, jitter: 0 },
    });
    this.client.addEventListener("message", ({ data }) => {
      const [life, number] = data.split(".").map(Number);
      this.heard.push({ life: life!, number: number! });
    });
    this.client.addEventListener("reset", () => this.heard.push("reset"));
  }

  connect(locks: Locks): void {
    this.client.connect();
    this.channel = Channel.last!;
    this.signal = locks.last!;
  }

  get isAsleep(): boolean {
    return this.#asleep !== undefined;
  }

  whenAwake(then: () => void): void {
    if (this.#asleep) this.#asleep.push(then);
    else then();
  }

  sleep(locks: Locks): void {
    this.#asleep ??= [];
    this.channel.hearing = "frozen";
    this.channel.mute = true;
    if (!locks.frozen.has(this.signal)) locks.frozen.set(this.signal, []);
  }

  /** Goes on, in one order or another. */
  wake(locks: Locks, order: number): void {
    if (this.gone) return;
    this.channel.mute = false;
    const parts = [
      () => {
        const missed = this.#asleep ?? [];
        this.#asleep = undefined;
        for (const then of missed) then();
      },
      () => this.channel.hearing = "hears",
      () => {
        const told = locks.frozen.get(this.signal) ?? [];
        locks.frozen.delete(this.signal);
        for (const then of told) then();
      },
    ];
    for (let i = 0; i < 3; i++) parts[(i + order) % 3]!();
  }

  /** Its process is gone, and with it what it was about to say. */
  crash(): void {
    this.channel.mute = true;
    this.channel.hearing = "deaf";
    this.gone = true;
    this.client.close();
  }
}

type Step =
  | { do: "send"; count: number; inOne: boolean }
  | { do: "cut"; half: boolean }
  | { do: "restart" }
  | { do: "join"; cursor: number }
  | { do: "close" | "crash" | "sleep" | "lag" | "deaf" | "undeaf"; tab: number }
  | { do: "wake"; tab: number; order: number }
  | { do: "lead sleeps" | "lead crashes" | "heir lags" | "watch" | "deadline" | "refuse" | "serve" }
  | { do: "wait"; turns: number };

const tab = fc.nat(7);
const arbitraryStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("send" as const),
      count: fc.integer({ min: 1, max: 4 }),
      inOne: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      turns: fc.integer({ min: 1, max: 8 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("cut" as const), half: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("restart" as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("join" as const),
      cursor: fc.integer({ min: -6, max: 6 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("close" as const, "crash" as const, "sleep" as const, "lag" as const),
      tab,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("deaf" as const, "undeaf" as const), tab }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("wake" as const), tab, order: fc.nat(2) }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "lead sleeps" as const,
        "lead crashes" as const,
        "heir lags" as const,
        "watch" as const,
      ),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom("deadline" as const, "refuse" as const, "serve" as const),
    }),
  },
);

/** A tab catches up in the server's second life, while the leader sleeps at the same id of the first. */
const sameId: Step[] = [
  { do: "send", count: 1, inOne: false },
  { do: "join", cursor: 1 },
  { do: "sleep", tab: 0 },
  { do: "restart" },
  { do: "sleep", tab: 0 },
];

/** Whether the history gives a tab a reason to raise a reset though a client of its own would not. */
class Reasons {
  known = false;
}

async function run(epochs: boolean, limit: number, steps: Step[]): Promise<void> {
  const server = new Server(epochs, limit);
  const tabs: Tab[] = [];
  const reasons = new Reasons();
  reasons.known = limit == 1;
  await withTabs((locks) =>
    withSilence(async (silence) => {
      const join = (cursor: string) => {
        const tab = new Tab(server, cursor);
        tabs.push(tab);
        tab.connect(locks);
      };
      try {
        for (let i = 0; i < 3; i++) join("");
        await turns(3);
        for (const step of steps) {
          const there = tabs.filter((tab) => !tab.gone);
          const one = "tab" in step ? there[step.tab % there.length] : undefined;
          switch (step.do) {
            case "send":
              server.send(step.count, step.inOne);
              break;
            case "cut":
              server.cut(step.half);
              break;
            case "restart":
              server.restart();
              break;
            case "join": {
              if (there.length > 5) break;
              const { cursor } = step;
              join(cursor < 0 ? "" : server.id(Math.max(0, server.count - cursor)));
              break;
            }
            case "close":
              if (!one || there.length == 1) break;
              one.gone = true;
              one.client.close();
              break;
            case "crash":
              if (one && there.length > 1) one.crash();
              break;
            case "sleep":
              one?.sleep(locks);
              break;
            case "deaf":
              if (!one || one.isAsleep) break;
              one.channel.hearing = "deaf";
              reasons.known = true;
              break;
            case "undeaf":
              if (one && one.channel.hearing == "deaf") one.channel.hearing = "hears";
              break;
            case "wake":
              one?.wake(locks, step.order);
              break;
            case "lag":
              if (one && one.channel.hearing == "hears") one.channel.hearing = "frozen";
              break;
            case "heir lags":
            case "lead sleeps":
            case "lead crashes": {
              const holder = locks.holder("streamside model");
              const lead = there.find(({ signal }) => signal == holder);
              const heir = there.find((tab) => tab != lead);
              if (step.do == "lead sleeps") lead?.sleep(locks);
              else if (step.do == "heir lags") {
                if (heir?.channel.hearing == "hears") heir.channel.hearing = "frozen";
              } else if (heir) lead?.crash();
              break;
            }
            case "watch":
              silence.watches();
              break;
            case "deadline":
              reasons.known = true;
              silence.deadlines();
              break;
            case "refuse":
              reasons.known = true;
              server.refusing = true;
              break;
            case "serve":
              server.refusing = false;
              break;
            case "wait":
              await turns(step.turns);
              break;
          }
          for (const tab of tabs) note(tab);
        }
        await settle();
        for (const tab of tabs) check(tab);
      } finally {
        for (const { client } of tabs) client.close();
        await turns(2);
      }

      /** Wakes all, and waits until all have heard the last event that was sent. */
      async function settle(): Promise<void> {
        server.refusing = false;
        for (const tab of tabs) {
          if (tab.isAsleep) tab.wake(locks, 0);
          if (!tab.gone) tab.channel.hearing = "hears";
        }
        for (let i = 0; i < 200; i++) {
          await turns(5);
          for (const tab of tabs) note(tab);
          const behind = tabs.filter(({ gone, heard }) => {
            const last = heard.at(-1);
            return !gone &&
              (typeof last != "object" || last.life != server.life || last.number != server.count);
          });
          if (i > 2 && behind.length == 0) return;
          if (i % 4 == 0) silence.watches();
          if (i % 4 == 2) server.send(1, true);
        }
        throw new Error(`silent for ever: ${tabs.map(text).join("; ")}, after ${server.count}`);
      }
    })
  );

  /** A tab that has a position without an event has to hear all from there on. */
  function note(tab: Tab): void {
    const [life, number] = tab.client.lastEventId.split("-").map(Number);
    if (epochs && life && !tab.cursor && tab.heard.length == 0) {
      tab.base = { life, number: number! };
    }
  }

  function text(tab: Tab): string {
    const heard = tab.heard.map((each) => each == "reset" ? each : `${each.life}.${each.number}`);
    return `tab ${tabs.indexOf(tab)}${tab.gone ? " (gone)" : ""} from ${tab.cursor || "now"}${
      tab.base ? ` (${tab.base.life}.${tab.base.number})` : ""
    }: ${heard.join(" ")}`;
  }

  function check(tab: Tab): void {
    const fail = (what: string) => {
      throw new Error(`${what} in ${tabs.map(text).join("; ")}`);
    };
    const [life, number] = tab.cursor.split("-").map(Number);
    let at = epochs && tab.cursor ? { life: life!, number: number! } : tab.base;
    let resets = 0;
    for (const each of tab.heard) {
      if (each == "reset") {
        resets++;
        continue;
      }
      const { life, number } = each;
      if (at && life < at.life) fail(`${life}.${number} after a later life`);
      const same = life == at?.life;
      // Without a position, none can say what it missed when another came to lead.
      const excused = reasons.known || (!at && !tab.cursor);
      if (!excused && resets > life - (at?.life ?? 1)) {
        fail(`a reset without a reason before ${life}.${number}`);
      }
      if (resets > 0) {
        // A tab that gives up catching up goes on where the others are: they may be behind it.
        if (same && number <= at!.number && !reasons.known) fail(`${life}.${number} twice`);
      } else if (same) {
        if (number != at!.number + 1) fail(`${life}.${number} is not the next`);
      } else if (at && epochs) {
        fail(`another life without a reset before ${life}.${number}`);
      } else if (number != 1 && (at ?? tab.cursor)) {
        const next = (at?.number ?? Number(tab.cursor)) + 1;
        if (number != next) fail(`${life}.${number} is not the next`);
      }
      at = each;
      resets = 0;
    }
  }
}

describe("tabs that share a connection, in random histories", () => {
  for (const epochs of [true, false]) {
    for (const limit of [Infinity, 1]) {
      const ids = epochs ? "ids of each life" : "ids that begin at 1 again";
      const connections = limit == 1 ? ", one connection at a time" : "";
      test(`${ids}${connections}`, async () => {
        await fc.assert(
          fc.asyncProperty(
            fc.array(arbitraryStep, { minLength: 10, maxLength: 60, size: "max" }),
            (steps) => run(epochs, limit, steps),
          ),
          {
            examples: [[sameId]],
            numRuns: RUNS,
            seed: SEED,
            includeErrorInReport: true,
            endOnFailure: process.env.SHARED_SHRINK === undefined,
          },
        );
      });
    }
  }
});
