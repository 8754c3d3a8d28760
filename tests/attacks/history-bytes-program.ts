/**
 * Fills one hub after the other and prints, for each, what its events take in memory and what the hub says they take.
 *
 * It runs in a process of its own, with a garbage collector that it can call: see `history-bytes.test.ts`.
 *
 * @module
 */
import process from "node:process";
import { createHub, type Hub } from "../../mod.ts";
import { quietLogger, runtime } from "../server-helpers.ts";

/** A kind of events: how many are held, how many are sent, and the i-th of them. */
interface Kind {
  readonly events?: number;
  readonly rounds?: number;
  readonly send: (hub: Hub, i: number) => Promise<unknown>;
}

const number = (i: number) => String(i).padStart(6, "0");
const long = (i: number, character: string) => number(i) + character.repeat(1018);
const some = (what: string, i: number, of: number) => ["some", what, "with a name", i % of].join();

const kinds: Record<string, Kind> = {
  "to everyone": { send: (hub) => hub.broadcast("e", 1) },
  "to everyone, long after the first": { rounds: 3, send: (hub) => hub.broadcast("e", 1) },
  "2 000 bytes": { events: 4_000, send: (hub) => hub.broadcast("e", "x".repeat(2_000)) },
  "9 000 bytes": { events: 2_000, send: (hub) => hub.broadcast("e", "x".repeat(9_000)) },
  "33 000 bytes, of 11 000 characters": {
    events: 1_000,
    send: (hub) => hub.broadcast("e", "世".repeat(11_000)),
  },
  "small and large": {
    events: 2_000,
    send: (hub, i) => hub.broadcast("e", "x".repeat(i % 2 ? 10 : 30_000)),
  },
  "a session each": { send: (hub) => hub.send(crypto.randomUUID(), "e", 1) },
  "a session and a key each": {
    send: (hub, i) => hub.send(crypto.randomUUID(), "e", 1, { key: ["progress", i].join() }),
  },
  "long sessions": { events: 10_000, send: (hub, i) => hub.send(long(i, "k"), "e", 1) },
  "long sessions, wide": { events: 10_000, send: (hub, i) => hub.send(long(i, "Δ"), "e", 1) },
  "long keys": {
    events: 10_000,
    send: (hub, i) => hub.send("session-1", "e", 1, { key: long(i, "k") }),
  },
  "long keys, wide": {
    events: 10_000,
    send: (hub, i) => hub.send("session-1", "e", 1, { key: long(i, "Δ") }),
  },
  "long sessions and keys": {
    events: 10_000,
    send: (hub, i) => hub.send(long(i, "k"), "e", 1, { key: long(i, "k") }),
  },
  "many for each of a few channels": {
    send: (hub, i) => hub.publish(some("channel", i, 20), "e", 1),
  },
  "a few for each session": { send: (hub, i) => hub.send(some("session", i, 8_000), "e", 1) },
  "a few for each session, long after the first": {
    rounds: 3,
    send: (hub, i) => hub.send(some("session", i, 8_000), "e", 1),
  },
  "a session that is left out": {
    send: (hub) => hub.broadcast("e", 1, { except: crypto.randomUUID() }),
  },
  "twenty sessions that are left out": {
    events: 10_000,
    send: (hub) =>
      hub.broadcast("e", 1, { except: Array.from({ length: 20 }, () => crypto.randomUUID()) }),
  },
};

const scope = globalThis as unknown as { Bun?: { gc(sync: boolean): void }; gc?: () => void };

async function collectGarbage(): Promise<void> {
  if (scope.Bun) scope.Bun.gc(true);
  else scope.gc!();
  await new Promise((resolve) => setTimeout(resolve, 10));
}

/** What is held once nothing more goes: buffers are freed beside the program, and late where the machine is busy. */
async function memory(): Promise<number> {
  let least = Infinity;
  for (let steady = 0, tries = 0; steady < 3 && tries < 100; tries++) {
    await collectGarbage();
    const { heapUsed, arrayBuffers, external } = process.memoryUsage();
    // Bun's heap has the buffers in it already; Deno does not tell them apart from what else is outside of the heap.
    const held = heapUsed + { node: arrayBuffers, deno: external, bun: 0 }[runtime];
    steady = held < least - 10_000 ? 0 : steady + 1;
    least = Math.min(least, held);
  }
  return least;
}

/** Fills a hub, tells what that took for each event, and closes it. */
async function fill({ events = 32_000, rounds = 1, send }: Kind) {
  const hub = createHub({ history: { events, bytes: 2 ** 33 }, logger: quietLogger });
  // What the first ones set off, compiled code say, is not theirs.
  const first = events / 10;
  let sent = 0;
  const sendTo = async (end: number) => {
    for (; sent < end; sent++) {
      await send(hub, sent);
      if (sent % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  };
  await sendTo(first);
  const before = [await memory(), hub.stats().historyBytes] as const;
  await sendTo(events * rounds);
  const [held, counted] = [await memory() - before[0], hub.stats().historyBytes - before[1]];
  const each = events - first;
  await hub.close();
  return { held: held / each, counted: counted / each, closed: new WeakRef(hub) };
}

/** What else the process freed meanwhile is in a measurement, and now and then it is much. A wrong count stays wrong. */
async function measure(kind: Kind): Promise<{ held: number; counted: number }> {
  for (let tries = 1;; tries++) {
    const { held, counted, closed } = await fill(kind);
    // A hub that goes only while the next one is measured would be taken off that one's. Bun may keep one for good,
    // since it looks for references in the whole of the stack.
    for (let i = 0; i < 50 && closed.deref() !== undefined; i++) await collectGarbage();
    if (tries === 3 || Math.abs(counted / held - 1) <= 0.2) return { held, counted };
  }
}

// The first one is not told of: much is compiled, and thrown away, while it runs.
await fill(kinds["to everyone"]!);
for (const [name, kind] of Object.entries(kinds)) {
  console.log(JSON.stringify({ name, ...await measure(kind) }));
}
process.exit();
