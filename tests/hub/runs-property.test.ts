/**
 * Random histories of runs: they begin, publish, end, are stopped and run again, on two hubs of a log that forgets, while
 * readers come, break at any byte, resume on any hub, and go on. Each reader has exactly what the ledger says.
 *
 * @module
 */
import { test } from "node:test";
import fc from "fast-check";
import { assertEquals } from "@std/assert";
import {
  createHandler,
  createHub,
  type Handler,
  type Hub,
  type Log,
  memoryLog,
  type Run,
} from "../../mod.ts";
import { cases } from "../campaign.ts";
import { quietLogger, until, within } from "../server-helpers.ts";
import { type PublishedRun, RunLedger, RunReader } from "./run-model.ts";

type Op =
  | { op: "begin"; hub: number }
  | { op: "say"; count: number; size: number }
  | { op: "end"; how: "done" | "failed" | "stopped" | "stopped elsewhere" | "lost" }
  | { op: "open"; reader: number; hub: number; id: "own" | "garbage" | "none" }
  | { op: "read"; reader: number; bytes: number }
  | { op: "break"; reader: number }
  | { op: "restart"; hub: number };

const hubIndex = fc.nat(1);
const readerIndex = fc.nat(3);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ op: fc.constant("begin" as const), hub: hubIndex }) },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("say" as const),
      count: fc.integer({ min: 1, max: 12 }),
      size: fc.nat(80),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("end" as const),
      how: fc.constantFrom("done", "failed", "stopped", "stopped elsewhere", "lost"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("open" as const),
      reader: readerIndex,
      hub: hubIndex,
      id: fc.constantFrom("own", "own", "own", "garbage", "none"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant("read" as const),
      reader: readerIndex,
      bytes: fc.integer({ min: 1, max: 2_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("break" as const), reader: readerIndex }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("restart" as const), hub: hubIndex }) },
);

const history = fc.record({
  ops: fc.array(op, { minLength: 1, maxLength: 40 }),
  /** How many events of a run are held. */
  events: fc.constantFrom(5, 20, 1_000),
  /** The log holds its events encoded, or hands over plain records as a network log does. */
  isPlain: fc.boolean(),
});

type History = typeof history extends fc.Arbitrary<infer T> ? T : never;

/** A log as one on a network is: what it hands over is plain. */
function plain(log: Log): Log {
  const runs = log.runs!;
  const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value));
  return {
    follow: (follower) => log.follow(follower),
    append: (record) => log.append(record),
    read: (after, limit) => log.read(after, limit),
    runs: {
      follow: (follower) =>
        runs.follow({
          opened: () => follower.opened(),
          appended: (records) => follower.appended(copy(records)),
          failed: (error) => follower.failed(error),
        }),
      append: (records) => runs.append(copy(records)),
      list: async (channel) => copy(await runs.list(channel)),
      read: async (run, after, limit) => copy(await runs.read(run, after, Math.min(limit, 7))),
    },
  };
}

/** The run of the present, whose source is told what to yield. */
class Current {
  readonly run: Run;
  readonly published: PublishedRun;
  readonly hub: number;
  readonly source: Feed;

  constructor(run: Run, published: PublishedRun, hub: number, source: Feed) {
    this.run = run;
    this.published = published;
    this.hub = hub;
    this.source = source;
  }
}

/** A source that yields what it is given. */
class Feed {
  readonly #items: (string | Error | undefined)[] = [];
  #wake: () => void = () => {};

  push(...items: (string | Error | undefined)[]): void {
    this.#items.push(...items);
    this.#wake();
  }

  async *events(): AsyncGenerator<string> {
    for (;;) {
      while (this.#items.length === 0) await new Promise<void>((wake) => this.#wake = wake);
      const item = this.#items.shift();
      if (item instanceof Error) throw item;
      if (item === undefined) return;
      yield item;
    }
  }
}

/** Plays a history, lets every reader read to the end, and checks each on the way. */
async function play({ ops, events, isPlain }: History): Promise<void> {
  const runHistory = { events };
  const log = isPlain ? plain(memoryLog({ runHistory })) : memoryLog({ runHistory });
  const make = (): [Hub, Handler] => {
    const hub = createHub({ log, runHistory, logger: quietLogger, maxBufferedBytes: 300 });
    const authenticate = () => ({ session: "reader", channels: ["answer"] });
    return [hub, createHandler(hub, { authenticate })];
  };
  const hubs = [make(), make()];
  const ledger = new RunLedger(events);
  let at = 0;
  const ask = (id: string | undefined) => {
    const headers = new Headers(id === undefined ? [] : [["Last-Event-ID", id]]);
    return hubs[at]![1](new Request("http://localhost/api/v1/sse/runs/answer", { headers }));
  };
  const readers = Array.from({ length: 4 }, () => new RunReader(ledger, ask));
  let current: Current | undefined;
  let number = 0;

  const end = async (how: Extract<Op, { op: "end" }>["how"]): Promise<void> => {
    const { run, published, hub, source } = current!;
    current = undefined;
    published.end = how === "done" || how === "failed" || how === "lost" ? how : "stopped";
    if (how === "done") source.push(undefined);
    else if (how === "failed") source.push(new Error("failed"));
    else if (how === "stopped") await run.stop();
    else if (how === "stopped elsewhere") await hubs[1 - hub]![0].stopRun("answer");
    else await restart(hub);
    const error = published.end === "done" ? {} : { error: published.end };
    assertEquals(await within(run.done, `the end ${how}`), error);
  };
  const restart = async (index: number): Promise<void> => {
    const [old] = hubs[index]!;
    hubs[index] = make();
    // Readers that take nothing would keep it for a second.
    for (const reader of readers) await reader.break();
    await old.close();
  };

  try {
    for (const step of ops) {
      switch (step.op) {
        case "begin": {
          if (current !== undefined) break;
          const source = new Feed();
          const run = await hubs[step.hub]![0].run("answer", source.events());
          current = new Current(run, ledger.begin(run.cursor), step.hub, source);
          break;
        }
        case "say": {
          if (current === undefined) break;
          const said = Array.from(
            { length: step.count },
            () => `${number++} ${"x".repeat(step.size)}`,
          );
          const { published, source, hub } = current;
          published.data.push(...said);
          source.push(...said);
          await until(
            () => hubs[hub]![0].runs()[0]?.events === published.data.length,
            "the log to hold what was said",
          );
          break;
        }
        case "end":
          if (current !== undefined) await end(step.how);
          break;
        case "open": {
          const reader = readers[step.reader]!;
          await reader.break();
          if (step.id === "garbage") reader.goTo("garbage");
          if (step.id === "none") reader.goTo(undefined);
          at = step.hub;
          const status = await reader.open();
          const expected = ledger.runs.size === 0 && reader.ended === undefined ? 404 : 200;
          assertEquals(status, reader.ended !== undefined && step.id === "own" ? 204 : expected);
          break;
        }
        case "read":
          await readers[step.reader]!.readSome(step.bytes);
          break;
        case "break":
          await readers[step.reader]!.break();
          break;
        case "restart": {
          if (current?.hub === step.hub) await end("lost");
          else await restart(step.hub);
        }
      }
    }
    if (current !== undefined) await end("done");
    if (ledger.runs.size === 0) return;
    for (const [i, reader] of readers.entries()) {
      at = i % 2;
      if (reader.ended === undefined) {
        await reader.readToEnd(() => 300 + (number * 37 + i * 11) % 900);
      }
    }
  } finally {
    for (const reader of readers) await reader.break();
    for (const [hub] of hubs) await hub.close();
    await log.close?.();
  }
}

test("readers of runs have exactly what was published, whatever happens", async () => {
  const runs = cases("STREAMSIDE_TEST_RUNS", 150, 10_000);
  await fc.assert(fc.asyncProperty(history, play), { numRuns: runs });
});
