/**
 * The log on JetStream: what all servers of it see, and what happens when NATS fails, and when it loses what it had
 * acknowledged.
 *
 * @module
 */
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from "node:net";
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type HistoryOptions, type Hub, StreamsideError } from "../../mod.ts";
import { jetStreamLog, type JetStreamLogOptions } from "../../src/log/jetstream.ts";
import { testLog } from "../../src/testing.ts";
import { NATS, type NatsServer, startCluster, startNats } from "../nats.ts";
import { skipWithout } from "../programs.ts";
import { until, within } from "../server-helpers.ts";
import { hear, listen, numbers, type OwnLog, Servers } from "./servers.ts";

const skip = skipWithout(NATS);

/** A server's log, on a connection of its own. */
async function logOn(
  nats: NatsServer,
  options: JetStreamLogOptions = {},
  url = nats.url,
): Promise<OwnLog> {
  const connection = await nats.connect({ servers: url });
  return { log: jetStreamLog(connection, options), end: () => connection.close() };
}

type Start = (options?: JetStreamLogOptions, url?: string) => ReturnType<Servers["start"]>;

/** Runs a test with a server of NATS and what starts servers on it. */
async function withServers(
  run: (nats: NatsServer, start: Start, servers: Servers) => Promise<void>,
): Promise<void> {
  const nats = await startNats();
  const servers = new Servers();
  try {
    await run(nats, (options, url) => servers.start(logOn(nats, options, url)), servers);
  } finally {
    await servers.closeAll();
    await nats.close();
  }
}

/** A request to JetStream's API, as the tool `nats` sends it. */
async function ask(
  nats: NatsServer,
  what: string,
  body: object = {},
): Promise<Record<string, unknown>> {
  const connection = await nats.connect();
  try {
    return (await connection.request(`$JS.API.${what}`, JSON.stringify(body))).json();
  } finally {
    await connection.close();
  }
}

const epochOf = (hub: Hub) => hub.cursor().split("-")[0];

if (!skip) {
  testLog({
    name: "jetStreamLog",
    test,
    timeout: 60_000,
    async open(history: HistoryOptions) {
      const nats = await startNats();
      const ends: (() => unknown)[] = [];
      const connect = async () => {
        const connection = await nats.connect();
        const log = jetStreamLog(connection, { history });
        ends.push(() => log.close!(), () => connection.close());
        return log;
      };
      const close = async () => {
        for (const end of ends) await end();
        await nats.close();
      };
      return { log: await connect(), connect, close, nats };
    },
    async interrupt({ nats }) {
      await nats.kill();
      return () => nats.start();
    },
    async lose({ nats }) {
      await nats.kill();
      await nats.wipe();
      await nats.start();
    },
  });
}

/** A way to a server that can be cut, and lose answers to what is published. */
async function proxyTo(port: number) {
  const sockets = new Set<Socket>();
  const way = { url: "", lost: 0, loseNextAnswer, close };
  let losing = false;
  const server = createServer((near) => {
    const far = connectSocket(port, "127.0.0.1");
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
      asked ||= losing && /HPUB \S+\.log /.test(String(data));
      far.write(data);
    });
    far.on("data", (data) => {
      if (!losing || !asked) return near.write(data);
      // JetStream has done it, and nobody hears so.
      losing = false;
      way.lost++;
      near.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  way.url = `nats://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return way;

  function loseNextAnswer() {
    losing = true;
  }
  async function close() {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

describe("jetStreamLog", () => {
  test(
    "two servers are one hub: send on one, receive on both, resume on the other",
    { skip },
    () =>
      withServers(async (_, start) => {
        const one = await start();
        const two = await start();
        const readers = [listen(one.hub), listen(two.hub)];
        const sent = await Promise.all(numbers(0, 300).map((n) => one.hub.publish("news", "n", n)));
        await two.hub.send("ada", "text", "a\nb\r\nc \u2028 ü 🎉");
        for (const reader of readers) {
          assertEquals(await hear(reader, 301), [...numbers(0, 300), "a\nb\nc \u2028 ü 🎉"]);
          await reader.cancel();
        }
        const later = listen(two.hub, sent[99]!.id);
        assertEquals(await hear(later, 200), numbers(100, 300));
        await later.cancel();
        const three = await start();
        const newcomer = listen(three.hub, sent[297]!.id);
        assertEquals(await hear(newcomer, 2), ["298", "299"]);
        await one.hub.disconnect("ada");
        await within(newcomer.rest(), "the stream to end");
      }),
  );

  test(
    "killed and started with its data: nothing is missed, no reset",
    { skip },
    () =>
      withServers(async (nats, start) => {
        const one = await start();
        const two = await start();
        const reader = listen(two.hub);
        const first = await one.hub.publish("news", "n", "0");
        assertEquals(await hear(reader, 1), ["0"]);
        await nats.kill();
        // It waits until JetStream is back.
        const waiting = one.hub.publish("news", "n", "1");
        await nats.start();
        await within(waiting, "the send");
        await one.hub.publish("news", "n", "2");
        assertEquals(await hear(reader, 2), ["1", "2"]);
        assertEquals(await hear(listen(one.hub, first.id), 2), ["1", "2"]);
      }),
  );

  const losses: Record<string, (nats: NatsServer) => Promise<void>> = {
    "its store is wiped": async (nats) => {
      await nats.kill();
      await nats.wipe();
      await nats.start();
    },
    "the stream is deleted while everybody is connected": async (nats) => {
      await ask(nats, "STREAM.DELETE.streamside");
    },
    "the stream is deleted, and made anew by somebody else": async (nats) => {
      const { config } = await ask(nats, "STREAM.INFO.streamside");
      await ask(nats, "STREAM.DELETE.streamside");
      await ask(nats, "STREAM.CREATE.streamside", config as object);
    },
  };
  for (const [name, lose] of Object.entries(losses)) {
    test(
      `${name}: everybody gets a reset, and all agree on one epoch`,
      { skip },
      () =>
        withServers(async (nats, start) => {
          const one = await start();
          const two = await start();
          const readers = [listen(one.hub), listen(two.hub)];
          const sent: string[] = [];
          for (const n of numbers(0, 20)) sent.push((await one.hub.publish("news", "n", n)).id);
          for (const reader of readers) assertEquals(await hear(reader, 20), numbers(0, 20));
          await lose(nats);
          for (const reader of readers) assertEquals(await hear(reader, 1), ["reset"]);
          await until(() => epochOf(one.hub) === epochOf(two.hub), "both servers to agree");
          await one.hub.publish("news", "n", "after");
          for (const reader of readers) assertEquals(await hear(reader, 1), ["after"]);
          assertEquals(await hear(listen(one.hub, sent[3]), 1), ["reset"]);
        }),
    );
  }

  test(
    "purged: an id that is gone is a reset, and what comes then has ids of its own",
    { skip },
    () =>
      withServers(async (nats, start) => {
        const one = await start();
        const sent: string[] = [];
        for (const n of numbers(0, 5)) sent.push((await one.hub.publish("news", "n", n)).id);
        await ask(nats, "STREAM.PURGE.streamside");
        const two = await start();
        const after = await two.hub.publish("news", "n", "after");
        assert(!sent.includes(after.id));
        for (const id of sent) assertEquals(await hear(listen(two.hub, id), 1), ["reset"]);
      }),
  );

  test(
    "an old copy of the store is put back: everybody gets a reset, no id is taken for another event",
    { skip },
    () =>
      withServers(async (nats, start) => {
        const one = await start();
        const two = await start();
        const old = (await one.hub.publish("news", "n", "old")).id;
        const putBack = await nats.copyStore();
        await nats.start();
        const reader = listen(two.hub, old);
        const lost = (await one.hub.publish("news", "n", "lost")).id;
        assertEquals(await hear(reader, 1), ["lost"]);
        await nats.kill();
        await putBack();
        await nats.start();
        assertEquals(await hear(reader, 1), ["reset"]);
        await until(() => epochOf(one.hub) === epochOf(two.hub), "both servers to agree");
        await one.hub.publish("news", "n", "after");
        assertEquals(await hear(reader, 1), ["after"]);
        for (const id of [old, lost]) assertEquals(await hear(listen(one.hub, id), 1), ["reset"]);
      }),
  );

  test("nobody is left who saw what was lost: who had it gets a reset, who had not resumes", {
    skip,
  }, () =>
    withServers(async (nats, start) => {
      const one = await start();
      const old = (await one.hub.publish("news", "n", "old")).id;
      const putBack = await nats.copyStore();
      await nats.start();
      const lost = (await one.hub.publish("news", "n", "lost")).id;
      await one.end();
      await nats.kill();
      await putBack();
      await nats.start();
      const two = await start();
      const other = (await two.hub.publish("news", "n", "other")).id;
      // The position of the lost one was given again.
      assertEquals(other.split("-").slice(0, 2), lost.split("-").slice(0, 2));
      const three = await start();
      for (const { hub } of [two, three]) {
        assertEquals(await hear(listen(hub, lost), 1), ["reset"]);
        assertEquals(await hear(listen(hub, old), 1), ["other"]);
      }
    }));

  test(
    "nothing is sent for longer than events are held: who has the last id resumes, also on a new server",
    {
      skip,
    },
    () =>
      withServers(async (nats, start) => {
        const options = { history: { age: 600 } };
        const one = await start(options);
        const { id } = await one.hub.publish("news", "n", "0");
        const [, position] = id.split("-");
        const isHeld = async () =>
          (await ask(nats, "STREAM.MSG.GET.streamside", { seq: Number(position) })).error ===
            undefined;
        await within(
          (async () => {
            while (await isHeld()) await new Promise((resolve) => setTimeout(resolve, 50));
          })(),
          "the event to be too old",
        );
        const two = await start(options);
        assertEquals(two.hub.cursor(), id);
        const readers = [listen(one.hub, id), listen(two.hub, id)];
        await one.hub.publish("news", "n", "1");
        for (const reader of readers) assertEquals(await hear(reader, 1), ["1"]);
      }),
  );

  test(
    "an answer that was lost: tried again, the event stands once",
    { skip },
    () =>
      withServers(async (nats, start, servers) => {
        const way = await proxyTo(nats.port);
        try {
          const one = await start({}, way.url);
          const two = await start();
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
    "frozen: sends reject after appendTimeout; thawed, everything goes on",
    { skip },
    () =>
      withServers(async (nats, start) => {
        const one = await start({ appendTimeout: 300 });
        const two = await start({ appendTimeout: 20_000 });
        const reader = listen(two.hub);
        const failed: unknown[] = [];
        two.log.follow({ opened() {}, appended() {}, failed: (error) => void failed.push(error) });
        nats.freeze();
        // What is sent before it stands still may still get through.
        const late = async () => {
          for (;;) await one.hub.publish("news", "late", "may be there or not");
        };
        await assertRejects(
          () => within(late(), "a send to fail"),
          StreamsideError,
          "within 300 ms",
        );
        const pending = two.hub.publish("news", "n", "0");
        // Its heartbeats are missed.
        await until(() => failed.length > 0, "the log to notice");
        nats.thaw();
        await pending;
        await one.hub.publish("news", "n", "1");
        const heard: string[] = [];
        while (heard.at(-1) !== "1") heard.push(...await hear(reader, 1));
        assertEquals(heard.filter((data) => data.length === 1), ["0", "1"]);
      }),
  );

  test("what waits is bounded by maxPendingBytes", { skip }, () =>
    withServers(async (_, start) => {
      const one = await start({ maxPendingBytes: 1_000 });
      const results = await Promise.allSettled(
        numbers(0, 20).map((n) => one.hub.publish("news", "n", n)),
      );
      const refused = results.filter(({ status }) => status === "rejected");
      assert(refused.length > 5 && refused.length < 20, `${refused.length} of 20`);
      for (const { reason } of refused as PromiseRejectedResult[]) {
        assertEquals(reason.code, "log-unavailable");
        assert(/maxPendingBytes is 1000/.test(reason.message), reason.message);
      }
      await one.hub.publish("news", "n", "later");
    }));

  test("an idempotencyKey: sent again with it, the event stands once, on whichever server", {
    skip,
  }, () =>
    withServers(async (_, start) => {
      const one = await start();
      const two = await start();
      const reader = listen(two.hub);
      const options = { idempotencyKey: 'order 7 "é" 🎉' };
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
    "events that are large, and others that are published there by somebody else",
    { skip },
    () =>
      withServers(async (nats, start) => {
        const one = await start();
        const two = await start();
        const reader = listen(two.hub);
        const large = "x".repeat(900_000);
        const { id } = await one.hub.publish("news", "n", "0");
        for (let i = 0; i < 3; i++) await one.hub.publish("news", "n", large);
        const connection = await nats.connect();
        connection.publish("streamside.log", "no JSON");
        await connection.close();
        await one.hub.publish("news", "n", "1");
        const wanted = [large, large, large, "1"];
        assertEquals(await hear(reader, 5), ["0", ...wanted]);
        const { log, hub } = await start();
        assertEquals(await hear(listen(hub, id), 4), wanted);
        const [, position, tag] = id.split("-");
        const read: string[] = [];
        for (let place = { position: Number(position), tag }; read.length < 4;) {
          const entries = await log.read(place, 10);
          assert(entries !== null && entries.length > 0);
          read.push(...entries.map(({ record }) => record.data));
          const { position, tag } = entries.at(-1)!;
          place = { position, tag: tag! };
        }
        assertEquals(read, wanted);
        // One that is too large for the server costs only itself.
        const results = await Promise.allSettled([
          log.append({ to: "#news", event: "n", data: "2" }),
          log.append({ to: "#news", event: "n", data: "x".repeat(2_000_000) }),
          log.append({ to: "#news", event: "n", data: "3" }),
        ]);
        assertEquals(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
        assert(/max_payload/.test((results[1] as PromiseRejectedResult).reason.message));
        assertEquals(await hear(reader, 2), ["2", "3"]);
      }),
  );

  test(
    "a stream of another shape is refused, and says what differs",
    { skip },
    () =>
      withServers(async (nats) => {
        const refused = async (message: string, options: JetStreamLogOptions) => {
          const { log, end } = await logOn(nats, options);
          try {
            const send = () => log.append({ to: "*", event: "n", data: "0" });
            const error = await assertRejects(
              () => within(send(), "the answer"),
              StreamsideError,
              message,
            );
            assertEquals(error.code, "log-unavailable");
          } finally {
            await log.close!();
            await end();
          }
        };
        await ask(nats, "STREAM.CREATE.orders", { name: "orders", subjects: ["orders.*"] });
        await refused('its subjects is ["orders.*"]', { stream: "orders" });
        await ask(nats, "STREAM.CREATE.other", { name: "other", subjects: ["taken.>"] });
        await refused("Another stream has these subjects", { stream: "taken" });
        const subjects = ["queue.log", "queue.epoch"];
        await ask(nats, "STREAM.CREATE.queue", { name: "queue", subjects, retention: "workqueue" });
        await refused('its retention is "workqueue"', { stream: "queue" });
        const { log, end } = await logOn(nats, { stream: "mine", history: { events: 100 } });
        await log.append({ to: "*", event: "n", data: "0" });
        await log.close!();
        await end();
        await refused("its max_msgs is 101 and should be 201", {
          stream: "mine",
          history: { events: 200 },
        });
        await refused("its num_replicas is 1 and should be 3", { stream: "mine", replicas: 3 });
        const own = await logOn(nats, { stream: "mine" });
        await own.log.append({ to: "*", event: "n", data: "1" });
        await own.log.close!();
        await own.end();
        await refused("`replicas` needs a cluster", { stream: "more", replicas: 3 });
        const { config } = await ask(nats, "STREAM.INFO.mine");
        await ask(nats, "STREAM.UPDATE.mine", { ...config as object, sealed: true });
        await refused("its sealed is true", { stream: "mine" });
      }),
  );

  test("what NATS refuses is told at the first send, with what to do", { skip }, async () => {
    const denied = (subject: string) =>
      "jetstream { max_file_store: 1GB }\nauthorization { users: [{ user: a, password: b, " +
      `permissions: { publish: { deny: "${subject}" } } }] }`;
    const settings: [string, string][] = [
      ["JetStream is not enabled", ""],
      ["max_file_store", "jetstream { max_file_store: 1MB }"],
      ["has to be allowed to publish", denied("streamside.log")],
      ["has to be allowed to publish", denied("$JS.API.STREAM.CREATE.>")],
    ];
    for (const [message, configuration] of settings) {
      const nats = await startNats([], configuration);
      try {
        const connection = await nats.connect({ user: "a", pass: "b" });
        const log = jetStreamLog(connection);
        const send = () => within(log.append({ to: "*", event: "n", data: "0" }), message);
        try {
          const error = await assertRejects(send, StreamsideError, message);
          assertEquals(error.code, "log-unavailable");
          await connection.close();
          await assertRejects(send, StreamsideError, "The connection to NATS is closed");
        } finally {
          await log.close!();
          await connection.close();
        }
        await assertRejects(send, StreamsideError, "The log is closed");
      } finally {
        await nats.close();
      }
    }
  });

  test("three servers of NATS as one cluster, one of them killed: nothing is missed, no reset", {
    skip,
  }, async () => {
    const cluster = await startCluster();
    const servers = new Servers();
    const urls = cluster.map(({ url }) => url);
    // Each server of ours begins at another one of theirs.
    const start = async (i: number) => {
      const connection = await cluster[i]!.connect({
        servers: [urls[i], ...urls],
        noRandomize: true,
      });
      const log = jetStreamLog(connection, { replicas: 3, appendTimeout: 30_000 });
      return await servers.start({ log, end: () => connection.close() });
    };
    try {
      const one = await start(0);
      const two = await start(1);
      const readers = [listen(one.hub), listen(two.hub)];
      const { config, cluster: { leader } } = await ask(cluster[0]!, "STREAM.INFO.streamside") as {
        config: { num_replicas: number };
        cluster: { leader: string };
      };
      assertEquals(config.num_replicas, 3);
      const sent: Promise<unknown>[] = [];
      let isKilled = false;
      let count = 0;
      const sending = (async () => {
        // It goes on a little after the death.
        for (let after = 0; after < 50; after += isKilled ? 1 : 0) {
          const send = [one, two][count % 2]!.hub.publish("news", "n", `${count++}`);
          sent.push(send);
          // What is sent at once through two servers has no order that anybody knows.
          await within(send, "a send", 40_000);
        }
      })();
      await until(() => count > 20, "some to be sent");
      await cluster[Number(leader.split("-")[1])]!.kill();
      isKilled = true;
      await within(sending, "all to be sent", 60_000);
      for (const reader of readers) assertEquals(await hear(reader, count), numbers(0, count));
    } finally {
      await servers.closeAll();
      for (const nats of cluster) await nats.close();
    }
  });

  test("followed anew as soon as nobody follows it: it tells from then on, once, and no failure", {
    skip,
  }, () =>
    withServers(async (nats) => {
      const { log, end } = await logOn(nats);
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

  test("what is no connection to NATS is refused, and an option out of range", () => {
    for (const wrong of [undefined, null, {}, Promise.resolve(), "nats://localhost"]) {
      assertThrows(
        () => jetStreamLog(wrong as never),
        StreamsideError,
        "needs a connection to NATS",
      );
    }
    const fake = Object.fromEntries(
      ["publish", "subscribe", "request", "flush", "status", "isClosed"].map((
        name,
      ) => [name, () => {}]),
    ) as never;
    for (const options of [{ stream: "a.b" }, { stream: "" }, { replicas: 0 }, { replicas: 1.5 }]) {
      const error = assertThrows(() => jetStreamLog(fake, options), StreamsideError);
      assertEquals(error.code, "invalid-argument");
    }
  });
});
