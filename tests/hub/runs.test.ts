/**
 * Runs: their beginning, their events, their end, and who is told what.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  createHandler,
  createHub,
  type Handler,
  type Hub,
  type HubOptions,
  type Log,
  memoryLog,
  type RunFollower,
  type RunRecord,
  StreamsideError,
} from "../../mod.ts";
import { quietLogger, recordingLogger, textOf, until, within } from "../server-helpers.ts";

type Block = { event?: string; data?: string; id?: string };

/** A handler of a hub, to which everyone is one session with every channel that a test names. */
function handlerOf(hub: Hub, channels: readonly string[] = ["answer"]): Handler {
  return createHandler(hub, { authenticate: () => ({ session: "reader", channels }) });
}

async function get(handler: Handler, channel: string, lastEventId?: string): Promise<Response> {
  const headers = new Headers(lastEventId === undefined ? [] : [["Last-Event-ID", lastEventId]]);
  const url = `http://localhost/api/v1/sse/runs/${encodeURIComponent(channel)}`;
  return await within(handler(new Request(url, { headers })), `the answer for ${channel}`);
}

/** The whole stream of a run, which must end: its blocks, without the preamble. */
async function read(handler: Handler, channel: string, lastEventId?: string): Promise<Block[]> {
  const response = await get(handler, channel, lastEventId);
  assertEquals(response.status, 200);
  return blocksOf(await within(response.text(), `the end of ${channel}`));
}

function blocksOf(text: string): Block[] {
  const blocks = text.split("\n\n").filter((block) => block !== "").map((block) => {
    const fields: Record<string, string> = {};
    for (const line of block.split("\n")) {
      const [, name, value] = /^(\w+): (.*)$/.exec(line)!;
      fields[name!] = name === "data" && "data" in fields ? `${fields.data}\n${value}` : value!;
    }
    return fields;
  });
  assertEquals(blocks[0]?.retry, "2000");
  return blocks.slice(1);
}

const dataOf = (blocks: Block[]) => blocks.map(({ data }) => data);

/** What a source is told to do next. */
class Script {
  readonly #values: unknown[] = [];
  #wake: () => void = () => {};
  signal!: AbortSignal;
  asked = 0;
  returned = false;

  readonly source = (signal: AbortSignal): AsyncIterable<string> => {
    this.signal = signal;
    return this.#events() as AsyncIterable<string>;
  };

  say(...values: unknown[]): void {
    this.#values.push(...values);
    this.#wake();
  }

  async *#events(): AsyncGenerator<unknown> {
    try {
      for (;;) {
        this.asked++;
        while (this.#values.length === 0) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
            this.signal.addEventListener("abort", () => resolve());
          });
          if (this.signal.aborted) return;
        }
        const value = this.#values.shift();
        if (value === "END") return;
        if (value instanceof Error) throw value;
        yield value;
      }
    } finally {
      this.returned = true;
    }
  }
}

/** Hubs on one log, closed whatever becomes of the test. */
async function withHubs(
  options: readonly HubOptions[],
  run: (...hubs: Hub[]) => Promise<void>,
): Promise<void> {
  const log = memoryLog();
  const hubs = options.map((option) => createHub({ log, logger: quietLogger, ...option }));
  try {
    await run(...hubs);
  } finally {
    await Promise.all(hubs.map((hub) => hub.close()));
    await log.close?.();
  }
}

/** A log whose calls hang from some moment on, and which is told nothing any more: as that of a killed process. */
function cuttable(
  log: Log,
): { log: Log; cut(): void; heal(): void; fail(): void; failures(): number } {
  let isCut = false;
  let isAway = false;
  let failures = 0;
  const through = <T>(call: () => Promise<T>): Promise<T> => {
    if (isCut) return new Promise<never>(() => {});
    if (!isAway) return call();
    failures++;
    return Promise.reject(new Error("the log is away"));
  };
  const runs = log.runs!;
  return {
    log: {
      follow: (follower) => log.follow(follower),
      append: (record) => log.append(record),
      read: (after, limit) => log.read(after, limit),
      runs: {
        follow: (follower) =>
          runs.follow({
            ...follower,
            appended: (records) => isCut ? undefined : follower.appended(records),
          }),
        append: (records) => through(() => runs.append(records)),
        list: (channel) => through(() => runs.list(channel)),
        read: (run, after, limit) => through(() => runs.read(run, after, limit)),
      },
    },
    cut: () => {
      isCut = true;
    },
    heal: () => {
      isCut = false;
      isAway = false;
    },
    fail: () => {
      isAway = true;
    },
    failures: () => failures,
  };
}

/** A log that may lose its runs, and has those of another from then on. Who calls what `lose` gives tells the followers. */
function forgetful(): { log: Log; lose(another: Log): () => void } {
  const log = memoryLog();
  const followers: RunFollower[] = [];
  let { runs } = log;
  return {
    log: {
      ...bare(log),
      runs: {
        follow(follower) {
          followers.push(follower);
          return runs!.follow(follower);
        },
        append: (records) => runs!.append(records),
        list: (channel) => runs!.list(channel),
        read: (run, after, limit) => runs!.read(run, after, limit),
      },
    },
    lose(another) {
      runs = another.runs;
      return () => {
        for (const follower of followers) runs!.follow(follower);
      };
    },
  };
}

async function code(promise: Promise<unknown>): Promise<string> {
  try {
    await within(promise, "a refusal");
  } catch (error) {
    if (error instanceof StreamsideError) return error.code;
    throw error;
  }
  return "none";
}

describe("a run", () => {
  test("is read from its first event, live, and to its end, on every hub of the log", () =>
    withHubs([{}, {}], async (one, other) => {
      const script = new Script();
      const run = await one.run("answer", script.source);
      script.say("a", { event: "token", data: "b" }, { event: "token", data: { c: 1 } });
      const early = [read(handlerOf(one), "answer"), read(handlerOf(other), "answer")];
      await until(() => one.runs()[0]?.events === 3, "three events");
      const late = [read(handlerOf(one), "answer"), read(handlerOf(other), "answer")];
      script.say("two\nlines", "END");
      const id = run.cursor.replace(/-0$/, "");
      for (const blocks of await Promise.all([...early, ...late])) {
        assertEquals(blocks, [
          { event: "message", data: "a", id: `${id}-1` },
          { event: "token", data: "b", id: `${id}-2` },
          { event: "token", data: '{"c":1}', id: `${id}-3` },
          { event: "message", data: "two\nlines", id: `${id}-4` },
          { event: "streamside:end", data: "{}", id: `${id}-end` },
        ]);
      }
      assertEquals(await within(run.done, "the end"), {});
      assertEquals(one.runs(), []);
      assertEquals(script.signal.aborted, false);
    }));

  test("goes on where its reader has been, and is 204 after its end", () =>
    withHubs([{}], async (hub) => {
      const handler = handlerOf(hub);
      const run = await hub.run("answer", ["a", "b", "c"]);
      await run.done;
      const all = await read(handler, "answer");
      for (const [i, { id }] of all.entries()) {
        if (i + 1 < all.length) assertEquals(await read(handler, "answer", id), all.slice(i + 1));
        else assertEquals((await get(handler, "answer", id)).status, 204);
      }
      assertEquals(await read(handler, "answer", run.cursor), all);
    }));

  test("may come again: an id of an earlier one is a reset, that of its end still 204", () =>
    withHubs([{}], async (hub) => {
      const handler = handlerOf(hub);
      await (await hub.run("answer", ["a", "b"])).done;
      const first = await read(handler, "answer");
      const second = await hub.run("answer", ["c"]);
      await second.done;
      assertEquals(dataOf(await read(handler, "answer")), ["c", "{}"]);
      const blocks = await read(handler, "answer", first[0]!.id);
      assertEquals(blocks.map(({ event, data }) => [event, data]), [
        ["streamside:reset", "{}"],
        ["message", "c"],
        ["streamside:end", "{}"],
      ]);
      assertEquals(blocks[0]!.id, second.cursor);
      assertEquals((await get(handler, "answer", first.at(-1)!.id)).status, 204);
      assertEquals(dataOf(await read(handler, "answer", "garbage")), ["{}", "c", "{}"]);
    }));

  test("is refused while the channel runs, on every hub, and not afterwards", () =>
    withHubs([{}, {}], async (one, other) => {
      const run = await one.run("answer", new Script().source);
      assertEquals(await code(one.run("answer", [])), "already-running");
      assertEquals(await code(other.run("answer", [])), "already-running");
      await run.stop();
      assertEquals(await within((await other.run("answer", [])).done, "the end"), {});
      const begun = await Promise.allSettled([one.run("answer", []), other.run("answer", [])]);
      assertEquals(begun.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    }));

  test("is 404 where the channel never ran, and 403 where it is not granted", () =>
    withHubs([{}], async (hub) => {
      await (await hub.run("other", ["a"])).done;
      const handler = handlerOf(hub);
      const never = await get(handler, "answer");
      assertEquals([never.status, JSON.parse(await textOf(never)).code], [404, "no-run"]);
      const foreign = await get(handler, "other");
      assertEquals([foreign.status, JSON.parse(await textOf(foreign)).code], [
        403,
        "channel-not-granted",
      ]);
    }));

  test("is refused for what cannot be one", () =>
    withHubs([{}], async (hub) => {
      assertEquals(await code(hub.run("", [])), "invalid-argument");
      assertEquals(await code(hub.run("a", 5 as never)), "invalid-argument");
      assertEquals(await code(hub.run("a", "text" as never)), "invalid-argument");
      const { runs: _, ...log } = bare(memoryLog());
      const without = createHub({ log, logger: quietLogger });
      assertEquals(await code(without.run("a", [])), "invalid-argument");
      assertEquals((await get(handlerOf(without), "answer")).status, 404);
      await without.close();
    }));
});

function bare(log: Log): Log {
  return {
    follow: (follower) => log.follow(follower),
    append: (record) => log.append(record),
    read: (after, limit) => log.read(after, limit),
    runs: log.runs,
  };
}

describe("a run ends", () => {
  test("as failed, without the source's message, which is logged", async () => {
    const log: [string, string][] = [];
    await withHubs([{ logger: recordingLogger(log as never) }], async (hub) => {
      const script = new Script();
      const run = await hub.run("answer", script.source);
      script.say("a", new Error("secret"));
      assertEquals(await within(run.done, "the end"), { error: "failed" });
      const text = await (await get(handlerOf(hub), "answer")).text();
      assertEquals(dataOf(blocksOf(text)), ["a", '{"error":"failed"}']);
      assert(!text.includes("secret"));
      assert(log.some(([level, line]) => level === "error" && line.includes("secret")));
    });
  });

  const invalid: [what: string, value: unknown][] = [
    ["a number", 5],
    ["a name of the client's own", { event: "error", data: "" }],
    ["a reserved name", { event: "streamside:end", data: "" }],
    ["a line break in a name", { event: "a\nb", data: "" }],
    ["data that is no JSON", { data: () => {} }],
    ["more than maxEventBytes", "x".repeat(2_000_000)],
  ];
  for (const [what, value] of invalid) {
    test(`as failed when the source yields ${what}, and returns from it`, () =>
      withHubs([{}], async (hub) => {
        const script = new Script();
        const run = await hub.run("answer", script.source);
        script.say(value);
        assertEquals(await within(run.done, "the end"), { error: "failed" });
        await until(() => script.returned, "the source to be left");
        assertEquals(script.signal.aborted, true);
      }));
  }

  const stops: [what: string, stop: (one: Hub, other: Hub, own: () => void) => unknown][] = [
    ["stopRun", (hub) => hub.stopRun("answer")],
    ["stopRun on another hub", (_, hub) => hub.stopRun("answer")],
    ["its stop", (_one, _other, own) => own()],
  ];
  for (const [what, stop] of stops) {
    test(`as stopped by ${what}, which aborts the source`, () =>
      withHubs([{}, {}], async (one, other) => {
        const script = new Script();
        const run = await one.run("answer", script.source);
        const blocks = read(handlerOf(other), "answer");
        script.say("a");
        await until(() => one.runs()[0]?.events === 1, "an event");
        await stop(one, other, () => run.stop());
        assertEquals(await within(run.done, "the end"), { error: "stopped" });
        assertEquals(dataOf(await blocks), ["a", '{"error":"stopped"}']);
        assertEquals(script.signal.aborted, true);
        await until(() => script.returned, "the source to be left");
        assertEquals(await one.stopRun("answer"), false);
      }));
  }

  test("as stopped by its signal, also while it begins, and does not begin after it", () =>
    withHubs([{}], async (hub) => {
      const script = new Script();
      const [one, two] = [new AbortController(), new AbortController()];
      const run = await hub.run("answer", script.source, { signal: one.signal });
      one.abort();
      assertEquals(await within(run.done, "the end"), { error: "stopped" });
      const begins = hub.run("answer", new Script().source, { signal: two.signal });
      two.abort();
      assertEquals(await within((await begins).done, "the end"), { error: "stopped" });
      await assertRejects(() => hub.run("answer", [], { signal: AbortSignal.abort() }));
    }));

  test("as stopped though the source heeds no signal, and what it yields then goes to nobody", () =>
    withHubs([{}], async (hub) => {
      let go = () => {};
      const run = await hub.run("answer", async function* () {
        yield "a";
        await new Promise<void>((resolve) => go = resolve);
        yield "b";
      });
      await until(() => hub.runs()[0]?.events === 1, "an event");
      await hub.stopRun("answer");
      go();
      assertEquals(await run.done, { error: "stopped" });
      assertEquals(dataOf(await read(handlerOf(hub), "answer")), ["a", '{"error":"stopped"}']);
    }));

  test("as lost when its hub closes, after the time that the hub has", () =>
    withHubs([{}, {}], async (one, other) => {
      const [short, long] = [new Script(), new Script()];
      const run = await one.run("answer", short.source);
      const rest = await one.run("other", long.source);
      const closed = one.close({ within: 60_000 });
      assertEquals(await code(one.run("third", [])), "closed");
      short.say("a", "END");
      assertEquals(await within(run.done, "the end"), {});
      long.say("END");
      await within(closed, "the hub to close, which waits no longer than its runs");
      assertEquals(await rest.done, {});

      const script = new Script();
      const last = await other.run("answer", script.source);
      await other.close();
      assertEquals(await within(last.done, "the end"), { error: "lost" });
      assertEquals(script.signal.aborted, true);
    }));

  test("as lost within runTimeout when its server is gone", async () => {
    const shared = memoryLog();
    const dead = cuttable(shared);
    await withHubs(
      [{ log: dead.log, runTimeout: 300 }, { log: shared, runTimeout: 300 }],
      async (one, other) => {
        const script = new Script();
        const run = await one.run("answer", script.source);
        script.say("a");
        const blocks = read(handlerOf(other), "answer");
        await until(() => one.runs()[0]?.events === 1, "an event");
        // It says that it is alive ten times in a timeout.
        let alive = 0;
        const count = (records: readonly RunRecord[]) => {
          for (const { type } of records) if (type === "alive") alive++;
        };
        shared.runs!.follow({ opened: () => {}, appended: count, failed: () => {} });
        await until(() => alive >= 25, "more than two timeouts");
        assertEquals(one.runs().length, 1);
        dead.cut();
        assertEquals(dataOf(await blocks), ["a", '{"error":"lost"}']);
        // The producer, which cannot reach the log, notices by itself once it has something to say.
        script.say("b");
        assertEquals(await within(run.done, "the end"), { error: "lost" });
        assertEquals(script.signal.aborted, true);
      },
    );
    await shared.close?.();
  });

  test("as lost within runTimeout where the log has lost it, and tells nobody", async () => {
    const { log, lose } = forgetful();
    const [one, other] = [0, 1].map(() =>
      createHub({ log, logger: quietLogger, runTimeout: 300 })
    ) as [Hub, Hub];
    try {
      const script = new Script();
      const run = await one.run("answer", script.source);
      script.say("a");
      await until(() => one.runs()[0]?.events === 1, "an event");
      const blocks = read(handlerOf(other), "answer");
      lose(memoryLog());
      assertEquals(dataOf(await blocks), ["a", '{"error":"lost"}']);
      assertEquals(await within(run.done, "the end"), { error: "lost" });
      assertEquals(script.signal.aborted, true);
      assertEquals(await within((await other.run("answer", [])).done, "the end"), {});
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });

  test("as every hub knows where the log has lost its end, and the channel may run again", async () => {
    const { log, lose } = forgetful();
    const hub = createHub({ log, logger: quietLogger });
    try {
      const run = await hub.run("answer", ["a"]);
      await run.done;
      const older = memoryLog();
      const record = { run: run.cursor.slice(0, 16), channel: "answer", time: 0, number: 0 };
      await older.runs!.append([{ ...record, type: "begin" }]);
      const told: RunRecord[] = [];
      older.runs!.follow({
        opened() {},
        appended: (records) => told.push(...records),
        failed() {},
      });
      lose(older)();
      await until(() => told.length > 0, "the end to be in the log again");
      assertEquals((await older.runs!.list())[0]!.end, {});
      assertEquals(await within((await hub.run("answer", [])).done, "the end"), {});
    } finally {
      await hub.close();
    }
  });

  test("by its first end: a producer that reads it aborts", async () => {
    const shared = memoryLog();
    const away = cuttable(shared);
    await withHubs([{ log: away.log, runTimeout: 60_000 }, { log: shared }], async (one, other) => {
      const script = new Script();
      const run = await one.run("answer", script.source);
      away.fail();
      script.say("a");
      assertEquals(await other.stopRun("answer"), true);
      assertEquals(await within(run.done, "the end"), { error: "stopped" });
      away.heal();
      assertEquals(script.signal.aborted, true);
      assertEquals(dataOf(await read(handlerOf(other), "answer")), ['{"error":"stopped"}']);
    });
    await shared.close?.();
  });

  test("not when an append fails for a while: it is tried again, and stands once", async () => {
    const shared = memoryLog();
    const away = cuttable(shared);
    await withHubs([{ log: away.log }], async (hub) => {
      const script = new Script();
      const run = await hub.run("answer", script.source);
      away.fail();
      script.say("a", "b", "END");
      await until(() => away.failures() >= 3, "some attempts");
      assertEquals(script.asked, 1, "the next value is asked for when the log holds the last");
      away.heal();
      assertEquals(await within(run.done, "the end"), {});
      assertEquals(dataOf(await read(handlerOf(hub), "answer")), ["a", "b", "{}"]);
    });
    await shared.close?.();
  });

  test("as lost when the log takes nothing for runTimeout", async () => {
    const shared = memoryLog();
    const away = cuttable(shared);
    await withHubs([{ log: away.log, runTimeout: 200 }], async (hub) => {
      const script = new Script();
      const run = await hub.run("answer", script.source);
      away.fail();
      script.say("a");
      assertEquals(await within(run.done, "the end"), { error: "lost" });
      assertEquals(hub.runs(), []);
    });
    await shared.close?.();
  });
});

/** A log whose runs a hub cannot follow for a while: it misses what comes then. */
function deafened(log: Log): { log: Log; deafen(): void; hear(): void } {
  const runs = log.runs!;
  let follower: RunFollower | undefined;
  let isDeaf = false;
  return {
    log: {
      ...bare(log),
      runs: {
        follow: (given) => {
          follower = given;
          return runs.follow({
            ...given,
            opened: () => given.opened(),
            appended: (records) => isDeaf ? undefined : given.appended(records),
          });
        },
        append: (records) => runs.append(records),
        list: (channel) => runs.list(channel),
        read: (run, after, limit) => runs.read(run, after, limit),
      },
    },
    deafen: () => {
      isDeaf = true;
      follower!.failed(new Error("the log is away"));
    },
    hear: () => {
      isDeaf = false;
      follower!.opened();
    },
  };
}

describe("a hub that cannot follow the log for a while", () => {
  test("gives its readers what it has missed, and the end", async () => {
    const shared = memoryLog();
    const { log, deafen, hear } = deafened(shared);
    await withHubs([{ log: shared }, { log }], async (one, other) => {
      const script = new Script();
      const run = await one.run("answer", script.source);
      script.say("a");
      const blocks = read(handlerOf(other), "answer");
      await until(() => other.stats().runHistoryEvents === 1, "the first event");
      deafen();
      script.say("b", "c");
      await until(() => one.runs()[0]?.events === 3, "three events");
      hear();
      script.say("d");
      await until(() => one.runs()[0]?.events === 4, "four events");
      deafen();
      script.say("e", "END");
      assertEquals(await within(run.done, "the end"), {});
      hear();
      assertEquals(dataOf(await blocks), ["a", "b", "c", "d", "e", "{}"]);
    });
    await shared.close?.();
  });

  test("counts nobody as lost meanwhile", async () => {
    const shared = memoryLog();
    const { log, deafen, hear } = deafened(shared);
    await withHubs(
      [{ log: shared, runTimeout: 60_000 }, { log, runTimeout: 100 }],
      async (one, other) => {
        const script = new Script();
        const run = await one.run("answer", script.source);
        await until(() => other.stats().runHistoryBytes > 0, "the run");
        deafen();
        // A run of its own, which it cannot hear of either, says by its tries how time goes.
        let ticks = 0;
        const count = (records: readonly RunRecord[]) => ticks += records.length;
        const own = await other.run("other", new Script().source);
        shared.runs!.follow({ opened: () => {}, appended: count, failed: () => {} });
        await until(() => ticks >= 20, "two timeouts");
        assertEquals(one.runs().length, 1);
        await own.stop();
        script.say("END");
        assertEquals(await within(run.done, "the end"), {});
        hear();
      },
    );
    await shared.close?.();
  });
});
