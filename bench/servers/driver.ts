/**
 * What every server of the benchmark shares: it reads orders from its input, a JSON line each, sends what it is told to
 * at the rate it is told to, and answers each order with a JSON line that has the order's `id`.
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";

/** A server to be measured, as the driver sees it. */
export interface Subject {
  /** How many streams are open. */
  connections(): number;
  /** Sends an event named `tick` to everyone. */
  broadcast(data: string): unknown;
  /** Sends an event named `tick` to the client that is session `s${number}`. */
  send?(number: number, data: string): unknown;
  /** How many deliveries were handed to sockets so far, for a server that may put them off. */
  delivered?(): number;
  /** Where a client would go on from now. */
  cursor?(): string;
}

/** What to send: everything to everyone, each event to one session in turn, or both in turn. */
export type Kind = "broadcast" | "send" | "mixed";

/** An order to a server. */
export type Order =
  /** Send `rate` events a second for `seconds`. */
  | { do: "run"; kind: Kind; rate: number; seconds: number }
  /** Send `events` as fast as it can: `burst` at a time, and the event loop comes round between. */
  | { do: "flood"; kind: Kind; events: number; burst: number }
  | { do: "cpu" }
  | { do: "memory" }
  /** Broadcast so many events, and tell where a client would go on from after each. */
  | { do: "cursors"; events: number }
  /** Watch a timer of 10 ms for so long. */
  | { do: "lateness"; seconds: number };

/** Padding that makes an event about 150 bytes long, with its id, type and stamp. */
const PADDING = "x".repeat(70);
const STARTED = BigInt(Date.now()) * 1_000_000n;
const ORIGIN = performance.now();

/** Data that tells when it was sent: `@`, ns since the epoch, `@`. */
export function stamped(): string {
  const now = STARTED + BigInt(Math.round((performance.now() - ORIGIN) * 1e6));
  return `@${now}@${PADDING}`;
}

/** Where to listen. */
export const PORT: number = Number(process.env["PORT"]);

/** Says that the server listens, does what it is told from then on, and ends when nobody tells any more. */
export function drive(subject: Subject, end: () => void = () => process.exit()): void {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => {
    const { id, ...order } = JSON.parse(line) as Order & { id: number };
    obey(subject, order as Order).then((result) => answer({ ...result, id }));
  });
  lines.on("close", end);
  process.on("SIGTERM", end);
  answer({ listening: PORT });
}

function answer(value: unknown): void {
  console.log(JSON.stringify(value));
}

async function obey(subject: Subject, order: Order): Promise<object> {
  switch (order.do) {
    case "run":
      return { sent: await run(sender(subject, order.kind), order.rate, order.seconds) };
    case "flood":
      return { sent: await flood(subject, order) };
    case "cpu": {
      const { user, system } = process.cpuUsage();
      return { user: user / 1e6, system: system / 1e6, seconds: performance.now() / 1e3 };
    }
    case "memory":
      await collect();
      return { rss: process.memoryUsage().rss };
    case "cursors": {
      const cursors: string[] = [];
      for (let k = 0; k < order.events; k++) {
        await subject.broadcast(stamped());
        cursors.push(subject.cursor!());
      }
      return { cursors };
    }
    case "lateness":
      return await lateness(order.seconds);
  }
}

function sender(subject: Subject, kind: Kind): () => void {
  const connections = subject.connections();
  let next = 0;
  const send = () => {
    subject.send!(next++ % connections, stamped());
  };
  const broadcast = () => {
    subject.broadcast(stamped());
  };
  if (kind === "broadcast") return broadcast;
  if (kind === "send") return send;
  let turn = false;
  return () => {
    turn = !turn;
    if (turn) broadcast();
    else send();
  };
}

/** Sends what is due, and catches up after it was held up. */
function run(send: () => void, rate: number, seconds: number): Promise<number> {
  const total = Math.round(rate * seconds);
  const started = performance.now();
  let sent = 0;
  return new Promise((resolve) => {
    const tick = () => {
      const due = Math.min(total, Math.floor((performance.now() - started) / 1000 * rate) + 1);
      while (sent < due) {
        sent++;
        send();
      }
      if (sent === total) resolve(sent);
      else {setTimeout(
          tick,
          Math.max(1, Math.ceil(started + sent / rate * 1000 - performance.now())),
        );}
    };
    tick();
  });
}

/** How far a server that puts deliveries off may fall behind a flood, in deliveries per connection. */
const MAX_BEHIND = 2000;

async function flood(
  subject: Subject,
  { kind, events, burst }: { kind: Kind; events: number; burst: number },
): Promise<number> {
  const send = sender(subject, kind);
  const connections = subject.connections();
  const before = subject.delivered?.() ?? 0;
  const each = { broadcast: connections, send: 1, mixed: (connections + 1) / 2 }[kind];
  for (let sent = 0; sent < events;) {
    for (let k = 0; k < burst && sent < events; k++, sent++) send();
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (subject.delivered) {
      while (sent * each - (subject.delivered() - before) > MAX_BEHIND * connections) {
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
  }
  return events;
}

/** Collects garbage, where the runtime lets us. */
async function collect(): Promise<void> {
  const scope = globalThis as { gc?: () => void; Bun?: { gc(force: boolean): void } };
  for (let k = 0; k < 4; k++) {
    if (scope.Bun) scope.Bun.gc(true);
    else scope.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
}

/** By how much a timer of 10 ms is late, in ms. */
function lateness(seconds: number): Promise<{ p99: number; max: number }> {
  const late: number[] = [];
  const started = performance.now();
  return new Promise((resolve) => {
    const next = () => {
      const due = performance.now() + 10;
      setTimeout(() => {
        late.push(performance.now() - due);
        if (performance.now() - started < seconds * 1000) return next();
        late.sort((a, b) => a - b);
        resolve({
          p99: late[Math.floor(late.length * 0.99)] ?? 0,
          max: late[late.length - 1] ?? 0,
        });
      }, 10);
    };
    next();
  });
}
