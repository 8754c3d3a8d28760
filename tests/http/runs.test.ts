/**
 * The route of a run: what it answers, and that a run's readers obey what all connections obey.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHandler, createHub, type HandlerOptions, type HubOptions } from "../../mod.ts";
import {
  type Block,
  EventReader,
  problem,
  quietLogger,
  refusedForNow,
  type Service,
  until,
  withHub,
  within,
  withService,
} from "../server-helpers.ts";

const authenticate = (request: Request) => {
  const session = request.headers.get("X-Session-Id");
  return session === null ? null : { session, channels: ["answer", "a/b ü", "news"] };
};

/** A source that goes on until it is told to end. */
function endless(): { source: (signal: AbortSignal) => AsyncIterable<string>; end(): void } {
  let end = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  return {
    source: async function* () {
      yield "first";
      await ended;
      yield "last";
    },
    end: () => end(),
  };
}

function get(
  { base }: Service,
  channel: string,
  session: string | null = "reader",
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Response> {
  const all = new Headers(headers);
  if (session !== null) all.set("X-Session-Id", session);
  return within(fetch(`${base}/runs/${channel}`, { headers: all, method }), "an answer");
}

/** Opens a run's stream and reads its first event. */
async function follow(service: Service, session = "reader"): Promise<EventReader> {
  const reader = new EventReader(await get(service, "answer", session));
  assertEquals((await reader.event()).data, "first");
  return reader;
}

async function withRun(
  hub: HubOptions,
  run: (service: Service, end: () => void) => Promise<void>,
  handler: Partial<HandlerOptions> = {},
): Promise<void> {
  await withService({ hub, handler: { authenticate, ...handler } }, async (service) => {
    const { source, end } = endless();
    await service.hub.run("answer", source);
    await run(service, end);
    end();
  });
}

const eventsOf = (blocks: Block[]) => blocks.filter(({ data }) => data !== undefined);

describe("GET {basePath}/runs/{channel}", () => {
  test("answers by the status", () =>
    withRun({}, async (service, end) => {
      await problem(get(service, "answer", null), 401, "not-authenticated");
      await problem(get(service, "other"), 403, "channel-not-granted");
      await problem(get(service, "news"), 404, "no-run");
      await problem(get(service, ""), 403, "channel-not-granted");
      await problem(get(service, "%ff"), 400, "invalid-url");
      await problem(get(service, "answer", "reader", {}, "POST"), 405, "method-not-allowed");
      await problem(within(fetch(`${service.base}/runs`), "an answer"), 404, "not-found");
      const head = await get(service, "answer", "reader", {}, "HEAD");
      assertEquals([head.status, head.headers.get("content-type")], [200, "text/event-stream"]);
      assertEquals(head.headers.get("streamside-end"), "1");
      assertEquals(service.hub.stats().connects, 0);
      const reader = await follow(service);
      end();
      const rest = eventsOf(await reader.rest());
      assertEquals(rest.map(({ data }) => data), ["last", "{}"]);
      const seen = await get(service, "answer", "reader", { "Last-Event-ID": rest[1]!.id! });
      assertEquals([seen.status, await seen.text()], [204, ""]);
    }));

  test("takes names that are percent-encoded, also where a proxy has decoded the slash", () =>
    withService({ handler: { authenticate } }, async (service) => {
      await (await service.hub.run("a/b ü", ["x"])).done;
      for (const path of [encodeURIComponent("a/b ü"), "a/b%20%C3%BC"]) {
        const blocks = await new EventReader(await get(service, path)).rest();
        assertEquals(eventsOf(blocks).map(({ data }) => data), ["x", "{}"]);
      }
    }));

  test("is handler.follow for a route of one's own, with the context", () =>
    withHub({}, async (hub) => {
      const handler = createHandler(hub, {
        authenticate: (_request, context: { user: string }) => ({
          session: context.user,
          channels: ["answer"],
        }),
      });
      await (await hub.run("answer", ["x"])).done;
      const request = new Request("http://localhost/anywhere?lastEventId=");
      const response = await handler.follow(request, "answer", { user: "ada" });
      const blocks = await new EventReader(response).rest();
      assertEquals(eventsOf(blocks).map(({ data }) => data), ["x", "{}"]);
      assertEquals((await handler.follow(request, "other", { user: "ada" })).status, 403);
    }));

  test("is 204 with enabled: false", () =>
    withRun({}, async (service) => {
      assertEquals((await get(service, "answer")).status, 204);
    }, { enabled: false }));

  test("carries nothing but the run", () =>
    withRun({}, async ({ hub, ...service }, end) => {
      const reader = await follow(
        { ...service, hub, base: `${service.server.url}/api/v1/sse` } as Service,
      );
      await hub.publish("answer", "tick", "published");
      await hub.send("reader", "tick", "sent");
      await hub.broadcast("tick", "broadcast");
      end();
      const rest = eventsOf(await reader.rest());
      assertEquals(rest.map(({ data }) => data), ["last", "{}"]);
    }));
});

describe("a run's reader", () => {
  test("counts as a connection of its session, and heeds the limits", () =>
    withRun({ maxConnectionsPerSession: 2, maxConnections: 3 }, async (service) => {
      const readers = [await follow(service), await follow(service)];
      const { connections, sessions } = service.hub.stats();
      assertEquals([connections, sessions, service.hub.sessions()], [2, 1, ["reader"]]);
      const third = await refusedForNow(get(service, "answer"));
      assertEquals(third.code, "too-many-connections-of-session");
      const other = await refusedForNow(service.get("reader"));
      assertEquals(other.code, "too-many-connections-of-session");
      readers.push(await follow(service, "another"));
      assertEquals((await refusedForNow(get(service, "answer", "x"))).code, "too-many-connections");
      assertEquals((await refusedForNow(service.get("x"))).code, "too-many-connections");
      for (const reader of readers) await reader.cancel();
    }));

  test("takes the place of its session's oldest connection with close-oldest", () =>
    withRun({ maxConnectionsPerSession: 1, onSessionLimit: "close-oldest" }, async (service) => {
      const first = await service.subscribe("reader");
      const second = await follow(service);
      await first.rest();
      const third = await service.subscribe("reader");
      await second.rest();
      await third.cancel();
    }));

  test("ends with hub.disconnect, and is refused if it asked before", () => {
    let arrived = () => {};
    let answer = () => {};
    let isSlow = true;
    return withRun({}, async (service) => {
      const reader = await follow(service);
      const waits = new Promise<void>((resolve) => arrived = resolve);
      const late = get(service, "answer", "reader", { "X-Slow": "1" });
      await waits;
      await service.hub.disconnect("reader");
      assertEquals(eventsOf(await reader.rest()), []);
      answer();
      assertEquals((await refusedForNow(late)).code, "disconnected");
      const again = await follow(service);
      await again.cancel();
    }, {
      authenticate: async (request) => {
        if (request.headers.has("X-Slow") && isSlow) {
          isSlow = false;
          const answered = new Promise<void>((resolve) => answer = resolve);
          arrived();
          await answered;
        }
        return authenticate(request);
      },
    });
  });

  test("ends when its identity expires, and after maxAge", async () => {
    const reasons: string[] = [];
    const ends = async (hub: HubOptions, handler: Partial<HandlerOptions>) => {
      await withRun(hub, async (service) => {
        service.hub.on("disconnect", ({ reason }) => reasons.push(reason));
        await (await follow(service)).rest();
      }, handler);
    };
    await ends({}, {
      authenticate: () => ({
        session: "reader",
        channels: ["answer"],
        expires: Date.now() + 200,
      }),
    });
    await ends({ maxAge: 200 }, {});
    assertEquals(reasons, ["expired", "max-age"]);
  });

  test("hears heartbeats, each with the id where it stands", () =>
    withRun({ heartbeat: 30 }, async (service) => {
      const reader = new EventReader(await get(service, "answer"));
      const { id } = await reader.event();
      for (let i = 0; i < 2; i++) {
        const { comments, id: place } = await reader.block();
        assertEquals([comments, place], [[""], id]);
      }
      await reader.cancel();
    }));

  test("is told to come back when the hub closes, and refused for now from then on", () =>
    withRun({}, async (service, end) => {
      const reader = await follow(service);
      const closed = service.hub.close({ within: 300 });
      assertEquals((await refusedForNow(get(service, "answer"))).code, "closed");
      end();
      await reader.rest();
      await within(closed, "the hub to close");
    }));

  test("that takes too long finds a reset where the run was trimmed", async () => {
    const hub = createHub({ logger: quietLogger, runHistory: { events: 3 } });
    const handler = createHandler(hub, { authenticate });
    const { source, end } = endless();
    let more = () => {};
    const run = await hub.run("answer", async function* (signal) {
      yield* source(signal);
      for (let i = 0; i < 9; i++) yield `${i}`;
      more();
    });
    const request = new Request("http://localhost/api/v1/sse/runs/answer", {
      headers: { "X-Session-Id": "reader" },
    });
    const reader = new EventReader(await handler(request));
    assertEquals((await reader.event()).data, "first");
    const published = new Promise<void>((resolve) => more = resolve);
    end();
    await within(published, "the events");
    assertEquals(await run.done, {});
    const rest = eventsOf(await reader.rest());
    const resets = rest.filter(({ event }) => event === "streamside:reset");
    assertEquals(resets.length, 1);
    assertEquals(rest.slice(-4).map(({ data }) => data), ["6", "7", "8", "{}"]);
    assertEquals(hub.stats().resets, 1);
    await hub.close();
  });
});

test("counters, metrics and events tell of runs", () =>
  withRun({}, async (service, end) => {
    const told: unknown[] = [];
    service.hub.on("run", ({ channel }) => told.push(["run", channel]));
    service.hub.on("runEnd", ({ channel, events, error }) => told.push([channel, events, error]));
    end();
    const failing = await service.hub.run("other", () => {
      throw new Error("no source");
    });
    assertEquals(await failing.done, { error: "failed" });
    await until(() => service.hub.stats().runs === 0, "the runs to end");
    const { runsBegun, runsBroken, runEvents, runHistoryEvents, runHistoryBytes } = service.hub
      .stats();
    assertEquals([runsBegun, runsBroken, runEvents, runHistoryEvents], [2, 1, 2, 2]);
    assert(runHistoryBytes > 0);
    assertEquals(told.map(String).sort(), ["answer,2,", "other,0,failed", "run,other"]);
    const text = await (await fetch(`${service.base}/metrics`)).text();
    assert(text.includes("\nstreamside_runs 0\n"));
    assert(text.includes("\nstreamside_run_events_total 2\n"));
  }, { authorizeMetrics: () => true }));
