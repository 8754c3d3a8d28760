/**
 * The log behind a hub: what memoryLog holds, hubs that share one, and logs that fail or begin anew.
 *
 * @module
 */
import { describe, test } from "node:test";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  createHandler,
  createHub,
  type Hub,
  type Log,
  type LogEntry,
  type LogFollower,
  type Logger,
  type LogPosition,
  type LogRecord,
  memoryLog,
  StreamsideError,
} from "../../mod.ts";
import { type EncodedEntry, EntryWriter } from "../../src/log/entry.ts";
import { turn } from "../hub/delivery-time.ts";
import {
  authenticate,
  EventReader,
  quietLogger,
  recordingLogger,
  refusedForNow,
  until,
  untilIdle,
  withHub,
  within,
  withService,
} from "../server-helpers.ts";

const text = (entry: EncodedEntry): string =>
  new TextDecoder().decode(entry.page.subarray(entry.start, entry.end));
/** A string as it arrives: a lone surrogate is none of Unicode's. */
const wellFormed = (data: string): string =>
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(data));
const record = (data: string): LogRecord => ({ to: "*", event: "e", data });
const entryAt = (position: number, data = `${position}`): LogEntry => ({
  position,
  time: 0,
  record: record(data),
});
const at = (position: number): LogPosition => ({ position });

describe("memoryLog", () => {
  test("gives each entry a place and its bytes, tells followers in order, reads from any place", async () => {
    const log = memoryLog();
    const told: string[] = [];
    const follower: LogFollower = {
      opened: (epoch, head) => told.push(`opened ${epoch.length > 0} ${head.position}`),
      appended: (entries) => told.push(...entries.map((entry) => `${entry.position}`)),
      failed: (error) => told.push(String(error)),
    };
    const stop = log.follow(follower);
    const positions: number[] = [];
    for (const data of ["a", "b", "c", "d"]) {
      positions.push((await log.append(record(data))).position);
    }
    assertEquals(told, ["opened true 0", ...positions.map(String)]);
    stop();
    await log.append(record("e"));
    assertEquals(told.length, 5);

    const all = (await log.read(at(0), 100))!;
    assertEquals(all.map(({ record }) => record), [..."abcde"].map(record));
    assertEquals((await log.read(at(positions[1]!), 2))!.map(({ position }) => position), [
      positions[2],
      positions[3],
    ]);
    assertEquals(await log.read(at(all.at(-1)!.position), 10), []);
    assertEquals(await log.read(at(all.at(-1)!.position + 1), 10), null);
    assertEquals(await log.read({ position: 1, tag: "a" }, 10), null, "it gives no tags");
  });

  test("is bounded by events, by bytes, by age: what is trimmed reads as null, not as a gap", async () => {
    const byEvents = memoryLog({ events: 3 });
    for (let i = 1; i <= 10; i++) await byEvents.append(record(`${i}`));
    assertEquals(await byEvents.read(at(6), 10), null);
    assertEquals((await byEvents.read(at(7), 10))!.length, 3);

    const byBytes = memoryLog({ bytes: 1500 });
    for (let i = 1; i <= 10; i++) await byBytes.append(record("x".repeat(250)));
    assertEquals(await byBytes.read(at(6), 10), null);
    assertEquals((await byBytes.read(at(7), 10))!.length, 3);
    await byBytes.append(record("x".repeat(2000)));
    assertEquals(
      await byBytes.read(at(10), 10),
      null,
      "an entry larger than the bound is not held",
    );
    const bytes = 3 * (174 + new EntryWriter("8letters").write(entryAt(1, "x")).end);
    const exact = memoryLog({ bytes });
    for (let i = 1; i <= 4; i++) await exact.append(record("x"));
    assertEquals((await exact.read(at(1), 10))!.length, 3, "as many as fit to the byte are held");

    const few = memoryLog({ bytes: 1000 });
    const except = Array.from({ length: 400 }, (_, i) => `${i}`);
    for (let i = 1; i <= 2; i++) await few.append({ ...record("x"), except });
    assertEquals(await few.read(at(1), 10), null, "names in `except` count");

    const byAge = memoryLog({ age: 50 });
    await byAge.append(record("old"));
    assertEquals((await byAge.read(at(0), 10))!.length, 1);
    const appended = Date.now();
    while (Date.now() <= appended + 55) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(await byAge.read(at(0), 10), null);
    assertEquals(await byAge.read(at(1), 10), []);
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

describe("EntryWriter", () => {
  test("keeps every event whole, wherever in a page it falls, whatever characters it is of", () => {
    const writer = new EntryWriter("e");
    const entries: EncodedEntry[] = [];
    const characters = ["a", "é", "世", "👩‍🚀", "\ud800", "\udc00"];
    const sent: string[] = [];
    let seed = 1;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    for (let i = 0; i < 400; i++) {
      const character = characters[random(characters.length)]!;
      const length = random(4) === 0 ? random(40_000) : random(60);
      sent.push(character.repeat(length) + characters[random(characters.length)]);
      entries.push(writer.write(entryAt(i + 1, sent[i]!)));
    }
    // Looked at in the end: none was written over by those that came later.
    for (const [i, data] of sent.entries()) {
      const [, rest] = text(entries[i]!).split(`event: e\ndata: ${wellFormed(data)}\nid: `);
      assert(/^[^\n]+-\d+\n\n$/.test(rest!), `event ${i}, of ${data.length} characters`);
    }
  });

  test("fills a page to its last byte, and begins another with what is a byte longer", () => {
    const size = ({ start, end }: EncodedEntry) => end - start;
    for (const over of [-1, 0, 1]) {
      for (const last of ["x", "é", "世", "\ud800", "👩"]) {
        const writer = new EntryWriter("e");
        const first = writer.write(entryAt(1, "x"));
        const empty = size(writer.write(entryAt(2, "")));
        const left = first.page.length - size(first) - empty;
        const tail = new TextEncoder().encode(last).length;
        const data = "x".repeat(left + over - empty - tail) + last;
        const filling = writer.write(entryAt(3, data));
        assertEquals(size(filling), left + over, `${last} ${over}`);
        assertEquals(filling.page === first.page, over <= 0, `${last} ${over}`);
        const next = writer.write(entryAt(4, "next"));
        assertEquals(text(first), "event: e\ndata: x\nid: e-1\n\n");
        assert(text(filling).endsWith(`x${wellFormed(last)}\nid: e-3\n\n`), `${last} ${over}`);
        assertEquals(text(next), "event: e\ndata: next\nid: e-4\n\n");
      }
    }
  });

  test("small events share pages, also with large ones in between, which take what they need", () => {
    const writer = new EntryWriter("e");
    const large = "x".repeat(100_000);
    const pages = new Set<Uint8Array>();
    let bytes = 0;
    for (let i = 1; i <= 200; i++) {
      const { page, start, end } = writer.write(entryAt(i, i % 2 === 0 ? large : "small"));
      pages.add(page);
      bytes += end - start;
    }
    const held = [...pages].reduce((sum, page) => sum + page.length, 0);
    assert(held - bytes < 65_536, `${pages.size} pages of ${held} bytes for ${bytes}`);
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

  append(record: LogRecord): Promise<LogPosition> {
    if (this.failing || !this.#log) return Promise.reject(this.failing ?? new Error("not open"));
    return this.#log.append(record);
  }

  read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    if (this.failing || !this.#log) return Promise.reject(this.failing ?? new Error("not open"));
    return this.#log.read(after, limit);
  }
}

describe("a log that fails", () => {
  test("before it is open: subscribe, cursor and send are refused; the handler says log-unavailable", () =>
    withHub({ log: new TestLog() }, async (hub) => {
      for (const call of [() => hub.subscribe("ada"), () => hub.cursor()]) {
        assertEquals(assertThrows(call, StreamsideError).code, "log-unavailable");
      }
      const error = await assertRejects(() => hub.send("ada", "e", 1), StreamsideError);
      assertEquals(error.code, "log-unavailable");
      assertEquals((error.cause as Error).message, "not open");
      const handler = createHandler(hub, { authenticate });
      const { status, code } = await refusedForNow(handler(
        new Request("http://localhost/api/v1/sse/subscribe", {
          headers: { "X-Session-Id": "ada" },
        }),
      ));
      assertEquals([status, code], [503, "log-unavailable"]);
    }));

  test("on append: log-unavailable, nothing is sent; 503 over HTTP; afterwards all goes on", async () => {
    const log = new TestLog();
    log.open();
    await withService({ hub: { log }, handler: { authorize: () => true } }, async (service) => {
      const reader = await service.subscribe("ada");
      log.failing = new Error("the disk is full: secret detail");
      const messages: string[] = [];
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
        assertStringIncludes(error.message, "may or may not be in the log");
        messages.push(error.message);
      }
      for (const message of messages.slice(0, 3)) assertStringIncludes(message, "the event");
      assertStringIncludes(messages[3]!, "the disconnect");
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

  test("a log that begins anew, its data gone: everyone gets a reset, and all goes on in the new epoch", async () => {
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

  test("a log that begins anew while a disconnect is on its way does not hold it, nor close()", () => {
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

  test("entries of a log of one's own are delivered", () => {
    let follower!: LogFollower;
    const log: Log = {
      follow: (given) => {
        follower = given;
        given.opened("mine", at(41), at(41));
        return () => {};
      },
      append: () => Promise.reject(new Error("read only")),
      read: () => Promise.resolve(null),
    };
    return withHub({ log }, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      // Positions may have gaps.
      follower.appended([42, 50].map((position) => entryAt(position)));
      assertEquals((await reader.events(2)).map(({ id }) => id), ["mine-42", "mine-50"]);
    });
  });
});

/** A log whose every answer is given by hand. */
class ManualLog implements Log {
  follower!: LogFollower;
  isFollowed = false;
  readonly appends: { record: LogRecord; answer: (at: LogPosition) => void }[] = [];
  readonly reads: { after: LogPosition; answer: (entries: LogEntry[] | null) => void }[] = [];

  /** Opens with nothing in it but what is told from then on, unless it begins further back. */
  open(epoch: string, head: number, start = head): void {
    this.follower.opened(epoch, at(head), at(start));
  }

  /** Entries at these positions, their data being the position. */
  entries(...positions: number[]): LogEntry[] {
    return positions.map((position) => entryAt(position));
  }

  /** Tells of what was appended, at these positions. */
  tell(...positions: number[]): void {
    const entries = positions.map((position, i) => ({
      position,
      time: 0,
      record: this.appends[i]!.record,
    }));
    this.appends.splice(0, positions.length);
    this.follower.appended(entries);
  }

  follow(follower: LogFollower): () => void {
    this.follower = follower;
    this.isFollowed = true;
    return () => this.isFollowed = false;
  }

  append(record: LogRecord): Promise<LogPosition> {
    return new Promise((answer) => this.appends.push({ record, answer }));
  }

  read(after: LogPosition): Promise<LogEntry[] | null> {
    return new Promise((answer) => this.reads.push({ after, answer }));
  }
}

describe("a log that takes its time", () => {
  const data = (blocks: { data?: string }[]) => blocks.map(({ data }) => data);

  test("opens later: until then subscribe and cursor are refused, and then all is well", async () => {
    const log = new ManualLog();
    await withHub({ log }, async (hub) => {
      assertEquals(
        assertThrows(() => hub.subscribe("ada"), StreamsideError).code,
        "log-unavailable",
      );
      const early = hub.broadcast("e", "early");
      log.open("late", 7);
      assertEquals(hub.cursor(), "late-7");
      const reader = new EventReader(hub.subscribe("ada"));
      assertEquals((await reader.block()).id, "late-7");
      log.appends[0]!.answer(at(12));
      assertEquals((await early).id, "late-12");
      log.tell(12);
      assertEquals(await reader.event(), { event: "e", data: "early", id: "late-12" });
      await reader.cancel();
    });
  });

  test("an append that is answered before the log is open, or when it began anew, may be lost", async () => {
    const log = new ManualLog();
    await withHub({ log }, async (hub) => {
      const refused = async (meanwhile: () => void) => {
        const sent = hub.broadcast("e", 1);
        meanwhile();
        log.appends.shift()!.answer(at(1));
        assertEquals((await assertRejects(() => sent, StreamsideError)).code, "log-unavailable");
      };
      await refused(() => {});
      log.open("a", 0);
      await refused(() => log.open("b", 0));
      assertEquals(hub.stats().events, 0);
    });
  });

  test("a read that is answered before anybody reads the stream waits until somebody does", async () => {
    const log = new ManualLog();
    await withHub({ log, history: { events: 1 } }, async (hub) => {
      log.open("e", 5);
      // A cursor of another server, which has come further than this one.
      const stream = hub.subscribe("ada", { lastEventId: "e-8" });
      await until(() => log.reads.length === 1, "the read");
      assertEquals(log.reads.map(({ after }) => after.position), [8]);
      log.follower.appended(log.entries(6, 7, 8, 9, 10));
      await until(() => hub.stats().historyEvents === 1, "the window to forget");
      log.reads.shift()!.answer(log.entries(9, 10));
      await turn();
      const reader = new EventReader(stream);
      assertEquals(await reader.block(), { retry: "2000", id: "e-8" });
      const events = reader.events(2);
      await until(() => log.reads.length === 1, "another read");
      log.reads.shift()!.answer(log.entries(9, 10));
      assertEquals(data(await events), ["9", "10"]);
      await reader.cancel();
    });
  });

  test("a cursor that the log has come to, and this hub not: nothing before it when it comes", async () => {
    const log = new ManualLog();
    await withHub({ log }, async (hub) => {
      log.open("e", 3);
      log.follower.appended(log.entries(4, 5));
      const reader = new EventReader(hub.subscribe("ada", { lastEventId: "e-8" }));
      await reader.block();
      const events = reader.events(2);
      await turn();
      log.reads.shift()!.answer(log.entries(9, 10));
      await turn();
      log.follower.appended(log.entries(6, 7, 8, 9, 10));
      assertEquals(data(await events), ["9", "10"]);
      await reader.cancel();
    });
  });

  test("a read that finds nothing up to where the window begins: live from there", async () => {
    const log = new ManualLog();
    await withHub({ log }, async (hub) => {
      log.open("e", 10);
      const reader = new EventReader(hub.subscribe("ada", { lastEventId: "e-8" }));
      await reader.block();
      const events = reader.events(1);
      // Once for what was joined and left since, and once for the events.
      for (const what of ["changes", "events"]) {
        await until(() => log.reads.length === 1, `the read of ${what}`);
        log.reads.shift()!.answer([]);
      }
      await until(() => hub.stats().lagging === 0, "the reader to be live");
      log.follower.appended(log.entries(14));
      assertEquals(data(await events), ["14"]);
      await reader.cancel();
    });
  });

  test("a read that goes on beyond a disconnect: the stream ends where that stands", async () => {
    const log = new ManualLog();
    await withHub({ log, history: { events: 1 } }, async (hub) => {
      log.open("e", 0);
      log.follower.appended(log.entries(1, 2, 3));
      await until(() => hub.stats().historyEvents === 1, "the window to forget");
      const reader = new EventReader(hub.subscribe("ada", { lastEventId: "e-0" }));
      await reader.block();
      const rest = reader.rest();
      await until(() => log.reads.length === 1, "the read");
      const disconnected = hub.disconnect("ada");
      log.appends[0]!.answer(at(4));
      log.tell(4);
      log.follower.appended(log.entries(5, 6));
      await disconnected;
      await until(() => hub.stats().historyEvents === 1, "the window to forget");
      log.reads.shift()!.answer(log.entries(1, 2, 3, 5, 6));
      assertEquals(data(await rest), ["1", "2", "3"]);
    });
  });

  test("a read that is answered in another life, or to nobody any more, counts for nothing", async () => {
    const log = new ManualLog();
    const lines: [keyof Logger, string][] = [];
    await withHub({ log, logger: recordingLogger(lines) }, async (hub) => {
      log.open("a", 10);
      // From the same place they would share a read.
      const [reader, gone] = ["a-8", "a-7"].map((lastEventId) =>
        new EventReader(hub.subscribe("ada", { lastEventId }))
      ) as [EventReader, EventReader];
      for (const each of [reader, gone]) await each.block();
      const reset = reader.event();
      const never = gone.rest();
      await until(() => log.reads.length === 2, "the reads");
      await gone.cancel();
      await never;
      log.reads.pop()!.answer(log.entries(9));
      await turn();
      log.open("b", 0);
      assertEquals((await reset).event, "streamside:reset");
      log.follower.appended(log.entries(1));
      await until(() => hub.stats().lagging === 1, "the fan-out");
      log.reads.pop()!.answer(null);
      await turn();
      assertEquals((await reader.event()).data, "1");
      assertEquals(hub.stats().resets, 1);
      assertEquals(lines.filter(([level]) => level === "error"), []);
      await reader.cancel();
    });
  });

  test("a read that throws ends the stream that asked, and no other", async () => {
    const log = new ManualLog();
    await withHub({ log, history: { events: 1 } }, async (hub) => {
      log.open("e", 5);
      const healthy = new EventReader(hub.subscribe("ada"));
      await healthy.block();
      log.follower.appended(log.entries(6, 7));
      assertEquals(data(await healthy.events(2)), ["6", "7"]);
      log.read = () => {
        throw new Error("not even a promise");
      };
      const reasons: string[] = [];
      hub.on("disconnect", ({ reason }) => reasons.push(reason));
      const broken = new EventReader(hub.subscribe("ada", { lastEventId: "e-5" }));
      assertEquals((await broken.rest()).filter(({ data }) => data !== undefined), []);
      assertEquals(reasons, ["log"]);
      log.follower.appended(log.entries(8));
      assertEquals(data(await healthy.events(1)), ["8"]);
      await healthy.cancel();
    });
  });

  test("begins anew before it told of a disconnect: this hub's streams end all the same", async () => {
    for (const isAnswered of [true, false]) {
      const log = new ManualLog();
      await withHub({ log }, async (hub) => {
        log.open("a", 0);
        const reader = new EventReader(hub.subscribe("ada"));
        await reader.block();
        const disconnecting = hub.disconnect("ada");
        const answer = async () => {
          log.appends.shift()!.answer(at(1));
          await turn();
        };
        if (isAnswered) await answer();
        log.open("b", 0);
        const late = new EventReader(hub.subscribe("ada"));
        if (!isAnswered) await answer();
        await within(disconnecting, "the disconnect");
        assertEquals(hub.stats().connections, 1);
        await reader.rest();
        await late.cancel();
      });
    }
  });

  test("a disconnect that is never told of ends with the hub", async () => {
    const log = new ManualLog();
    const hub = createHub({ log, logger: quietLogger });
    log.open("a", 0);
    const disconnecting = hub.disconnect("ada");
    log.appends.shift()!.answer(at(1));
    await turn();
    await hub.close();
    await within(disconnecting, "the disconnect");
    assertEquals(log.isFollowed, false);
  });

  test("that says again that it is open, in the same life, changes nothing", async () => {
    const log = new ManualLog();
    await withHub({ log }, async (hub) => {
      log.open("a", 5);
      const reader = new EventReader(hub.subscribe("ada", { lastEventId: "a-5" }));
      await reader.block();
      const events = reader.events(2);
      log.follower.appended(log.entries(6));
      log.open("a", 6);
      log.follower.appended(log.entries(7));
      assertEquals(data(await events), ["6", "7"]);
      assertEquals(hub.stats().resets, 0);
      await reader.cancel();
    });
  });

  test("an epoch that cannot stand in an id is refused", () => {
    const log = new ManualLog();
    return withHub({ log }, () => {
      for (const epoch of ["", "a b", "a\nb", "é", "x".repeat(257), undefined, 7]) {
        const error = assertThrows(() => log.open(epoch as string, 0), StreamsideError);
        assertEquals(error.code, "invalid-argument", String(epoch));
      }
    });
  });
});
