/**
 * What every log promises: `testLog`, which `memoryLog` passes, and which finds what a faulty log does wrong.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Log, type LogEntry, type LogFollower, memoryLog } from "../../mod.ts";
import { type LogTestOptions, testLog } from "../../src/testing.ts";
import { TaggedEngine } from "./tagged-engine.ts";

testLog({
  name: "memoryLog",
  test,
  open: (history, runHistory) => ({ log: memoryLog({ ...history, runHistory }) }),
  runs: true,
});

/** Several servers' logs on one engine, as `change` makes them. */
function onEngine(
  change: (log: Log, engine: TaggedEngine) => Log = (log) => log,
): Omit<LogTestOptions<{ log: Log; connect: () => Log; engine: TaggedEngine }>, "test"> {
  return {
    name: "a log on an engine",
    open(history) {
      const engine = new TaggedEngine(history);
      const connect = () => change(engine.connect(), engine);
      return { log: connect(), connect, engine };
    },
    interrupt: ({ engine }) => engine.interrupt(),
    lose: ({ engine }) => engine.lose(),
  };
}

testLog({ ...onEngine(), test });

/** A log, but for some members. */
function but(log: Log, changes: Partial<Log>): Log {
  return {
    follow: changes.follow ?? ((follower) => log.follow(follower)),
    append: changes.append ?? ((record) => log.append(record)),
    read: changes.read ?? ((after, limit) => log.read(after, limit)),
    close: changes.close ?? (() => log.close!()),
  };
}

/** A log that tells its followers something else. */
function telling(log: Log, change: (follower: LogFollower) => Partial<LogFollower>): Log {
  return but(log, {
    follow: (follower) =>
      log.follow({
        opened: (epoch, head, start) => follower.opened(epoch, head, start),
        appended: (entries) => follower.appended(entries),
        failed: (error) => follower.failed(error),
        ...change(follower),
      }),
  });
}

const isSeventh = ({ record }: LogEntry) => record.data === "7";

interface Fault {
  readonly log: (log: Log, engine: TaggedEngine) => Log;
  /** Which test finds it, and what it says. */
  readonly found: RegExp;
  readonly says: RegExp;
}

/** What a log may do wrong, and which test finds it. */
const FAULTS: Record<string, Fault> = {
  "an entry is told twice": {
    log: (log) =>
      telling(log, (follower) => ({
        appended(entries) {
          follower.appended(entries);
          if (entries.some(isSeventh)) follower.appended(entries);
        },
      })),
    found: /tells each entry once/,
    says: /how many entries were told|was told after/,
  },
  "an entry is told twice in one call": {
    log: (log) =>
      telling(log, (follower) => ({
        appended: (entries) =>
          follower.appended(
            entries.flatMap((entry) => isSeventh(entry) ? [entry, entry] : [entry]),
          ),
      })),
    found: /takes many appends/,
    says: /how many entries were told|was told after/,
  },
  "an entry is left out": {
    log: (log) =>
      telling(log, (follower) => ({
        appended: (entries) => follower.appended(entries.filter((entry) => !isSeventh(entry))),
      })),
    found: /tells each entry once/,
    says: /50 entries are told \(49 were\)/,
  },
  "what is transient is not told": {
    log: (log) =>
      telling(log, (follower) => ({
        appended: (entries) => follower.appended(entries.filter(({ record }) => !record.transient)),
      })),
    found: /tells what is transient/,
    says: /3 entries are told \(2 were\)/,
  },
  "an entry is left out for those who come while others append": {
    log(log) {
      let followers = 0;
      return telling(log, (follower) => {
        let isFirst = followers++ > 0;
        return {
          appended(entries) {
            follower.appended(isFirst ? entries.slice(1) : entries);
            isFirst = false;
          },
        };
      });
    },
    found: /who comes while others append/,
    says: /entries are told/,
  },
  "two entries are told in the wrong order": {
    log: (log) =>
      telling(log, (follower) => {
        let kept: readonly LogEntry[] = [];
        return {
          appended(entries) {
            if (entries.some(isSeventh)) return void (kept = entries);
            follower.appended([...entries, ...kept]);
            kept = [];
          },
        };
      }),
    found: /tells each entry once/,
    says: /was told after/,
  },
  "two entries are read in the wrong order": {
    log: (log) =>
      but(log, {
        async read(after, limit) {
          const [first, second, ...rest] = await log.read(after, limit) ?? [];
          return second ? [second, first!, ...rest] : first ? [first] : [];
        },
      }),
    found: /reads what was told/,
    says: /positions must grow/,
  },
  "a read leaves one out": {
    log: (log) =>
      but(log, {
        read: async (after, limit) =>
          (await log.read(after, limit))?.filter((entry) => !isSeventh(entry)) ?? null,
      }),
    found: /reads what was told/,
    says: /everything, read by/,
  },
  "a read gives more than its limit": {
    log: (log) => but(log, { read: (after, limit) => log.read(after, limit + 1) }),
    found: /reads what was told/,
    says: /with the limit 1 gave 2/,
  },
  "a read gives null in place of entries": {
    log: (log) =>
      but(log, {
        async read(after, limit) {
          const entries = await log.read(after, limit);
          return entries?.some(isSeventh) ? null : entries;
        },
      }),
    found: /reads what was told/,
    says: /must give what comes after it, and gave null/,
  },
  "a read gives entries in place of null": {
    log: (log) => but(log, { read: async (after, limit) => await log.read(after, limit) ?? [] }),
    found: /reads what was told/,
    says: /a position that it has not reached/,
  },
  "a read begins after the gap before an entry": {
    log: (log) =>
      but(log, { read: ({ position }, limit) => log.read({ position: position + 2 }, limit) }),
    found: /opens empty/,
    says: /a read at the head/,
  },
  "a read does not find yet what was told": {
    log(log) {
      let told = 0;
      return but(
        telling(log, (follower) => ({
          appended(entries) {
            told = entries[0]!.position;
            follower.appended(entries);
          },
        })),
        {
          read: async (after, limit) =>
            (await log.read(after, limit))?.filter(({ position }) => position < told) ?? null,
        },
      );
    },
    found: /has what was told in a read at once/,
    says: /reads in appended/,
  },
  "a read does not look at the tag": {
    log: (log) => but(log, { read: ({ position }, limit) => log.read({ position }, limit) }),
    found: /gives a tag with each position/,
    says: /whose tag is of another entry/,
  },
  "append gives the tag of another": {
    log(log) {
      let tag: string | undefined;
      return but(log, {
        async append(record) {
          const place = await log.append(record);
          const before = tag;
          tag = place.tag;
          return before === undefined ? place : { ...place, tag: before };
        },
      });
    },
    found: /gives a tag with each position/,
    says: /how many different tags|though that is its tag/,
  },
  "an entry is told with the tag of another": {
    log: (log) =>
      telling(log, (follower) => ({
        appended: (entries) => follower.appended(entries.map((entry) => ({ ...entry, tag: "t" }))),
      })),
    found: /tells each entry once/,
    says: /the positions that were told/,
  },
  "append gives the position of another": {
    log: (log) =>
      but(log, {
        async append(record) {
          const { position, tag } = await log.append(record);
          return { position: position + 1, tag };
        },
      }),
    found: /tells each entry once/,
    says: /the positions that were told/,
  },
  "append does not keep what it acknowledged": {
    log: (log) =>
      but(log, {
        append: async (record) =>
          record.data === "7" ? { position: 22, tag: "t" } : await log.append(record),
      }),
    found: /takes many appends/,
    says: /positions must grow|entries are told/,
  },
  "a record loses what the log does not know": {
    log: (log) =>
      but(log, {
        append: ({ to, event, data, key, except }) => log.append({ to, event, data, key, except }),
      }),
    found: /carries records/,
    says: /the records that were told/,
  },
  "a record loses a key": {
    log: (log) => but(log, { append: ({ key: _, ...record }) => log.append(record) }),
    found: /carries records/,
    says: /the records that were told/,
  },
  "data is trimmed of spaces": {
    log: (log) => but(log, { append: (r) => log.append({ ...r, data: r.data.trim() }) }),
    found: /carries records/,
    says: /the records that were told/,
  },
  "a character is garbled in a read": {
    log: (log) =>
      but(log, {
        read: async (after, limit) =>
          (await log.read(after, limit))?.map((entry) => ({
            ...entry,
            record: { ...entry.record, data: entry.record.data.replace("👩‍🚀", "??") },
          })) ?? null,
      }),
    found: /carries records/,
    says: /the records that were read/,
  },
  "each follower is told an epoch of its own": {
    log(log) {
      let followers = 0;
      return telling(log, (follower) => {
        const own = `${++followers}-${Math.random()}`;
        return { opened: (_, head, start) => follower.opened(own, head, start) };
      });
    },
    found: /tells who follows later/,
    says: /the epoch that the second follower is told/,
  },
  "the head that is told is not the newest": {
    log: (log, engine) =>
      telling(log, (follower) => ({
        opened(epoch, head, start) {
          const { position, tag } = engine.entries.at(-2) ?? head;
          follower.opened(epoch, { position, tag }, start);
        },
      })),
    found: /tells who follows later/,
    says: /the head that the second follower is told/,
  },
  "it says that it begins where it does not": {
    log: (log) =>
      telling(log, (follower) => ({
        opened: (epoch, head) => follower.opened(epoch, head, { position: 0 }),
      })),
    found: /trims by events/,
    says: /everything after the `start`|where nothing is held/,
  },
  "it does not remember the tag of what it trimmed last": {
    log: (log) =>
      telling(log, (follower) => ({
        opened: (epoch, head, { position }) => follower.opened(epoch, head, { position }),
      })),
    found: /trims by bytes/,
    says: /the last entry that was trimmed/,
  },
  "it never trims": {
    log: (log, engine) => {
      engine.trim = () => {};
      return log;
    },
    found: /trims by age/,
    says: /the oldest entry is trimmed/,
  },
  "it tells who has stopped following": {
    log: (log) =>
      but(log, {
        follow(follower) {
          log.follow(follower);
          return () => {};
        },
      }),
    found: /who has stopped following/,
    says: /how many entries were told/,
  },
  "an idempotency key counts for nothing": {
    log: (log) => but(log, { append: ({ idempotencyKey: _, ...record }) => log.append(record) }),
    found: /idempotencyKey once/,
    says: /appended again/,
  },
  "another server is told nothing of one session": {
    log: (log) =>
      telling(log, (follower) => ({
        appended: (entries) =>
          follower.appended(entries.filter(({ record }) => record.to !== "@ada")),
      })),
    found: /what is sent on one arrives on the other/,
    says: /what arrived on the other hub/,
  },
  "it answers after it was closed": {
    log: (log) => but(log, { close: () => {} }),
    found: /lets go when it is closed/,
    says: /must reject/,
  },
  "an outage takes the entries that come after it along": {
    log(log) {
      let isLost = false;
      return telling(log, (follower) => ({
        failed(error) {
          isLost = true;
          follower.failed(error);
        },
        appended(entries) {
          if (!isLost) follower.appended(entries);
          isLost = false;
        },
      }));
    },
    found: /after an outage/,
    says: /4 entries are told \(3 were\)/,
  },
  "an outage begins another epoch, though nothing is lost": {
    log: (log) =>
      telling(log, (follower) => {
        let epoch = "";
        return {
          opened(own, head, start) {
            epoch ||= own;
            follower.opened(epoch, head, start);
          },
          failed(error) {
            epoch += "x";
            follower.failed(error);
          },
        };
      }),
    found: /after an outage/,
    says: /entries are told|how many epochs/,
  },
  "lost data keeps its epoch": {
    log: (log) =>
      telling(log, (follower) => {
        let first = "";
        return { opened: (epoch, head, start) => follower.opened(first ||= epoch, head, start) };
      }),
    found: /has lost data/,
    says: /another epoch/,
  },
  "servers do not agree on an epoch": {
    log(log) {
      const own = Math.random();
      return telling(log, (follower) => {
        let first = "";
        return {
          opened(epoch, head, start) {
            first ||= epoch;
            follower.opened(epoch === first ? epoch : `${epoch}-${own}`, head, start);
          },
        };
      });
    },
    found: /has lost data/,
    says: /how many epochs/,
  },
};

describe("testLog finds", () => {
  for (const [name, { log, found, says }] of Object.entries(FAULTS)) {
    test(name, async () => {
      const checks: (() => Promise<void>)[] = [];
      testLog({
        ...onEngine(log),
        timeout: 1_500,
        test: (what, run) => found.test(what) && checks.push(run),
      });
      assertEquals(checks.length, 1, "one test is to find it");
      const error = await checks[0]!().then(() => undefined, (error: unknown) => error);
      assert(error instanceof Error, "it was not found");
      assertMatch(error.message, says);
    });
  }
});
