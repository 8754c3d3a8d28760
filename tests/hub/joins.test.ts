/**
 * Joining and leaving a channel while connections are open: what each hears, from which event on.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHub, type Hub, type HubOptions, memoryLog, StreamsideError } from "../../mod.ts";
import {
  EventReader,
  problem,
  quietLogger,
  servers,
  withHub,
  within,
  withService,
} from "../server-helpers.ts";

/** The data of all events up to a mark that is sent to the session now. */
async function heard(hub: Hub, reader: EventReader, session = "ada"): Promise<string[]> {
  await hub.send(session, "mark", "");
  const data: string[] = [];
  for (let e = await reader.event(); e.event !== "mark"; e = await reader.event()) {
    data.push(e.data!);
  }
  return data;
}

/** Opens a stream of a hub. */
const open = (hub: Hub, options?: Parameters<Hub["subscribe"]>[1]) =>
  new EventReader(hub.subscribe("ada", options));

/** A promise, and what resolves it. */
function gate(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => resolve = done);
  return { promise, resolve };
}

/** Two hubs on one log: the first has all of it, and the second begins when it is asked for, with a small window. */
async function withLateHub(
  run: (hub: Hub, later: (options?: HubOptions) => Hub) => Promise<void>,
): Promise<void> {
  const hubs: Hub[] = [];
  const log = memoryLog();
  const later = (options: HubOptions = { history: { events: 1 } }) => {
    const hub = createHub({ log, logger: quietLogger, ...options });
    hubs.push(hub);
    return hub;
  };
  try {
    await run(later({}), later);
  } finally {
    await Promise.all(hubs.map((hub) => hub.close()));
  }
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`joining and leaving (${name})`, () => {
    test("each connection of the session hears the channel from the join to the leave", () =>
      withService({ serve }, async (service) => {
        const { hub } = service;
        const readers = [await service.subscribe("ada"), await service.subscribe("ada")];
        const other = await service.subscribe("grace");
        const sent = [
          hub.publish("room", "n", "before"),
          hub.join("ada", "room"),
          hub.publish("room", "n", "in"),
          hub.leave("ada", "room"),
          hub.publish("room", "n", "after"),
          hub.join("ada", "room"),
          hub.publish("room", "n", "again"),
        ];
        await Promise.all(sent);
        for (const reader of readers) assertEquals(await heard(hub, reader), ["in", "again"]);
        assertEquals(await heard(hub, other, "grace"), []);
        for (const reader of [...readers, other]) await reader.cancel();
      }));

    test("a resume goes on without a named channel that is not granted any more; a first visit gets 403", () =>
      withService({
        serve,
        handler: {
          authenticate: () => ({ session: "ada", channels: ["news"] }),
        },
      }, async (service) => {
        const { hub } = service;
        const query = "?channel=news&channel=secret";
        await problem(service.get("ada", query), 403, "channel-not-granted");
        const cursor = hub.cursor();
        await hub.publish("secret", "n", "secret");
        await hub.publish("news", "n", "news");
        const reader = await service.subscribe("ada", query, { "Last-Event-ID": cursor });
        assertEquals(await heard(hub, reader), ["news"]);
        await reader.cancel();
        const inQuery = await service.subscribe("ada", `${query}&lastEventId=${cursor}`);
        assertEquals(await heard(hub, inQuery), ["news"]);
        await inQuery.cancel();
      }));

    test("a stream that names channels resumes with these and with those joined since, and with no other that was left", () =>
      withService({
        serve,
        handler: { authenticate: () => ({ session: "ada", channels: ["a", "b"] }) },
      }, async (service) => {
        const { hub } = service;
        const cursor = hub.cursor();
        for (const channel of ["a", "b", "c"]) await hub.publish(channel, "n", `${channel}1`);
        await hub.leave("ada", "a");
        await hub.leave("ada", "b");
        await hub.join("ada", "c");
        for (const channel of ["a", "b", "c"]) await hub.publish(channel, "n", `${channel}2`);
        const reader = await service.subscribe("ada", "?channel=a", { "Last-Event-ID": cursor });
        assertEquals(await heard(hub, reader), ["a1", "c2"]);
        await reader.cancel();
      }));

    for (
      const [what, act, expected] of [
        ["join", (hub: Hub) => hub.join("ada", "room"), ["later"]],
        ["leave", (hub: Hub) => hub.leave("ada", "news"), []],
      ] as const
    ) {
      test(`a ${what} reaches a request that is still at authenticate`, () => {
        const asked = gate();
        const answer = gate();
        return withService({
          serve,
          handler: {
            authenticate: async () => {
              asked.resolve();
              await answer.promise;
              return { session: "ada", channels: ["news"] };
            },
          },
        }, async (service) => {
          const { hub } = service;
          const opening = service.subscribe("ada");
          await within(asked.promise, "the request");
          await act(hub);
          answer.resolve();
          const reader = await opening;
          await hub.publish(what === "join" ? "room" : "news", "n", "later");
          assertEquals(await heard(hub, reader), [...expected]);
          await reader.cancel();
        });
      });
    }
  });
}

describe("joining and leaving", () => {
  test("on every server of the log", () =>
    withLateHub(async (hub, later) => {
      const other = later();
      const reader = open(other);
      await hub.join("ada", "room");
      await hub.publish("room", "n", 1);
      assertEquals(await heard(hub, reader), ["1"]);
      await reader.cancel();
    }));

  test("a reader that lags, which has room again after the leave, hears what was before it and nothing else", () =>
    withHub({ maxBufferedBytes: 1_000 }, async (hub) => {
      const reader = open(hub, { channels: ["news"] });
      await reader.block();
      for (let i = 0; i < 5; i++) await hub.publish("news", "n", `${i}${"x".repeat(900)}`);
      await hub.leave("ada", "news");
      await hub.publish("news", "n", "not yours");
      await hub.join("ada", "room");
      await hub.publish("room", "n", "r".repeat(2_000));
      const all = (await heard(hub, reader)).map((data) => data[0]);
      assertEquals(all, ["0", "1", "2", "3", "4", "r"]);
      await reader.cancel();
    }));

  test("a resume hears a channel joined since its cursor from the join on, and one left since up to the leave", () =>
    withLateHub(async (hub, later) => {
      const cursor = hub.cursor();
      for (const channel of ["joined", "left", "kept"]) {
        await hub.publish(channel, "n", `${channel} 1`);
      }
      await hub.join("ada", "joined");
      await hub.leave("ada", "left");
      for (const channel of ["joined", "left", "kept"]) {
        await hub.publish(channel, "n", `${channel} 2`);
      }
      // A hub that begins looks at the newest page of the log: what was changed is further back.
      for (let i = 0; i < 1_200; i++) await hub.send("grace", "n", "");
      const expected = ["left 1", "kept 1", "joined 2", "kept 2"];
      // From the window, and, at a hub that began only now and holds one event, from the log.
      for (const each of [hub, later(), later({})]) {
        const reader = open(each, { channels: ["joined", "kept"], lastEventId: cursor });
        assertEquals(await heard(hub, reader), expected);
        await reader.cancel();
        // Who grants channels may not know yet, or not any more: the log does.
        const stale = open(each, { channels: ["left", "kept"], lastEventId: cursor });
        assertEquals(await heard(hub, stale), expected);
        await stale.cancel();
      }
    }));

  test("a second join of the same channel takes nothing from who resumes in between", () =>
    withHub({}, async (hub) => {
      await hub.join("ada", "room");
      const cursor = hub.cursor();
      await hub.publish("room", "n", 1);
      await hub.join("ada", "room");
      await hub.publish("room", "n", 2);
      const reader = open(hub, { channels: ["room"], lastEventId: cursor });
      assertEquals(await heard(hub, reader), ["1", "2"]);
      await reader.cancel();
    }));

  test("it is told, counted, and its limit is not that of requests", () =>
    withHub({ maxChannelsPerConnection: 1 }, async (hub) => {
      const told: unknown[] = [];
      hub.on("join", (detail) => told.push(["join", detail]));
      hub.on("leave", (detail) => told.push(["leave", detail]));
      const reader = open(hub, { channels: ["a"] });
      await reader.block();
      await hub.join("ada", "b");
      await hub.join("ada", "c");
      await hub.join("nobody", "d");
      assertEquals((await hub.publish("c", "n", 1)).connections, 1);
      assertEquals(hub.stats().channels, 3);
      assertEquals(await heard(hub, reader), ["1"]);
      // It asks for more: one that does not would be counted until it has come to the leave.
      const next = reader.event();
      await hub.leave("ada", "c");
      assertEquals((await hub.publish("c", "n", 2)).connections, 0);
      await hub.publish("a", "n", 3);
      assertEquals((await next).data, "3");
      const { joins, leaves, channels } = hub.stats();
      assertEquals([joins, leaves, channels], [3, 1, 2]);
      assertEquals(told, [
        ["join", { session: "ada", channel: "b" }],
        ["join", { session: "ada", channel: "c" }],
        ["join", { session: "nobody", channel: "d" }],
        ["leave", { session: "ada", channel: "c" }],
      ]);
      await reader.cancel();
      assertEquals(hub.stats().channels, 0);
    }));

  test("invalid names are refused; a closed hub and a log that fails say so", async () => {
    await withHub({}, async (hub) => {
      const cases: [unknown, unknown][] = [["", "room"], ["ada", ""], ["ada", "a\nb"], ["ada", 7], [
        undefined,
        "a",
      ]];
      for (const [session, channel] of cases) {
        for (const act of ["join", "leave"] as const) {
          const error = await assertRejects(
            () => hub[act](session as string, channel as string),
            StreamsideError,
          );
          assertEquals(error.code, "invalid-argument");
        }
      }
      await hub.close();
      for (const act of ["join", "leave"] as const) {
        const error = await assertRejects(() => hub[act]("ada", "room"), StreamsideError);
        assertEquals(error.code, "closed");
      }
    });
    const log = memoryLog();
    const failing = {
      ...log,
      follow: log.follow.bind(log),
      read: log.read.bind(log),
      append: () => Promise.reject(new Error("away")),
    };
    await withHub({ log: failing }, async (hub) => {
      const error = await assertRejects(() => hub.join("ada", "room"), StreamsideError);
      assertEquals(error.code, "log-unavailable");
      assert(error.message.includes("call join again"), error.message);
    });
  });

  test("a request that came in before more changes than are remembered has to come again", () =>
    withHub({ history: { events: 1 } }, async (hub) => {
      const requestedAt = hub.cursor();
      for (let i = 0; i < 10_002; i++) hub.join(`s${i % 7}`, "room");
      await hub.join("ada", "room");
      await hub.join("ada", "room");
      let code = "";
      try {
        hub.subscribe("ada", { requestedAt });
      } catch (error) {
        code = (error as StreamsideError).code;
      }
      assertEquals(code, "log-unavailable");
    }));
});
