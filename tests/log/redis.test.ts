/**
 * The log on Redis: what all servers of it see, and what happens when Redis fails, and when it loses what it had
 * acknowledged.
 *
 * @module
 */
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Redis } from "ioredis";
import { createClient } from "redis";
import {
  createHub,
  type HistoryOptions,
  type Hub,
  type Log,
  type RunHistoryOptions,
  StreamsideError,
} from "../../mod.ts";
import { type RedisClient, redisLog, type RedisLogOptions } from "../../src/log/redis.ts";
import { testLog } from "../../src/testing.ts";
import { REDIS, type RedisServer, startRedis } from "../redis.ts";
import { skipWithout } from "../programs.ts";
import { EventReader, runtime, until, within } from "../server-helpers.ts";

const skip = skipWithout(...REDIS);

interface OwnClient {
  readonly client: RedisClient;
  end(): unknown;
}

/** The clients that a user may have. */
const clients: Record<string, (url: string) => Promise<OwnClient>> = {
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
    "Bun's own": async (url: string): Promise<OwnClient> => {
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

interface OneServer {
  readonly hub: Hub;
  readonly log: Log;
  end(): Promise<void>;
}

/** Servers that share a log: a hub each, with a client of its own. */
class Servers {
  readonly redis: RedisServer;
  readonly #make: (url: string) => Promise<OwnClient>;
  readonly #open = new Set<() => Promise<void>>();

  constructor(redis: RedisServer, make = clients.redis!) {
    this.redis = redis;
    this.#make = make;
  }

  /** One more server, once it has reached the log. */
  async start(options: RedisLogOptions = {}, url = this.redis.url): Promise<OneServer> {
    const { client, end } = await this.#make(url);
    const log = redisLog(client, options);
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const hub = createHub({ log, logger });
    const close = async () => {
      await hub.close();
      await log.close!();
      await end();
    };
    this.#open.add(close);
    await until(() => isOpen(hub), "the hub to reach its log");
    return { hub, log, end: () => this.#close(close) };
  }

  async closeAll(): Promise<void> {
    for (const close of this.#open) await this.#close(close);
  }

  async close(): Promise<void> {
    await this.closeAll();
    await this.redis.close();
  }

  async #close(close: () => Promise<void>): Promise<void> {
    this.#open.delete(close);
    await within(close(), "a server to close");
  }
}

function isOpen(hub: Hub): boolean {
  try {
    hub.cursor();
    return true;
  } catch {
    return false;
  }
}

/** Reads what a session hears. */
function listen(hub: Hub, lastEventId?: string): EventReader {
  const stream = hub.subscribe("ada", { channels: ["news"], lastEventId });
  return new EventReader(new Response(stream));
}

/** The data of the next events, and `reset` for a reset. */
async function hear(reader: EventReader, count: number): Promise<string[]> {
  const heard: string[] = [];
  while (heard.length < count) {
    const { event, data } = await reader.event();
    heard.push(event === "streamside:reset" ? "reset" : data!);
  }
  return heard;
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => String(from + i));

async function withServers(
  test: (servers: Servers) => Promise<void>,
  { make, options = [] }: { make?: (url: string) => Promise<OwnClient>; options?: string[] } = {},
): Promise<void> {
  const servers = new Servers(await startRedis(...options), make);
  try {
    await test(servers);
  } finally {
    await servers.close();
  }
}

/** A way to a Redis that can be cut, lead elsewhere, and lose answers. */
async function proxyTo(port: () => number) {
  const sockets = new Set<Socket>();
  const way = { url: "", lost: 0, loseNextAnswer, cut, close };
  let losing = false;
  const server = createServer((near) => {
    const far = connect(port(), "127.0.0.1");
    let asked = false;
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    near.on("data", (data) => {
      asked = /EVALSHA/.test(String(data));
      far.write(data);
    });
    far.on("data", (data) => {
      if (!losing || !asked) return near.write(data);
      // Redis has done it, and nobody hears so.
      losing = false;
      way.lost++;
      near.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  way.url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return way;

  function loseNextAnswer() {
    losing = true;
  }
  function cut() {
    for (const socket of sockets) socket.destroy();
  }
  async function close() {
    cut();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Waits until a replica has all that its master has. */
async function replicated(master: RedisServer, replica: RedisServer): Promise<void> {
  const offset = async (server: RedisServer) =>
    /(?:master_repl_offset|slave_repl_offset):(\d+)/.exec(
      await server.command("INFO", "replication"),
    )?.[1];
  await replica.command("PING");
  const began = Date.now();
  for (;;) {
    const info = await replica.command("INFO", "replication");
    const [, own] = /slave_repl_offset:(\d+)/.exec(info) ?? [];
    if (/master_link_status:up/.test(info) && own === await offset(master)) return;
    assert(Date.now() - began < 60_000, `the replica follows: ${info}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const [name, make] of Object.entries(clients)) {
  describe(`redisLog on a client of ${name}`, () => {
    test(
      "two servers are one hub: send on one, receive on both, resume on the other",
      { skip },
      () =>
        withServers(async (servers) => {
          const one = await servers.start();
          const two = await servers.start();
          const readers = [listen(one.hub), listen(two.hub)];
          const sent = await Promise.all(
            numbers(0, 300).map((n) => one.hub.publish("news", "n", n)),
          );
          await two.hub.send("ada", "text", "a\nb\r\nc \u2028 ü 🎉");
          for (const reader of readers) {
            assertEquals(await hear(reader, 301), [...numbers(0, 300), "a\nb\nc \u2028 ü 🎉"]);
            await reader.cancel();
          }
          const later = listen(two.hub, sent[99]!.id);
          assertEquals(await hear(later, 200), numbers(100, 300));
          await later.cancel();
          const three = await servers.start();
          const newcomer = listen(three.hub, sent[297]!.id);
          assertEquals(await hear(newcomer, 2), ["298", "299"]);
          await one.hub.disconnect("ada");
          await within(newcomer.rest(), "the stream to end");
        }, { make }),
    );

    test(
      "Redis is killed and started with its data: nothing is missed, no reset",
      { skip },
      () =>
        withServers(async (servers) => {
          const one = await servers.start();
          const two = await servers.start();
          const reader = listen(two.hub);
          const first = await one.hub.publish("news", "n", "0");
          assertEquals(await hear(reader, 1), ["0"]);
          await servers.redis.kill();
          // It waits until Redis is back.
          const waiting = one.hub.publish("news", "n", "1");
          await servers.redis.start();
          await within(waiting, "the send");
          await one.hub.publish("news", "n", "2");
          assertEquals(await hear(reader, 2), ["1", "2"]);
          const resumed = listen(one.hub, first.id);
          assertEquals(await hear(resumed, 2), ["1", "2"]);
        }, { make, options: ["--appendonly", "yes", "--appendfsync", "always"] }),
    );

    test(
      "Redis is killed and started without its data: everybody gets a reset",
      { skip },
      () =>
        withServers(async (servers) => {
          const one = await servers.start();
          const two = await servers.start();
          const reader = listen(two.hub);
          const sent: string[] = [];
          for (const n of numbers(0, 20)) sent.push((await one.hub.publish("news", "n", n)).id);
          assertEquals(await hear(reader, 20), numbers(0, 20));
          await servers.redis.kill();
          await servers.redis.start();
          assertEquals(await hear(reader, 1), ["reset"]);
          await until(
            () => one.hub.cursor().split("-")[0] === two.hub.cursor().split("-")[0],
            "both servers to agree",
          );
          await one.hub.publish("news", "n", "after");
          assertEquals(await hear(reader, 1), ["after"]);
          const resumed = listen(one.hub, sent[3]);
          assertEquals(await hear(resumed, 1), ["reset"]);
        }, { make }),
    );
  });
}

if (!skip) {
  testLog({
    name: "redisLog",
    test,
    timeout: 60_000,
    runs: true,
    async open(history: HistoryOptions, runHistory?: RunHistoryOptions) {
      const redis = await startRedis("--appendonly", "yes", "--appendfsync", "always");
      const ends: (() => unknown)[] = [];
      const connect = async () => {
        const { client, end } = await clients.redis!(redis.url);
        const log = redisLog(client, { history, runHistory });
        ends.push(() => log.close!(), end);
        return log;
      };
      const close = async () => {
        for (const end of ends) await end();
        await redis.close();
      };
      return { log: await connect(), connect, close, redis };
    },
    async interrupt({ redis }) {
      await redis.kill();
      return () => redis.start();
    },
    async lose({ redis }) {
      const folder = join(redis.directory, "appendonlydir");
      await redis.kill();
      // The last transaction of the file goes, as if it had not reached the disk.
      const [name] = (await readdir(folder)).filter((name) => name.endsWith(".incr.aof"));
      const bytes = await readFile(join(folder, name!));
      await writeFile(
        join(folder, name!),
        bytes.subarray(0, bytes.lastIndexOf("*1\r\n$5\r\nMULTI")),
      );
      await redis.start();
    },
  });
}

describe("redisLog", () => {
  test(
    "Redis comes back from an old snapshot: an id that was given again is not taken for its event",
    {
      skip,
    },
    () =>
      withServers(async (servers) => {
        const { redis } = servers;
        const dump = join(redis.directory, "dump.rdb");
        const one = await servers.start();
        const old = (await one.hub.publish("news", "n", "old")).id;
        await redis.command("SAVE");
        await copyFile(dump, `${dump}.old`);
        const reader = listen(one.hub, old);
        const lost = (await one.hub.publish("news", "n", "lost")).id;
        assertEquals(await hear(reader, 1), ["lost"]);
        await redis.kill();
        await copyFile(`${dump}.old`, dump);
        await redis.start();
        assertEquals(await hear(reader, 1), ["reset"]);
        // And nobody is left who saw the lost event.
        const again = listen(one.hub, lost);
        assertEquals(await hear(again, 1), ["reset"]);
        assertEquals(await hear(listen(one.hub, old), 1), ["reset"]);
      }),
  );

  test("nobody is left who saw what was lost: who had it gets a reset, who had not resumes", {
    skip,
  }, () =>
    withServers(async (servers) => {
      const { redis } = servers;
      const dump = join(redis.directory, "dump.rdb");
      const one = await servers.start();
      const old = (await one.hub.publish("news", "n", "old")).id;
      await redis.command("SAVE");
      await copyFile(dump, `${dump}.old`);
      const lost = (await one.hub.publish("news", "n", "lost")).id;
      await one.end();
      await redis.kill();
      await copyFile(`${dump}.old`, dump);
      await redis.start();
      const two = await servers.start();
      const other = (await two.hub.publish("news", "n", "other")).id;
      // The position of the lost one was given again.
      assertEquals(other.split("-").slice(0, 2), lost.split("-").slice(0, 2));
      assertEquals(await hear(listen(two.hub, lost), 1), ["reset"]);
      assertEquals(await hear(listen(two.hub, old), 1), ["other"]);
      // Also where the window does not reach back.
      const three = await servers.start({}, redis.url);
      assertEquals(await hear(listen(three.hub, lost), 1), ["reset"]);
      assertEquals(await hear(listen(three.hub, old), 1), ["other"]);
    }));

  test(
    "emptied while everybody is connected: a reset, at the latest after a second",
    { skip },
    () =>
      withServers(async (servers) => {
        const one = await servers.start();
        const two = await servers.start();
        const readers = [listen(one.hub), listen(two.hub)];
        await one.hub.publish("news", "n", "0");
        for (const reader of readers) assertEquals(await hear(reader, 1), ["0"]);
        await servers.redis.command("FLUSHALL");
        for (const reader of readers) assertEquals(await hear(reader, 1), ["reset"]);
        await two.hub.publish("news", "n", "1");
        for (const reader of readers) assertEquals(await hear(reader, 1), ["1"]);
      }),
  );

  test(
    "emptied, and past the old place before who follows has looked: a reset, and no event of the new life without it",
    { skip },
    () =>
      withServers(async (servers) => {
        const one = await servers.start();
        const two = await servers.start();
        const readers = [listen(one.hub), listen(two.hub)];
        await one.hub.publish("news", "n", "0");
        for (const reader of readers) assertEquals(await hear(reader, 1), ["0"]);
        await servers.redis.command("FLUSHALL");
        // What a send meets in which the log starts over may be in it or not, and its caller is told so.
        await Promise.allSettled(
          numbers(1, 9).map((number) => one.hub.publish("news", "n", number)),
        );
        // Where the new life goes on behind the old place, it would look as if nothing had happened.
        for (const reader of readers) assertEquals(await hear(reader, 1), ["reset"]);
        await two.hub.publish("news", "n", "end");
        const [first, second] = await Promise.all(readers.map(async (reader) => {
          const heard: string[] = [];
          while (heard.at(-1) !== "end") heard.push(...await hear(reader, 1));
          return heard;
        }));
        assertEquals(first, second);
      }),
  );

  test(
    "a replica that lags is promoted: a reset; one that does not: none",
    { skip: skip || (!process.env.STREAMSIDE_TEST_LONG && "takes 12 s: npm run test:long") },
    () =>
      withServers(async (servers) => {
        const { redis } = servers;
        const replica = await startRedis();
        try {
          await replica.command("REPLICAOF", "127.0.0.1", `${redis.port}`);
          await redis.command("CONFIG", "SET", "min-replicas-to-write", "0");
          // All servers go through one address, as with a service name or Sentinel.
          const way = await proxyTo(() => current.port);
          let current = redis;
          try {
            const one = await servers.start({}, way.url);
            const two = await servers.start({}, way.url);
            const reader = listen(two.hub);
            await one.hub.publish("news", "n", "0");
            assertEquals(await hear(reader, 1), ["0"]);
            await replicated(redis, replica);
            current = replica;
            await replica.command("REPLICAOF", "NO", "ONE");
            await redis.kill();
            way.cut();
            await one.hub.publish("news", "n", "1");
            assertEquals(await hear(reader, 1), ["1"]);

            // Back to the first, which was empty, copies the second, and is cut off before the last event.
            await redis.start();
            await redis.command("REPLICAOF", "127.0.0.1", `${replica.port}`);
            await replicated(replica, redis);
            await redis.command("REPLICAOF", "NO", "ONE");
            await one.hub.publish("news", "n", "2");
            assertEquals(await hear(reader, 1), ["2"]);
            current = redis;
            await replica.kill();
            way.cut();
            assertEquals(await hear(reader, 1), ["reset"]);
          } finally {
            await servers.closeAll();
            await way.close();
          }
        } finally {
          await replica.close();
        }
      }),
  );

  test(
    "an answer that was lost: tried again, the event stands once",
    { skip },
    () =>
      withServers(async (servers) => {
        const way = await proxyTo(() => servers.redis.port);
        try {
          const one = await servers.start({}, way.url);
          const two = await servers.start();
          const reader = listen(two.hub);
          await one.hub.publish("news", "n", "0");
          way.loseNextAnswer();
          const sends = numbers(1, 50).map((n) => one.hub.publish("news", "n", n));
          const ids = (await within(Promise.all(sends), "the sends")).map(({ id }) => id);
          assert(way.lost > 0, "an answer was lost");
          const last = await one.hub.publish("news", "n", "50");
          assertEquals(await hear(reader, 51), numbers(0, 51));
          assertEquals(new Set([...ids, last.id]).size, 50);
          assertEquals(await hear(listen(two.hub, ids[9]), 40), numbers(11, 51));
        } finally {
          await servers.closeAll();
          await way.close();
        }
      }),
  );

  test(
    "Redis is frozen: sends reject after appendTimeout; thawed, everything goes on",
    { skip },
    () =>
      withServers(async (servers) => {
        const one = await servers.start({ appendTimeout: 300 });
        const two = await servers.start();
        const reader = listen(two.hub);
        servers.redis.freeze();
        const late = one.hub.publish("news", "late", "may be there or not");
        await assertRejects(() => late, StreamsideError, "within 300 ms");
        const pending = two.hub.publish("news", "n", "0");
        servers.redis.thaw();
        await pending;
        await one.hub.publish("news", "n", "1");
        const heard: string[] = [];
        while (heard.at(-1) !== "1") heard.push(...await hear(reader, 1));
        assertEquals(heard.filter((data) => data.length === 1), ["0", "1"]);
      }),
  );

  test("what waits is bounded by maxPendingBytes", { skip }, () =>
    withServers(async (servers) => {
      const one = await servers.start({ maxPendingBytes: 1_000 });
      const sends = numbers(0, 20).map((n) => one.hub.publish("news", "n", n));
      const results = await Promise.allSettled(sends);
      const refused = results.filter(({ status }) =>
        status === "rejected"
      ) as PromiseRejectedResult[];
      assert(refused.length > 5 && refused.length < 20, `${refused.length} of 20`);
      for (const { reason } of refused) {
        assertEquals(reason.code, "log-unavailable");
        assert(/maxPendingBytes is 1000/.test(reason.message), reason.message);
      }
      await one.hub.publish("news", "n", "later");
    }));

  test("an idempotencyKey: sent again with it, the event stands once, on whichever server", {
    skip,
  }, () =>
    withServers(async (servers) => {
      const one = await servers.start();
      const two = await servers.start();
      const reader = listen(two.hub);
      const options = { idempotencyKey: "order-7" };
      const [first, again] = await Promise.all([
        one.hub.publish("news", "n", "0", options),
        one.hub.publish("news", "n", "0", options),
      ]);
      const elsewhere = await two.hub.publish("news", "n", "0", options);
      const next = await two.hub.publish("news", "n", "1");
      assertEquals([again.id, elsewhere.id], [first.id, first.id]);
      assertEquals(await hear(reader, 2), ["0", "1"]);
      assertEquals(await hear(listen(one.hub, first.id), 1), ["1"]);
      assert(next.id !== first.id);
    }));

  test(
    "it holds what history says: events, bytes, age",
    { skip },
    () =>
      withServers(async (servers) => {
        const data = "x".repeat(1_000);
        const held = async (log: Log) => {
          let start = 0;
          // The oldest position from which everything can be read.
          for (; await log.read({ position: start }, 1) === null; start++);
          let count = 0;
          for (let after = start;;) {
            const entries = (await log.read({ position: after }, 100))!;
            if (entries.length === 0) return count;
            count += entries.length;
            after = entries.at(-1)!.position;
          }
        };
        for (
          const [key, history, most] of [
            ["events", { events: 50 }, 50],
            ["bytes", { bytes: 20_000 }, 20],
          ] as const
        ) {
          const { log } = await servers.start({ key, history });
          for (let i = 0; i < 300; i++) {
            await log.append({ to: "#news", event: "n", data });
            if (i % 50 === 0) {
              await Promise.all(
                numbers(0, 20).map(() => log.append({ to: "#news", event: "n", data })),
              );
            }
          }
          const count = await held(log);
          assert(count <= most && count > most * 0.8, `${key}: ${count} held`);
        }
        const { log } = await servers.start({ key: "age", history: { age: 500 } });
        const { position } = await log.append({ to: "#news", event: "n", data });
        await log.append({ to: "#news", event: "n", data });
        await until(() => true, "now");
        const began = Date.now();
        while (await log.read({ position: position - 1 }, 1) !== null) {
          assert(Date.now() - began < 60_000, "the oldest entry goes");
          await new Promise((resolve) => setTimeout(resolve, 20));
          await log.append({ to: "#news", event: "n", data });
        }
        assert(Date.now() - began > 300, "it goes at its age");
      }),
  );

  test(
    "what Redis refuses is told at the first send, with what to do",
    { skip },
    () =>
      withServers(async (servers) => {
        const { redis } = servers;
        const { client, end } = await clients.redis!(redis.url);
        const send = async (options: RedisLogOptions = {}) => {
          const log = redisLog(client, options);
          try {
            return await within(log.append({ to: "*", event: "n", data: "0" }), "the answer");
          } finally {
            await log.close!();
          }
        };
        const refused = async (message: string, options?: RedisLogOptions) => {
          const error = await assertRejects(() => send(options), StreamsideError, message);
          assertEquals(error.code, "log-unavailable");
        };
        try {
          await redis.command("SET", "{text}:log", "1");
          await refused("WRONGTYPE", { key: "text" });
          await redis.command("XADD", "{other}:log", "*", "a", "b");
          await refused("is a stream of something else", { key: "other" });
          assertEquals(await redis.command("XLEN", "{other}:log"), ":1\r\n");
          await redis.command("CONFIG", "SET", "maxmemory", "1");
          await refused("maxmemory");
          await redis.command("CONFIG", "SET", "maxmemory", "0");
          await send();
          await redis.command("ACL", "SETUSER", "default", "-xadd");
          await refused("NOPERM");
          await redis.command("ACL", "SETUSER", "default", "+xadd");
          await send();
        } finally {
          await end();
        }
      }),
  );

  test("followed anew as soon as nobody follows it: it tells from then on, once, and no failure", {
    skip,
  }, () =>
    withServers(async (servers) => {
      const { client, end } = await clients.redis!(servers.redis.url);
      const log = redisLog(client);
      try {
        for (let round = 0; round < 5; round++) {
          const told: string[] = [];
          const failures: unknown[] = [];
          let opened = false;
          const stop = log.follow({
            opened: () => opened = true,
            appended: (entries) => told.push(...entries.map(({ record }) => record.data)),
            failed: (error) => failures.push(error),
          });
          await until(() => opened, "the log to open");
          for (const data of ["a", "b"]) await log.append({ to: "*", event: "n", data });
          await until(() => told.length >= 2, "two entries");
          stop();
          assertEquals([told, failures], [["a", "b"], []]);
        }
      } finally {
        await log.close!();
        await end();
      }
    }));

  test(
    "what others write into the stream costs nobody else: an invalid record, and an entry that is no hub's",
    {
      skip,
    },
    () =>
      withServers(async (servers) => {
        const { redis } = servers;
        const { hub, log } = await servers.start();
        const reader = listen(hub);
        await hub.publish("news", "n", "0");
        assertEquals(await hear(reader, 1), ["0"]);
        const head = Number(hub.cursor().split("-")[1]);
        const before = await redis.command("HGET", "{streamside}:state", "headTag");
        const tag = /[\w-]{6,}/.exec(before)![0];
        await redis.command(
          "XADD",
          "{streamside}:log",
          `${head + 1}-0`,
          "r",
          "{",
          "m",
          `"t 1 1 ${tag}"`,
        );
        await redis.command("HSET", "{streamside}:state", "head", `${head + 1}`, "headTag", "t");
        await hub.publish("news", "n", "1");
        assertEquals(await hear(reader, 1), ["1"]);

        const failures: unknown[] = [];
        log.follow({ opened() {}, appended() {}, failed: (error) => failures.push(error) });
        const [id] = /\d{5,}-0/.exec(
          await redis.command("XADD", "{streamside}:log", "*", "r", "{}"),
        )!;
        await until(() => failures.length > 0, "the failure");
        assert(String(failures[0]).includes("that no hub has appended"), String(failures[0]));
        await redis.command("XDEL", "{streamside}:log", id);
        reader.cancel();
      }),
  );

  for (const fails of [0, 1, 2]) {
    test(
      `many sends at once, part ${fails} of which is lost: none gets ahead of another, and each stands once`,
      {
        skip,
      },
      () => {
        let parts = 0;
        const make = async (url: string) => {
          const { client, end } = await clients.redis!(url);
          // The parts of a large batch are the only long commands.
          const sendCommand = async (args: string[]) => {
            if (args.length > 200 && parts++ === fails) {
              throw new Error("Socket closed unexpectedly");
            }
            return await client.sendCommand!(args as never);
          };
          const duplicate = () => client.duplicate();
          return { client: { duplicate, sendCommand }, end };
        };
        return withServers(async (servers) => {
          const { hub } = await servers.start();
          const reader = listen(hub);
          const sent = numbers(0, 900);
          await Promise.all(sent.map((number) => hub.publish("news", "n", number)));
          assertEquals(await hear(reader, sent.length), sent);
          assert(parts > 4, `${parts} parts`); // it was sent in several, and again
          await hub.publish("news", "n", "last");
          assertEquals(await hear(reader, 1), ["last"]);
          reader.cancel();
        }, { make });
      },
    );
  }

  test("what is not a client of Redis is refused", () => {
    for (const wrong of [undefined, null, {}, { duplicate() {} }, "redis://localhost"]) {
      assertThrows(() => redisLog(wrong as never), StreamsideError, "redisLog needs a client");
    }
  });
});
