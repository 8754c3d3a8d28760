/**
 * What a {@link RunLog} promises, as part of the suite for logs.
 *
 * @module
 */

import { type Client, createClient } from "./client/mod.ts";
import type { Hub } from "./hub/types.ts";
import { createHandler } from "./http/handler.ts";
import type { Log } from "./log/log.ts";
import type { RunHistoryOptions } from "./log/run-history.ts";
import type { RunLog, RunRecord, RunSummary } from "./log/run-log.ts";
import { equal, expect, pause, show } from "./test-checks.ts";
import type { Scene } from "./test-log.ts";

type Check = (scene: Scene) => Promise<void>;

/** Small bounds. */
export const RUN_BOUNDS: Required<RunHistoryOptions> = {
  events: 20,
  bytes: 20_000,
  age: 1_000,
  total: 100_000,
};

const [A, B, C] = ["a", "b", "c"].map((letter) => letter.repeat(16)) as [string, string, string];

function runsOf(log: Log): RunLog {
  expect(log.runs !== undefined, "a log that keeps runs needs `runs`");
  return log.runs!;
}

function record(
  type: RunRecord["type"],
  run: string,
  number = 0,
  more: Partial<RunRecord> = {},
): RunRecord {
  const content = type === "event" ? { event: "token", data: `${number}` } : {};
  return { type, run, channel: "answer", time: 1_700_000_000_000, number, ...content, ...more };
}

/** Appends records, and gives the answers. */
async function add(scene: Scene, runs: RunLog, ...records: RunRecord[]): Promise<boolean[]> {
  const answers = await scene.within(runs.append(records), "append of runs");
  equal(answers.length, records.length, "how many answers there are to the records of a run");
  return [...answers];
}

/** What a follower of runs was told. */
class RunsTold {
  readonly records: RunRecord[] = [];
  opened = 0;
  failures = 0;
  readonly faults: string[] = [];
  readonly stop: () => void;

  constructor(runs: RunLog) {
    this.stop = runs.follow({
      opened: () => this.opened++,
      appended: (records) => {
        if (this.opened === 0) this.faults.push("appended() before opened()");
        this.records.push(...records);
      },
      failed: () => this.failures++,
    });
  }

  get short(): string[] {
    return this.records.map(({ type, run, number }) => `${type} ${run[0]} ${number}`);
  }
}

async function followed(scene: Scene, runs: RunLog): Promise<RunsTold> {
  const told = new RunsTold(runs);
  scene.finally(() => told.stop());
  await scene.until(() => told.opened > 0, "opened() is called after follow() of runs");
  return told;
}

async function list(scene: Scene, runs: RunLog, channel?: string): Promise<RunSummary[]> {
  const found = await scene.within(runs.list(channel), "list of runs");
  return found.map(({ run, channel, since, events, end }) => ({
    run,
    channel,
    since,
    events,
    end: end === undefined ? undefined : end.error === undefined ? {} : { error: end.error },
  }));
}

/** All events of a run that are held, in reads of some size. */
async function readAll(
  scene: Scene,
  runs: RunLog,
  run: string,
  limit = 1_000,
  after = 0,
): Promise<RunRecord[]> {
  const found: RunRecord[] = [];
  for (let last = after;;) {
    const events = await scene.within(runs.read(run, last, limit), "read of a run");
    expect(events.length <= limit, `read() of a run with the limit ${limit} gave ${events.length}`);
    if (events.length === 0) return found;
    for (const event of events) {
      expect(event.number > last, `read() of a run gave ${event.number} after ${last}`);
      last = event.number;
      found.push(event);
    }
  }
}

/** An event as clients can tell it: whatever the line ends of its data are. */
function plain({ type, run, channel, time, number, event, data }: RunRecord): object {
  return { type, run, channel, time, number, event, data: data?.replace(/\r\n?/g, "\n") };
}

const numbersOf = (records: readonly RunRecord[]) => records.map(({ number }) => number);

/** By what each is called. */
export const RUN_CHECKS: Record<string, Check> = {
  async "an entry is taken only if its run goes on with it, and told once, in one order"(scene) {
    const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
    const followers = [await followed(scene, runs), await followed(scene, other)];
    const wanted = async (log: RunLog, records: RunRecord[], answers: boolean[]) =>
      equal(await add(scene, log, ...records), answers, `the answers to ${show(records)}`);
    await wanted(runs, ["event", "end", "alive"].map((type) => record(type as "end", A, 1)), [
      ...[false, false, false],
    ]);
    await wanted(runs, [record("begin", A)], [true]);
    await wanted(runs, [record("begin", A), record("begin", B)], [true, false]);
    await wanted(other, [record("begin", B)], [false]);
    await wanted(runs, [record("event", B, 1), record("event", A, 1)], [false, true]);
    await wanted(runs, [record("event", A, 1), record("event", A, 2)], [true, true]);
    await wanted(runs, [record("event", A, 3, { channel: "other" })], [false]);
    await wanted(other, [record("alive", A), record("alive", B)], [true, false]);
    await wanted(other, [record("end", A, 0, { error: "lost" })], [true]);
    await wanted(runs, [record("end", A), record("event", A, 3), record("alive", A)], [
      ...[false, false, false],
    ]);
    await wanted(runs, [record("begin", A), record("begin", B)], [false, true]);
    await wanted(runs, [record("event", B, 1), record("end", B)], [true, true]);
    await wanted(other, [record("end", B), record("event", B, 2)], [false, false]);
    const told = [
      ...["begin a 0", "event a 1", "event a 2", "alive a 0", "end a 0"],
      ...["begin b 0", "event b 1", "end b 0"],
    ];
    for (const follower of followers) {
      await scene.until(
        () => follower.records.length >= told.length,
        `all is told (${show(follower.short)})`,
      );
      // One that comes twice may come later.
      await pause(20);
      equal(follower.short, told, "what a follower of runs was told");
      equal(follower.records[4]!.error, "lost", "the end that a follower of runs was told");
      equal(follower.faults, [], "what was told");
    }
  },

  async "are listed, of all channels and of one, in the order in which they began"(scene) {
    const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
    equal(await list(scene, runs), [], "the runs of an empty log");
    await add(scene, runs, record("begin", B), record("event", B, 1), record("event", B, 2));
    const elsewhere = { channel: "#新聞 * > .", time: 1_700_000_000_001 };
    await add(scene, other, record("begin", C, 0, elsewhere));
    await add(scene, runs, record("end", B, 0, { error: "stopped" }), record("begin", A));
    await add(scene, runs, record("end", A));
    const [b, c, a] = [
      { ...summary(B), events: 2, end: { error: "stopped" } },
      { ...summary(C), channel: elsewhere.channel, since: elsewhere.time },
      { ...summary(A), end: {} },
    ];
    for (const log of [runs, other]) {
      equal(await list(scene, log), [b, c, a], "the runs of a log");
      equal(await list(scene, log, "answer"), [b, a], "the runs of a channel");
      equal(await list(scene, log, elsewhere.channel), [c], "the runs of another channel");
      equal(await list(scene, log, "none"), [], "the runs of a channel that has none");
    }
  },

  async "are read as they were appended, from any number on, in reads of any size"(scene) {
    const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
    const events = CONTENTS.map((content, i) => record("event", A, i + 1, content));
    await add(scene, runs, record("begin", A));
    await add(scene, runs, record("begin", B, 0, { channel: "other" }));
    for (const event of events) {
      await add(scene, runs, event, record("event", B, event.number, { channel: "other" }));
    }
    const wanted = events.map(plain);
    for (const log of [runs, other]) {
      for (const limit of [1, 7, 1_000]) {
        const found = await readAll(scene, log, A, limit);
        equal(found.map(plain), wanted, `a run, read by ${limit}`);
      }
      for (let after = 1; after <= events.length; after += 5) {
        const found = await readAll(scene, log, A, 100, after);
        equal(found.map(plain), wanted.slice(after), `a run, read after event ${after}`);
      }
    }
    equal(await readAll(scene, runs, C), [], "the events of a run that is not there");
    equal((await readAll(scene, other, B)).length, events.length, "how many events another has");
  },

  async "a channel has one run at a time, whoever begins it"(scene) {
    const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
    for (let i = 0; i < 10; i++) {
      const begin = (letter: string) => record("begin", letter.repeat(15) + i);
      const [mine] = await Promise.all([
        add(scene, runs, begin("a")),
        add(scene, other, begin("b")),
      ]);
      const [first] = (await list(scene, other, "answer")).filter(({ end }) => end === undefined);
      const answers = [mine![0]];
      expect(first !== undefined, "none of two runs that begin at once is there");
      equal(first!.run[0], answers[0] ? "a" : "b", "which of two runs that began at once is there");
      const end = await add(scene, other, record("end", first!.run));
      equal(end, [true], "the end of the one that is there");
    }
    equal((await list(scene, runs, "answer")).length, 10, "how many of 20 runs began");
  },

  async "many at once: each is told in order, once, and its end last"(scene) {
    const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
    const followers = [await followed(scene, runs), await followed(scene, other)];
    const [count, length] = [20, 25];
    await scene.within(
      Promise.all(Array.from({ length: count }, async (_, i) => {
        const log = i % 2 === 0 ? runs : other;
        const [run, channel] = [`${i}`.padStart(16, "0"), `${i}`];
        await log.append([record("begin", run, 0, { channel })]);
        for (let n = 1; n <= length; n++) {
          await log.append([record("event", run, n, { channel })]);
        }
        await log.append([record("end", run, 0, { channel })]);
      })),
      `${count} runs`,
    );
    const total = count * (length + 2);
    for (const follower of followers) {
      const told = () => follower.records.length;
      await scene.until(() => told() >= total, `${total} entries are told (${told()} were)`);
      for (let i = 0; i < count; i++) {
        const mine = follower.records.filter(({ channel }) => channel === `${i}`);
        const wanted = ["begin 0", ...numbers(length).map((n) => `event ${n}`), "end 0"];
        equal(
          mine.map(({ type, number }) => `${type} ${number}`),
          wanted,
          "what was told of a run",
        );
      }
    }
    for (const { events, end } of await list(scene, runs)) {
      equal([events, end], [length, {}], "a run");
    }
  },

  async "nothing is told to who has stopped following"(scene) {
    const runs = runsOf(scene.log);
    const [follower, other] = [await followed(scene, runs), await followed(scene, runs)];
    follower.stop();
    await add(scene, runs, record("begin", A));
    await scene.until(() => other.records.length > 0, "the beginning is told");
    equal(follower.records.length, 0, "what was told to who has stopped following");
    const later = await followed(scene, runs);
    await add(scene, runs, record("event", A, 1));
    await scene.until(() => later.records.length > 0, "the event is told to who came later");
    equal(later.short, ["event a 1"], "what is told to who came later");
  },

  async "a closed log takes and tells nothing of them"(scene) {
    const log = await scene.connect();
    if (!log.close) return;
    const runs = runsOf(log);
    const follower = await followed(scene, runs);
    await scene.within(Promise.resolve(log.close()), "close");
    const calls = [
      () => runs.append([record("begin", A)]),
      () => runs.list(),
      () => runs.read(A, 0, 1),
    ];
    for (const call of calls) {
      let isRefused = false;
      await scene.within(call().then(() => {}, () => void (isRefused = true)), "a closed log");
      expect(isRefused, "append(), list() and read() of the runs of a closed log must reject");
    }
    equal(follower.records, [], "what a follower of a closed log is told");
  },

  async "are one for two hubs: read on the other, resumed on either, stopped from anywhere"(scene) {
    const hubs = [scene.hub(scene.log), scene.hub(await scene.connect())] as const;
    const source = new Source();
    const run = await scene.within(hubs[0].run("answer", source.events), "a run");
    source.say("1", "2");
    const live = new Reader(scene, hubs[1]);
    await live.until(2);
    const early = new Reader(scene, hubs[0]);
    await early.until(2);
    early.client.close();
    let refused: unknown;
    await scene.within(hubs[1].run("answer", []).catch((error) => refused = error), "a second run");
    equal((refused as { code?: string })?.code, "already-running", "the error of a second run");
    source.say("3");
    const late = new Reader(scene, hubs[1], early.client.lastEventId);
    for (const [reader, wanted] of [[live, "1 2 3"], [late, "3"]] as const) {
      await reader.until(wanted.split(" ").length);
      equal(reader.heard.join(" "), wanted, "what a reader of a run gets");
    }
    equal(await scene.within(hubs[1].stopRun("answer"), "stopRun"), true, "stopRun");
    equal(await scene.within(run.done, "the end of a run"), { error: "stopped" }, "how it ended");
    expect(source.signal!.aborted, "the source of a run that is stopped must be aborted");
    for (const reader of [live, late]) equal(await reader.end(), "stopped", "the end of a run");
    equal(await scene.within(hubs[0].stopRun("answer"), "stopRun"), false, "stopRun after the end");
    const again = await scene.within(hubs[1].run("answer", ["x"]), "a run");
    equal(await scene.within(again.done, "the end of a run"), {}, "how the next run ended");
    const next = new Reader(scene, hubs[0]);
    equal([await next.end(), next.heard.join(" ")], ["", "x"], "the next run");
  },
};

/** By each bound, what is gone and what is left. */
export const trimsRuns: Record<keyof RunHistoryOptions, Check> = {
  events: (scene) => trimsEvents(scene, ({ length }) => length <= RUN_BOUNDS.events + 1),
  bytes: (scene) =>
    trimsEvents(scene, (held) => {
      const sizes = held.map(({ data }) => data!.length);
      return sizes.reduce((sum, size) => sum + size, 0) <= RUN_BOUNDS.bytes;
    }),

  async age(scene) {
    const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
    // A log may need somebody who follows.
    await followed(scene, runs);
    await add(scene, runs, record("begin", A), record("event", A, 1));
    await add(scene, runs, record("begin", B, 0, { channel: "other" }), record("end", A));
    equal((await list(scene, other)).map(({ run }) => run), [A, B], "the runs that are held");
    await scene.until(
      async () => (await list(scene, other)).length === 1,
      "a run is forgotten some time after its end",
    );
    equal((await list(scene, runs)).map(({ run }) => run), [B], "the run that has not ended");
    equal(await readAll(scene, other, A), [], "the events of a run that is forgotten");
    equal(await add(scene, runs, record("begin", C)), [true], "the channel's next run");
  },

  async total(scene) {
    const runs = runsOf(scene.log);
    await followed(scene, runs);
    const data = "x".repeat(2_000);
    const other = { channel: "other", data };
    await add(scene, runs, record("begin", A, 0, other), record("event", A, 1, other));
    let began = 0;
    await scene.until(async () => {
      const run = `${++began}`.padStart(16, "0");
      await add(scene, runs, record("begin", run));
      for (let i = 1; i <= 5; i++) await add(scene, runs, record("event", run, i, { data }));
      await add(scene, runs, record("end", run));
      return (await list(scene, runs, "answer"))[0]!.run !== "1".padStart(16, "0");
    }, "the first run that ended is forgotten");
    const held = (await list(scene, runs)).map(({ run }) => run);
    expect(held.includes(A), "a run that has not ended must not be forgotten");
    const ended = held.filter((run) => run !== A).map(Number);
    const kept = numbers(began).slice(began - ended.length);
    equal(ended, kept, "which runs that ended are left: those that ended last");
    expect(ended.length * 5 * data.length <= RUN_BOUNDS.total, `${ended.length} runs are held`);
    let number = 1;
    await scene.until(async () => {
      for (let i = 0; i < 5; i++) await add(scene, runs, record("event", A, ++number, other));
      return (await readAll(scene, runs, A))[0]!.number > 1;
    }, "the oldest events of the largest run are forgotten");
    const left = await readAll(scene, runs, A);
    equal(numbersOf(left), numbers(number).slice(number - left.length), "which events are left");
    expect(left.length * data.length <= RUN_BOUNDS.total, `${left.length} events are held`);
  },
};

/** The oldest events of a run are trimmed, and the rest is whole. */
async function trimsEvents(
  scene: Scene,
  isBounded: (held: readonly RunRecord[]) => boolean,
): Promise<void> {
  const runs = runsOf(scene.log);
  await add(scene, runs, record("begin", A));
  let number = 0;
  await scene.until(async () => {
    const events = Array.from({ length: 10 }, () => {
      return record("event", A, ++number, { data: "x".repeat(500) });
    });
    await add(scene, runs, ...events);
    return (await readAll(scene, runs, A, 7))[0]!.number > 1;
  }, "the oldest events of a run are trimmed");
  const other = runsOf(await scene.connect());
  const held = await readAll(scene, other, A);
  expect(held.length > 1, `only ${held.length} events of a run are held`);
  equal(numbersOf(held), numbers(number).slice(number - held.length), "which events are held");
  expect(isBounded(held), `${held.length} events of a run are held`);
  equal((await list(scene, other))[0]!.events, number, "the number of the newest event");
  equal(await add(scene, other, record("end", A)), [true], "the end of a run that was trimmed");
  const [ended] = await list(scene, runs);
  equal([ended!.events, ended!.end], [number, {}], "a run that was trimmed and has ended");
}

/** It is there again after an outage, and runs go on. */
export async function runOutage(
  scene: Scene,
  interrupt: () => Promise<() => unknown>,
): Promise<void> {
  const [runs, other] = [runsOf(scene.log), runsOf(await scene.connect())];
  const followers = [await followed(scene, runs), await followed(scene, other)];
  await add(scene, runs, record("begin", A), record("event", A, 1));
  for (const follower of followers) {
    await scene.until(() => follower.records.length === 2, "both entries are told");
  }
  const restore = await interrupt();
  await scene.until(() => followers.every(({ failures }) => failures > 0), "failed() is called");
  const opened = followers.map(({ opened }) => opened);
  await restore();
  // What is not known to be taken may be appended again.
  const append = async (what: RunRecord) => {
    try {
      const [isTaken] = await runs.append([what]);
      expect(isTaken === true, "a run must go on after an outage");
      return true;
    } catch (error) {
      if ((error as Error).message.includes("must go on")) throw error;
      return false;
    }
  };
  await scene.until(() => append(record("event", A, 2)), "append works again");
  await scene.until(
    () => followers.every((follower, i) => follower.opened > opened[i]!),
    "opened() is called when the runs can be followed again",
  );
  await add(scene, other, record("event", A, 3));
  for (const follower of followers) {
    await scene.until(() => follower.short.at(-1) === "event a 3", "the next event is told");
    const told = follower.short;
    equal(told, [...new Set(told)], "what was told: each once");
  }
  equal(numbersOf(await readAll(scene, other, A)), [1, 2, 3], "the events of a run");
}

/** Data is lost: whatever is left of a run, nobody hangs, and the channel may run again. */
export async function runLoss(scene: Scene, lose: () => unknown): Promise<void> {
  const options = { runTimeout: 1_000 };
  const hubs = [
    scene.hub(scene.log, options),
    scene.hub(await scene.connect(), options),
  ] as const;
  const ended = await scene.within(hubs[0].run("ended", ["x"]), "a run");
  await scene.within(ended.done, "the end of a run");
  const source = new Source();
  const run = await scene.within(hubs[0].run("answer", source.events), "a run");
  source.say("1", "2");
  const reader = new Reader(scene, hubs[1]);
  await reader.until(2);
  await lose();
  source.say("3");
  // It may be there, as far as it was kept: then it goes on. Or it is gone, and `lost`.
  await scene.until(
    () => reader.isEnded || reader.heard.at(-1) === "3",
    () => `a reader hangs after data was lost; it heard ${reader.heard.join(" ")}`,
  );
  source.finish();
  const { error } = await scene.within(run.done, "the end of a run after data was lost");
  expect(error === undefined || error === "lost", `a run ended as ${error} after data was lost`);
  equal(await reader.end(), error ?? "", "the end that the reader of another hub gets");
  for (const [i, channel] of ["answer", "ended"].entries()) {
    let again: { done: Promise<object> } | undefined;
    await scene.until(async () => {
      // As long as the log takes the run before for one that runs.
      again = await hubs[i]!.run(channel, ["x", "y"]).catch(() => undefined);
      return again !== undefined;
    }, `the channel ${channel} may run again after data was lost`);
    equal(await scene.within(again!.done, "the end of a run"), {}, "how the next run ended");
    const next = new Reader(scene, hubs[1 - i]!, undefined, channel);
    equal([await next.end(), next.heard.join(" ")], ["", "x y"], "the next run");
  }
}

/** A source that says what it is told to. */
class Source {
  readonly #said: string[] = [];
  #isOver = false;
  #wake = () => {};
  signal: AbortSignal | undefined;

  readonly events = async function* (this: Source, signal: AbortSignal): AsyncGenerator<string> {
    this.signal = signal;
    signal.addEventListener("abort", () => this.#wake());
    while (!signal.aborted) {
      if (this.#said.length > 0) yield this.#said.shift()!;
      else if (this.#isOver) return;
      else await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }.bind(this);

  say(...data: string[]): void {
    this.#said.push(...data);
    this.#wake();
  }

  finish(): void {
    this.#isOver = true;
    this.#wake();
  }
}

/** A reader of a run. */
class Reader {
  heard: string[] = [];
  readonly client: Client;
  readonly #scene: Scene;
  #end: string | undefined;

  constructor(scene: Scene, hub: Hub, lastEventId?: string, channel = "answer") {
    this.#scene = scene;
    const handler = createHandler(hub, {
      authenticate: () => ({ session: "ada", channels: [channel] }),
    });
    this.client = scene.client(createClient(`http://localhost/api/v1/sse/runs/${channel}`, {
      fetch: (url, init) => handler(new Request(url, init)),
      reconnect: { delay: 20, maxDelay: 100, maxAttempts: Infinity },
      ...lastEventId === undefined ? {} : { lastEventId },
    }));
    this.client.on("message", ({ data }) => this.heard.push(data));
    this.client.addEventListener("reset", () => this.heard = []);
    this.client.on("streamside:end", (event) => {
      this.#end = (event.json() as { error?: string }).error ?? "";
    });
    this.client.connect();
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  async until(count: number): Promise<void> {
    const heard = () => this.heard.length;
    await this.#scene.until(() => heard() >= count, () => `${heard()} of ${count} events arrive`);
  }

  /** How it ended: the code, or an empty string. */
  async end(): Promise<string> {
    await this.#scene.until(() => this.isEnded, "the end of a run arrives");
    return this.#end!;
  }
}

function summary(run: string): RunSummary {
  const { channel, time: since } = record("begin", run);
  return { run, channel, since, events: 0, end: undefined };
}

/** 1, 2, 3 and so on. */
function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}

/** Events of all kinds. */
const CONTENTS: readonly Pick<RunRecord, "event" | "data">[] = [
  { event: "token", data: "" },
  { event: "token", data: "two\nlines\n" },
  { event: "token", data: "\r\n and \r" },
  { event: "token", data: ' leading, "quoted", back\\slash, nul \0, tab \t, \u2028\u2029' },
  { event: "é: 世界 👩‍🚀", data: "é 世界 👩‍🚀 \ufeff" },
  { event: " ", data: '{"json":[1,null,{}]}' },
  { event: "e".repeat(200), data: "é".repeat(50_000) },
  ...Array.from({ length: 20 }, (_, i) => ({ event: "token", data: `word ${i}` })),
];
