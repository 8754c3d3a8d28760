/**
 * Cursors of a log that gives tags and can lose data, and the window of a hub that starts on a log with a history.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  createHub,
  type Hub,
  type HubOptions,
  type Log,
  type LogEntry,
  type LogFollower,
  memoryLog,
  StreamsideError,
} from "../../mod.ts";
import { TaggedEngine } from "../log/tagged-engine.ts";
import {
  EventReader,
  quietLogger,
  recordingLogger,
  until,
  withHub,
  within,
  withService,
} from "../server-helpers.ts";

/** What a reader gets that resumes from an id: `reset`, or the data of the next so many events. */
async function resume(hub: Hub, lastEventId: string, count = 1): Promise<string[]> {
  const reader = new EventReader(hub.subscribe("ada", { lastEventId }));
  const found: string[] = [];
  while (found.length < count) {
    const { event, data } = await reader.event();
    found.push(event === "streamside:reset" ? "reset" : data!);
    if (found[0] === "reset") break;
  }
  await reader.cancel();
  return found;
}

async function withServers(
  engine: TaggedEngine,
  count: number,
  run: (hubs: Hub[]) => Promise<void>,
  options: HubOptions = {},
): Promise<void> {
  const hubs = Array.from(
    { length: count },
    () => createHub({ log: engine.connect(), logger: quietLogger, ...options }),
  );
  try {
    await run(hubs);
  } finally {
    await Promise.all(hubs.map((hub) => hub.close()));
  }
}

async function send(hub: Hub, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push((await hub.broadcast("e", i)).id);
  return ids;
}

describe("ids of a log that gives tags", () => {
  test("all that are sent carry the tag of the entry there: events, preamble, heartbeat, reset, cursor()", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 1, async ([hub]) => {
      const tagOf = (id: string | undefined) => {
        const [, epoch, position, tag] = /^(\w+)-(\d+)-(\w+)$/.exec(id ?? "") ?? [];
        assertEquals(epoch, engine.epoch, `the id ${id}`);
        const entry = engine.entries.find((entry) => entry.position === Number(position));
        assertEquals(tag, entry?.tag, `the id ${id}`);
      };
      for (const id of await send(hub!, 3)) tagOf(id);
      tagOf(hub!.cursor());
      const reader = new EventReader(hub!.subscribe("ada"));
      tagOf((await reader.block()).id);
      await send(hub!, 1);
      tagOf((await reader.event()).id);
      tagOf((await reader.block()).id);
      const foreign = new EventReader(hub!.subscribe("ada", { lastEventId: "other-3-t" }));
      await foreign.block();
      const reset = await foreign.event();
      assertEquals(reset.event, "streamside:reset");
      tagOf(reset.id);
      await reader.cancel();
      await foreign.cancel();
    }, { heartbeat: 30 });
  });

  test("a stream that is read late begins with the right id, though the window has forgotten its entry", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 1, async ([hub]) => {
      const [, at] = await send(hub!, 2);
      await until(() => hub!.cursor() === at, "the hub is told");
      const stream = hub!.subscribe("ada");
      await send(hub!, 50);
      await until(() => hub!.stats().historyEvents === 1, "the window to forget");
      const reader = new EventReader(stream);
      assertEquals((await reader.block()).id, at);
      assertEquals((await reader.events(50)).length, 50);
      await reader.cancel();
    }, { history: { events: 1 } });
  });

  for (const [where, history] of Object.entries({ window: {}, log: { events: 2 } })) {
    test(`a resume whose tag is of another entry is a reset, from the ${where}`, () => {
      const engine = new TaggedEngine({ events: 20 });
      return withServers(engine, 1, async ([hub]) => {
        const ids = await send(hub!, 25);
        await until(() => hub!.cursor() === ids.at(-1), "the hub is told");
        await until(() => hub!.stats().historyEvents <= 25, "the window to forget");
        const [epoch, position, tag] = ids[9]!.split("-");
        const other = ids[10]!.split("-")[2];
        assertEquals(await resume(hub!, ids[9]!, 3), ["10", "11", "12"]);
        for (
          const id of [
            `${epoch}-${position}-${other}`,
            `${epoch}-${position}`,
            `${epoch}-${Number(position) + 1}-${tag}`,
            `${epoch}-${Number(position) + 1}`,
            `${epoch}-${position}-${tag}-`,
            `${epoch}-${position}-`,
            `${epoch}-99999-${tag}`,
          ]
        ) assertEquals(await resume(hub!, id), ["reset"], id);
        if (where === "window") return;
        // The last that the window has forgotten.
        assertEquals(await resume(hub!, ids[22]!, 2), ["23", "24"]);
        assertEquals(await resume(hub!, ids[22]!.replace(/[^-]+$/, other!)), ["reset"]);
        // The last that the log has trimmed: all after it is held.
        assertEquals(engine.start.position, 15);
        assertEquals(await resume(hub!, ids[4]!, 2), ["5", "6"]);
        assertEquals(await resume(hub!, ids[3]!), ["reset"]);
        assertEquals(await resume(hub!, `${epoch}-15-${tag}`), ["reset"]);
      }, { history });
    });
  }

  test("an id of a lost entry is a reset, also when no server is left that saw it; one before the loss is good", async () => {
    const engine = new TaggedEngine();
    let ids: string[] = [];
    await withServers(engine, 2, async ([hub]) => {
      ids = await send(hub!, 10);
    });
    engine.lose(2);
    await withServers(engine, 1, async ([hub]) => {
      assertEquals(hub!.cursor().split("-")[0], ids[0]!.split("-")[0], "the same epoch");
      assertEquals(await resume(hub!, ids[9]!), ["reset"], "it is gone");
      assertEquals(await resume(hub!, ids[8]!), ["reset"], "another has its position");
      assertEquals(await resume(hub!, ids[6]!, 2), ["7", "after the loss"]);
    });
  });

  test("a loss that servers see resets every reader on each, in one new epoch", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 2, async (hubs) => {
      const readers = hubs.map((hub) => new EventReader(hub.subscribe("ada")));
      for (const reader of readers) await reader.block();
      const ids = await send(hubs[0]!, 5);
      for (const reader of readers) await reader.events(5);
      engine.lose(2);
      for (const reader of readers) assertEquals((await reader.event()).event, "streamside:reset");
      assertEquals(hubs[0]!.cursor(), hubs[1]!.cursor());
      const { id } = await hubs[1]!.broadcast("e", "after");
      for (const reader of readers) assertEquals((await reader.event()).id, id);
      for (const hub of hubs) assertEquals(await resume(hub, ids[0]!), ["reset"]);
      for (const reader of readers) await reader.cancel();
    });
  });

  test("an outage and a restart with all data cost nobody a reset; health is 503 meanwhile", () => {
    const engine = new TaggedEngine();
    return withService({ hub: { log: engine.connect(), heartbeat: 20 } }, async (service) => {
      const health = async () => {
        const response = await fetch(`${service.base}/health`);
        return [response.status, (await response.json()).status];
      };
      const reader = await service.subscribe("ada");
      await service.hub.broadcast("e", "before");
      assertEquals((await reader.event()).data, "before");
      assertEquals(await health(), [200, "ok"]);
      const restore = await engine.interrupt();
      assertEquals(await health(), [503, "log-unavailable"]);
      assertMatch(String((await reader.block()).id), /^\w+-3-\w+$/);
      restore();
      assertEquals(await health(), [200, "ok"]);
      await service.hub.broadcast("e", "after");
      assertEquals((await reader.event()).data, "after");
      assertEquals(service.hub.stats().resets, 0);
      await reader.cancel();
    });
  });

  test("a server that was away until entries were trimmed ends its streams: their clients resume or are reset", () => {
    const engine = new TaggedEngine({ events: 5 });
    return withServers(engine, 1, async ([hub]) => {
      const reader = new EventReader(hub!.subscribe("ada"));
      await reader.block();
      await send(hub!, 1);
      const { id } = await reader.event();
      const reasons: string[] = [];
      hub!.on("disconnect", ({ reason }) => reasons.push(reason));
      const restore = await engine.interrupt();
      for (let i = 0; i < 10; i++) engine.append({ to: "*", event: "e", data: `missed ${i}` });
      restore();
      const last = await reader.rest();
      assertEquals(reasons, ["log"]);
      assertEquals(last.filter(({ data }) => data !== undefined), []);
      assertMatch(last.at(-1)!.retry!, /^\d+$/);
      assertEquals(await resume(hub!, id!), ["reset"]);
      const [epoch, ,] = id!.split("-");
      const { position, tag } = engine.start;
      assertEquals(await resume(hub!, `${epoch}-${position}-${tag}`), ["missed 5"]);
    });
  });
});

describe("a hub that starts on a log with a history", () => {
  test("fills its window once, with what it has room for: clients that resume do not ask the log", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 1, async ([first]) => {
      const ids = await send(first!, 700);
      engine.reads = 0;
      await withServers(engine, 1, async ([later]) => {
        // Asked at once, before it has filled its window.
        const readers = ids.slice(-290).map((lastEventId) =>
          new EventReader(later!.subscribe("ada", { lastEventId }))
        );
        const got = await Promise.all(readers.map((reader, i) => reader.data(289 - i)));
        for (const [i, data] of got.entries()) {
          assertEquals(data, Array.from({ length: 289 - i }, (_, j) => `${411 + i + j}`));
        }
        for (const reader of readers) await reader.cancel();
        assert(engine.reads < 20, `the log was read ${engine.reads} times`);
        assertEquals(later!.stats().historyEvents, 300);
        const { reads } = engine;
        assertEquals(await resume(later!, ids[398]!), ["399"], "what it has no room for");
        assert(engine.reads > reads);
      }, { history: { events: 300 } });
    });
  });

  test("before it is filled, a cursor whose tag is of another entry is a reset all the same", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 1, async ([first]) => {
      const ids = await send(first!, 20);
      const tag = ids[10]!.split("-")[2];
      const wrong = ids.map((id) => id.replace(/[^-]+$/, tag!)).filter((id) => !ids.includes(id));
      await withServers(engine, 1, async ([later]) => {
        const resumed = await Promise.all(wrong.map((id) => resume(later!, id)));
        assertEquals(resumed, wrong.map(() => ["reset"]));
      });
    });
  });

  test("by bytes, and no more of the log than it keeps", () => {
    const log = memoryLog();
    return withHub({ log }, async (first) => {
      for (let i = 0; i < 3_000; i++) await first.broadcast("e", "x".repeat(1_000));
      let read = 0;
      const counted: Log = {
        follow: (follower) => log.follow(follower),
        append: (record) => log.append(record),
        async read(after, limit) {
          const entries = await log.read(after, limit);
          read += entries?.length ?? 0;
          return entries;
        },
      };
      await withHub({ log: counted, history: { bytes: 500_000 } }, async (later) => {
        await until(() => later.stats().historyEvents > 0, "the window to be filled");
        const { historyEvents, historyBytes } = later.stats();
        assert(historyEvents > 300 && historyBytes <= 500_000, `${historyEvents} events`);
        assert(read < 1_100, `${read} entries were read for ${historyEvents}`);
      });
    });
  });

  test("while events come in: those before, and those since, once and in order", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 1, async ([first]) => {
      const [id] = await send(first!, 250);
      await withServers(engine, 1, async ([later]) => {
        const reader = new EventReader(later!.subscribe("ada", { lastEventId: id! }));
        for (let i = 250; i < 300; i++) await first!.broadcast("e", i);
        const expected = Array.from({ length: 299 }, (_, i) => `${i + 1}`);
        assertEquals(await reader.data(299), expected);
        assertEquals(later!.stats().historyEvents, 300);
        await reader.cancel();
      });
    });
  });

  test("where the log cannot be read then, it goes on without, and clients ask the log", () => {
    const engine = new TaggedEngine();
    return withServers(engine, 1, async ([first]) => {
      const ids = await send(first!, 5);
      const inner = engine.connect();
      let isFailing = true;
      const log: Log = {
        follow: (follower) => inner.follow(follower),
        append: (record) => inner.append(record),
        read: (after, limit) =>
          isFailing ? Promise.reject(new Error("not now")) : inner.read(after, limit),
      };
      const lines: string[] = [];
      const logger = recordingLogger([]);
      const hub = createHub({
        log,
        logger: { ...logger, error: (...data) => lines.push(data.map(String).join(" ")) },
      });
      await until(() => lines.length > 0, "the failure is logged");
      assertMatch(lines[0]!, /filling the window .*not now/);
      isFailing = false;
      assertEquals(await resume(hub, ids[0]!, 4), ["1", "2", "3", "4"]);
      await hub.close();
    });
  });
});

describe("what a log hands over", () => {
  const place = (position: number, tag?: string) =>
    tag === undefined ? { position } : { position, tag };

  function manual(): { log: Log; follower: () => LogFollower } {
    let follower!: LogFollower;
    const log: Log = {
      follow: (given) => {
        follower = given;
        return () => {};
      },
      append: () => Promise.resolve({ position: 1 }),
      read: () => Promise.resolve(null),
    };
    return { log, follower: () => follower };
  }

  const entry = (position: number, record: object = {}, tag?: string): LogEntry => ({
    ...place(position, tag),
    time: 0,
    record: { to: "*", event: "e", data: `${position}`, ...record },
  });

  test("an invalid epoch, position or tag is refused, and so are positions that do not grow", () =>
    withHub({ log: manual().log }, () => {
      const { log, follower } = manual();
      createHub({ log, logger: quietLogger });
      const refused = (call: () => void, says: RegExp) => {
        const error = assertThrows(call, StreamsideError);
        assertEquals(error.code, "invalid-argument");
        assertMatch(error.message, says);
      };
      const open = (...args: unknown[]) =>
        (follower().opened as (...args: unknown[]) => void)(...args);
      for (const epoch of ["", "a b", "é", "a\n", 7, undefined, "x".repeat(257)]) {
        refused(() => open(epoch, place(0), place(0)), /epoch must be/);
      }
      refused(() => open("e", 5, 0), /head needs a position/);
      refused(() => open("e", place(5)), /start needs a position/);
      refused(() => open("e", place(-1), place(0)), /got -1/);
      refused(() => open("e", place(1.5), place(0)), /got 1\.5/);
      refused(() => open("e", place(1, "a\nb"), place(0)), /tag must be/);
      refused(() => open("e", place(1), place(2)), /begins \(2\) at its head \(1\)/);
      open("e", place(5, "a"), place(3, "b"));
      follower().appended([entry(6, {}, "c")]);
      refused(() => follower().appended([entry(6, {}, "d")]), /must grow, got 6-d after 6-c/);
      refused(() => follower().appended([entry(8), entry(7)]), /must grow, got 7 after 8/);
      refused(() => follower().appended([entry(9, {}, "a b")]), /tag must be/);
      refused(() => open("e", place(5, "a"), place(3, "b")), /needs another epoch/);
      return Promise.resolve();
    }));

  test("a record that would forge a field or an event goes to nobody; what comes after it does", async () => {
    const { log, follower } = manual();
    const lines: string[] = [];
    const logger = { ...quietLogger, error: (...data: unknown[]) => lines.push(data.join(" ")) };
    await withHub({ log, logger }, async (hub) => {
      follower().opened("e", place(0), place(0));
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      const invalid = [
        { event: "a\ndata: forged" },
        { event: 7 },
        { data: undefined },
        { to: "*\nx" },
        { to: "ada" },
        { to: "*", except: "ada" },
        { key: 7 },
      ];
      follower().appended(invalid.map((record, i) => entry(i + 1, record)));
      follower().appended([{ ...entry(20), record: null as never }, entry(21)]);
      assertEquals(await reader.event(), { event: "e", data: "21", id: "e-21" });
      assertEquals(lines.length, invalid.length + 1);
      assertMatch(lines[0]!, /entry 1 of the log is invalid/);
      await reader.cancel();
    });
  });

  test("a cursor ahead of the hub that turns out to be of another entry is one reset, and no second", async () => {
    const { log, follower } = manual();
    let answer!: (entries: null) => void;
    const read = () => new Promise<null>((resolve) => answer = resolve);
    await withHub({ log: { ...log, read } }, async (hub) => {
      follower().opened("e", place(0), place(0));
      const reader = new EventReader(hub.subscribe("ada", { lastEventId: "e-1-other" }));
      await reader.block();
      follower().appended([entry(1, {}, "a")]);
      answer(null);
      const reset = await reader.event();
      assertEquals([reset.event, reset.id], ["streamside:reset", "e-1-a"]);
      for (let i = 2; i < 5; i++) follower().appended([entry(i, {}, "a")]);
      await until(() => hub.stats().lagging === 1, "the reader lags");
      assertEquals(await within(reader.data(3), "the events"), ["2", "3", "4"]);
      assertEquals(hub.stats().resets, 1);
      await reader.cancel();
    });
  });

  test("an answer to append that is not a position is refused", () => {
    const { log, follower } = manual();
    return withHub({ log: { ...log, append: () => Promise.resolve(7 as never) } }, async (hub) => {
      follower().opened("e", place(0), place(0));
      const error = await hub.broadcast("e", 1).then(() => undefined, (error: unknown) => error);
      assert(error instanceof StreamsideError);
      assertMatch(error.message, /answer to append needs a position/);
    });
  });
});

test("a send with an idempotencyKey that was sent already resolves to the first one's id, and stands once", () =>
  withHub({}, async (hub) => {
    const reader = new EventReader(hub.subscribe("ada"));
    await reader.block();
    const first = await hub.send("ada", "paid", 1, { idempotencyKey: "order 7" });
    const again = await hub.send("ada", "paid", 1, { idempotencyKey: "order 7" });
    assertEquals(again.id, first.id);
    const other = await hub.send("ada", "paid", 2, { idempotencyKey: "order 8" });
    assert(other.id !== first.id);
    assertEquals((await reader.events(2)).map(({ id }) => id), [first.id, other.id]);
    for (const idempotencyKey of ["", 7, "a\nb", "x".repeat(1_025)]) {
      const options = { idempotencyKey: idempotencyKey as string };
      const error = await hub.broadcast("e", 1, options).then(() => undefined, (error) => error);
      assertEquals((error as StreamsideError).code, "invalid-argument");
    }
    await reader.cancel();
  }));

test("memoryLog knows the last 10 000 idempotency keys", async () => {
  const log = memoryLog({ events: 10 });
  const append = async (idempotencyKey: string) =>
    (await log.append({ to: "*", event: "e", data: "", idempotencyKey })).position;
  assertEquals([await append("first"), await append("second")], [1, 2]);
  for (let i = 0; i < 9_999; i++) await append(`${i}`);
  assertEquals(await append("second"), 2);
  assertEquals(await append("first"), 10_002);
});

test("a hub closes the log that it made, and no other", async () => {
  const engine = new TaggedEngine();
  const log = engine.connect();
  let closed = 0;
  const close = log.close!.bind(log);
  log.close = () => {
    closed++;
    return close();
  };
  await withHub({ log }, async (hub) => {
    await within(hub.close(), "close");
    assertEquals(closed, 0);
    await log.append({ to: "*", event: "e", data: "" });
  });
});
