/**
 * Runs on Redis, beyond what every log promises: what it keeps and for how long, on each client, and what becomes of runs
 * where Redis loses what it had acknowledged.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { createHandler, type Hub, type Log, type RunRecord } from "../../mod.ts";
import { type RedisClient, redisLog, type RedisLogOptions } from "../../src/log/redis.ts";
import { skipWithout } from "../programs.ts";
import { REDIS, type RedisServer, startRedis } from "../redis.ts";
import { EventReader, runtime, until, within } from "../server-helpers.ts";
import { type OwnLog, Servers } from "./servers.ts";

const skip = skipWithout(...REDIS);

/** The clients that a user may have. */
const clients: Record<
  string,
  (url: string) => Promise<{ client: RedisClient; end(): unknown }>
> = {
  redis: async (url) => {
    const client = createClient({ url }).on("error", () => {});
    await client.connect();
    return { client, end: () => client.destroy() };
  },
  ioredis: async (url) => {
    const client = new Redis(url).on("error", () => {});
    await client.ping();
    return { client, end: () => client.disconnect() };
  },
  ...runtime !== "bun" ? {} : {
    "Bun's own": async (url: string) => {
      const { RedisClient } = (globalThis as unknown as {
        Bun: {
          RedisClient: new (url: string) => RedisClient & { connect(): unknown; close(): unknown };
        };
      }).Bun;
      const client = new RedisClient(url);
      await client.connect();
      return { client, end: () => client.close() };
    },
  },
};

const A = "a".repeat(16);
const B = "b".repeat(16);

function record(
  type: RunRecord["type"],
  run = A,
  number = 0,
  more: Partial<RunRecord> = {},
): RunRecord {
  const content = type === "event" ? { event: "token", data: `${number}` } : {};
  return { type, run, channel: "answer", time: 7, number, ...content, ...more };
}

async function logOn(
  redis: RedisServer,
  options: RedisLogOptions = {},
  make = clients.redis!,
): Promise<OwnLog> {
  const { client, end } = await make(redis.url);
  return { log: redisLog(client, options), end };
}

/** Runs a test with a Redis, and what starts servers on it. */
async function withRedis(
  run: (redis: RedisServer, servers: Servers) => Promise<void>,
  ...options: string[]
): Promise<void> {
  const redis = await startRedis(...options);
  const servers = new Servers({ runTimeout: 2_000 });
  try {
    await run(redis, servers);
  } finally {
    await servers.closeAll();
    await redis.close();
  }
}

/** Runs a test with a log on a Redis, and a client that looks what is in there. */
async function withLog(
  options: RedisLogOptions,
  run: (log: Log, client: Redis, redis: RedisServer) => Promise<void>,
): Promise<void> {
  const redis = await startRedis();
  const { log, end } = await logOn(redis, options);
  const client = new Redis(redis.url).on("error", () => {});
  try {
    await run(log, client, redis);
  } finally {
    await log.close!();
    await end();
    client.disconnect();
    await redis.close();
  }
}

/** Reads the run of a channel from its first event, or after an id. */
function read(hub: Hub, lastEventId?: string, channel = "answer"): EventReader {
  const headers = new Headers(lastEventId === undefined ? {} : { "Last-Event-ID": lastEventId });
  const stream = new ReadableStream<Uint8Array>({
    async start(controller) {
      const handler = createHandler(hub, {
        authenticate: () => ({ session: "ada", channels: [channel] }),
      });
      const url = `http://localhost/api/v1/sse/runs/${channel}`;
      const response = await handler(new Request(url, { headers }));
      if (response.status !== 200) return controller.error(new Error(`status ${response.status}`));
      const reader = response.body!.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return controller.close();
        controller.enqueue(value);
      }
    },
  });
  return new EventReader(stream);
}

/** The data of all events of a stream to its end. */
async function heard(reader: EventReader): Promise<string[]> {
  const events = await reader.rest();
  return events.filter(({ data }) => data !== undefined)
    .map(({ event, data }) => event === "streamside:reset" ? "reset" : data!);
}

/** A source that goes on until it is told its last. */
function source(...first: string[]) {
  const said = [...first];
  let wake = () => {};
  return {
    say(...data: string[]) {
      said.push(...data);
      wake();
    },
    async *events(signal: AbortSignal): AsyncGenerator<string> {
      signal.addEventListener("abort", () => wake());
      while (!signal.aborted) {
        const next = said.shift();
        if (next === "END") return;
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => wake = resolve);
      }
    },
  };
}

for (const [name, make] of Object.entries(clients)) {
  test(
    `runs on a client of ${name}: read and stopped on another server, lost where Redis is emptied`,
    {
      skip,
    },
    () =>
      withRedis(async (redis, servers) => {
        const start = () => servers.start(logOn(redis, {}, make));
        const [one, other] = [await start(), await start()];
        const words = source("é", "世界 👩‍🚀\n", "c");
        const run = await one.hub.run("answer", words.events);
        const reader = read(other.hub);
        assertEquals(await reader.data(3), ["é", "世界 👩‍🚀\n", "c"]);
        words.say("d");
        assertEquals(await reader.data(1), ["d"]);
        assertEquals(await other.hub.stopRun("answer"), true);
        assertEquals(await heard(reader), ['{"error":"stopped"}']);
        assertEquals(await within(run.done, "the end"), { error: "stopped" });
        const later = await start();
        assertEquals(await heard(read(later.hub)), [
          ...["é", "世界 👩‍🚀\n", "c", "d", '{"error":"stopped"}'],
        ]);

        const again = await one.hub.run("answer", source("x").events);
        const readers = [one, other].map(({ hub }) => read(hub));
        for (const reader of readers) assertEquals(await reader.data(1), ["x"]);
        await redis.command("FLUSHALL");
        for (const reader of readers) assertEquals(await heard(reader), ['{"error":"lost"}']);
        assertEquals(await within(again.done, "the end"), { error: "lost" });
        assertEquals(await within((await other.hub.run("answer", ["y"])).done, "the end"), {});
        assertEquals(await heard(read(one.hub)), ["y", "{}"]);
      }),
  );
}

describe("redisLog's runs", () => {
  test("Redis comes back from an old snapshot: no reader hangs, and none gets an event twice", {
    skip,
  }, () =>
    withRedis(async (redis, servers) => {
      const [one, other] = [
        await servers.start(logOn(redis)),
        await servers.start(logOn(redis)),
      ];
      await (await one.hub.run("before", ["x"])).done;
      const words = source("1", "2", "3");
      const run = await one.hub.run("answer", words.events);
      const reader = read(other.hub);
      assertEquals(await reader.data(3), ["1", "2", "3"]);
      assert((await redis.command("SAVE")).startsWith("+OK"));
      words.say("4", "5");
      const [, fifth] = await reader.events(2);
      const ended = await one.hub.run("ended", ["x"]);
      await ended.done;
      await redis.kill();
      await redis.start();
      words.say("6", "END");
      // A server that lists the runs when Redis has the sixth event asks Redis for those before it, which are gone.
      const rest = await heard(reader);
      assertEquals(rest.filter((data) => data !== "reset"), ["6", "{}"]);
      assertEquals(await within(run.done, "the end"), {});
      // One that starts knows what Redis knows: where some is missing it says so.
      const { hub } = await servers.start(logOn(redis));
      assertEquals(await heard(read(hub, fifth!.id)), ["6", "{}"]);
      assertEquals((await heard(read(hub))).slice(-3), ["reset", "6", "{}"]);
      assertEquals(await within((await hub.run("ended", ["y"])).done, "the end"), {});
      assertEquals(await heard(read(other.hub, undefined, "ended")), ["y", "{}"]);
    }));

  test("what a run leaves expires some time after its end, and all else when nobody uses it", {
    skip,
  }, () =>
    withLog({ runHistory: { age: 600_000 } }, async (log, client) => {
      const day = 24 * 3_600_000;
      const ttls = async (pattern: string) => {
        const keys = await client.keys(pattern);
        assert(keys.length > 0, `keys like ${pattern}`);
        return await Promise.all(keys.map(async (key) => [key, await client.pttl(key)] as const));
      };
      const expire = async (pattern: string, from: number, to: number) => {
        for (const [key, ttl] of await ttls(pattern)) {
          assert(ttl > from && ttl <= to, `${key} expires in ${ttl} ms`);
        }
      };
      const runs = log.runs!;
      await runs.append([record("begin"), record("event", A, 1)]);
      await expire("*runs:*", day - 60_000, day);
      await expire("{streamside}:runs", 0, 60_000);
      await runs.append([record("end"), record("begin", B, 0, { channel: "other" })]);
      await runs.append([record("event", B, 1, { channel: "other" }), record("alive", B)]);
      await expire(`*run:${A}*`, 500_000, 600_000);
      await expire("*channel:answer", 500_000, 600_000);
      await expire("{streamside}:runs:*ed", day - 60_000, day);
      await expire("*channel:other", day - 60_000, day);
      await expire(`*run:${B}*`, day - 60_000, day);
      // A run that says that it is alive stays.
      const keys = (await client.keys("*")).filter((key) => !/:(log|recent)$/.test(key));
      for (const key of keys) await client.pexpire(key, 1_000_000);
      const old = `${Date.now() - day / 5}`;
      await client.hset(`{streamside}:runs:run:${B}`, "renewed", old);
      await client.hset("{streamside}:runs:state", "renewed", old);
      await runs.append([record("alive", B, 0, { channel: "other" })]);
      await expire(`*run:${B}*`, day - 60_000, day);
      await expire("*channel:other", day - 60_000, day);
      for (const name of ["state", "order", "ended", "sizes"]) {
        await expire(`{streamside}:runs:${name}`, day - 60_000, day);
      }
    }));

  test("what goes at once is one round trip", { skip }, () =>
    withLog({}, async (log, client) => {
      const runs = log.runs!;
      await runs.append([record("begin")]);
      const calls = async () =>
        Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info("commandstats"))?.[1]);
      const before = await calls();
      const ids = Array.from({ length: 100 }, (_, i) => `${i}`.padStart(16, "0"));
      await within(
        Promise.all(ids.map((run) => runs.append([record("begin", run, 0, { channel: run })]))),
        "100 runs",
      );
      const took = await calls() - before;
      assert(took <= 2, `${took} round trips`);
      assertEquals((await runs.list()).length, 101);
    }));

  test("lists more of them than come in one answer", { skip }, () =>
    withLog({}, async (log) => {
      const runs = log.runs!;
      const ids = Array.from({ length: 1_234 }, (_, i) => `${i}`.padStart(16, "0"));
      await runs.append(ids.map((run) => record("begin", run, 0, { channel: run })));
      assertEquals((await runs.list()).map(({ run }) => run), ids);
    }));

  test(
    "a follower that comes too late for what was told is told so, and what others write costs nobody",
    {
      skip,
    },
    () =>
      withLog({}, async (log, client) => {
        const runs = log.runs!;
        const told: string[] = [];
        runs.follow({
          opened: () => told.push("opened"),
          appended: (records) => told.push(...records.map(({ type }) => type)),
          failed: (error) => told.push(`${error}`),
        });
        await until(() => told.length === 1, "the runs to open");
        await runs.append([record("begin")]);
        await until(() => told.length === 2, "the beginning");
        // As if others had appended an entry that is gone already.
        const head = Number(await client.hget("{streamside}:runs:state", "head"));
        await client.hset("{streamside}:runs:state", "head", `${head + 1}`, "headTag", "other");
        await runs.append([record("event", A, 1)]);
        await until(() => told.includes("opened", 1), "the runs to open anew");
        await client.xadd("{streamside}:runs", "*", "a", "b");
        await runs.append([record("event", A, 2)]);
        await runs.append([record("end")]);
        await until(() => told.at(-1) === "end", "the end");
        assertEquals((await runs.read(A, 0, 10)).map(({ number }) => number), [1, 2]);
        assertEquals((await runs.list())[0]!.events, 2);
      }),
  );
});
