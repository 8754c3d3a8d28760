/**
 * One suite for all logs: what a {@link Log} promises, as tests that run in any framework.
 *
 * @module
 */

import { type Client, createClient } from "./client/mod.ts";
import { createHub, PRESENCE_TIMES } from "./hub/hub.ts";
import { type PresenceTimes, TIMES } from "./hub/presence.ts";
import type { Hub, HubOptions } from "./hub/types.ts";
import { createHandler, sessionFromRequest } from "./http/handler.ts";
import type { HistoryOptions } from "./log/history.ts";
import type { Log } from "./log/log.ts";
import type { PresenceAnswer, PresenceLog, PresenceUpdate } from "./log/presence-log.ts";
import type { LogEntry, LogPosition, LogRecord } from "./log/record.ts";
import type { RunHistoryOptions } from "./log/run-history.ts";
import { equal, expect, pause, show } from "./test-checks.ts";
import { RUN_BOUNDS, RUN_CHECKS, runLoss, runOutage, trimsRuns } from "./test-runs.ts";

/** A log that is opened for one test. */
export interface OpenedLog {
  /** The log. */
  readonly log: Log;
  /** Another log on the same history, as another server has it. Default: `log` itself. */
  connect?(): Log | Promise<Log>;
  /** Closes all of them, and removes what they left. */
  close?(): void | Promise<void>;
}

/** The options of {@link testLog}. */
export interface LogTestOptions<Opened extends OpenedLog = OpenedLog> {
  /** The log's name: each test's name begins with it. */
  readonly name: string;
  /**
   * Makes a log with an empty history of its own, under these bounds. Each test has one. `runHistory` is given where
   * {@link LogTestOptions.runs} is.
   */
  open(history: HistoryOptions, runHistory?: RunHistoryOptions): Opened | Promise<Opened>;
  /** Defines one test: `test` of `node:test`, of Vitest or of `bun:test`, `Deno.test`, … */
  test(name: string, run: () => Promise<void>): unknown;
  /**
   * Takes the engine away, and resolves when it is away. Resolves to what brings it back with all its data. Without it,
   * outages are not tested.
   */
  interrupt?(opened: Opened): Promise<() => void | Promise<void>>;
  /**
   * Has the engine lose what it acknowledged last, at least one entry, and resolves when it is there again. Without it,
   * loss is not tested.
   */
  lose?(opened: Opened): void | Promise<void>;
  /** The log keeps runs: its {@link Log.runs} are tested too. Default: `false`. */
  readonly runs?: boolean | undefined;
  /** By what it trims. Default: by `events`, `bytes` and `age`. */
  readonly bounds?: readonly (keyof HistoryOptions)[];
  /** How long the log may take for a step, in ms. Default: 5 000. */
  readonly timeout?: number;
}

/**
 * Tests a log of one's own: that it keeps what {@link Log} promises, by itself and behind hubs. Logs on a network or a
 * database pass it against the engine itself.
 *
 * @example
 * ```ts
 * import { test } from "node:test";
 * import { memoryLog } from "streamside";
 * import { testLog } from "streamside/testing";
 *
 * testLog({ name: "memoryLog", test, open: (history) => ({ log: memoryLog(history) }) });
 * ```
 */
export function testLog<Opened extends OpenedLog>(options: LogTestOptions<Opened>): void {
  const { name, timeout = 5_000, bounds = ["events", "bytes", "age"] } = options;
  const define = (
    what: string,
    history: HistoryOptions,
    check: (scene: Scene, opened: Opened) => Promise<void>,
    runHistory?: RunHistoryOptions,
  ) =>
    options.test(`${name}: ${what}`, async () => {
      const opened = await options.open(history, runHistory);
      const scene = new Scene(opened, timeout);
      try {
        await check(scene, opened);
      } finally {
        await scene.close();
      }
    });
  for (const [what, check] of Object.entries(CHECKS)) define(what, {}, check);
  for (const bound of bounds) {
    define(`trims by ${bound}, and says where it begins`, { [bound]: BOUNDS[bound] }, trims);
  }
  if (options.interrupt) {
    define(
      "is there again after an outage, in the same epoch, and nothing is missed",
      {},
      (scene, opened) => outage(scene, () => options.interrupt!(opened)),
    );
  }
  if (options.interrupt) {
    define(
      "knows who is online when the engine is back, and nobody went offline by it",
      {},
      (scene, opened) => presenceOutage(scene, () => options.interrupt!(opened)),
    );
  }
  if (options.lose) {
    define(
      "has lost data: everyone is told another epoch, the same one, and old places are null",
      {},
      (scene, opened) => loss(scene, () => options.lose!(opened)),
    );
  }
  if (options.runs !== true) return;
  for (const [what, check] of Object.entries(RUN_CHECKS)) define(`runs: ${what}`, {}, check, {});
  for (const [bound, value] of Object.entries(RUN_BOUNDS)) {
    define(`runs: are bounded by ${bound}`, {}, trimsRuns[bound as keyof RunHistoryOptions], {
      [bound]: value,
    });
  }
  if (options.interrupt) {
    define(
      "runs: go on after an outage",
      {},
      (scene, opened) => runOutage(scene, () => options.interrupt!(opened)),
      {},
    );
  }
  if (options.lose) {
    define(
      "runs: end as lost where data is lost, for everyone, and the channel may run again",
      {},
      (scene, opened) => runLoss(scene, () => options.lose!(opened)),
      {},
    );
  }
}

type Check = (scene: Scene) => Promise<void>;

/** Small bounds. Each is far above what is to be held. */
const BOUNDS: Required<HistoryOptions> = { events: 20, bytes: 20_000, age: 1_000 };

/** What one test works with. */
export class Scene {
  readonly log: Log;
  readonly opened: OpenedLog;
  readonly #timeout: number;
  readonly #closers: (() => unknown)[] = [];

  constructor(opened: OpenedLog, timeout: number) {
    this.opened = opened;
    this.log = opened.log;
    this.#timeout = timeout;
  }

  async connect(): Promise<Log> {
    return await this.opened.connect?.() ?? this.log;
  }

  /** Follows a log; resolves when it is open. */
  async follow(log: Log = this.log): Promise<Told> {
    const told = new Told(log);
    this.#closers.push(() => told.stop());
    await this.until(() => told.lives.length > 0, "opened() is called after follow()");
    return told;
  }

  hub(log: Log, options: HubOptions & { [PRESENCE_TIMES]?: PresenceTimes } = {}): Hub {
    const silent = { debug() {}, info() {}, warn() {}, error() {} };
    const hub = createHub({ log, logger: silent, ...options });
    this.#closers.push(() => hub.close());
    return hub;
  }

  /** Calls something in the end, also when a check has failed. */
  finally(close: () => unknown): void {
    this.#closers.push(close);
  }

  /** Closes a client in the end, also when a check has failed: it would try to reconnect for a minute. */
  client(client: Client): Client {
    this.#closers.push(() => client.close());
    return client;
  }

  /** Appends events with this data, one after the other. */
  async append(...data: string[]): Promise<LogPosition[]> {
    const places: LogPosition[] = [];
    for (const each of data) places.push(await this.within(this.log.append(event(each)), "append"));
    return places;
  }

  async read(after: LogPosition, limit = 1_000, log: Log = this.log): Promise<LogEntry[] | null> {
    const answer = await this.within(log.read(after, limit), `read(${show(after)}, ${limit})`);
    if (answer === null) return null;
    expect(Array.isArray(answer), `read() must give an array or null, got ${show(answer)}`);
    expect(answer.length <= limit, `read() with the limit ${limit} gave ${answer.length} entries`);
    return [...answer];
  }

  /** Everything after a place, in as many reads as it takes. */
  async readAll(after: LogPosition, limit = 1_000, log: Log = this.log): Promise<LogEntry[]> {
    const found: LogEntry[] = [];
    for (let place = after;;) {
      const entries = await this.read(place, limit, log);
      expect(
        entries !== null,
        `read(${show(place)}) must give what comes after it, and gave null`,
      );
      if (entries!.length === 0) return found;
      found.push(...entries!);
      grows([place, ...entries!]);
      place = placeOf(entries!.at(-1)!);
    }
  }

  /** Waits for something, and says what if it does not come. */
  async until(is: () => unknown, what: string | (() => string)): Promise<void> {
    const end = Date.now() + this.#timeout;
    while (!await is()) {
      if (Date.now() >= end) {
        throw new Error(`within ${this.#timeout} ms: ${typeof what === "string" ? what : what()}`);
      }
      await pause(10);
    }
  }

  async within<T>(promise: Promise<T>, what: string): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`${what} was not answered within ${this.#timeout} ms`);
      timer = setTimeout(() => reject(error), this.#timeout);
    });
    return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  /** Waits until a follower was told so many entries, and no more. */
  async told(follower: Told, count: number): Promise<LogEntry[]> {
    await this.until(
      () => follower.entries.length >= count,
      `${count} entries are told (${follower.entries.length} were)`,
    );
    // One that comes twice may come later.
    await pause(20);
    equal(follower.entries.length, count, "how many entries were told");
    equal(follower.faults, [], "what was told");
    return follower.entries;
  }

  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
    await this.opened.close?.();
  }
}

/** What a follower was told. */
class Told {
  readonly lives: { epoch: string; head: LogPosition; start: LogPosition }[] = [];
  /** The entries of the present life. */
  entries: LogEntry[] = [];
  failures = 0;
  /** What was wrong with the calls. */
  readonly faults: string[] = [];
  readonly stop: () => void;
  #last: LogPosition = { position: 0 };

  constructor(log: Log) {
    this.stop = log.follow({
      opened: (epoch, head, start) => this.#opened(epoch, head, start),
      appended: (entries) => {
        if (this.lives.length === 0) this.faults.push("appended() before opened()");
        for (const entry of entries) {
          if (entry.position <= this.#last.position) {
            this.faults.push(`${show(placeOf(entry))} was told after ${show(this.#last)}`);
          }
          this.#last = placeOf(entry);
          this.entries.push(entry);
        }
      },
      failed: () => this.failures++,
    });
  }

  get life(): { epoch: string; head: LogPosition; start: LogPosition } {
    return this.lives.at(-1)!;
  }

  #opened(epoch: string, head: LogPosition, start: LogPosition): void {
    if (typeof epoch !== "string" || !/^[!-~]{1,256}$/.test(epoch)) {
      this.faults.push(`the epoch ${show(epoch)} is not 1 to 256 visible ASCII characters`);
    }
    checkPlace(head);
    checkPlace(start);
    if (start.position > head.position) {
      this.faults.push(`it begins at ${show(start)}, after its head, ${show(head)}`);
    }
    const isSame = this.lives.at(-1)?.epoch === epoch;
    if (isSame && (head.position !== this.#last.position || head.tag !== this.#last.tag)) {
      this.faults.push(`opened() at ${show(head)} in the same epoch, after ${show(this.#last)}`);
    }
    if (!isSame) this.entries = [];
    this.#last = placeOf(head);
    this.lives.push({ epoch, head: placeOf(head), start: placeOf(start) });
  }
}

/** By what each is called. All that a log promises, but for its bounds. */
const CHECKS: Record<string, Check> = {
  async "opens empty, with an epoch, and where it begins and ends"(scene) {
    const { life } = await scene.follow();
    equal(await scene.read(life.head), [], "a read at the head of an empty log");
    equal(await scene.read(life.start), [], "a read at the start of an empty log");
  },

  async "tells each entry once, in one order, as it was appended"(scene) {
    const follower = await scene.follow();
    const data = numbers(50);
    const places = await scene.append(...data);
    grows([follower.life.head, ...places]);
    const entries = await scene.told(follower, data.length);
    equal(
      entries.map(placeOf),
      places,
      "the positions that were told, and those that append() gave",
    );
    equal(entries.map(({ record }) => record.data), data, "what was told");
    for (const { time } of entries) {
      expect(Number.isFinite(time), `each entry needs a time in ms, got ${show(time)}`);
    }
  },

  async "takes many appends at once: each has one place, which everyone is told"(scene) {
    const other = await scene.connect();
    const followers = [await scene.follow(), await scene.follow(other)];
    const appended = await scene.within(
      Promise.all(
        numbers(200).map(async (data, i) => {
          const log = i % 2 === 0 ? scene.log : other;
          return [data, placeOf(await log.append(event(data)))] as const;
        }),
      ),
      "200 appends",
    );
    const inOrder = [...appended].sort(([, a], [, b]) => a.position - b.position);
    grows(inOrder.map(([, place]) => place));
    for (const follower of followers) {
      const entries = await scene.told(follower, 200);
      equal(
        entries.map((entry) => [entry.record.data, placeOf(entry)]),
        inOrder,
        "what was told, and where append() said that it stands",
      );
    }
  },

  async "carries records as they are"(scene) {
    const follower = await scene.follow();
    for (const record of RECORDS) await scene.within(scene.log.append(record), "append");
    const wanted = RECORDS.map(onTheWire);
    const entries = await scene.told(follower, RECORDS.length);
    equal(entries.map(({ record }) => onTheWire(record)), wanted, "the records that were told");
    const read = await scene.readAll(follower.life.head);
    equal(read.map(({ record }) => onTheWire(record)), wanted, "the records that were read");
  },

  async "reads what was told, from any place on, in reads of any size"(scene) {
    const follower = await scene.follow();
    await scene.append(...numbers(30));
    const entries = (await scene.told(follower, 30)).map(plain);
    for (const limit of [1, 7, 30, 1_000]) {
      const all = await scene.readAll(follower.life.head, limit);
      equal(all.map(plain), entries, `everything, read by ${limit}`);
    }
    const other = await scene.connect();
    for (const [i, entry] of entries.entries()) {
      const first = await scene.read(placeOf(entry), 3);
      expect(first !== null, `read() after entry ${i + 1} of 30 must give what follows, not null`);
      expect(first!.length > 0 || i === 29, `read() after entry ${i + 1} of 30 gave nothing`);
      const rest = await scene.readAll(placeOf(entry), 100, other);
      equal(rest.map(plain), entries.slice(i + 1), `what comes after entry ${i + 1} of 30`);
      const { position } = entry;
      if (position - 1 <= (entries[i - 1] ?? follower.life.head).position) continue;
      const gap = await scene.readAll({ position: position - 1 });
      equal(gap.map(plain), entries.slice(i), `what comes after the gap before entry ${i + 1}`);
    }
    const last = entries.at(-1)!;
    equal(await scene.read(placeOf(last)), [], "a read at the head");
    equal(
      await scene.read({ position: last.position + 1_000_000 }),
      null,
      "a read at a position that it has not reached",
    );
  },

  async "gives a tag with each position, or with none, and knows it again"(scene) {
    const places = await scene.append(...numbers(10));
    const tags = places.map(({ tag }) => tag);
    if (tags[0] === undefined) equal(tags, places.map(() => undefined), "the tags");
    else equal(new Set(tags).size, tags.length, "how many different tags there are");
    for (const [i, place] of places.entries()) {
      const own = await scene.read(place, 1);
      expect(own !== null, `read(${show(place)}) is null, though that is its tag`);
      const tag = tags[0] === undefined ? "foreign" : tags[(i + 1) % tags.length]!;
      const other = { position: place.position, tag };
      equal(
        await scene.read(other, 1),
        null,
        `read(${show(other)}), whose tag is of another entry`,
      );
    }
  },

  async "tells who follows later where it stands, and what comes from then on"(scene) {
    const early = await scene.follow();
    const before = await scene.append("a", "b", "c");
    await scene.told(early, 3);
    const late = await scene.follow(await scene.connect());
    equal(late.life.epoch, early.life.epoch, "the epoch that the second follower is told");
    equal(late.life.head, placeOf(before.at(-1)!), "the head that the second follower is told");
    const held = await scene.readAll(late.life.start);
    equal(held.map(({ record }) => record.data), ["a", "b", "c"], "what it holds from `start` on");
    await scene.append("d", "e");
    const entries = await scene.told(late, 2);
    equal(entries.map(({ record }) => record.data), ["d", "e"], "what the second follower is told");
    await scene.told(early, 5);
  },

  async "tells everything after the head to who comes while others append"(scene) {
    const other = await scene.connect();
    let isDone = false;
    const appending = (async () => {
      for (const data of numbers(150)) {
        await scene.within(other.append(event(data)), "append");
        if (Number(data) % 10 === 0) await pause(1);
      }
    })().finally(() => isDone = true);
    // It is awaited below.
    appending.catch(() => {});
    const followers: Told[] = [];
    while (!isDone && followers.length < 5) {
      followers.push(await scene.follow(followers.length % 2 === 0 ? scene.log : other));
      await pause(2);
    }
    await appending;
    const { start } = (await scene.follow()).life;
    const all = (await scene.readAll(start)).map(plain);
    equal(all.length, 150, "how many it holds");
    for (const follower of followers) {
      const wanted = all.filter(({ position }) => position > follower.life.head.position);
      const entries = await scene.told(follower, wanted.length);
      equal(
        entries.map(plain),
        wanted,
        `what a follower with the head ${show(follower.life.head)} was told`,
      );
    }
  },

  async "has what was told in a read at once"(scene) {
    const faults: string[] = [];
    const reads: Promise<void>[] = [];
    const other = await scene.connect();
    let last: LogPosition | undefined;
    const stop = other.follow({
      opened: (_, head) => last = placeOf(head),
      appended: (entries) => {
        const before = last!;
        last = placeOf(entries.at(-1)!);
        const wanted = entries.map(placeOf);
        reads.push(
          other.read(before, wanted.length).then((read) => {
            const [first] = read ?? [];
            if (first?.position !== wanted[0]!.position) {
              faults.push(
                `${show(wanted[0])} was told, and read(${show(before)}) gave ${show(read)}`,
              );
            }
          }),
        );
      },
      failed() {},
    });
    await scene.until(() => last, "opened() is called after follow()");
    const places = await scene.append(...numbers(20));
    await scene.until(() => last!.position >= places.at(-1)!.position, "the entries are told");
    await scene.within(Promise.all(reads), "read");
    stop();
    equal(faults, [], "reads in appended()");
  },

  async "tells nothing to who has stopped following"(scene) {
    const [follower, other] = [await scene.follow(), await scene.follow()];
    await scene.append("a");
    await scene.told(follower, 1);
    follower.stop();
    await scene.append("b");
    await scene.told(other, 2);
    await scene.told(follower, 1);
  },

  async "has a record with the same idempotencyKey once"(scene) {
    const follower = await scene.follow();
    const other = await scene.connect();
    const keyed = (data: string, idempotencyKey: string) => ({ ...event(data), idempotencyKey });
    const first = await scene.within(scene.log.append(keyed("a", "key 1")), "append");
    const again = await scene.within(other.append(keyed("a", "key 1")), "append");
    equal(placeOf(again), placeOf(first), "the place of what was appended again");
    const [one, two] = await scene.within(
      Promise.all([other.append(keyed("b", "key 2")), scene.log.append(keyed("b", "key 2"))]),
      "two appends",
    );
    equal(placeOf(two!), placeOf(one!), "the places of what was appended twice at once");
    await scene.append("c", "c");
    const entries = await scene.told(follower, 4);
    equal(entries.map(({ record }) => record.data), ["a", "b", "c", "c"], "what was told");
  },

  async "tells what is transient in its place, and need not hold it"(scene) {
    const follower = await scene.follow();
    const transient = { ...event("transient"), transient: true } as const;
    await scene.append("a");
    const place = await scene.within(scene.log.append(transient), "append");
    const [last] = await scene.append("b");
    const entries = await scene.told(follower, 3);
    equal(entries.map(({ record }) => record.data), ["a", "transient", "b"], "what was told");
    equal(entries.map(({ record }) => record.transient), [undefined, true, undefined], "transient");
    equal(placeOf(entries[1]!), placeOf(place), "the place of what is transient");
    const read = await scene.readAll(follower.life.head);
    const held = read.filter(({ record }) => record.transient !== true);
    equal(held.map(({ record }) => record.data), ["a", "b"], "what was read");
    if (place.tag !== undefined) {
      equal(read.length, 3, "how many entries a log that gives tags holds");
    }
    const after = await scene.readAll(placeOf(place));
    equal(after.map(placeOf), [placeOf(last!)], "what comes after its place");
  },

  async "is one service for two hubs: what is sent on one arrives on the other"(scene) {
    const { hubs, client } = await twoHubs(scene);
    const got: string[] = [];
    const ada = client(1, "ada", ["news"]);
    ada.on("e", ({ data }) => got.push(data));
    ada.connect();
    await scene.until(() => ada.readyState === 1, "the client is connected");
    await hubs[0].send("ada", "e", "1");
    await hubs[0].publish("news", "e", "2");
    await hubs[1].broadcast("e", "3");
    await hubs[0].send("grace", "e", "not hers");
    await hubs[0].broadcast("e", "not hers", { except: "ada" });
    await hubs[0].broadcast("e", "4");
    await scene.until(() => got.includes("4"), "the last event arrives");
    equal(got, ["1", "2", "3", "4"], "what arrived on the other hub");
    ada.close();
  },

  async "is one service for two hubs: a client resumes on the other, and on one that starts"(
    scene,
  ) {
    const { hubs, client } = await twoHubs(scene);
    const { id } = await hubs[0].send("ada", "e", "0");
    for (let i = 1; i <= 5; i++) await hubs[0].send("ada", "e", `${i}`);
    const { hubs: [later], client: another } = await twoHubs(scene);
    for (const connect of [() => client(1, "ada", [], id), () => another(0, "ada", [], id)]) {
      const got: string[] = [];
      const ada = connect();
      ada.on("e", ({ data }) => got.push(data));
      ada.addEventListener("reset", () => got.push("reset"));
      ada.connect();
      await scene.until(() => got.length >= 5, `the events since ${id} arrive (${got})`);
      equal(got, ["1", "2", "3", "4", "5"], `what a client gets that resumes from ${id}`);
      ada.close();
    }
    equal(later.cursor(), hubs[0].cursor(), "the cursors of two hubs that stand at the same place");
  },

  async "is one service for two hubs: a session is disconnected on both"(scene) {
    const { hubs } = await twoHubs(scene);
    const ended: string[] = [];
    for (const hub of hubs) {
      hub.on("disconnect", ({ session, reason }) => ended.push(`${session} ${reason}`));
      for (const session of ["ada", "grace"]) {
        const reader = hub.subscribe(session).getReader();
        await reader.read();
      }
    }
    await scene.within(hubs[0].disconnect("ada"), "disconnect");
    await scene.until(() => ended.length >= 2, "the session's streams end on both hubs");
    equal(ended, ["ada disconnect", "ada disconnect"], "which streams ended");
  },

  async "tells who is online, if it does: what each server says, to whoever asks"(scene) {
    const asked = await twoPresences(scene);
    if (asked === undefined) return;
    const [one, other] = asked;
    const nothing = { isWhole: false, sessions: [] };
    const first = await one.exchange({ server: ONE, ...nothing }, LEASE, null);
    equal(first.isKnown, false, "`isKnown` of a server that has said nothing yet");
    equal([first.isAnew, first.updates], [true, []], "all there is where nobody is");
    const ada = { session: "ada: 世 👩‍🚀", channels: ["news", '"]\\ #'] };
    const many = numbers(2_500).map((session) => ({ session, channels: [] }));
    const sessions = [ada, { session: "grace", channels: [] }, ...many];
    const whole = await one.exchange({ server: ONE, isWhole: true, sessions }, LEASE);
    equal([whole.isKnown, whole.updates], [true, []], "an answer to who has not asked");
    const all = await other.exchange({ server: OTHER, ...nothing }, LEASE, null);
    equal([all.isAnew, all.updates.length], [true, 1], "all there is: anew, and how many updates");
    equal(whoIs(all), { [ONE]: Object.fromEntries(sessions.map(pairOf)) }, "who is there");
    const { cursor } = await one.exchange({ server: ONE, ...nothing }, LEASE, null);

    const gone = { session: "grace" };
    const moved = { ...ada, channels: ["sports"] };
    const change = { server: ONE, isWhole: false, sessions: [moved, gone] };
    const own = await one.exchange(change, LEASE, cursor);
    equal([own.isKnown, own.isAnew, newsOf(own)], [true, false, [change]], "one's own change");
    const news = await other.exchange({ server: OTHER, ...nothing }, LEASE, all.cursor);
    equal([news.isAnew, newsOf(news)], [false, [change]], "what another one has changed");
    const again = await other.exchange({ server: OTHER, ...nothing }, LEASE, news.cursor);
    equal([again.isAnew, newsOf(again)], [false, []], "what has changed since");
    const anew = await other.exchange({ server: OTHER, ...nothing }, LEASE, null);
    const left = Object.fromEntries([moved, ...many].map(pairOf));
    equal(whoIs(anew), { [ONE]: left }, "who is there after a change");
    expect(
      anew.left.includes("grace"),
      `\`left\` must name who has just left, got ${show(anew.left)}`,
    );

    await one.exchange({ server: ONE, isWhole: true, sessions: [ada] }, LEASE);
    const renewed = await other.exchange({ server: OTHER, ...nothing }, LEASE, again.cursor);
    equal(whoIs(renewed), { [ONE]: Object.fromEntries([pairOf(ada)]) }, "what one has said anew");
    const end = { server: ONE, isWhole: false, sessions: [], gone: "left" } as const;
    await one.exchange(end, LEASE);
    const ended = await other.exchange({ server: OTHER, ...nothing }, LEASE, renewed.cursor);
    equal(newsOf(ended), [end], "what is told of a server that has left");
    const empty = await other.exchange({ server: OTHER, ...nothing }, LEASE, null);
    equal(whoIs(empty), {}, "who is there in the end");
  },

  async "tells of a server that is not heard of, if it tells who is online"(scene) {
    const asked = await twoPresences(scene);
    // In one process none can die alone.
    if (asked === undefined || asked[0].watch !== undefined) return;
    const [one, other] = asked;
    const sessions = [{ session: "ada", channels: [] }];
    const nothing = { server: OTHER, isWhole: false, sessions: [] };
    await one.exchange({ server: ONE, isWhole: true, sessions }, 1_000);
    await other.exchange({ server: OTHER, isWhole: true, sessions }, LEASE);
    let answer = await other.exchange(nothing, LEASE, null);
    const told: unknown[] = [];
    const hear = async () => {
      answer = await other.exchange(nothing, LEASE, answer.cursor);
      for (const { server, gone } of newsOf(answer)) if (server === ONE) told.push(gone);
    };
    if (Object.hasOwn(whoIs(answer), ONE)) {
      await scene.until(async () => {
        await hear();
        return told.length > 0;
      }, "a server whose lease is over is told to be lost");
      await hear();
      equal(told, ["lost"], "what is told of a server whose lease is over");
    }
    const all = await other.exchange(nothing, LEASE, null);
    equal(Object.keys(whoIs(all)), [OTHER], "the servers that are there");
    const change = { server: ONE, isWhole: false, sessions };
    const { isKnown } = await one.exchange(change, LEASE);
    equal(isKnown, false, "`isKnown` of a server that was lost");
    equal(Object.keys(whoIs(await other.exchange(nothing, LEASE, null))), [OTHER], "who is there");
    await one.exchange({ server: ONE, isWhole: true, sessions }, LEASE);
    const back = await other.exchange(nothing, LEASE, null);
    equal(Object.keys(whoIs(back)).sort(), [ONE, OTHER], "the servers, after one is back");
  },

  async "is one service for two hubs: both know who is online, and who comes and goes"(scene) {
    const met = await twoListening(scene);
    if (met === undefined) return;
    const { hubs, told } = met;
    const open = (hub: number, session: string, channels: string[] = []) => {
      const stream = hubs[hub]!.subscribe(session, { channels });
      return () => stream.cancel();
    };
    const knowBoth = async (channel: string | undefined, wanted: string[]) => {
      for (const hub of hubs) {
        await scene.until(
          async () => show((await hub.presence(channel)).sort()) === show(wanted),
          `both hubs know who is online${channel === undefined ? "" : ` in ${channel}`}: ${wanted}`,
        );
      }
    };
    const closeAda = open(0, "ada", ["news"]);
    const closeGrace = open(0, "grace");
    open(1, "grace", ["sports"]);
    await knowBoth(undefined, ["ada", "grace"]);
    await knowBoth("news", ["ada"]);
    await knowBoth("sports", ["grace"]);
    await hubs[1].join("ada", "sports");
    await knowBoth("sports", ["ada", "grace"]);
    await hubs[1].leave("ada", "news");
    await knowBoth("news", []);
    await scene.until(
      () => told.every((events) => events.length >= 2),
      "both hubs tell who is online",
    );
    // She moves to the other server, he leaves one of two, and a third one goes for good.
    const closeLast = open(0, "last");
    await knowBoth(undefined, ["ada", "grace", "last"]);
    await Promise.all([closeAda(), closeGrace(), closeLast()]);
    open(1, "ada");
    await knowBoth(undefined, ["ada", "grace"]);
    await scene.until(
      () => told.every((events) => events.some((event) => event.startsWith("offline"))),
      "both hubs tell who is offline",
    );
    const wanted = ["offline last", "online ada", "online grace", "online last"];
    for (const events of told) equal(events.sort(), wanted, "who came and went");
  },

  async "lets go when it is closed"(scene) {
    const log = await scene.connect();
    if (!log.close) return;
    const follower = await scene.follow(log);
    await scene.within(Promise.resolve(log.close()), "close");
    for (const call of [() => log.append(event("a")), () => log.read({ position: 0 }, 1)]) {
      let isRefused = false;
      await scene.within(call().then(() => {}, () => void (isRefused = true)), "a closed log");
      expect(isRefused, "append() and read() of a closed log must reject");
    }
    equal(follower.entries, [], "what a follower of a closed log is told");
  },
};

/** It is trimmed: what is gone reads as null, what is left is whole, and a place just before it is still good. */
async function trims(scene: Scene): Promise<void> {
  const follower = await scene.follow();
  const [first] = await scene.append("x".repeat(500));
  let appended = 1;
  await scene.until(async () => {
    await scene.append(...Array<string>(10).fill("x".repeat(500)));
    appended += 10;
    return await scene.read(first!, 1) === null;
  }, `the oldest entry is trimmed (${appended} were appended)`);
  let start!: LogPosition;
  let held: LogEntry[] = [];
  // Some of it may be trimmed by its age while it is looked at.
  await scene.until(async () => {
    const newest = await scene.append("y", "z");
    appended += 2;
    const { life } = await scene.follow(await scene.connect());
    equal(life.head, placeOf(newest[1]!), "the head that a new follower is told");
    start = life.start;
    held = [];
    for (let place = start;;) {
      const next = await scene.read(place);
      if (next === null) return false;
      if (next.length === 0) break;
      held.push(...next);
      place = placeOf(next.at(-1)!);
    }
    return held.some(({ record }) => record.data === "z");
  }, "the newest entry is held, and everything after the `start` that a new follower is told");
  expect(start.position >= first!.position, `\`start\` is ${show(start)}, where nothing is held`);
  const entries = (await scene.told(follower, appended)).map(plain);
  equal(
    held.map(plain),
    entries.filter(({ position }) => position > start.position),
    `what is read from \`start\`, ${show(start)}, on`,
  );
  const at = entries.find(({ position }) => position === start.position);
  if (at) equal(start, placeOf(at), "`start`, and the last entry that was trimmed");
  if (start.tag === undefined) return;
  const other = { position: start.position, tag: `${start.tag}x`.slice(-start.tag.length) };
  if (other.tag !== start.tag) {
    equal(await scene.read(other, 1), null, "a read at `start` with another tag");
  }
}

/** It is there again after an outage, in the same epoch, and nothing is missed. */
async function outage(scene: Scene, interrupt: () => Promise<() => unknown>): Promise<void> {
  const other = await scene.connect();
  const followers = [await scene.follow(), await scene.follow(other)];
  await scene.append("a", "b");
  for (const follower of followers) await scene.told(follower, 2);
  const restore = await interrupt();
  await scene.until(() => followers.every(({ failures }) => failures > 0), "failed() is called");
  await restore();
  await scene.until(async () => {
    try {
      await scene.log.append({ ...event("c"), idempotencyKey: "after the outage" });
      return true;
    } catch {
      return false;
    }
  }, "append works again");
  await scene.append("d");
  for (const follower of followers) {
    const entries = await scene.told(follower, 4);
    equal(entries.map(({ record }) => record.data), [..."abcd"], "what a follower was told");
    equal(new Set(follower.lives.map(({ epoch }) => epoch)).size, 1, "how many epochs there were");
  }
}

/** Data is lost: everyone is told another epoch, the same one, and old places are null. */
async function loss(scene: Scene, lose: () => unknown): Promise<void> {
  const followers = [await scene.follow(), await scene.follow(await scene.connect())];
  const places = await scene.append(...numbers(5));
  for (const follower of followers) await scene.told(follower, 5);
  const { epoch } = followers[0]!.life;
  await lose();
  const isAnother = () => followers.every(({ life }) => life.epoch !== epoch);
  await scene.until(isAnother, "opened() is called with another epoch");
  const epochs = new Set(followers.map(({ life }) => life.epoch));
  equal(epochs.size, 1, "how many epochs the followers were told");
  await scene.append(...numbers(5));
  for (const follower of followers) equal(follower.faults, [], "what was told");
  if (places.at(-1)!.tag === undefined) return;
  equal(await scene.read(places.at(-1)!), null, "a read after an entry that was lost");
}

/** Who is online is known again after an outage, and nobody is told of it. */
async function presenceOutage(
  scene: Scene,
  interrupt: () => Promise<() => unknown>,
): Promise<void> {
  const met = await twoListening(scene);
  if (met === undefined) return;
  const { hubs, told } = met;
  hubs[0].subscribe("ada");
  await scene.until(
    async () => show(await hubs[1].presence()) === show(["ada"]),
    "the other hub knows who is online",
  );
  await scene.until(() => told.every(({ length }) => length > 0), "both hubs tell who is online");
  const restore = await interrupt();
  await scene.until(
    () => hubs[1].presence().then(() => false, () => true),
    "presence() rejects while the engine is away",
  );
  await restore();
  await scene.until(
    async () => show(await hubs[1].presence().catch(() => [])) === show(["ada"]),
    "the other hub knows again who is online",
  );
  hubs[0].subscribe("grace");
  await scene.until(() => told.every(({ length }) => length > 1), "both hubs tell who comes then");
  for (const events of told) equal(events, ["online ada", "online grace"], "who came and went");
}

/** Two servers' names, and a lease that is longer than any test. */
const [ONE, OTHER, LEASE] = ["one0000000000000", "other00000000000", 600_000];

async function twoPresences(scene: Scene): Promise<[PresenceLog, PresenceLog] | undefined> {
  const { presence } = scene.log;
  return presence && [presence, (await scene.connect()).presence!];
}

/** Two hubs, whose times are short, and what each tells of who comes and goes. */
async function twoListening(
  scene: Scene,
): Promise<{ hubs: [Hub, Hub]; told: [string[], string[]] } | undefined> {
  if (scene.log.presence === undefined) return undefined;
  const { hubs } = await twoHubs(scene, { ...TIMES, tick: 20, renewal: 500, grace: 2_000 });
  const told: [string[], string[]] = [[], []];
  for (const [i, hub] of hubs.entries()) {
    for (const type of ["online", "offline"] as const) {
      hub.on(type, ({ session }) => told[i]!.push(`${type} ${session}`));
    }
    await scene.until(() => hub.presence().then(() => true), "presence() resolves");
  }
  return { hubs, told };
}

/** Who is on which server, with which channels, by what is told. */
function whoIs({ updates }: PresenceAnswer): Record<string, Record<string, readonly string[]>> {
  const servers: Record<string, Record<string, readonly string[]>> = {};
  for (const { server, isWhole, sessions, gone } of updates) {
    if (isWhole || (sessions.length > 0 && servers[server] === undefined)) servers[server] = {};
    if (gone !== undefined) delete servers[server];
    for (const { session, channels } of sessions) {
      if (channels !== undefined) servers[server]![session] = channels;
      else delete servers[server]?.[session];
    }
  }
  return servers;
}

/** What is told, but for servers that only say that they are there. */
function newsOf({ updates }: PresenceAnswer): PresenceUpdate[] {
  return updates.filter(({ isWhole, sessions, gone }) =>
    isWhole || gone !== undefined || sessions.length > 0
  );
}

function pairOf({ session, channels }: SessionOf): [string, readonly string[]] {
  return [session, channels!];
}

type SessionOf = PresenceUpdate["sessions"][number];

async function twoHubs(scene: Scene, times?: PresenceTimes): Promise<{
  hubs: [Hub, Hub];
  client(
    hub: number,
    session: string,
    channels: string[],
    lastEventId?: string,
  ): Client;
}> {
  const options = times && { [PRESENCE_TIMES]: times };
  const hubs: [Hub, Hub] = [
    scene.hub(scene.log, options),
    scene.hub(await scene.connect(), options),
  ];
  for (const hub of hubs) {
    await scene.until(() => {
      try {
        return hub.cursor() !== "";
      } catch {
        return false;
      }
    }, "a hub has reached the log");
  }
  return {
    hubs,
    client(hub, session, channels, lastEventId) {
      const handler = createHandler(hubs[hub]!, {
        authenticate: (request) => ({ session: sessionFromRequest(request)!, channels }),
      });
      return scene.client(createClient("http://localhost/api/v1/sse/subscribe", {
        fetch: (url, init) => handler(new Request(url, init)),
        headers: { "X-Session-Id": session },
        ...lastEventId === undefined ? {} : { lastEventId },
      }));
    },
  };
}

/** Records of all kinds that a hub appends. */
const RECORDS: readonly LogRecord[] = [
  { to: "*", event: "e", data: "" },
  { to: "*", event: "e", data: "two\nlines\n" },
  { to: "*", event: "e", data: "\r\n and \r" },
  { to: "*", event: "e", data: ' leading, "quoted", back\\slash, nul \0, tab \t, \u2028\u2029' },
  { to: "@ada", event: "é: 世界 👩‍🚀", data: "é 世界 👩‍🚀 \ufeff" },
  { to: "#新聞 *", event: " ", data: '{"json":[1,null,{}]}', key: "k: é 世" },
  { to: "*", event: "e", data: "x", except: ["ada", "grace", "世 👩‍🚀"] },
  { to: "*", event: "e", data: "x", key: "k", except: ["ada"] },
  { to: "@ada", event: "e", data: "é".repeat(50_000) },
  { to: `@${"s".repeat(1_024)}`, event: "e".repeat(200), data: "x", key: "k".repeat(1_024) },
  { to: "@ada", event: "streamside:disconnect", data: "" },
  // An instruction of a later version.
  {
    to: "#news",
    event: "streamside:later",
    data: "a\r\nb",
    more: [1, null, { a: true }],
  } as LogRecord,
];

/** A record as clients can tell it: whatever the line ends of its data are. */
function onTheWire(record: LogRecord): LogRecord {
  const { idempotencyKey: _, ...rest } = record;
  return { ...rest, data: record.data.replace(/\r\n?/g, "\n") };
}

function event(data: string): LogRecord {
  return { to: "*", event: "e", data };
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${i}`);
}

function placeOf({ position, tag }: LogPosition): LogPosition {
  checkPlace({ position, tag });
  return tag === undefined ? { position } : { position, tag };
}

/** What of an entry is the same for all who get it. */
function plain(entry: LogEntry): LogEntry {
  return { ...placeOf(entry), time: entry.time, record: onTheWire(entry.record) };
}

function checkPlace({ position, tag }: LogPosition): void {
  expect(
    Number.isSafeInteger(position) && position >= 0,
    `a position must be a whole number, 0 or more, got ${show(position)}`,
  );
  expect(
    tag === undefined || (typeof tag === "string" && /^[!-~]{1,64}$/.test(tag)),
    `a tag must be 1 to 64 visible ASCII characters, got ${show(tag)}`,
  );
}

/** Checks that positions grow. */
function grows(places: readonly LogPosition[]): void {
  for (const [i, { position }] of places.slice(1).entries()) {
    const before = places[i]!.position;
    expect(position > before, `positions must grow, got ${position} after ${before}`);
  }
}
