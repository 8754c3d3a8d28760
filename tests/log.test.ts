/**
 * The log behind a hub: what memoryLog holds, hubs that share one, and logs that fail or begin anew.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  createHandler,
  EntryWriter,
  type Hub,
  type Log,
  type LogEntry,
  type LogFollower,
  type Logger,
  type LogRecord,
  memoryLog,
  StreamsideError,
} from "../mod.ts";
import {
  authenticate,
  EventReader,
  recordingLogger,
  untilIdle,
  withHub,
  withService,
} from "./server-helpers.ts";

const text = (entry: LogEntry): string =>
  new TextDecoder().decode(entry.page.subarray(entry.start, entry.end));
const record = (data: string): LogRecord => ({ to: "*", event: "e", data });

describe("memoryLog", () => {
  test("gives each entry a place and its bytes, tells followers in order, reads from any place", async () => {
    const log = memoryLog();
    const told: string[] = [];
    const follower: LogFollower = {
      opened: (epoch, head) => told.push(`opened ${epoch.length > 0} ${head}`),
      appended: (entries) => told.push(...entries.map((entry) => `${entry.position}`)),
      failed: (error) => told.push(String(error)),
    };
    const stop = log.follow(follower);
    const positions: number[] = [];
    for (const data of ["a", "b", "c", "d"]) positions.push(await log.append(record(data)));
    assertEquals(told, ["opened true 0", ...positions.map(String)]);
    stop();
    await log.append(record("e"));
    assertEquals(told.length, 5);

    const all = (await log.read(0, 100))!;
    assertEquals(all.map(text).map((each) => /data: (.*)/.exec(each)![1]), [
      "a",
      "b",
      "c",
      "d",
      "e",
    ]);
    assert(text(all[0]!).startsWith("event: e\ndata: a\nid: "));
    assertEquals((await log.read(positions[1]!, 2))!.map(({ position }) => position), [
      positions[2],
      positions[3],
    ]);
    assertEquals(await log.read(all.at(-1)!.position, 10), []);
    assertEquals(await log.read(all.at(-1)!.position + 1, 10), null);
  });

  test("is bounded by events, by bytes, by age: what is trimmed reads as null, not as a gap", async () => {
    const byEvents = memoryLog({ events: 3 });
    for (let i = 1; i <= 10; i++) await byEvents.append(record(`${i}`));
    assertEquals(await byEvents.read(6, 10), null);
    assertEquals((await byEvents.read(7, 10))!.length, 3);

    const byBytes = memoryLog({ bytes: 1000 });
    for (let i = 1; i <= 10; i++) await byBytes.append(record("x".repeat(250)));
    assertEquals(await byBytes.read(6, 10), null);
    assertEquals((await byBytes.read(7, 10))!.length, 3);
    await byBytes.append(record("x".repeat(2000)));
    assertEquals(await byBytes.read(10, 10), null, "one that is larger than all is not held");

    const byAge = memoryLog({ age: 50 });
    await byAge.append(record("old"));
    assertEquals((await byAge.read(0, 10))!.length, 1);
    const appended = Date.now();
    while (Date.now() <= appended + 55) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(await byAge.read(0, 10), null);
    assertEquals(await byAge.read(1, 10), []);
  });

  test("refuses a bound that is none", () => {
    for (const bound of ["events", "bytes", "age"]) {
      for (const value of [0, -1, NaN, "1"]) {
        const error = assertThrows(() => memoryLog({ [bound]: value }), StreamsideError);
        assertEquals(error.code, "invalid-argument");
      }
    }
  });
});

describe("hubs on one log are one service", () => {
  test("sent on one, received on the other, in one order; resumed there with an id from here", () =>
    withTwoHubs(async (a, b) => {
      const readers = [
        new EventReader(a.subscribe("ada", { channels: ["news"] })),
        new EventReader(b.subscribe("ada", { channels: ["news"] })),
      ];
      for (let i = 0; i < 300; i++) {
        const hub = i % 2 === 0 ? a : b;
        if (i % 3 === 0) hub.send("ada", "e", i);
        else if (i % 3 === 1) hub.publish("news", "e", i);
        else hub.broadcast("e", i, { except: "grace" });
      }
      const [onA, onB] = await Promise.all(readers.map((reader) => reader.events(300)));
      assertEquals(onA!.map(({ data }) => Number(data)), [...Array(300).keys()]);
      assertEquals(onB, onA);
      assertEquals(a.cursor(), b.cursor());
      assertEquals((await a.send("ada", "e", "own")).connections, 1);

      const resumed = new EventReader(
        b.subscribe("ada", { channels: ["news"], lastEventId: onA![99]!.id }),
      );
      assertEquals(await resumed.events(200), onA!.slice(100));

      assertEquals([a.sessions(), b.sessions()], [["ada"], ["ada"]]);
      await a.disconnect("ada");
      for (const reader of [...readers, resumed]) await reader.rest();
      await untilIdle(a);
      await untilIdle(b);

      // One that closes takes nothing of the other with it.
      const left = new EventReader(b.subscribe("ada"));
      await a.close();
      await b.broadcast("e", "after");
      assertEquals((await left.event()).data, "after");
    }));

  test("a hub that comes later holds nothing itself, and resumes from the log", () => {
    const log = memoryLog();
    return withHub({ log }, async (first) => {
      const cursor = first.cursor();
      for (let i = 0; i < 5; i++) await first.broadcast("e", i);
      await withHub({ log }, async (later) => {
        assertEquals(later.cursor(), first.cursor());
        const reader = new EventReader(later.subscribe("ada", { lastEventId: cursor }));
        await first.broadcast("e", 5);
        assertEquals(await reader.data(6), ["0", "1", "2", "3", "4", "5"]);
      });
    });
  });

  function withTwoHubs(run: (a: Hub, b: Hub) => Promise<void>): Promise<void> {
    const log = memoryLog();
    return withHub({ log }, (a) => withHub({ log }, (b) => run(a, b)));
  }
});

/** A log in memory that a test can have fail, and begin anew. */
class TestLog implements Log {
  failing: Error | undefined;
  #log: Log | undefined;
  readonly #followers = new Map<LogFollower, () => void>();

  /** Opens, or begins anew: with another epoch. */
  open(): void {
    for (const stop of this.#followers.values()) stop();
    this.#log = memoryLog();
    for (const follower of this.#followers.keys()) {
      this.#followers.set(follower, this.#log.follow(follower));
    }
  }

  follow(follower: LogFollower): () => void {
    this.#followers.set(follower, this.#log ? this.#log.follow(follower) : () => {});
    return () => {
      this.#followers.get(follower)?.();
      this.#followers.delete(follower);
    };
  }

  append(record: LogRecord): Promise<number> {
    if (this.failing || !this.#log) return Promise.reject(this.failing ?? new Error("not open"));
    return this.#log.append(record);
  }

  read(after: number, limit: number): Promise<readonly LogEntry[] | null> {
    if (this.failing || !this.#log) return Promise.reject(this.failing ?? new Error("not open"));
    return this.#log.read(after, limit);
  }
}

describe("a log that fails", () => {
  test("before it is open: subscribe, cursor and send are refused; the handler answers 503", () =>
    withHub({ log: new TestLog() }, async (hub) => {
      for (const call of [() => hub.subscribe("ada"), () => hub.cursor()]) {
        assertEquals(assertThrows(call, StreamsideError).code, "log-unavailable");
      }
      const error = await assertRejects(() => hub.send("ada", "e", 1), StreamsideError);
      assertEquals(error.code, "log-unavailable");
      assertEquals((error.cause as Error).message, "not open");
      const handler = createHandler(hub, { authenticate });
      const response = await handler(
        new Request("http://localhost/api/v1/sse/subscribe", {
          headers: { "X-Session-Id": "ada" },
        }),
      );
      assertEquals([response.status, (await response.json()).code], [503, "log-unavailable"]);
      assert(Number(response.headers.get("Retry-After")) > 0);
    }));

  test("on append: log-unavailable, nothing is sent; 503 over HTTP; afterwards all goes on", async () => {
    const log = new TestLog();
    log.open();
    await withService({ hub: { log }, handler: { authorize: () => true } }, async (service) => {
      const reader = await service.subscribe("ada");
      log.failing = new Error("the disk is full: secret detail");
      for (
        const call of [
          () => service.hub.send("ada", "e", 1),
          () => service.hub.publish("news", "e", 1),
          () => service.hub.broadcast("e", 1),
          () => service.hub.disconnect("ada"),
        ]
      ) {
        const error = await assertRejects(call, StreamsideError);
        assertEquals(error.code, "log-unavailable");
        assertEquals(error.cause, log.failing);
      }
      const response = await service.post("/send", { session: "ada", event: "e", data: 1 });
      assertEquals(response.status, 503);
      assert(Number(response.headers.get("Retry-After")) > 0);
      assert(!(await response.text()).includes("secret detail"));
      assertEquals(service.hub.stats().events, 0);
      log.failing = undefined;
      await service.hub.send("ada", "e", "after");
      assertEquals((await reader.event()).data, "after");
    });
  });

  test("on read: the stream ends, its client comes back with the same cursor, and nothing is lost", () => {
    const log = new TestLog();
    log.open();
    const lines: [keyof Logger, string][] = [];
    const logger = recordingLogger(lines);
    return withHub({ log, history: { events: 2 }, logger }, async (hub) => {
      const cursor = hub.cursor();
      for (let i = 0; i < 10; i++) await hub.send("ada", "e", i);
      await new Promise((resolve) => setTimeout(resolve));
      log.failing = new Error("cannot read");
      const reasons: string[] = [];
      hub.on("disconnect", ({ reason }) => reasons.push(reason));
      const broken = new EventReader(hub.subscribe("ada", { lastEventId: cursor }));
      const blocks = await broken.rest();
      assertEquals(blocks.filter(({ data }) => data !== undefined), []);
      assertEquals(reasons, ["log"]);
      assert(
        lines.some(([level, line]) => level === "error" && line.includes("cannot read")),
      );
      log.failing = undefined;
      const again = new EventReader(hub.subscribe("ada", { lastEventId: cursor }));
      assertEquals(await again.data(10), [..."0123456789"]);
    });
  });

  test("one that begins anew, its data gone: everyone gets a reset, and all goes on in the new epoch", async () => {
    const log = new TestLog();
    log.open();
    await withService({ hub: { log } }, async (service) => {
      const readers = [await service.subscribe("ada"), await service.subscribe("grace")];
      const before = (await service.hub.broadcast("e", "before")).id;
      for (const reader of readers) assertEquals((await reader.event()).data, "before");
      log.open();
      for (const reader of readers) {
        const reset = await reader.event();
        assertEquals([reset.event, reset.id], ["streamside:reset", service.hub.cursor()]);
      }
      const { id } = await service.hub.broadcast("e", "after");
      assert(id.split("-")[0] !== before.split("-")[0], "another epoch");
      for (const reader of readers) assertEquals((await reader.event()).data, "after");
      // A cursor of the old epoch is foreign, though a position of that number exists again.
      const foreign = await service.subscribe("mary", "", { "Last-Event-ID": before });
      assertEquals((await foreign.event()).event, "streamside:reset");
      await service.hub.disconnect("ada");
      assertEquals(await readers[0]!.rest(), []);
      assertEquals(service.hub.sessions().sort(), ["grace", "mary"]);
    });
  });

  test("one that begins anew while a disconnect is on its way does not hold it, nor close()", () => {
    const log = new TestLog();
    log.open();
    return withHub({ log }, async (hub) => {
      for (let i = 0; i < 5; i++) await hub.broadcast("e", i);
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      const disconnecting = hub.disconnect("ada");
      log.open();
      await disconnecting;
      await reader.cancel();
    });
  });

  test("entries of a log of one's own, written with EntryWriter, are delivered", () => {
    let follower!: LogFollower;
    const log: Log = {
      follow: (given) => {
        follower = given;
        given.opened("mine", 41);
        return () => {};
      },
      append: () => Promise.reject(new Error("read only")),
      read: () => Promise.resolve(null),
    };
    return withHub({ log }, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      const writer = new EntryWriter("mine");
      // Positions may have gaps.
      follower.appended([42, 50].map((at) => writer.write(at, record(`${at}`), Date.now())));
      assertEquals((await reader.events(2)).map(({ id }) => id), ["mine-42", "mine-50"]);
    });
  });
});
