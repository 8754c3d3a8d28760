/**
 * The hub over real sockets: whom an event reaches, what it refuses to send, and what becomes of connections.
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
  createHub,
  type Hub,
  type HubEvents,
  type LogFollower,
  type LogPosition,
  type LogRecord,
  memoryLog,
  StreamsideError,
} from "../../mod.ts";
import { CONNECT, type InternalHub } from "../../src/hub/hub.ts";
import { streamOf } from "../../src/hub/stream-sink.ts";
import { turn, type VirtualTime, withVirtualTime } from "./delivery-time.ts";
import {
  type Block,
  EventReader,
  quietLogger,
  refusedForNow,
  servers,
  type Service,
  textOf,
  until,
  untilIdle,
  withHub,
  withService,
} from "../server-helpers.ts";

/** Sends an event that ends what a test looks at: to everyone, after all that was sent before. */
async function mark({ hub }: Service): Promise<void> {
  await hub.broadcast("mark", "");
}

/** The data of all events up to the mark. */
async function untilMark(reader: EventReader): Promise<string[]> {
  const data: string[] = [];
  for (let event = await reader.event(); event.event !== "mark"; event = await reader.event()) {
    data.push(`${event.event}:${event.data}`);
  }
  return data;
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`whom an event reaches (${name})`, () => {
    test("send: every connection of the session, and no other session", () =>
      withService({ serve }, async (service) => {
        const tabs = [await service.subscribe("ada"), await service.subscribe("ada")];
        const other = await service.subscribe("grace");
        const sent = await service.hub.send("ada", "progress", 75);
        assertEquals(sent.connections, 2);
        for (const tab of tabs) {
          assertEquals(await tab.event(), { event: "progress", data: "75", id: sent.id });
        }
        await mark(service);
        for (const reader of [...tabs, other]) assertEquals(await untilMark(reader), []);
        assertEquals(service.hub.sessions(), ["ada", "grace"]);
      }));

    test("publish: the channel's subscribers only; all that are granted unless some are named", () =>
      withService({ serve }, async (service) => {
        const both = await service.subscribe("ada");
        const news = await service.subscribe("grace", "?channel=news");
        const sport = await service.subscribe("mary", "?channel=sport");
        const twice = await service.subscribe("joan", "?channel=sport&channel=news&channel=news");
        assertEquals((await service.hub.publish("news", "n", 1)).connections, 3);
        assertEquals((await service.hub.publish("sport", "s", 2)).connections, 3);
        assertEquals((await service.hub.publish("weather", "w", 3)).connections, 0);
        await mark(service);
        assertEquals(await untilMark(both), ["n:1", "s:2"]);
        assertEquals(await untilMark(news), ["n:1"]);
        assertEquals(await untilMark(sport), ["s:2"]);
        assertEquals(await untilMark(twice), ["n:1", "s:2"]);
        assertEquals(service.hub.stats().channels, 2);
      }));

    test("broadcast: everyone but the sessions in `except`", () =>
      withService({ serve }, async (service) => {
        const readers = new Map<string, EventReader>();
        for (const session of ["ada", "grace", "mary"]) {
          readers.set(session, await service.subscribe(session));
        }
        const { hub } = service;
        assertEquals((await hub.broadcast("all", 1)).connections, 3);
        assertEquals((await hub.broadcast("one", 2, { except: "ada" })).connections, 2);
        const two = { except: ["ada", "grace", "ada", "nobody"] };
        assertEquals((await hub.broadcast("two", 3, two)).connections, 1);
        assertEquals((await hub.broadcast("none", 4, { except: [] })).connections, 3);
        await mark(service);
        assertEquals(await untilMark(readers.get("ada")!), ["all:1", "none:4"]);
        assertEquals(await untilMark(readers.get("grace")!), ["all:1", "one:2", "none:4"]);
        assertEquals(await untilMark(readers.get("mary")!), ["all:1", "one:2", "two:3", "none:4"]);
      }));

    test("publish: not to the sessions in `except`, live or back later; `key` counts for who gets it", () =>
      withService({ serve }, async (service) => {
        const { hub } = service;
        const ada = await service.subscribe("ada", "?channel=news");
        const grace = await service.subscribe("grace", "?channel=news");
        const elsewhere = await service.subscribe("ada", "?channel=sport");
        const from = hub.cursor();
        const except = "ada";
        assertEquals((await hub.publish("news", "all", 1, { key: "k" })).connections, 2);
        assertEquals((await hub.publish("news", "one", 2, { key: "k", except })).connections, 1);
        const both = { except: ["ada", "grace", "ada", "nobody"] };
        assertEquals((await hub.publish("news", "none", 3, both)).connections, 0);
        assertEquals((await hub.publish("sport", "s", 4, { except: "grace" })).connections, 1);
        await mark(service);
        assertEquals(await untilMark(ada), ["all:1"]);
        assertEquals(await untilMark(grace), ["all:1", "one:2"]);
        assertEquals(await untilMark(elsewhere), ["s:4"]);
        const back = (session: string) =>
          service.subscribe(session, `?channel=news&lastEventId=${from}`);
        assertEquals(await untilMark(await back("ada")), ["all:1"]);
        assertEquals(await untilMark(await back("grace")), ["one:2"]);
      }));

    test("transient: to who is live, in its place, without an id; never to who resumes", () =>
      withService({ serve }, async (service) => {
        const { hub } = service;
        const ada = await service.subscribe("ada", "?channel=news");
        const grace = await service.subscribe("grace", "?channel=news");
        const transient = true;
        const from = hub.cursor();
        const all = [
          hub.send("ada", "kept", 1, { key: "k" }),
          hub.send("ada", "typing", 2, { transient, key: "k" }),
          hub.publish("news", "kept", 3),
          hub.publish("news", "typing", 4, { transient, except: "grace" }),
          hub.broadcast("typing", "5\n6", { transient, except: ["grace"] }),
          hub.broadcast("kept", 7),
          hub.broadcast("typing", 8, { transient }),
        ];
        const sent = await Promise.all(all);
        assertEquals(sent.map(({ connections }) => connections), [1, 1, 2, 1, 1, 2, 2]);
        assertEquals(new Set(sent.map(({ id }) => id)).size, 7);
        assertEquals(hub.stats().historyEvents, 3);
        const id = (index: number) => sent[index]!.id;
        const kept = (index: number, data: string) => ({ event: "kept", data, id: id(index) });
        assertEquals(await ada.event(), kept(0, "1"));
        assertEquals(await ada.event(), { event: "typing", data: "2" });
        assertEquals(await ada.event(), kept(2, "3"));
        assertEquals(await ada.event(), { event: "typing", data: "4" });
        assertEquals(await ada.event(), { event: "typing", data: "5\n6" });
        assertEquals(await ada.event(), kept(5, "7"));
        assertEquals(await ada.event(), { event: "typing", data: "8" });
        assertEquals(await grace.event(), kept(2, "3"));
        assertEquals(await grace.event(), kept(5, "7"));
        assertEquals(await grace.event(), { event: "typing", data: "8" });
        await mark(service);
        const back = (lastEventId: string) =>
          service.subscribe("ada", `?channel=news&lastEventId=${lastEventId}`);
        assertEquals(await untilMark(await back(from)), ["kept:1", "kept:3", "kept:7"]);
        assertEquals(await untilMark(await back(id(1))), ["kept:3", "kept:7"], "its id is a place");
        assertEquals(await untilMark(await back(id(6))), []);
      }));

    test("replay: a first visit begins with the newest held events that are addressed to it", () =>
      withService({ serve }, async (service) => {
        const { hub } = service;
        const send = async (i: number) => {
          await hub.publish("news", "n", i);
          await hub.publish("sport", "s", i);
          await hub.send("ada", "own", i);
          await hub.send("grace", "own", i);
          await hub.broadcast("all", i, { except: "ada" });
          await hub.publish("news", "not", i, { except: ["ada"] });
          await hub.publish("news", "key", i, { key: "k" });
          await hub.publish("news", "typing", i, { transient: true });
        };
        for (let i = 0; i < 10; i++) await send(i);
        const get = (query: string) => service.subscribe("ada", `?channel=news&${query}`);
        const readers = {
          none: await get("replay=0"),
          one: await get("replay=1"),
          five: await get("replay=5"),
          all: await get("replay=999999999"),
          resumed: await get(`replay=5&lastEventId=${hub.cursor()}`),
        };
        await hub.publish("news", "live", 1);
        await mark(service);
        const all = Array.from({ length: 10 }, (_, i) => [`n:${i}`, `own:${i}`]).flat();
        const expected = [...all, "key:9"];
        assertEquals(await untilMark(readers.none), ["live:1"]);
        assertEquals(await untilMark(readers.one), ["key:9", "live:1"]);
        assertEquals(await untilMark(readers.five), [...expected.slice(-5), "live:1"]);
        assertEquals(await untilMark(readers.all), [...expected, "live:1"]);
        assertEquals(await untilMark(readers.resumed), ["live:1"]);
      }));

    test("a mixed burst arrives at each reader in the order it was sent", () =>
      withService({ serve }, async (service) => {
        const ada = await service.subscribe("ada", "?channel=news");
        const grace = await service.subscribe("grace", "?channel=sport");
        const { hub } = service;
        const sends: { heardBy: EventReader[]; send: (data: number) => Promise<unknown> }[] = [
          { heardBy: [ada], send: (i) => hub.send("ada", "e", i) },
          { heardBy: [grace], send: (i) => hub.send("grace", "e", i) },
          { heardBy: [ada], send: (i) => hub.publish("news", "e", i) },
          { heardBy: [grace], send: (i) => hub.publish("sport", "e", i) },
          { heardBy: [ada, grace], send: (i) => hub.broadcast("e", i) },
          { heardBy: [grace], send: (i) => hub.broadcast("e", i, { except: "ada" }) },
        ];
        const expected = new Map<EventReader, string[]>([[ada, []], [grace, []]]);
        for (let i = 0; i < 3000; i++) {
          // In steps of one and of two, so that the kinds do not always come in the same order.
          const { heardBy, send } = sends[Math.floor(i * 7 / 5) % sends.length]!;
          void send(i);
          for (const reader of heardBy) expected.get(reader)!.push(`e:${i}`);
        }
        await mark(service);
        assertEquals(await untilMark(ada), expected.get(ada));
        assertEquals(await untilMark(grace), expected.get(grace));
      }));

    test("data with CR, LF, CRLF and every kind of character arrives whole, line by line", () =>
      withService({ serve }, async (service) => {
        const reader = await service.subscribe("ada");
        const { hub } = service;
        for (
          const [data, expected = data] of [
            ["one\ntwo", "one\ntwo"],
            ["one\rtwo", "one\ntwo"],
            ["one\r\ntwo", "one\ntwo"],
            ["\n\r\n\r", "\n\n\n"],
            ["event: forged\nid: forged\n\ndata: forged\n\n"],
            [" leading", " leading"],
            [""],
            ["\0nul"],
            ["\u2028\u2029\u0085\v\f"],
            ["\uFEFFmark"],
            ["Grüße, 世界 👩‍🚀"],
            ["lone \ud800 surrogate", "lone \ufffd surrogate"],
          ] as [string, string?][]
        ) {
          const { id } = await hub.send("ada", "text", data);
          assertEquals(await reader.event(), { event: "text", data: expected, id });
        }
        await hub.send("ada", "json", { text: "a\nb", list: [1, null, true] });
        assertEquals((await reader.event()).data, '{"text":"a\\nb","list":[1,null,true]}');
      }));

    test("a client that goes away is forgotten, also one that never got an event", () =>
      withService({ serve }, async (service) => {
        const gone: HubEvents["disconnect"][] = [];
        service.hub.on("disconnect", (detail) => gone.push(detail));
        const idle = await service.subscribe("idle");
        const busy = await service.subscribe("busy");
        await service.hub.broadcast("e", 1);
        await busy.event();
        await idle.cancel();
        await until(() => gone.length === 1, "the idle one to be forgotten");
        await busy.cancel();
        await untilIdle(service.hub);
        assertEquals(gone, [
          { session: "idle", reason: "client" },
          { session: "busy", reason: "client" },
        ]);
        assertEquals((await service.hub.broadcast("e", 2)).connections, 0);
      }));

    test("a client that goes away while `authenticate` is at work is forgotten", async () => {
      let asked = () => {};
      let answer = () => {};
      const authenticate = async () => {
        asked();
        await new Promise<void>((resolve) => answer = resolve);
        return { session: "ada" };
      };
      await withService({ serve, handler: { authenticate } }, async (service) => {
        for (let i = 0; i < 6; i++) {
          const abort = new AbortController();
          const waits = new Promise<void>((resolve) => asked = resolve);
          const refused = assertRejects(() =>
            fetch(`${service.base}/subscribe`, { signal: abort.signal })
          );
          await waits;
          abort.abort();
          await refused;
          // Half of the answers come when the server may not have noticed yet, half when it has.
          if (i % 2 === 0) await (await fetch(`${service.base}/health`)).text();
          answer();
          const { hub } = service;
          await until(() => hub.stats().connects === i + 1, "the stream to be opened");
        }
        await untilIdle(service.hub);
      });
    });

    test("hundreds that come and go while events flow leave nothing behind", () =>
      withService({ serve }, async (service) => {
        const { hub } = service;
        let flowing = true;
        const flow = (async () => {
          for (let i = 0; flowing; i++) {
            await hub.broadcast("tick", i);
            await hub.send(`s${i % 20}`, "own", i);
            await new Promise((resolve) => setTimeout(resolve));
          }
        })();
        const one = async (i: number) => {
          for (let round = 0; round < 10; round++) {
            const reader = await service.subscribe(`s${i}`, i % 2 === 0 ? "" : "?channel=news");
            if (round % 3 > 0) await reader.events(round);
            await reader.cancel();
          }
        };
        await Promise.all(Array.from({ length: 20 }, (_, i) => one(i)));
        flowing = false;
        await flow;
        await untilIdle(hub);
        const { connects, disconnects } = hub.stats();
        assertEquals([connects, disconnects], [200, 200]);
      }));
  });
}

describe("what is refused", () => {
  /** Each call is refused with the code, and a reader gets nothing but the events around. */
  async function refused(
    calls: ((hub: Hub) => Promise<unknown>)[],
    code: string,
    options: { maxEventBytes?: number } = {},
  ): Promise<StreamsideError[]> {
    const errors: StreamsideError[] = [];
    await withService({ hub: options }, async (service) => {
      const reader = await service.subscribe("ada");
      await service.hub.broadcast("before", 1);
      for (const call of calls) {
        const error = await assertRejects(() => call(service.hub), StreamsideError);
        assertEquals(error.code, code, error.message);
        assertEquals(error.name, "StreamsideError");
        errors.push(error);
      }
      await service.hub.broadcast("after", 2);
      assertEquals((await reader.events(2)).map(({ event }) => event), ["before", "after"]);
      assertEquals(service.hub.stats().events, 2);
    });
    return errors;
  }

  test("event names that would break a line, empty ones, the library's own: invalid-event", async () => {
    const names = ["a\rb", "a\nb", "a\r\nb", "a\0b", "\n", "", "streamside:reset", "streamside:x"];
    const calls = names.flatMap((name) => [
      (hub: Hub) => hub.broadcast(name, 1),
      (hub: Hub) => hub.send("ada", name, 1),
      (hub: Hub) => hub.publish("news", name, 1),
    ]);
    for (const name of [undefined, null, 7, {}, ["a"]]) {
      calls.push((hub) => hub.broadcast(name as unknown as string, 1));
    }
    const errors = await refused(calls, "invalid-event");
    for (const { message } of errors) {
      assert(!/[\0\r\n]/.test(message), `what was refused is escaped: ${JSON.stringify(message)}`);
    }
  });

  test("names of the client's own events: invalid-event that says what to do; others go through", async () => {
    const names = ["reset", "close", "error", "open", "reconnecting"];
    const errors = await refused(
      names.flatMap((name) => [
        (hub: Hub) => hub.broadcast(name, 1),
        (hub: Hub) => hub.send("ada", name, 1),
        (hub: Hub) => hub.publish("news", name, 1),
      ]),
      "invalid-event",
    );
    for (const [i, { message }] of errors.entries()) {
      const name = names[Math.floor(i / 3)]!;
      assertStringIncludes(message, JSON.stringify(name));
      assertStringIncludes(message, `such as "my-${name}"`);
    }
    await withHub({}, async (hub) => {
      for (const name of ["message", "Error", "errors", "my-reset"]) await hub.broadcast(name, 1);
    });
  });

  test("data that JSON cannot express: invalid-data", async () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    const throwing = {
      toJSON() {
        throw new Error("not me");
      },
    };
    const data = [undefined, () => {}, Symbol("s"), circular, 1n, { n: 1n }, throwing];
    const errors = await refused(
      data.map((each) => (hub: Hub) => hub.send("ada", "e", each)),
      "invalid-data",
    );
    assertStringIncludes(errors[0]!.message, "undefined");
    assertStringIncludes(errors[1]!.message, "function");
    assertStringIncludes(errors[6]!.message, "not me");
  });

  test("a session, channel, key or `except` that is none: invalid-argument", async () => {
    const names = ["", "a\nb", "a\rb", "a\0b", "x".repeat(1025), undefined, null, 7, {}];
    const calls = (names as string[]).flatMap((name) => [
      (hub: Hub) => hub.send(name, "e", 1),
      (hub: Hub) => hub.publish(name, "e", 1),
      (hub: Hub) => hub.disconnect(name),
      (hub: Hub) => Promise.resolve().then(() => hub.subscribe(name)),
      (hub: Hub) => Promise.resolve().then(() => hub.subscribe("ada", { channels: [name] })),
      (hub: Hub) => hub.broadcast("e", 1, { except: [name] }),
      (hub: Hub) => hub.publish("c", "e", 1, { except: [name] }),
      (hub: Hub) => hub.send("ada", "e", 1, { transient: "yes" as unknown as boolean }),
      ...(name === undefined ? [] : [(hub: Hub) => hub.send("ada", "e", 1, { key: name })]),
    ]);
    await refused(calls, "invalid-argument");
  });

  test("channels, `except` or an id of another type: invalid-argument, not something else", async () => {
    const subscribe = (options: object) => (hub: Hub) =>
      Promise.resolve().then(() => hub.subscribe("ada", options));
    await refused([
      ...["news", 7, true, {}].map((channels) => subscribe({ channels })),
      ...[7, 0, true, {}, ["a"]].map((lastEventId) => subscribe({ lastEventId })),
      ...[new Set(["ada"]), 7, 0, true, { ada: true }].map((except) => (hub: Hub) =>
        hub.broadcast("e", 1, { except: except as unknown as string })
      ),
      ...[NaN, -1, Infinity, "10", null, {}].map((within) => (hub: Hub) =>
        hub.close({ within: within as number })
      ),
    ], "invalid-argument");
  });

  test("a log, a logger or an `onSessionLimit` that is none: invalid-argument that says why", () => {
    const { debug: _, ...mute } = quietLogger;
    for (
      const [options, what] of [
        [{ log: {} }, "follow"],
        [{ log: { follow() {}, append() {} } }, "read"],
        [{ logger: mute }, "debug"],
        [{ logger: true }, "debug"],
        [{ onSessionLimit: "drop" }, '"drop"'],
      ] as const
    ) {
      const error = assertThrows(() => createHub(options as object), StreamsideError);
      assertEquals(error.code, "invalid-argument");
      assertStringIncludes(error.message, what);
    }
  });

  test("an event over maxEventBytes, counted in bytes as it goes out: event-too-large", async () => {
    const options = { maxEventBytes: 200 };
    const tooLarge = [
      "x".repeat(300),
      "é".repeat(120),
      "世".repeat(80),
      "👩‍🚀".repeat(30),
      "\n".repeat(40),
    ];
    const errors = await refused(
      tooLarge.map((data) => (hub: Hub) => hub.send("ada", "e", data)),
      "event-too-large",
      options,
    );
    assertStringIncludes(errors[0]!.message, "maxEventBytes is 200");

    // What fits arrives, up to the last byte.
    await withHub(options, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      for (const text of ["x".repeat(150), "é".repeat(80), "世".repeat(50), "👩‍🚀".repeat(14)]) {
        await hub.send("ada", "e", text);
        assertEquals((await reader.event()).data, text);
      }
      assertEquals(hub.stats().refusedEvents, 0);
      // Its id is not counted, which the log gives it.
      const rest = "event: e\ndata: \nid: \n\n".length;
      await hub.send("ada", "e", "x".repeat(200 - rest));
      assertEquals((await reader.event()).data!.length, 200 - rest);
      await assertRejects(() => hub.send("ada", "e", "x".repeat(201 - rest)), StreamsideError);
      await assertRejects(() => hub.send("ada", "e", "\n".repeat(30)), StreamsideError);
    });
  });

  test("an option that is no positive number: invalid-argument", () => {
    for (const value of [0, -1, NaN, "10" as unknown as number, null as unknown as number]) {
      for (
        const options of [
          { heartbeat: value },
          { retry: value },
          { maxEventBytes: value },
          { maxConnections: value },
          { maxConnectionsPerSession: value },
          { maxChannelsPerConnection: value },
          { maxReplay: value },
          { maxBufferedBytes: value },
          { stallTimeout: value },
          { maxAge: value },
          { history: { events: value } },
          { history: { bytes: value } },
          { history: { age: value } },
        ]
      ) {
        const error = assertThrows(() => createHub(options), StreamsideError);
        assertEquals(error.code, "invalid-argument", JSON.stringify(options));
      }
    }
  });

  test("`expires` that is no time: invalid-argument, and no connection", () =>
    withHub({}, (hub) => {
      const error = assertThrows(
        () => hub.subscribe("ada", { expires: new Date("never") }),
        StreamsideError,
      );
      assertEquals(error.code, "invalid-argument");
      assertEquals(hub.stats().connections, 0);
    }));
});

describe("how connections end", () => {
  test("disconnect: the session's streams, after what was sent before; it may come back", () =>
    withService({}, async (service) => {
      const tabs = [await service.subscribe("ada"), await service.subscribe("ada")];
      const other = await service.subscribe("grace");
      service.hub.send("ada", "last", 1);
      await service.hub.disconnect("ada");
      assertEquals(service.hub.sessions(), ["grace"]);
      for (const tab of tabs) {
        assertEquals((await tab.event()).event, "last");
        assertEquals(await tab.rest(), []);
      }
      await service.hub.disconnect("nobody");
      const again = await service.subscribe("ada");
      await mark(service);
      assertEquals(await untilMark(again), []);
      assertEquals(await untilMark(other), []);
    }));

  for (const [name, serve] of Object.entries(servers)) {
    test(`disconnect: after what was sent before, also what takes a reader several turns (${name})`, () =>
      withService({ serve }, async (service) => {
        const reader = await service.subscribe("ada");
        for (let i = 0; i < 20; i++) service.hub.send("ada", "e", `${i} ${"x".repeat(50_000)}`);
        const disconnected = service.hub.disconnect("ada");
        service.hub.send("ada", "e", "too late");
        await disconnected;
        const data = (await reader.rest()).flatMap(({ event, data }) => event ? [data!] : []);
        assertEquals(data.map((each) => parseInt(each)), [...Array(20).keys()]);
      }));
  }

  test("disconnect: a keyed event before it comes, also when the key is sent again after it", () =>
    withHub({}, async (hub) => {
      const decoder = new TextDecoder();
      const stream = hub.subscribe("ada", { channels: ["news"] }).getReader();
      let text = decoder.decode((await stream.read()).value);
      await hub.send("ada", "e", "lagging from here");
      await until(() => hub.stats().lagging === 1, "the reader to lag");
      await hub.send("ada", "e", "own", { key: "k" });
      await hub.publish("news", "e", "channel", { key: "k" });
      await hub.broadcast("e", "all", { key: "k" });
      void hub.disconnect("ada");
      await hub.send("ada", "e", "too late", { key: "k" });
      await hub.publish("news", "e", "too late", { key: "k" });
      const other = hub.subscribe("grace").getReader();
      await hub.broadcast("e", "too late", { key: "k" });
      while (!decoder.decode((await other.read()).value).includes("too late"));
      for (let next = await stream.read(); !next.done; next = await stream.read()) {
        text += decoder.decode(next.value);
      }
      const data = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data);
      await other.cancel();
      assertEquals(data, ["lagging from here", "own", "channel", "all"]);
    }));

  test("expires: the stream ends when its identity does", () =>
    withService({
      handler: { authenticate: () => ({ session: "ada", expires: Date.now() + 300 }) },
    }, async (service) => {
      const reasons: string[] = [];
      service.hub.on("disconnect", ({ reason }) => reasons.push(reason));
      const began = Date.now();
      const reader = await service.subscribe("ada");
      assertEquals(await reader.rest(), []);
      assert(Date.now() - began >= 290, "not before its time");
      assertEquals(reasons, ["expired"]);
    }));

  test("expires in the past: 401, no stream", () =>
    withService({
      handler: { authenticate: () => ({ session: "ada", expires: new Date(Date.now() - 1) }) },
    }, async (service) => {
      const response = await service.get("ada");
      assertEquals(response.status, 401);
      await textOf(response);
      assertEquals(service.hub.stats().connects, 0);
    }));

  test("maxAge: the stream ends by then, with what was sent before", () =>
    withService({ hub: { maxAge: 400 } }, async (service) => {
      const reasons: string[] = [];
      service.hub.on("disconnect", ({ reason }) => reasons.push(reason));
      const reader = await service.subscribe("ada");
      await service.hub.broadcast("e", 1);
      assertEquals((await reader.rest()).map(({ data }) => data), ["1"]);
      assertEquals(reasons, ["max-age"]);
    }));

  test("close: new subscribers are told when to try again; streams end with a retry of their own", () =>
    withService({ hub: { retry: 1000 } }, async (service) => {
      const readers: EventReader[] = [];
      for (let i = 0; i < 20; i++) readers.push(await service.subscribe(`s${i}`));
      const closing = service.hub.close({ within: 1500 });
      assertEquals(service.hub.draining, true);
      assertEquals(service.hub.close(), closing);

      const { status, code } = await refusedForNow(service.get("late"));
      assertEquals([status, code], [503, "closed"]);

      // Sending works until the last is gone.
      await service.hub.broadcast("still", 1);
      const left: number[] = [];
      service.hub.on("disconnect", () => left.push(service.hub.stats().connections));
      const ends = await Promise.all(readers.map((reader) => reader.rest()));
      await closing;
      assertEquals(service.hub.stats().connections, 0);

      const retries = ends.map((blocks) => Number(blocks.at(-1)!.retry));
      assert(retries.every((retry) => retry >= 500 && retry <= 1500), String(retries));
      assert(new Set(retries).size > 5, `spread: ${retries}`);
      // Those that were still there then got it: not all were ended at the same moment.
      assert(ends.some((blocks) => blocks.some(({ event }) => event === "still")));
      assert(left.length > 0 && left.at(-1) === 0, `ended one after the other: ${left}`);

      for (
        const call of [
          () => service.hub.send("s1", "e", 1),
          () => service.hub.publish("news", "e", 1),
          () => service.hub.broadcast("e", 1),
          () => service.hub.disconnect("s1"),
        ]
      ) {
        assertEquals((await assertRejects(call, StreamsideError)).code, "closed");
      }
      assertEquals(
        (assertThrows(() => service.hub.subscribe("s"), StreamsideError)).code,
        "closed",
      );
    }));

  test("close without connections resolves at once", async () => {
    const hub = createHub({ logger: quietLogger });
    await hub.close({ within: 3_600_000 });
    const code = (await assertRejects(() => hub.broadcast("e", 1), StreamsideError)).code;
    assertEquals(code, "closed");
  });

  test("a stream that is cancelled before anything was read from it is forgotten", () =>
    withHub({}, async (hub) => {
      const stream = hub.subscribe("ada", { channels: ["news"], lastEventId: "garbage" });
      assertEquals(hub.stats().connections, 1);
      await stream.cancel();
      await untilIdle(hub);
    }));

  test("disconnect, and again before a reader that lags has come so far: the first one counts", () =>
    withHub({}, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      for (let i = 1; i < 4; i++) {
        await hub.send("ada", "e", i);
        await hub.disconnect("ada");
      }
      assertEquals((await reader.rest()).map(({ data }) => data), ["1"]);
    }));

  test("disconnect of one whose response is still to be made: its stream has ended", () =>
    withHub({}, async (hub) => {
      const connection = (hub as InternalHub)[CONNECT]("ada");
      await hub.disconnect("ada");
      assertEquals(await new EventReader(streamOf(connection)).rest(), []);
    }));

  test("a stream that nobody ever reads from is closed after stallTimeout", () =>
    withHub({ stallTimeout: 100 }, async (hub) => {
      const stream = hub.subscribe("ada");
      await untilIdle(hub);
      assertEquals(hub.stats().stalled, 1);
      assertEquals((await stream.getReader().read()).done, true);
    }));
});

describe("a clock that is turned by hand", () => {
  /** Lets time pass in steps, between which what is to be done is done. */
  async function pass(time: VirtualTime, ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 500) await time.advance(Math.min(500, ms - passed));
  }

  test("a reader that takes a chunk now and then stays; a reader that takes none is closed after stallTimeout", () =>
    withVirtualTime(async (time) => {
      const hub = createHub({ stallTimeout: 60_000, logger: quietLogger });
      const reasons: [string, number][] = [];
      hub.on("disconnect", ({ reason }) => reasons.push([reason, time.now]));
      const reader = hub.subscribe("ada").getReader();
      await reader.read();
      for (let i = 0; i < 10; i++) {
        await hub.broadcast("e", i);
        await pass(time, 25_000);
        assertStringIncludes(new TextDecoder().decode((await reader.read()).value), `data: ${i}\n`);
      }
      assertEquals(reasons, []);
      const taken = time.now;
      await pass(time, 59_000);
      assertEquals(reasons, []);
      await pass(time, 31_000);
      assertEquals(reasons.map(([reason]) => reason), ["stalled"]);
      assert(reasons[0]![1] - taken >= 60_000);
      assertEquals((await reader.read()).done, true);
      assertEquals(time.timers, 0);
    }));

  test("heartbeats, expiry and maxAge come at their times, and no timer is left when all have gone", () =>
    withVirtualTime(async (time) => {
      const hub = createHub({ heartbeat: 10_000, maxAge: 100_000, logger: quietLogger });
      const ends: [string, string, number][] = [];
      const began = time.now;
      hub.on("disconnect", ({ session, reason }) => ends.push([session, reason, time.now - began]));
      const read = async (session: string, expires?: number) =>
        (await new EventReader(hub.subscribe(session, { expires })).rest())
          .filter(({ comments }) => comments).length;
      const beats = [
        read("soon", began + 35_500),
        read("first", began + 2_000),
        read("old"),
        read("later", began + 1e9),
      ];
      await pass(time, 200_000);
      assertEquals(await beats[0], 3);
      await Promise.all(beats);
      assertEquals(ends[0], ["first", "expired", 2_000]);
      assertEquals(ends[1], ["soon", "expired", 35_500]);
      for (const [session, reason, at] of ends.slice(2)) {
        assertEquals(reason, "max-age", session);
        assert(at >= 75_000 && at <= 100_001, `${session} ended at ${at}`);
      }
      assertEquals(hub.stats().disconnects, 4);
      assertEquals(time.timers, 0);
      // Others, each after a while in which there was nobody, wait as long as the first did.
      for (let i = 0; i < 2; i++) {
        const reader = new EventReader(hub.subscribe("again"));
        await reader.block();
        const beat = reader.block();
        await pass(time, 9_000);
        const quiet = hub.stats().bytes;
        await pass(time, 1_500);
        assertEquals((await beat).comments, [""]);
        assert(hub.stats().bytes > quiet);
        await reader.cancel();
        await turn();
        assertEquals(time.timers, 0);
        await pass(time, 50_000);
      }
    }));

  test("a slow reader of a sink that counts what is taken is not a stalled one", () =>
    withVirtualTime(async (time) => {
      const hub = createHub({ stallTimeout: 60_000, logger: quietLogger });
      const connection = (hub as InternalHub)[CONNECT]("ada");
      let taken = 0;
      let isAborted = false;
      connection.sink = {
        write: () => false,
        end: () => {},
        abort: () => isAborted = true,
        taken: () => taken,
      };
      connection.drained();
      for (let i = 0; i < 10; i++) {
        taken++;
        await pass(time, 40_000);
      }
      assertEquals([hub.stats().connections, isAborted], [1, false]);
      await pass(time, 60_000);
      assertEquals([hub.stats().stalled, isAborted], [1, true]);
      assertEquals(time.timers, 0);
    }));

  test("an ended connection whose reader takes nothing is let go of after stallTimeout, and its place is free", () =>
    withVirtualTime(async (time) => {
      const hub = createHub({ stallTimeout: 60_000, maxConnections: 1, logger: quietLogger });
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      await hub.disconnect("ada");
      await pass(time, 59_000);
      assertThrows(() => hub.subscribe("ada"), StreamsideError);
      await pass(time, 32_000);
      await hub.subscribe("ada").cancel();
      assertEquals(await reader.rest(), []);
      assertEquals(time.timers, 0);
    }));

  test("times that are longer than a timer's do not make it fire at once", () =>
    withVirtualTime(async (time) => {
      const { setTimeout } = globalThis;
      const delays: number[] = [];
      globalThis.setTimeout = ((callback: () => void, delay: number) => {
        delays.push(delay);
        return setTimeout(callback, delay);
      }) as typeof setTimeout;
      const year = 365 * 24 * 3_600_000;
      const hub = createHub({ heartbeat: year, stallTimeout: 4 * year, logger: quietLogger });
      const stream = hub.subscribe("ada", { expires: time.now + year });
      await pass(time, 1_000);
      await stream.cancel();
      assert(delays.length > 0 && delays.every((delay) => delay < 2 ** 31), String(delays));
    }));

  test("history is forgotten by its age while connections are open and nothing is sent", () =>
    withVirtualTime(async (time) => {
      const hub = createHub({ history: { age: 50_000 }, logger: quietLogger });
      const reader = new EventReader(hub.subscribe("ada"));
      const rest = reader.rest();
      await hub.broadcast("e", 1);
      await pass(time, 40_000);
      assertEquals(hub.stats().historyEvents, 1);
      await pass(time, 30_000);
      assertEquals([hub.stats().historyEvents, hub.stats().historyBytes], [0, 0]);
      await reader.cancel();
      await rest;
    }));

  test("closing: a reader that takes nothing gets its farewell when it reads, or is cut off a second later", () =>
    withVirtualTime(async (time) => {
      const hub = createHub({ logger: quietLogger });
      const [late, never] = [
        new EventReader(hub.subscribe("a")),
        new EventReader(hub.subscribe("b")),
      ];
      for (const reader of [late, never]) await reader.block();
      let isClosed = false;
      const closed = hub.close({ within: 100 }).then(() => isClosed = true);
      await pass(time, 500);
      assertEquals(hub.stats().connections, 0);
      const [farewell, ...more] = await late.rest();
      assert(Number(farewell!.retry) >= 1_000 && Number(farewell!.retry) <= 3_000);
      assertEquals(more, []);
      await pass(time, 500);
      assertEquals(isClosed, false);
      await pass(time, 500);
      assertEquals(isClosed, true);
      assertEquals(await never.rest(), []);
      await closed;
      assertEquals(time.timers, 0);
    }));
});

describe("the stream", () => {
  test("is one like any other: iterated, piped, teed, and given up by each", async () => {
    await withHub({}, async (hub) => {
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      const iterate = async (stream: ReadableStream<Uint8Array>) => {
        for await (const bytes of stream) if (text(bytes).includes("data: 1\n")) return;
      };
      const pipe = async (stream: ReadableStream<Uint8Array>) => {
        const enough = new AbortController();
        await stream.pipeTo(
          new WritableStream({
            write: (bytes) => text(bytes).includes("data: 1\n") ? enough.abort() : undefined,
          }),
          { signal: enough.signal },
        ).catch(() => {});
      };
      const tee = async (stream: ReadableStream<Uint8Array>) => {
        const readers = stream.tee().map((branch) => new EventReader(branch));
        for (const reader of readers) assertEquals(await reader.data(1), ["1"]);
        await Promise.all(readers.map((reader) => reader.cancel()));
      };
      const waiting = async (stream: ReadableStream<Uint8Array>) => {
        // Several reads wait at the same time.
        const reader = stream.getReader();
        const reads = [reader.read(), reader.read()];
        assertStringIncludes(text((await reads[0]!).value!), "retry: ");
        assertStringIncludes(text((await reads[1]!).value!), "data: 1\n");
        await reader.cancel();
      };
      for (const use of [iterate, pipe, tee, waiting]) {
        const used = use(hub.subscribe("ada"));
        await hub.send("ada", "e", 1);
        await used;
        await untilIdle(hub);
      }
    });
  });
});

describe("heartbeats", () => {
  test("go on when the system's clock is set back", () =>
    withHub({ heartbeat: 20 }, async (hub) => {
      const { now } = Date;
      try {
        const reader = new EventReader(hub.subscribe("ada"));
        await reader.block();
        Date.now = () => now() - 3_600_000;
        for (let i = 0; i < 3; i++) assertEquals((await reader.block()).comments, [""]);
        await reader.cancel();
      } finally {
        Date.now = now;
      }
    }));

  test("an idle stream gets a comment, and the position it has come to", () =>
    withService({ hub: { heartbeat: 40 } }, async (service) => {
      const reader = await service.subscribe("ada");
      const first = await reader.block();
      assertEquals(first, { comments: [""], id: service.hub.cursor() });
      // Events to others move its position too: what it comes back with is never older than it needs to be.
      await service.hub.send("grace", "e", 1);
      const cursor = service.hub.cursor();
      let beat: Block;
      do beat = await reader.block(); while (beat.id !== cursor);
      assertEquals(beat.comments, [""]);
      const again = await service.subscribe("ada", "", { "Last-Event-ID": beat.id! });
      await mark(service);
      assertEquals(await untilMark(again), []);
    }));
});

describe("heartbeats that are events", () => {
  test("a heartbeat event has a name, data and the position; it is no event of the log", () =>
    withService({ hub: { heartbeat: { interval: 40, event: "ping" } } }, async (service) => {
      const reader = await service.subscribe("ada");
      const first = await reader.block();
      assertEquals(first, { event: "ping", data: "40", id: service.hub.cursor() });
      await service.hub.send("grace", "e", 1);
      const cursor = service.hub.cursor();
      let beat: Block;
      do beat = await reader.block(); while (beat.id !== cursor);
      assertEquals([beat.event, beat.data], ["ping", "40"]);
      assertEquals(service.hub.stats().events, 1);
      // They are not held: whoever resumes gets the events only.
      const again = await service.subscribe("grace", "", { "Last-Event-ID": first.id! });
      assertEquals(await again.data(1), ["1"]);
    }));

  test("the interval alone, or the event alone; an invalid one is refused", async () => {
    await withHub({ heartbeat: { interval: 20 } }, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      assertEquals((await reader.block()).comments, [""]);
      await reader.cancel();
    });
    await withHub({ heartbeat: { event: "ping" } }, () => {});
    for (const interval of [0, -1, NaN, "10" as unknown as number]) {
      const error = assertThrows(() => createHub({ heartbeat: { interval } }), StreamsideError);
      assertEquals(error.code, "invalid-argument");
      assertStringIncludes(error.message, "heartbeat.interval");
    }
    for (const event of ["", "a\nb", "reset", "streamside:x", 7 as unknown as string]) {
      const error = assertThrows(() => createHub({ heartbeat: { event } }), StreamsideError);
      assertEquals(error.code, "invalid-event");
    }
  });
});

describe("replay", () => {
  const decoder = new TextDecoder();
  /** The data of a stream's events, until there are so many. */
  async function dataOf(stream: ReadableStream<Uint8Array>, count: number): Promise<string[]> {
    const reader = stream.getReader();
    const data = () => text.match(/(?<=^event: e\ndata: ).*/gm) ?? [];
    let text = "";
    while (data().length < count) text += decoder.decode((await reader.read()).value);
    await reader.cancel();
    return data().map((each) => each.replace(/x+$/, ""));
  }

  test("maxReplay is the most; what is not a whole number is refused", () =>
    withHub({ maxReplay: 3 }, async (hub) => {
      for (let i = 0; i < 5; i++) await hub.send("ada", "e", i);
      assertEquals(await dataOf(hub.subscribe("ada", { replay: 100 }), 3), ["2", "3", "4"]);
      assertEquals(await dataOf(hub.subscribe("ada", { replay: 2 }), 2), ["3", "4"]);
      for (const replay of [-1, 1.5, NaN, Infinity, "3", true, {}]) {
        const error = assertThrows(
          () => hub.subscribe("ada", { replay: replay as number }),
          StreamsideError,
        );
        assertEquals(error.code, "invalid-argument");
      }
    }));

  test("a slow reader gets all of it, chunk by chunk, then what came meanwhile", () =>
    withHub({ maxBufferedBytes: 1_000 }, async (hub) => {
      for (let i = 0; i < 50; i++) await hub.send("ada", "e", `${i}${"x".repeat(400)}`);
      const stream = hub.subscribe("ada", { replay: 20 });
      for (let i = 50; i < 60; i++) {
        await hub.send("ada", "e", i);
        await turn();
      }
      assertEquals(await dataOf(stream, 30), Array.from({ length: 30 }, (_, i) => `${30 + i}`));
    }));

  test("the channels of now count: also for what was sent before a join, and after a leave that is over", () =>
    withHub({}, async (hub) => {
      await hub.publish("news", "e", "before");
      await hub.join("ada", "news");
      await hub.publish("news", "e", "joined");
      await hub.leave("ada", "news");
      await hub.publish("news", "e", "left");
      const stream = hub.subscribe("ada", { channels: ["news"], replay: 10 });
      await hub.publish("news", "e", "live");
      assertEquals(await dataOf(stream, 4), ["before", "joined", "left", "live"]);
      const other = hub.subscribe("ada", { channels: ["news"], replay: 10 });
      await hub.leave("ada", "news");
      await hub.publish("news", "e", "not");
      await hub.send("ada", "e", "own");
      assertEquals(await dataOf(other, 5), ["before", "joined", "left", "live", "own"]);
    }));

  test("a hub that starts on a log with a history waits until it holds it", async () => {
    const log = memoryLog();
    let open = () => {};
    const opened = new Promise<void>((resolve) => open = resolve);
    const slow = {
      follow: (follower: LogFollower) => log.follow(follower),
      append: (record: LogRecord) => log.append(record),
      read: async (after: LogPosition, limit: number) => {
        await opened;
        return await log.read(after, limit);
      },
    };
    for (let i = 0; i < 5; i++) await log.append({ to: "@ada", event: "e", data: `${i}` });
    await withHub({ log: slow }, async (hub) => {
      const data = dataOf(hub.subscribe("ada", { replay: 3 }), 5);
      const early = hub.subscribe("ada", { replay: 3 }).getReader();
      assertEquals(decoder.decode((await early.read()).value), "retry: 2000\n\n", "no id as yet");
      await early.cancel();
      await hub.send("ada", "e", 5);
      await turn();
      open();
      await hub.send("ada", "e", 6);
      assertEquals(await data, ["2", "3", "4", "5", "6"]);
    });
  });
});

describe("transient events", () => {
  test("a reader that lags gets none of them; live again, it does", () =>
    withHub({ maxBufferedBytes: 1_000 }, async (hub) => {
      const reader = hub.subscribe("ada").getReader();
      const decoder = new TextDecoder();
      const next = async () => decoder.decode((await reader.read()).value);
      await next();
      const transient = true;
      let kept = 0;
      const keep = () => hub.broadcast("kept", `${++kept}${"x".repeat(600)}`);
      // Resolves when all that was sent has been handed out.
      const settled = () => hub.disconnect("somebody else");
      for (let i = 0; i < 5; i++) await keep();
      await settled();
      assertEquals(hub.stats().lagging, 1);
      for (let i = 0; i < 5; i++) {
        await keep();
        await hub.broadcast("typing", i, { transient });
      }
      await settled();
      let text = "";
      while (!text.includes(`data: ${kept}x`)) text += await next();
      assert(!text.includes("typing"), text.replace(/x+/g, "x"));
      const last = reader.read();
      await until(() => hub.stats().lagging === 0, "caught up");
      await hub.broadcast("typing", "live", { transient });
      assertEquals(decoder.decode((await last).value), "event: typing\ndata: live\n\n");
      await reader.cancel();
    }));

  test("they take no room: a hundred thousand of them push nothing out, and hold no memory", () =>
    withHub({ history: { events: 10 } }, async (hub) => {
      const from = hub.cursor();
      for (let i = 0; i < 10; i++) await hub.send("ada", "kept", i);
      const { historyBytes } = hub.stats();
      for (let i = 0; i < 100_000; i++) {
        await hub.send("ada", "typing", i, { transient: true, key: `${i % 50}` });
        if (i % 1_000 === 0) await turn();
      }
      await turn();
      assertEquals(hub.stats().historyEvents, 10);
      assertEquals(hub.stats().historyBytes, historyBytes);
      const reader = hub.subscribe("ada", { lastEventId: from }).getReader();
      let text = "";
      while (!text.includes("data: 9\n")) {
        text += new TextDecoder().decode((await reader.read()).value);
      }
      assertEquals(text.match(/^data: .*/gm), Array.from({ length: 10 }, (_, i) => `data: ${i}`));
      await reader.cancel();
    }));
});

describe("what the hub tells of", () => {
  test("on: connect, resume, reset, send, disconnect; until stopped; a listener that throws harms nothing", () =>
    withService({}, async (service) => {
      const { hub } = service;
      const told: [string, unknown][] = [];
      const types = ["connect", "resume", "reset", "lag", "send", "disconnect"] as const;
      hub.on("connect", () => {
        throw new Error("a bad listener");
      });
      hub.on("connect", async () => {
        await turn();
        throw new Error("a bad promise");
      });
      const stops = types.map((type) => hub.on(type, (detail) => told.push([type, detail])));
      const cursor = hub.cursor();

      const first = await service.subscribe("ada", "?channel=news");
      const { id } = await hub.send("ada", "e", 1);
      await first.event();
      await first.cancel();
      await untilIdle(hub);
      const second = await service.subscribe("ada", "?channel=sport", { "Last-Event-ID": cursor });
      await second.event();
      const third = await service.subscribe("grace", "", { "Last-Event-ID": "garbage" });
      await third.event();
      assertEquals(told, [
        ["connect", { session: "ada", channels: ["news"], resumed: false }],
        ["send", { id, to: "@ada", event: "e", connections: 1 }],
        ["disconnect", { session: "ada", reason: "client" }],
        ["connect", { session: "ada", channels: ["sport"], resumed: true }],
        ["resume", { session: "ada", lastEventId: cursor }],
        ["connect", { session: "grace", channels: ["news", "sport"], resumed: false }],
        ["reset", { session: "grace" }],
      ]);
      for (const message of ["a bad listener", "a bad promise"]) {
        const isLogged = () =>
          service.log.some(([level, text]) => level === "error" && text.includes(message));
        await until(isLogged, `${message} to be logged`);
      }

      for (const stop of stops) stop();
      await hub.send("ada", "e", 2);
      assertEquals(told.length, 7);
    }));

  test("a logger that throws stops neither a sweep nor a connection, and is told of", async () => {
    const { error: report } = console;
    const reports: string[] = [];
    console.error = (...data) => reports.push(data.join(" "));
    try {
      const fail = () => {
        throw new Error("a bad logger");
      };
      const logger = { debug: fail, info: fail, warn: fail, error: fail };
      await withHub({ heartbeat: 20, logger }, async (hub) => {
        const grace = new EventReader(hub.subscribe("grace"));
        const ada = new EventReader(hub.subscribe("ada", { expires: Date.now() + 30 }));
        await ada.rest();
        for (let i = 0; i < 3; i++) await grace.block();
        await hub.send("grace", "e", 1);
        assertEquals(await grace.data(1), ["1"]);
      });
    } finally {
      console.error = report;
    }
    assert(reports.some((text) => text.includes("debug threw") && text.includes("a bad logger")));
  });

  test("on: lag, and stats: lags, when a reader takes less than is sent", () =>
    withHub({}, async (hub) => {
      const lags: unknown[] = [];
      hub.on("lag", (detail) => lags.push(detail));
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      assertEquals([hub.stats().lagging, hub.stats().lags], [0, 0]);
      await hub.broadcast("e", 1);
      await until(() => lags.length === 1, "the lag to be told of");
      assertEquals(lags, [{ session: "ada" }]);
      assertEquals([hub.stats().lagging, hub.stats().lags], [1, 1]);
      assertEquals(await reader.data(1), ["1"]);
      assertEquals(hub.stats().lagging, 0);
    }));

  test("a connection whose stream nobody has begun to read does not lag: it is on its way", () =>
    withHub({}, async (hub) => {
      const stream = hub.subscribe("ada");
      await hub.broadcast("e", 1);
      await until(() => hub.stats().lagging === 1, "the fan-out");
      assertEquals(hub.stats().lags, 0);
      const reader = new EventReader(stream);
      assertEquals(await reader.data(1), ["1"]);
      assertEquals([hub.stats().lagging, hub.stats().lags], [0, 0]);
      await reader.cancel();
    }));

  test("stats: what was sent, delivered and held", () =>
    withService({}, async (service) => {
      const { hub } = service;
      const readers = [await service.subscribe("ada"), await service.subscribe("grace")];
      await hub.send("ada", "e", 1);
      await hub.broadcast("e", 2);
      await readers[0]!.events(2);
      await readers[1]!.events(1);
      const stats = hub.stats();
      assertEquals(
        [stats.connections, stats.sessions, stats.channels, stats.events, stats.deliveries],
        [2, 2, 2, 2, 3],
      );
      assertEquals([stats.connects, stats.historyEvents, stats.resumes, stats.resets], [
        2,
        2,
        0,
        0,
      ]);
      assert(stats.historyBytes > 0 && stats.bytes > 0);
      for (const [name, value] of Object.entries(stats)) {
        assert(Number.isSafeInteger(value) && value >= 0, `${name} is ${value}`);
      }
    }));

  test("the log at debug: connect, resume, reset, lag, drop and disconnect, which connection and why", () => {
    const lines: string[] = [];
    const logger = { ...quietLogger, debug: (...data: unknown[]) => lines.push(data.join(" ")) };
    return withHub({ logger, stallTimeout: 500 }, async (hub) => {
      const cursor = hub.cursor();
      await hub.send("session-of-ada", "e", 1);
      const resumed = new EventReader(hub.subscribe("session-of-ada", { lastEventId: cursor }));
      await resumed.event();
      const foreign = new EventReader(hub.subscribe("session-of-ada", { lastEventId: "garbage" }));
      await foreign.event();
      await resumed.cancel();
      await hub.broadcast("e", 2);
      await until(() => hub.stats().connections === 0, "the one that takes nothing to be closed");
      assertEquals(lines.map((line) => line.replace("streamside: ", "")), [
        "connect 1 of sess…",
        "resume 1 of sess…",
        "connect 2 of sess…",
        "reset 2 of sess…",
        "disconnect 1 of sess… (client)",
        "lag 2 of sess…",
        "drop 2 of sess… (stalled)",
        "disconnect 2 of sess… (stalled)",
      ]);
    });
  });

  test("the log at debug: what an ended connection never took is told of as dropped", () => {
    const lines: string[] = [];
    const logger = { ...quietLogger, debug: (...data: unknown[]) => lines.push(data.join(" ")) };
    return withHub({ logger, stallTimeout: 100 }, async (hub) => {
      const reader = new EventReader(hub.subscribe("session-of-ada"));
      await reader.block();
      await hub.send("session-of-ada", "e", 1);
      await hub.disconnect("session-of-ada");
      await until(() => lines.some((line) => line.includes("drop 1 of sess…")), "the drop");
    });
  });

  test("session ids are never whole in a log line", async () => {
    const session = "secret-session-0123456789";
    const short = "short-id";
    await withService({
      hub: { maxConnectionsPerSession: 1 },
      handler: { authorize: () => true },
    }, async (service) => {
      const reader = await service.subscribe(session);
      const other = await service.subscribe(short, "", { "Last-Event-ID": "garbage" });
      for (const response of [await service.get(session), await service.get(short)]) {
        const { code, detail } = await refusedForNow(response);
        assertEquals(code, "too-many-connections-of-session");
        assert(!detail.includes(session));
      }
      const answer = await service.post("/send", { session, event: "e", data: 1 }, {}, session);
      assertEquals(answer.status, 202);
      await textOf(answer);
      await reader.event();
      await other.event();
      await service.hub.disconnect(session);
      await reader.rest();
      await service.hub.close();
      assert(service.log.length >= 6, "there are log lines to look at");
      for (const [, text] of service.log) {
        assert(!text.includes(session) && !text.includes(short), text);
      }
    });
  });

  test("a follower that the log tells of a failure is warned of it", () => {
    const lines: string[] = [];
    let follower!: LogFollower;
    createHub({
      log: {
        follow: (given) => {
          follower = given;
          return () => {};
        },
        append: () => Promise.resolve({ position: 1 }),
        read: () => Promise.resolve([]),
      },
      logger: { ...quietLogger, warn: (...data) => lines.push(data.map(String).join(" ")) },
    });
    follower.failed(new Error("the broker is away"));
    assertEquals(lines.length, 1);
    assertStringIncludes(lines[0]!, "the broker is away");
  });
});
