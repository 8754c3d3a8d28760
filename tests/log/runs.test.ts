/**
 * The runs of a log: who may append what, and how much is held.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  createHub,
  memoryLog,
  type RunHistoryOptions,
  type RunLog,
  type RunRecord,
} from "../../mod.ts";
import { until } from "../server-helpers.ts";

const A = "aaaaaaaaaaaaaaaa";
const B = "bbbbbbbbbbbbbbbb";

function record(
  type: RunRecord["type"],
  run: string,
  number = 0,
  more: Partial<RunRecord> = {},
): RunRecord {
  const event = type === "event" ? { event: "token", data: `${number}` } : {};
  return { type, run, channel: "answer", time: 7, number, ...event, ...more };
}

async function withRuns(
  runHistory: RunHistoryOptions,
  run: (runs: RunLog, told: RunRecord[]) => Promise<void>,
): Promise<void> {
  const log = memoryLog({ runHistory });
  const told: RunRecord[] = [];
  log.runs!.follow({
    opened: () => {},
    appended: (records) => told.push(...records),
    failed: () => {},
  });
  try {
    await run(log.runs!, told);
  } finally {
    await log.close?.();
  }
}

const add = (runs: RunLog, ...records: RunRecord[]) => runs.append(records);

describe("an entry of a run", () => {
  test("is taken only if its run goes on with it, and told once, in order", () =>
    withRuns({}, async (runs, told) => {
      assertEquals(await add(runs, record("event", A, 1), record("end", A), record("alive", A)), [
        false,
        false,
        false,
      ]);
      assertEquals(await add(runs, record("begin", A)), [true]);
      assertEquals(await add(runs, record("begin", A), record("begin", B)), [true, false]);
      assertEquals(await add(runs, record("event", B, 1), record("event", A, 1)), [false, true]);
      assertEquals(await add(runs, record("event", A, 1), record("event", A, 2)), [true, true]);
      assertEquals(await add(runs, record("alive", A), record("alive", B)), [true, false]);
      assertEquals(await add(runs, record("end", A, 0, { error: "lost" })), [true]);
      assertEquals(await add(runs, record("end", A), record("event", A, 3)), [false, false]);
      assertEquals(await add(runs, record("begin", A), record("begin", B)), [false, true]);
      assertEquals(told.map(({ type, run, number }) => `${type} ${run[0]} ${number}`), [
        ...["begin a 0", "event a 1", "event a 2", "alive a 0", "end a 0", "begin b 0"],
      ]);
      assertEquals(await runs.list(), [
        { run: A, channel: "answer", since: 7, events: 2, end: { error: "lost" } },
        { run: B, channel: "answer", since: 7, events: 0, end: undefined },
      ]);
      assertEquals(await runs.list("other"), []);
      const read = await runs.read(A, 1, 10);
      assertEquals(JSON.parse(JSON.stringify(read)), [record("event", A, 2)]);
      assertEquals(await runs.read(B, 0, 10), []);
    }));

  test("is refused by a log that is closed", async () => {
    const log = memoryLog();
    await log.close?.();
    await assertRejects(() => log.runs!.append([record("begin", A)]));
    await assertRejects(() => log.runs!.list());
    await assertRejects(() => log.runs!.read(A, 0, 1));
  });
});

describe("the history of runs", () => {
  test("has bounds for each run", async () => {
    await withRuns({ events: 3 }, async (runs) => {
      await add(runs, record("begin", A));
      for (let i = 1; i <= 10; i++) await add(runs, record("event", A, i));
      assertEquals((await runs.read(A, 0, 10)).map(({ number }) => number), [8, 9, 10]);
      assertEquals((await runs.list())[0]!.events, 10);
    });
    await withRuns({ bytes: 3_000 }, async (runs) => {
      await add(runs, record("begin", A));
      for (let i = 1; i <= 10; i++) {
        await add(runs, record("event", A, i, { data: "x".repeat(1_000) }));
      }
      assertEquals((await runs.read(A, 0, 10)).map(({ number }) => number), [9, 10]);
    });
  });

  test("forgets a run some time after its end, and no run that goes on", () =>
    withRuns({ age: 30 }, async (runs) => {
      await add(runs, record("begin", A), record("begin", B, 0, { channel: "other" }));
      await add(runs, record("end", A));
      let held = await runs.list();
      assertEquals(held.length, 2);
      await until(() => {
        void runs.list().then((list) => held = list);
        return held.length === 1;
      }, "the run to be forgotten");
      assertEquals(held[0]!.run, B);
      // Its channel may run again, under another id.
      assertEquals(await add(runs, record("begin", "cccccccccccccccc")), [true]);
    }));

  test("has a bound for all: ended runs go first, then the oldest events of the largest", () =>
    withRuns({ total: 60_000 }, async (runs) => {
      const ids = Array.from({ length: 3 }, (_, i) => `${i}`.repeat(16));
      for (const [i, id] of ids.entries()) {
        const more = { channel: `${i}` };
        await add(runs, record("begin", id, 0, more));
        await add(runs, record("event", id, 1, { ...more, data: "x".repeat(5_000) }));
        if (i > 0) await add(runs, record("end", id, 0, more));
      }
      const held = async () => (await runs.list()).map(({ run }) => run[0]);
      const more = { channel: "0", data: "x".repeat(5_000) };
      for (let i = 2; i <= 5; i++) await add(runs, record("event", ids[0]!, i, more));
      assertEquals(await held(), ["0", "1", "2"]);
      await add(runs, record("event", ids[0]!, 6, more));
      assertEquals(await held(), ["0", "2"]);
      for (let i = 7; i <= 20; i++) await add(runs, record("event", ids[0]!, i, more));
      assertEquals(await held(), ["0"]);
      const numbers = (await runs.read(ids[0]!, 0, 100)).map(({ number }) => number);
      assert(numbers.length >= 5 && numbers.length <= 10, `${numbers}`);
      assertEquals(numbers.at(-1), 20);
    }));

  test("pushes nobody's events out, and nobody pushes its", async () => {
    const hub = createHub({ history: { events: 3 }, runHistory: { events: 5 } });
    await hub.broadcast("tick", "kept");
    await (await hub.run("answer", Array(50).fill("x"))).done;
    assertEquals([hub.stats().historyEvents, hub.stats().runHistoryEvents], [1, 5]);
    for (let i = 0; i < 50; i++) await hub.broadcast("tick", "x");
    assertEquals(hub.stats().runHistoryEvents, 5);
    await hub.close();
    assertEquals([hub.stats().runHistoryEvents, hub.stats().runHistoryBytes], [0, 0]);
  });

  test("has valid bounds", () => {
    for (const name of ["events", "bytes", "age", "total"]) {
      const error = assertThrows(() => createHub({ runHistory: { [name]: 0 } })) as Error;
      assert(error.message.includes(`runHistory.${name}`), error.message);
    }
    assertThrows(() => createHub({ runTimeout: -1 }));
  });
});
