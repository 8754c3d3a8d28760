/**
 * What is measured.
 *
 * @module
 */

import {
  cursorsOf,
  type Effort,
  enoughFiles,
  flooded,
  GRACE,
  inTurns,
  paced,
  spent,
  withClients,
  withServer,
} from "./measure.ts";
import { has, Load, profileOf, type Server } from "./process.ts";
import {
  BETTER_SSE,
  HONO,
  LOOP,
  NCHAN,
  ON_BUN,
  ON_BUN_NODE,
  ON_DENO,
  ON_DENO_NODE,
  OURS,
  SOCKET,
  TRANSMIT,
} from "./subjects.ts";
import { percent, table } from "./table.ts";

/** One thing that is measured. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Yields a table in Markdown, or several. */
  run(effort: Effort): Promise<string[]>;
}

const cpu: Scenario = {
  name: "cpu",
  title: "Processor time at 10 and at 100 events/s, 1 000 connections",
  async run(effort) {
    const subjects = [OURS, LOOP, SOCKET, BETTER_SSE, ON_BUN, ON_DENO];
    const results = await inTurns(
      effort,
      subjects,
      (subject) =>
        withClients(subject, 1000, async (server, load) => {
          await paced(server, load, { rate: 100, seconds: 2 * effort.scale });
          const fast = await paced(server, load, { rate: 100, seconds: 5 * effort.scale });
          const slow = await paced(server, load, { rate: 10, seconds: 5 * effort.scale });
          return {
            "us at 10/s": slow["us each"]!,
            "p50 at 10/s": slow["p50"]!,
            "us at 100/s": fast["us each"]!,
            "p50 at 100/s": fast["p50"]!,
          };
        }),
    );
    const head = ["server"];
    for (const rate of [10, 100]) head.push(`µs a delivery at ${rate}/s`, "ours / this", "p50 ms");
    const rows = results.names.map((name) => {
      const row: (string | number)[] = [name];
      for (const rate of [10, 100]) {
        const us = results.of(name, `us at ${rate}/s`);
        const ours = results.of(OURS.name, `us at ${rate}/s`);
        row.push(us, ours / us, results.of(name, `p50 at ${rate}/s`));
      }
      return row;
    });
    return [table(head, rows, "Goal: 0.8 of the loop at most, 0.55 of better-sse; p50 no worse.")];
  },
};

const peers: Scenario = {
  name: "peers",
  title: "The highest rate of broadcasts, 1 000 connections",
  async run(effort) {
    const subjects = [LOOP, SOCKET, BETTER_SSE, TRANSMIT, HONO, ...NCHAN ? [NCHAN] : []];
    if (!NCHAN) console.error("  nginx with nchan: not on this machine");
    const flood = (subject: typeof LOOP, burst: number) =>
      withClients(subject, 1000, (server, load) => {
        const events = Math.ceil(400 * effort.scale * Math.min(burst, 2));
        return flooded(server, load, { events, burst });
      });
    const results = await inTurns(effort, subjects, async (subject) => ({
      single: await flood(subject, 1),
      // A burst that is posted to nginx is no burst any more when nginx reads it.
      ...subject === NCHAN ? {} : { bursts: await flood(subject, 10) },
    }));
    return [table(
      ["server", "deliveries/s, one event at a time", "in bursts of 10"],
      results.names.map((name) => [name, results.of(name, "single"), results.of(name, "bursts")]),
      "As fast as each can, however late. What Streamside sustains, within bounds, is the next table.",
    )];
  },
};

const rate: Scenario = {
  name: "rate",
  title: "The sustained rate of broadcasts, 1 000 connections",
  async run(effort) {
    const at = (subject: typeof OURS, rate: number) => ({
      ...subject,
      rate,
      name: `${subject.name}, ${rate.toLocaleString("en").replace(",", " ")} events/s`,
    });
    const loop = { ...LOOP, rate: Infinity, name: `${LOOP.name}, one event at a time` };
    const items = [
      at(OURS, 10_000),
      at(OURS, 15_000),
      at(ON_BUN, 10_000),
      at(ON_BUN, 15_000),
      at(ON_DENO, 5000),
      at(ON_DENO, 10_000),
      at(ON_DENO_NODE, 5000),
      at(ON_DENO_NODE, 10_000),
      loop,
    ];
    const results = await inTurns(
      effort,
      items,
      (item) =>
        withClients(item, 1000, async (server, load) => {
          if (item === loop) {
            const events = Math.ceil(400 * effort.scale);
            return { rate: await flooded(server, load, { events, burst: 1 }) };
          }
          await paced(server, load, { rate: item.rate / 4, seconds: 1 });
          return await paced(server, load, { rate: item.rate, seconds: 5 * effort.scale });
        }),
    );
    return [table(
      ["server", "deliveries/s", "× the loop", "came", "p50 ms", "p99 ms", "core used"],
      results.names.map((name) => [
        name,
        results.of(name, "rate"),
        results.of(name, "rate") / results.of(loop.name, "rate"),
        percent(results.of(name, "arrived")),
        results.of(name, "p50"),
        results.of(name, "p99"),
        percent(results.of(name, "core used")),
      ]),
      "Goal: every event, at 10 000/s with a p99 of 80 ms at most on Node and Bun, at 5 000/s of 150 ms on Deno.",
    )];
  },
};

const send: Scenario = {
  name: "send",
  title: "One event to one of 1 000 sessions",
  async run(effort) {
    const alone = await inTurns(
      effort,
      [OURS, LOOP, BETTER_SSE],
      (subject) =>
        withClients(subject, 1000, async (server, load) => {
          const events = Math.ceil(400_000 * effort.scale);
          const flat = await flooded(server, load, { kind: "send", events, burst: 100 });
          if (subject !== OURS) return { flat };
          const seconds = 5 * effort.scale;
          return { flat, ...await paced(server, load, { kind: "send", rate: 100_000, seconds }) };
        }),
    );
    const kinds = (["broadcast", "send", "mixed"] as const).map((kind) => ({ name: kind }));
    const together = await inTurns(
      effort,
      kinds,
      ({ name: kind }) =>
        withClients(OURS, 1000, async (server, load) => {
          await paced(server, load, { kind: "mixed", rate: 200, seconds: 2 * effort.scale });
          // As many of each, alone and together.
          const rate = kind === "mixed" ? 400 : 200;
          return await paced(server, load, { kind, rate, seconds: 4 * effort.scale });
        }),
    );
    const [broadcasts, sends, both] = kinds.map(({ name }) => together.of(name, "cpu"));
    return [
      table(
        ["server", "sends/s, flat out", "× the loop", "at 100 000/s", "came", "p50 ms", "p99 ms"],
        alone.names.map((name) => [
          name,
          alone.of(name, "flat"),
          alone.of(name, "flat") / alone.of(LOOP.name, "flat"),
          alone.of(name, "rate"),
          percent(alone.of(name, "arrived")),
          alone.of(name, "p50"),
          alone.of(name, "p99"),
        ]),
        "Goal: the loop's rate of writes at least, and 100 000/s sustained.",
      ),
      table(
        ["200 broadcasts/s alone", "200 sends/s alone", "both", "both / the sum", "p99 ms of both"],
        [[
          broadcasts!,
          sends!,
          both!,
          both! / (broadcasts! + sends!),
          together.of("mixed", "p99"),
        ]],
        "Seconds of processor time. Goal: both at once no dearer than the two apart.",
      ),
    ];
  },
};

const memory: Scenario = {
  name: "memory",
  title: "10 000 idle connections",
  async run(effort) {
    const connections = 10_000;
    if (!enoughFiles(connections)) return [];
    const subjects = [OURS, LOOP, BETTER_SSE, TRANSMIT, HONO];
    const elsewhere = [ON_BUN, ON_BUN_NODE, ON_DENO, ON_DENO_NODE];
    const results = await inTurns(
      effort,
      [...subjects, ...elsewhere],
      (subject) =>
        withServer(subject, async (server) => {
          const memory = async () => (await server.order<{ rss: number }>({ do: "memory" })).rss;
          const empty = await memory();
          const before = await server.cpu();
          const load = await Load.connect(server, { connections });
          const cpu = spent(before, await server.cpu());
          const full = await memory();
          await load.end();
          return {
            KB: (full - empty) / connections / 1024,
            "connects/s": connections / load.connectSeconds,
            "us a connect": cpu / connections * 1e6,
          };
        }),
    );
    return [table(
      [
        "server",
        "KB a connection",
        "× plain node:http",
        "connects/s",
        "× better-sse",
        "µs a connect",
      ],
      results.names.map((name) => [
        name,
        results.of(name, "KB"),
        results.of(name, "KB") / results.of(LOOP.name, "KB"),
        results.of(name, "connects/s"),
        results.of(name, "connects/s") / results.of(BETTER_SSE.name, "connects/s"),
        results.of(name, "us a connect"),
      ]),
      "The `res.write` loop is plain node:http. Goal: 1.2 of it at most; 1.2 of better-sse's connects/s at least.",
    )];
  },
};

const reconnect: Scenario = {
  name: "reconnect",
  title: "5 000 clients come back at once, each having missed 100 events; 1 000 others stay",
  async run(effort) {
    const missed = 100;
    const live = { rate: 10, seconds: 4 };
    const results = await inTurns(
      effort,
      [OURS, ON_BUN, ON_DENO, ON_DENO_NODE],
      (subject) =>
        withClients(subject, 1000, async (server, load) => {
          await paced(server, load, { rate: 100, seconds: 2 * effort.scale });
          await load.mark();
          const [cursor] = await cursorsOf(server, 1 + missed);
          await load.wait((1 + missed) * load.connections, 5);
          await load.mark();
          const running = server.order({ do: "run", kind: "broadcast", ...live });
          const wave = await Load.connect(server, {
            connections: 5000,
            // What the listen queues of these runtimes hold: more would only wait for the kernel to try again.
            inflight: 500,
            expect: missed,
            header: `Last-Event-ID: ${cursor}`,
            path: "/subscribe?session=r%d",
          });
          await running;
          const expected = live.rate * live.seconds * load.connections;
          const others = await load.wait(expected, GRACE);
          const { caught, caughtSeconds } = await wave.report();
          await wave.end();
          return {
            caught,
            seconds: caughtSeconds,
            p50: others.p50,
            p99: others.p99,
            arrived: others.events / expected,
          };
        }),
    );
    return [table(
      ["server", "caught up", "all after s", "the others' p50 ms", "p99 ms", "came"],
      results.names.map((name) => [
        name,
        results.of(name, "caught"),
        results.of(name, "seconds"),
        results.of(name, "p50"),
        results.of(name, "p99"),
        percent(results.of(name, "arrived")),
      ]),
      "From the first connect to the last missed event; the others get 10 events/s. Goal: 2 s, and a p99 of 150 ms at most.",
    )];
  },
};

const scale: Scenario = {
  name: "scale",
  title: "What a delivery costs as connections grow",
  async run(effort) {
    const sizes = [100, 1000, 10_000].filter(enoughFiles);
    const items = [OURS, LOOP].flatMap((subject) =>
      sizes.map((size) => ({ ...subject, size, name: `${subject.name} ${size}` }))
    );
    const results = await inTurns(
      effort,
      items,
      ({ size, ...subject }) =>
        withClients(subject, size, async (server, load) => {
          // Rare enough that events do not meet in the server, where some would leave together.
          const even = 50_000 / size;
          await paced(server, load, { rate: even, seconds: 3 * effort.scale });
          const busy = await paced(server, load, { rate: even, seconds: 4 * effort.scale });
          const calm = await paced(server, load, { rate: 10, seconds: 4 * effort.scale });
          return {
            calm: calm["us each"]!,
            p50: calm["p50"]!,
            p99: calm["p99"]!,
            busy: busy["us each"]!,
          };
        }),
    );
    const rows = [OURS, LOOP].flatMap(({ name }) =>
      sizes.map((size) => {
        const of = (figure: string) => results.of(`${name} ${size}`, figure);
        const growth = (figure: string) => of(figure) / results.of(`${name} ${sizes[0]}`, figure);
        return [
          name,
          size,
          of("calm"),
          growth("calm"),
          of("p50"),
          of("p99"),
          of("busy"),
          growth("busy"),
        ];
      })
    );
    return [table(
      [
        "server",
        "connections",
        "µs a delivery at 10 events/s",
        "× that at 100",
        "p50 ms",
        "p99 ms",
        "µs a delivery at 50 000 deliveries/s",
        "× that at 100",
      ],
      rows,
      "Goal: 1.5 at most at 10 000. How much of the growth is the kernel's, the loop tells.",
    )];
  },
};

const resume: Scenario = {
  name: "resume",
  title: "What a resume costs as the history grows",
  async run(effort) {
    const clients = 900;
    const items = [1000, 10_000, 100_000, 1_000_000].map((history) => ({
      ...OURS,
      name: String(history),
      history,
      env: { HISTORY: String(history) },
    }));
    const results = await inTurns(
      effort,
      items,
      (item) =>
        withClients(item, 1, async (server, load) => {
          const events = item.history - clients - 99;
          await server.order({ do: "flood", kind: "broadcast", events, burst: 100 });
          // Each client goes on from a position of its own: the last has missed 99 events, the first 998.
          const cursors = await cursorsOf(server, clients);
          await cursorsOf(server, 99);
          await load.wait(item.history, 60);
          const header = cursors.map((cursor) => `Last-Event-ID: ${cursor}`);
          const replayed = clients * 99 + clients * (clients - 1) / 2;
          await wave(server, { path: "/subscribe?session=w%d", header, replayed });
          const cost = await wave(server, { path: "/subscribe?session=r%d", header, replayed });
          return { resume: cost / clients * 1e6, event: cost / replayed * 1e6 };
        }),
    );
    const [first] = results.names;
    return [table(
      ["events held", "µs a resume, 548 events each", "µs an event", "× that at 1 000"],
      results.names.map((name) => [
        Number(name),
        results.of(name, "resume"),
        results.of(name, "event"),
        results.of(name, "event") / results.of(first!, "event"),
      ]),
      "Each client goes on from a position of its own. Goal: the same whatever is held.",
    )];
  },
};

/** Clients that resume: the processor time it costs the server, in seconds. */
async function wave(
  server: Server,
  { path, header, replayed }: { path: string; header: string[]; replayed: number },
): Promise<number> {
  const before = await server.cpu();
  const load = await Load.connect(server, { connections: header.length, header, path });
  const { events } = await load.wait(replayed, 10);
  const cost = spent(before, await server.cpu());
  await load.end();
  if (events !== replayed) throw new Error(`${events} of ${replayed} events came`);
  return cost;
}

const lateness: Scenario = {
  name: "lateness",
  title: "How late a timer of 10 ms is, while 10 000 connections get 20 events/s",
  async run(effort) {
    const connections = 10_000;
    if (!enoughFiles(connections)) return [];
    const results = await inTurns(
      effort,
      [OURS, ON_BUN, ON_DENO],
      (subject) =>
        withClients(subject, connections, async (server, load) => {
          const seconds = 5 * effort.scale;
          await paced(server, load, { rate: 20, seconds: 2 });
          const late = server.order<{ p99: number; max: number }>({ do: "lateness", seconds });
          const [{ p99, max }, delivery] = await Promise.all([
            late,
            paced(server, load, { rate: 20, seconds: seconds - 0.5 }),
          ]);
          return { p99, max, delivery: delivery["p99"]!, arrived: delivery["arrived"]! };
        }),
    );
    return [table(
      ["server", "late by, p99 ms", "at most ms", "delivery p99 ms", "came"],
      results.names.map((name) => [
        name,
        results.of(name, "p99"),
        results.of(name, "max"),
        results.of(name, "delivery"),
        percent(results.of(name, "arrived")),
      ]),
      "Goal: never more than 50 ms.",
    )];
  },
};

const stalled: Scenario = {
  name: "stalled",
  title: "1 000 readers that take nothing, beside 100 that get 1 000 events/s",
  async run(effort) {
    const [reading, rate] = [100, 1000];
    const results = await inTurns(
      effort,
      [OURS, ON_BUN, ON_DENO],
      (subject) =>
        withServer(subject, async (server) => {
          const memory = async () => (await server.order<{ rss: number }>({ do: "memory" })).rss;
          const load = await Load.connect(server, { connections: 1000 + reading, stalled: 1000 });
          const before = await memory();
          await load.mark();
          const seconds = 5 * effort.scale;
          const waiting = load.wait(rate * seconds * reading, seconds + GRACE);
          await server.order({ do: "run", kind: "broadcast", rate, seconds });
          const { events, p99 } = await waiting;
          const after = await memory();
          await load.end();
          const arrived = events / (rate * seconds * reading);
          return { MB: (after - before) / 2 ** 20, arrived, p99 };
        }),
    );
    return [table(
      ["server", "MB more in the process", "came to the 100", "p99 ms"],
      results.names.map((name) => [
        name,
        results.of(name, "MB"),
        percent(results.of(name, "arrived")),
        results.of(name, "p99"),
      ]),
      "What a stalled reader has not taken is in the history and the kernel, not in a queue of its own.",
    )];
  },
};

const profile: Scenario = {
  name: "profile",
  title: "Where the time of a saturated broadcast goes",
  async run(effort) {
    if (!has("perf")) {
      console.error("  left out: perf is not on this machine");
      return [];
    }
    const kernel: [string, string][] = [
      ["the write system call", "ksys_write"],
      ["– copying the bytes into the socket", "_copy_from_iter"],
      ["– TCP: segments out, and what loopback does at once for the receiver", "tcp_write_xmit"],
      ["– – of which waking the reader up", "sock_def_readable"],
    ];
    const parts: [string, string][] = [
      ["in the kernel, all in all", "[kernel.kallsyms]"],
      ["in Node.js and V8: the binding, garbage collection, compilation", "node"],
      ["in JavaScript: Streamside, and Node.js's part of a write", "[JIT]"],
    ];
    const subjects = [100, 10_000].map((rate) => ({ ...OURS, name: String(rate), rate }));
    const results = await inTurns(
      effort,
      subjects,
      (subject) =>
        withClients({ ...subject, args: ["--perf-basic-prof"] }, 1000, async (server, load) => {
          await paced(server, load, { rate: subject.rate, seconds: 2 });
          const shares = profileOf(server.pid, 3);
          await paced(server, load, { rate: subject.rate, seconds: 4 });
          const { inclusive, byObject } = await shares;
          const of = (shares: Map<string, number>, name: string) =>
            [...shares].reduce((sum, [key, share]) => key.startsWith(name) ? sum + share : sum, 0);
          return Object.fromEntries([
            ...kernel.map(([, symbol]) => [symbol, of(inclusive, symbol)]),
            ...parts.map(([, object]) => [object, of(byObject, object)]),
          ]);
        }),
    );
    return [table(
      ["1 000 connections", ...subjects.map(({ rate }) => `at ${rate} events/s`)],
      [...kernel, ...parts].map(([what, key]) => [
        what,
        ...subjects.map(({ name }) => percent(results.of(name, key))),
      ]),
      "Shares of the server's processor time, by `perf record`.",
    )];
  },
};

/** All of them, in the order of the report. */
export const scenarios: readonly Scenario[] = [
  cpu,
  peers,
  rate,
  send,
  memory,
  reconnect,
  scale,
  resume,
  lateness,
  stalled,
  profile,
];
