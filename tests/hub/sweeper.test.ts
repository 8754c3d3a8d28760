/**
 * What comes with time, in a time of its own: heartbeats, ends, stalls and draining, and a process that was away.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createHub, type Hub, type HubOptions, type SubscribeOptions } from "../../mod.ts";
import { Connection } from "../../src/hub/connection.ts";
import { Deadlines } from "../../src/hub/deadlines.ts";
import { Registry } from "../../src/hub/registry.ts";
import { quietLogger } from "../server-helpers.ts";
import { turn, type VirtualTime, withVirtualTime } from "./delivery-time.ts";

const STALL_TIMEOUT = 60_000;

/** A stream that is read when a test says so. */
class Tap {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  isDone = false;

  constructor(hub: Hub, session: string, options?: SubscribeOptions) {
    this.#reader = hub.subscribe(session, options).getReader();
  }

  /** Takes the next chunk, or the end. */
  async take(): Promise<string> {
    const { done, value } = await this.#reader.read();
    this.isDone = done;
    return this.#decoder.decode(value);
  }

  /** Takes all there is until the end. */
  async rest(): Promise<string> {
    let text = "";
    while (!this.isDone) text += await this.take();
    return text;
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

/** A hub in a time of its own, and why its connections ended. */
async function inTime(
  options: HubOptions,
  run: (hub: Hub, time: VirtualTime, ended: string[]) => Promise<void>,
): Promise<void> {
  await withVirtualTime(async (time) => {
    const hub = createHub({ logger: quietLogger, stallTimeout: STALL_TIMEOUT, ...options });
    const ended: string[] = [];
    hub.on("disconnect", ({ session, reason }) => ended.push(`${session}: ${reason}`));
    await run(hub, time, ended);
  });
}

/** Whether any timer is left, once what runs has run its course. */
async function assertNoTimers(time: VirtualTime): Promise<void> {
  for (let i = 0; i < 5; i++) await turn();
  // A fan-out may still wait for its time.
  await time.advance(100);
  assertEquals(time.timers, 0, "a timer is left behind");
}

describe("stalls", () => {
  test("a reader that takes nothing for stallTimeout is closed, and not before", () =>
    inTime({}, async (hub, time, ended) => {
      const [taking, stalled] = [new Tap(hub, "taking"), new Tap(hub, "stalled")];
      await Promise.all([taking.take(), stalled.take()]);
      const rest = taking.rest();
      await hub.broadcast("e", 1);
      for (let waited = 0; waited < STALL_TIMEOUT; waited += 15_000) {
        assertEquals(ended, []);
        await time.advance(15_000);
      }
      await time.advance(15_000);
      assertEquals(ended, ["stalled: stalled"]);
      void hub.disconnect("taking");
      await time.advance(100);
      assert((await rest).includes("data: 1"));
      await assertNoTimers(time);
    }));

  test("a stream that nobody begins to read is closed", () =>
    inTime({}, async (hub, time, ended) => {
      hub.subscribe("ada");
      await time.advance(STALL_TIMEOUT - 1);
      assertEquals(ended, []);
      await time.advance(STALL_TIMEOUT / 4 + 1);
      assertEquals(ended, ["ada: stalled"]);
      await assertNoTimers(time);
    }));

  for (const seconds of [10, 44, 59]) {
    test(`the time that the process was away counts for nobody, after ${seconds} s`, () =>
      inTime({}, async (hub, time, ended) => {
        const tap = new Tap(hub, "ada");
        await tap.take();
        await hub.send("ada", "e", "before");
        await time.advance(seconds * 1_000);
        // Timers are late by what it was away, and the first to run.
        time.now += 120_000;
        await time.advance(1);
        assertEquals(ended, []);
        await hub.send("ada", "e", "after");
        assert((await tap.take()).includes("data: before"));
        // Awake, it counts again.
        await time.advance(STALL_TIMEOUT + 30_000);
        assertEquals(ended, ["ada: stalled"]);
      }));
  }

  test("nor for a reader whose connection has ended, and who has not taken the rest", () =>
    inTime({}, async (hub, time) => {
      const tap = new Tap(hub, "ada");
      await tap.take();
      await hub.send("ada", "e", "the last");
      await time.advance(50_000);
      const disconnected = hub.disconnect("ada");
      await time.advance(5_000);
      time.now += 120_000;
      await time.advance(1);
      assert((await tap.rest()).includes("data: the last"));
      await disconnected;
      await assertNoTimers(time);
    }));
});

describe("no timer is left behind", () => {
  const last: Record<string, (hub: Hub, tap: Tap, time: VirtualTime) => Promise<unknown>> = {
    "when the last reader goes away": (_, tap) => tap.cancel(),
    "when it is disconnected and takes the rest": async (hub, tap) => {
      const disconnected = hub.disconnect("ada");
      await turn();
      await Promise.all([tap.rest(), disconnected]);
    },
    "when it is disconnected and goes away": async (hub, tap) => {
      await hub.disconnect("ada");
      await tap.cancel();
    },
    "when it expires and takes the rest": async (_, tap, time) => {
      await time.advance(20_000);
      await tap.rest();
    },
    "when the hub closes": async (hub, tap, time) => {
      const closed = hub.close();
      await turn();
      await tap.rest();
      await time.advance(10);
      await closed;
    },
  };
  for (const [name, end] of Object.entries(last)) {
    test(name, () =>
      inTime({}, async (hub, time) => {
        const tap = new Tap(hub, "ada", { expires: time.now + 20_000 });
        await tap.take();
        await end(hub, tap, time);
        await assertNoTimers(time);
        if (hub.draining) return;
        // The next one has heartbeats and an end again.
        const next = new Tap(hub, "grace", { expires: time.now + 20_000 }).rest();
        await turn();
        await time.advance(20_000);
        assertMatch(await next, /^:$/m, "a heartbeat");
      }));
  }
});

describe("deadlines", () => {
  test("connections end in the order of their deadlines, each at its own", () =>
    inTime({ heartbeat: 1e9, stallTimeout: 1e9 }, async (hub, time, ended) => {
      const began = time.now;
      const due = [70, 20, 90, 20, 50, 10_000, 30];
      const taps = due.map((after, i) => new Tap(hub, `${i}`, { expires: began + after }));
      for (const tap of taps) void tap.rest();
      await taps[4]!.cancel();
      for (
        const [after, expected] of [
          [19, ["4: client"]],
          [20, ["1: expired", "3: expired"]],
          [30, ["6: expired"]],
          [89, ["0: expired"]],
          [10_000, ["2: expired", "5: expired"]],
        ] as const
      ) {
        await time.advance(began + after - time.now);
        assertEquals(ended.splice(0), [...expected]);
      }
      await assertNoTimers(time);
    }));

  test("are found without a look at the others, also when some leave before theirs", () => {
    let looks = 0;
    const deadlines = new Deadlines();
    const group = new Registry().group([]);
    const owner = { drained: () => {}, gone: () => {} };
    const connections = Array.from({ length: 10_000 }, (_, number) => {
      // Each whole number once, in no order.
      const deadline = (number * 7_919) % 10_000;
      const connection = new Connection(
        owner,
        {
          number,
          session: "s",
          channels: new Set(),
          position: undefined,
          deadline,
          deadlineReason: "expired",
        },
        group,
        0,
      );
      Object.defineProperty(connection, "deadline", { get: () => (looks++, deadline) });
      deadlines.add(connection);
      return connection;
    });
    for (const connection of connections) {
      if (connection.number % 3 === 0) deadlines.remove(connection);
    }
    const order: number[] = [];
    looks = 0;
    for (let { first } = deadlines; first; { first } = deadlines) {
      order.push((first.number * 7_919) % 10_000);
      deadlines.remove(first);
      deadlines.remove(first);
    }
    const left = connections.filter(({ number }) => number % 3 !== 0);
    assertEquals(order, left.map(({ number }) => (number * 7_919) % 10_000).sort((a, b) => a - b));
    assertEquals(deadlines.next, Infinity);
    assert(looks < order.length * 60, `${looks} looks for ${order.length} connections`);
  });
});

describe("draining", () => {
  test("ends the streams evenly over its time", () =>
    inTime({}, async (hub, time, ended) => {
      const rest = Array.from({ length: 100 }, (_, i) => new Tap(hub, `${i}`).rest());
      await turn();
      const closed = hub.close({ within: 1_000 });
      for (let elapsed = 0; elapsed <= 1_000; elapsed += 50) {
        await turn();
        assertEquals(ended.length, elapsed / 10, `after ${elapsed} ms`);
        await time.advance(50);
      }
      await Promise.all([closed, ...rest]);
      await assertNoTimers(time);
    }));

  test("cuts off a reader that takes nothing a second after its time", () =>
    inTime({}, async (hub, time, ended) => {
      const tap = new Tap(hub, "ada");
      await tap.take();
      let isClosed = false;
      const closed = hub.close({ within: 1_000 }).then(() => isClosed = true);
      await time.advance(1_100);
      assertEquals([ended, isClosed], [["ada: closed"], false]);
      await time.advance(850);
      assertEquals(isClosed, false);
      await time.advance(100);
      await closed;
      await tap.rest();
      await assertNoTimers(time);
    }));
});
