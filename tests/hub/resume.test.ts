/**
 * Resuming: a client that comes back with the id it saw last gets what it missed, once and in order, or is told that
 * there is a gap.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHub, type Hub, memoryLog } from "../../mod.ts";
import { TaggedEngine } from "../log/tagged-engine.ts";
import {
  EventReader,
  quietLogger,
  servers,
  until,
  withHub,
  withService,
} from "../server-helpers.ts";

/** Sends numbered events to a session, and returns their ids. */
async function sendNumbers({ hub }: { hub: Hub }, from: number, to: number) {
  const ids: string[] = [];
  for (let i = from; i < to; i++) ids.push((await hub.send("ada", "n", i)).id);
  return ids;
}

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => String(from + i));

for (const [name, serve] of Object.entries(servers)) {
  describe(`resuming (${name})`, () => {
    test("by Last-Event-ID or ?lastEventId=; the header wins, an empty one counts for nothing", () =>
      withService({ serve }, async (service) => {
        const ids = await sendNumbers(service, 0, 10);
        const resume = async (query: string, header?: string) => {
          const headers = header === undefined ? undefined : { "Last-Event-ID": header };
          const reader = await service.subscribe("ada", query, headers);
          await service.hub.send("ada", "mark", "");
          const data: string[] = [];
          for (let e = await reader.event(); e.event !== "mark"; e = await reader.event()) {
            if (e.event === "n") data.push(e.data!);
          }
          await reader.cancel();
          return data;
        };
        assertEquals(await resume("", ids[4]), numbers(5, 10));
        assertEquals(await resume(`?lastEventId=${ids[6]}`), numbers(7, 10));
        assertEquals(await resume(`?lastEventId=${ids[1]}`, ids[8]), numbers(9, 10));
        assertEquals(await resume(`?lastEventId=${ids[8]}`, ""), numbers(9, 10));
        assertEquals(await resume("?lastEventId="), []);
        assertEquals(await resume(""), []);
      }));

    test("a connection that breaks again and again during a burst misses nothing and sees nothing twice", () =>
      withService({ serve }, async (service) => {
        const total = 2000;
        let lastId = service.hub.cursor();
        const sending = (async () => {
          for (let i = 0; i < total; i++) {
            // Not awaited one by one: they leave in bursts, with other people's between.
            service.hub.send("ada", "n", i);
            service.hub.send("grace", "n", "not yours");
            if (i % 25 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
          }
        })();
        const seen: string[] = [];
        for (let round = 1; seen.length < total; round++) {
          const reader = await service.subscribe("ada", "", { "Last-Event-ID": lastId });
          for (let i = 0; i < 1 + (round * 37) % 101 && seen.length < total; i++) {
            const event = await reader.event();
            seen.push(event.data!);
            lastId = event.id!;
          }
          await reader.cancel();
        }
        await sending;
        assertEquals(seen, numbers(0, total));
        assertEquals(service.hub.stats().resets, 0);
      }));

    test("a cursor that the log does not hold: a reset at once, then live, and its id goes on from there", () =>
      withService({ serve, hub: { history: { events: 3 } } }, async (service) => {
        const ids = await sendNumbers(service, 0, 10);
        await until(() => service.hub.stats().historyEvents === 3, "the rest to be forgotten");
        const [epoch] = ids[0]!.split("-");
        const unknown = [
          ids[9]!.replace(/^./, (first) => first === "a" ? "b" : "a"), // another epoch, a position that is held
          ids[0], // trimmed
          ids[5], // trimmed, the last that is not complete any more
          `${epoch}-1000`, // a position that the log has not come to
          `${epoch}-99999999999999999999`,
          `${epoch}-1.5`,
          `${epoch}-`,
          `${epoch}-01`,
          "garbage",
          "-",
          "é".repeat(100),
          "x".repeat(2000),
        ];
        for (const cursor of unknown) {
          for (const inQuery of [true, false]) {
            const header = encodeURIComponent(cursor!) === cursor ? cursor : "not ascii";
            const reader = await service.subscribe(
              "ada",
              inQuery ? `?lastEventId=${encodeURIComponent(cursor!)}` : "",
              inQuery ? {} : { "Last-Event-ID": header },
            );
            const reset = await reader.event();
            assertEquals(reset.event, "streamside:reset", cursor);
            assertEquals(reset.id, service.hub.cursor());
            const [live] = await sendNumbers(service, 100, 101);
            const event = await reader.event();
            assertEquals([event.data, event.id], ["100", live]);
            await reader.cancel();

            const again = await service.subscribe("ada", "", { "Last-Event-ID": reset.id! });
            assertEquals((await again.event()).data, "100");
            await again.cancel();
          }
        }
        // What is held whole is no reason for one.
        const held = await sendNumbers(service, 0, 4);
        const reader = await service.subscribe("ada", "", { "Last-Event-ID": held[0]! });
        assertEquals(await reader.data(3), ["1", "2", "3"]);
      }));

    test("cursor(), rendered into a page, then subscribe: nothing between is missed", () =>
      withService({ serve }, async (service) => {
        await sendNumbers(service, 0, 3);
        const cursor = service.hub.cursor();
        await sendNumbers(service, 3, 6);
        const reader = await service.subscribe("ada", `?lastEventId=${cursor}`);
        await sendNumbers(service, 6, 8);
        assertEquals(await reader.data(5), numbers(3, 8));
      }));
  });
}

describe("what a resume gives", () => {
  test("nothing twice, and no reset, from the id that a stream begins with, however late it is read", () =>
    withHub({ history: { events: 2 } }, async (hub) => {
      const stream = new EventReader(hub.subscribe("ada"));
      for (let i = 0; i < 5; i++) await hub.send("grace", "n", i);
      await until(() => hub.stats().historyEvents === 2, "the rest to be forgotten");
      const { id } = await stream.block();
      assertEquals(id, hub.cursor());
      await stream.cancel();
    }));

  test("everything, from the cursor of a hub that had sent nothing yet", () =>
    withHub({}, async (hub) => {
      const lastEventId = hub.cursor();
      hub.send("ada", "n", 1);
      const stream = new EventReader(hub.subscribe("ada", { lastEventId }));
      assertEquals(await stream.data(1), ["1"]);
    }));

  test("only what is addressed to this session and the channels that are granted now", async () => {
    let channels = ["news", "sport"];
    const authenticate = (request: Request) => ({
      session: request.headers.get("X-Session-Id")!,
      channels,
    });
    await withService({ handler: { authenticate } }, async (service) => {
      const { hub } = service;
      const cursor = hub.cursor();
      hub.send("ada", "e", "ada's");
      hub.send("grace", "e", "grace's");
      hub.publish("news", "e", "news");
      hub.publish("sport", "e", "sport");
      hub.publish("weather", "e", "weather");
      hub.broadcast("e", "not grace's", { except: "grace" });
      await hub.broadcast("e", "end");
      const seen = async (session: string, query = "") => {
        const reader = await service.subscribe(session, query, { "Last-Event-ID": cursor });
        const data: string[] = [];
        for (let d = ""; d !== "end"; data.push(d)) [d] = await reader.data(1) as [string];
        return data;
      };
      assertEquals(await seen("ada"), ["ada's", "news", "sport", "not grace's", "end"]);
      assertEquals(await seen("grace"), ["grace's", "news", "sport", "end"]);
      assertEquals(await seen("grace", "?channel=sport"), ["grace's", "sport", "end"]);
      channels = ["sport"];
      assertEquals(await seen("ada"), ["ada's", "sport", "not grace's", "end"]);
      // A 403 would have an `EventSource` give up.
      assertEquals(await seen("ada", "?channel=news"), ["ada's", "not grace's", "end"]);
    });
  });

  test("with a key: only the newest for a reader that was away, every one for a reader that was there", () =>
    withService({}, async (service) => {
      const { hub } = service;
      const cursor = hub.cursor();
      const there = await service.subscribe("ada");
      for (let i = 0; i < 5; i++) {
        await hub.send("ada", "progress", i, { key: "sync" });
        assertEquals(await there.data(1), [String(i)]);
        await hub.send("ada", "progress", `other ${i}`, { key: "backup" });
        await there.event();
        await hub.send("grace", "progress", i, { key: "sync" });
        await hub.broadcast("progress", `all ${i}`, { key: "sync", except: i === 4 ? "ada" : [] });
        if (i < 4) await there.event();
        await hub.send("ada", "plain", `plain ${i}`);
        await there.event();
      }
      const away = await service.subscribe("ada", "", { "Last-Event-ID": cursor });
      assertEquals(await away.data(8), [
        "plain 0",
        "plain 1",
        "plain 2",
        "all 3", // the newest of its key that is for this session
        "plain 3",
        "4",
        "other 4",
        "plain 4",
      ]);
    }));

  test("from a log that holds more than the process does", () =>
    withService({
      hub: { log: memoryLog({ events: 5000 }), history: { events: 20 }, maxBufferedBytes: 4096 },
    }, async (service) => {
      const { hub } = service;
      const cursor = hub.cursor();
      const [ada, grace]: [string[], string[]] = [[], []];
      const send = async (from: number, to: number) => {
        for (let i = from; i < to; i++) {
          if (i % 3 === 0) hub.send("ada", "e", i), ada.push(`${i}`);
          else if (i % 3 === 1) hub.publish("sport", "e", i), grace.push(`${i}`);
          else {
            hub.broadcast("e", i, { except: i % 2 === 0 ? "ada" : "grace" });
            (i % 2 === 0 ? grace : ada).push(`${i}`);
          }
        }
        await hub.broadcast("mark", "");
      };
      await send(0, 3000);
      assert(hub.stats().historyEvents <= 20, `the window holds ${hub.stats().historyEvents}`);
      const readers = [
        await service.subscribe("ada", "?channel=news", { "Last-Event-ID": cursor }),
        await service.subscribe("grace", "?channel=sport", { "Last-Event-ID": cursor }),
      ];
      // Live ones come behind, and none of those that were missed is lost or doubled.
      await send(3000, 3500);
      for (const [i, reader] of readers.entries()) {
        const data: string[] = [];
        for (let marks = 0; marks < 2;) {
          const event = await reader.event();
          if (event.event === "mark") marks++;
          else data.push(event.data!);
        }
        assertEquals(data, [ada, grace][i]);
      }
      assertEquals(hub.stats().resets, 0);
    }));

  test("a reader that lags beyond the history: a reset where the gap is, and what comes after it", () =>
    withHub({ history: { events: 10 } }, async (hub) => {
      const stream = hub.subscribe("ada");
      for (let i = 0; i < 50; i++) await hub.send("ada", "n", i);
      await until(() => hub.stats().historyEvents === 10, "the fan-out to leave it behind");
      const reader = new EventReader(stream);
      const reset = await reader.event();
      assertEquals([reset.event, reset.id], ["streamside:reset", hub.cursor()]);
      await sendNumbers({ hub }, 50, 55);
      assertEquals(await reader.data(5), numbers(50, 55));
      assertEquals(hub.stats().resets, 1);
    }));

  test("a reader that was sent nothing while the history moved on gets no reset when it lags then", () =>
    withHub({ history: { events: 2 } }, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      for (let i = 0; i < 10; i++) await hub.send("grace", "n", i);
      await until(() => hub.stats().historyEvents === 2, "the rest to be forgotten");
      await hub.send("ada", "n", "mine");
      await until(() => hub.stats().lagging === 1, "the fan-out");
      assertEquals(await reader.data(1), ["mine"]);
      assertEquals(hub.stats().resets, 0);
      await reader.cancel();
    }));

  test("hundreds that resume at once, each from its own place, while events flow", () =>
    withService({}, async (service) => {
      const ids = [service.hub.cursor(), ...await sendNumbers(service, 0, 200)];
      const readers = ids.map((id) =>
        new EventReader(service.hub.subscribe("ada", { lastEventId: id }))
      );
      await sendNumbers(service, 200, 210);
      for (const [i, reader] of readers.entries()) {
        assertEquals(await reader.data(210 - i), numbers(i, 210));
        await reader.cancel();
      }
    }));
});

describe("resuming what a log holds", () => {
  for (
    const [what, history] of [
      ["from the log", { events: 1 }],
      ["from a window that is filled", {}],
    ] as const
  ) {
    test(`what is transient is not for who comes afterwards: ${what}`, async () => {
      const engine = new TaggedEngine();
      const hubs = [createHub({ log: engine.connect(), logger: quietLogger })];
      try {
        const [hub] = hubs as [Hub];
        const cursor = hub.cursor();
        await hub.send("ada", "n", 1);
        await hub.send("ada", "n", "own", { transient: true });
        await hub.publish("news", "n", "channel", { transient: true });
        await hub.broadcast("n", "all", { transient: true });
        await hub.send("ada", "n", 2);
        const later = createHub({ log: engine.connect(), logger: quietLogger, history });
        hubs.push(later);
        const channels = ["news"];
        const readers = [
          new EventReader(later.subscribe("ada", { channels, lastEventId: cursor })),
          new EventReader(later.subscribe("ada", { channels, lastEventId: hub.cursor() })),
          new EventReader(later.subscribe("ada", { channels })),
        ];
        await later.send("ada", "n", "mark");
        const data: string[][] = [];
        for (const reader of readers) {
          const heard: string[] = [];
          for (let e = await reader.event(); e.data !== "mark"; e = await reader.event()) {
            heard.push(e.data!);
          }
          data.push(heard);
          await reader.cancel();
        }
        assertEquals(data, [["1", "2"], [], []]);
      } finally {
        await Promise.all(hubs.map((hub) => hub.close()));
      }
    });
  }
});
