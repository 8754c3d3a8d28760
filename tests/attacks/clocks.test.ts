/**
 * The system's clock set back and forward: what goes by the time that passes goes on as if nothing had happened.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Log, type LogFollower, type LogPosition, memoryLog } from "../../mod.ts";
import { EventReader, until, withHub } from "../server-helpers.ts";

const HOUR = 3_600_000;

/** Runs something, and sets the clock right again. `set` sets it by so many ms. */
async function withClock(run: (set: (ms: number) => void) => Promise<void>): Promise<void> {
  const { now } = Date;
  try {
    await run((ms) => Date.now = () => now() + ms);
  } finally {
    Date.now = now;
  }
}

/** A log that holds nothing for long itself, and whose entries have the time of another machine, which is `skew` off. */
class ForeignLog implements Log {
  readonly #skew: number;
  #head = 0;
  #follower: LogFollower | undefined;

  constructor(skew: number) {
    this.#skew = skew;
  }

  follow(follower: LogFollower): () => void {
    this.#follower = follower;
    const head = { position: this.#head };
    follower.opened("foreign", head, head);
    return () => this.#follower = undefined;
  }

  append(record: Parameters<Log["append"]>[0]): Promise<LogPosition> {
    const position = ++this.#head;
    this.#follower?.appended([{ position, time: performance.timeOrigin + this.#skew, record }]);
    return Promise.resolve({ position });
  }

  read(): Promise<null> {
    return Promise.resolve(null);
  }
}

const logs: Record<string, () => Log | undefined> = {
  "the default log": () => undefined,
  "a log of a machine whose clock is ahead": () => new ForeignLog(HOUR),
  "a log of a machine whose clock is behind": () => new ForeignLog(-HOUR),
};

for (const [name, log] of Object.entries(logs)) {
  describe(`the age of a history, with ${name}`, () => {
    const options = (age: number) => {
      const own = log();
      return { history: { age }, ...own ? { log: own } : {} };
    };

    for (const by of [-HOUR, HOUR]) {
      const way = by < 0 ? "back" : "forward";
      test(`the clock set ${way}: what is young is held`, () =>
        withHub(options(600_000), (hub) =>
          withClock(async (set) => {
            const cursor = hub.cursor();
            await hub.broadcast("e", "before");
            set(by);
            await hub.broadcast("e", "after");
            const reader = new EventReader(hub.subscribe("ada", { lastEventId: cursor }));
            assertEquals(await reader.data(2), ["before", "after"]);
            assertEquals(hub.stats().historyEvents, 2);
            await reader.cancel();
          })));

      test(`the clock set ${way}: what is old is forgotten`, () =>
        withHub(options(50), (hub) =>
          withClock(async (set) => {
            const cursor = hub.cursor();
            await hub.broadcast("e", "old");
            set(by);
            await until(() => {
              void hub.subscribe("grace").cancel(); // a newcomer has old ones forgotten
              return hub.stats().historyEvents === 0;
            }, "the event to be forgotten");
            const reader = new EventReader(hub.subscribe("ada", { lastEventId: cursor }));
            assertEquals((await reader.event()).event, "streamside:reset");
            await reader.cancel();
          })));
    }
  });
}

test("the age of memoryLog's entries does not go by the clock", () =>
  withClock(async (set) => {
    const young = memoryLog({ age: 600_000 });
    const old = memoryLog({ age: 50 });
    for (const log of [young, old]) await log.append({ to: "*", event: "e", data: "" });
    for (const by of [-HOUR, HOUR]) {
      set(by);
      assertEquals((await young.read({ position: 0 }, 10))?.length, 1);
    }
    set(-HOUR);
    const since = performance.now();
    await until(() => performance.now() - since > 60, "60 ms");
    assertEquals(await old.read({ position: 0 }, 10), null);
  }));
