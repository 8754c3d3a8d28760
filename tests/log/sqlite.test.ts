/**
 * `sqliteLog` on the SQLite of this runtime, and on the shapes of the others.
 *
 * @module
 */
import { copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  createHub,
  type HistoryOptions,
  type Log,
  type LogEntry,
  type LogPosition,
  type LogRecord,
  StreamsideError,
} from "../../mod.ts";
import { type SqliteDatabase, sqliteLog, type SqliteLogOptions } from "../../src/log/sqlite.ts";
import { testLog } from "../../src/testing.ts";
import { cases } from "../campaign.ts";
import { quietLogger, until, within } from "../server-helpers.ts";
import { type Database, DatabaseFile, skipWithoutSqlite } from "../sqlite.ts";
import { listen } from "./servers.ts";

const skip = skipWithoutSqlite;

// ---------------------------------------------------------------------------------------------------- the contract

/** What SQLite says when its disk fails, on any handle. */
const BROKEN = Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR", errcode: 10 });

/** How a handle of a library looks, made of one of this runtime. */
type Shape = (database: Database, isBroken: () => boolean) => SqliteDatabase;

const isOpen = (database: Database): boolean =>
  (database.isTransaction ?? database.inTransaction) === true;

const shapes: Record<string, Shape> = {
  "this runtime's": (database, isBroken) => {
    const checked = <T>(work: () => T): T => {
      if (isBroken()) throw BROKEN;
      return work();
    };
    return {
      exec: (text: string) => checked(() => database.exec(text)),
      prepare(text: string) {
        const statement = checked(() => database.prepare(text));
        return {
          all: (...values: unknown[]) => checked(() => statement.all(...values)),
          run: (...values: unknown[]) => checked(() => statement.run(...values)),
        };
      },
      get isTransaction() {
        return isOpen(database);
      },
    } as SqliteDatabase;
  },
  /** It refuses `all` of what gives no rows, and `run` of what does, and may give whole numbers as `bigint`. */
  "better-sqlite3's": (database) => ({
    exec: (text: string) => database.exec(text),
    prepare(text: string) {
      const statement = database.prepare(text);
      const givesRows = /^\s*(SELECT|PRAGMA)/.test(text);
      return {
        all(...values: unknown[]) {
          if (!givesRows) throw new TypeError("This statement does not return data. Use run()");
          return statement.all(...values).map((row) =>
            Object.fromEntries(
              Object.entries(row).map((
                [name, value],
              ) => [name, Number.isSafeInteger(value) ? BigInt(value as number) : value]),
            )
          );
        },
        run(...values: unknown[]) {
          if (givesRows) throw new TypeError("This statement returns data. Use all()");
          return statement.run(...values);
        },
      };
    },
    get inTransaction() {
      return isOpen(database);
    },
  } as SqliteDatabase),
  /** It does not say whether a transaction is open, and gives arrays if it is told to. */
  "an early node:sqlite's": (database) => ({
    exec: (text: string) => database.exec(text),
    prepare(text: string) {
      const statement = database.prepare(text);
      return {
        all: (...values: unknown[]) => statement.all(...values).map((row) => Object.values(row)),
        run: (...values: unknown[]) => statement.run(...values),
      };
    },
  } as SqliteDatabase),
  /** It has `exec` alone, and no transactions. */
  "a Durable Object's": (database) => ({
    exec(text: string, ...values: unknown[]) {
      if (/BEGIN|COMMIT|ROLLBACK|PRAGMA/.test(text)) throw new Error("not authorized: SQLITE_AUTH");
      if (/;./s.test(text)) return void database.exec(text);
      const rows = /^\s*SELECT/.test(text) ? database.prepare(text).all(...values) : [];
      if (!/^\s*SELECT/.test(text)) database.prepare(text).run(...values);
      return { raw: () => rows.map((row) => Object.values(row)) };
    },
  } as SqliteDatabase),
};

/** What of the contract a shape of another library has to show: that it is asked and told right. */
const SOME =
  /opens empty|tells each entry|carries|reads what|idempotencyKey|trims by (events|bytes)/;

if (!skip) {
  for (const [name, shape] of Object.entries(shapes)) {
    const isOwn = name === "this runtime's";
    const isDurable = name === "a Durable Object's";
    testLog({
      name: `sqliteLog on ${name} database`,
      test: (what, run) => isOwn || SOME.test(what) ? test(what, run) : undefined,
      open(history: HistoryOptions) {
        const file = new DatabaseFile();
        const state = { isBroken: false };
        const logs: Log[] = [];
        let shared: SqliteDatabase | undefined;
        const connect = () => {
          // Nobody else has a Durable Object's file: two logs in it have one handle.
          if (isDurable && shared === undefined) {
            const own = file.open();
            own.exec("PRAGMA synchronous = OFF");
            shared = shape(own, () => state.isBroken);
          }
          const database = shared ?? shape(file.open(), () => state.isBroken);
          const log = sqliteLog(database, { history });
          logs.push(log);
          return log;
        };
        return {
          log: connect(),
          connect,
          file,
          state,
          close() {
            for (const log of logs) log.close!();
            file.remove();
          },
        };
      },
      interrupt({ state }) {
        state.isBroken = true;
        return Promise.resolve(() => void (state.isBroken = false));
      },
      lose({ file }) {
        const other = file.open();
        other.exec(
          "DELETE FROM streamside WHERE position > (SELECT max(position) - 2 FROM streamside)",
        );
        file.close(other);
      },
      timeout: 20_000,
    });
  }
} else {
  test("sqliteLog", { skip }, () => {});
}

// ------------------------------------------------------------------------------------------------------- helpers

/** A file, and what closes all on it. */
class Scene {
  readonly file: DatabaseFile = new DatabaseFile();
  readonly #logs: Log[] = [];

  log(database: SqliteDatabase, options?: SqliteLogOptions): Log {
    const log = sqliteLog(database, options);
    this.#logs.push(log);
    return log;
  }

  open(options?: SqliteLogOptions): [Log, Database] {
    const database = this.file.open();
    return [this.log(database, options), database];
  }

  close(): void {
    for (const log of this.#logs) log.close!();
    this.file.remove();
  }
}

function scene(name: string, check: (scene: Scene) => void | Promise<void>): void {
  test(name, { skip }, async () => {
    const scene = new Scene();
    try {
      await check(scene);
    } finally {
      scene.close();
    }
  });
}

function event(data: string, more: Partial<LogRecord> = {}): LogRecord {
  return { to: "*", event: "e", data, ...more };
}

/** The data that a log holds. */
async function held(log: Log): Promise<string[]> {
  return (await entriesOf(log)).map(({ record }) => record.data);
}

async function entriesOf(log: Log): Promise<LogEntry[]> {
  const { start } = placeOf(log);
  const found: LogEntry[] = [];
  for (let after: LogPosition = start;;) {
    const next = await log.read(after, 1_000);
    assert(next !== null, `nothing is held after ${after.position}`);
    if (next.length === 0) return found;
    found.push(...next);
    after = next.at(-1)!;
  }
}

/** Where a log stands. */
function placeOf(log: Log): { epoch: string; head: LogPosition; start: LogPosition } {
  let place: { epoch: string; head: LogPosition; start: LogPosition } | undefined;
  log.follow({
    opened: (epoch, head, start) => place ??= { epoch, head, start },
    appended() {},
    failed() {},
  })();
  assert(place, "the log has not opened");
  return place;
}

/** What a follower is told. */
function follow(log: Log): { data: string[]; opened: string[]; failures: unknown[]; stop(): void } {
  const told = { data: [] as string[], opened: [] as string[], failures: [] as unknown[] };
  const stop = log.follow({
    opened: (epoch) => told.opened.push(epoch),
    appended: (entries) => told.data.push(...entries.map(({ record }) => record.data)),
    failed: (error) => told.failures.push(error),
  });
  return { ...told, stop };
}

async function refusal(work: () => unknown): Promise<StreamsideError> {
  const error = await assertRejects(async () => await work(), StreamsideError);
  return error;
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 1));
};

// ------------------------------------------------------------------------------------------- restarts and backups

describe("sqliteLog, restarted", () => {
  scene(
    "the epoch and the events are in the file: a client resumes, and cursors stay",
    async (scene) => {
      const [log, database] = scene.open();
      const hub = createHub({ log, logger: quietLogger });
      const { id } = await hub.broadcast("e", "one");
      await hub.broadcast("e", "two");
      const cursor = hub.cursor();
      await hub.close();
      log.close!();
      scene.file.close(database);

      const [again] = scene.open();
      const next = createHub({ log: again, logger: quietLogger });
      assertEquals(next.cursor(), cursor);
      const reader = listen(next, id);
      assertEquals((await reader.event()).data, "two");
      await next.broadcast("e", "three");
      assertEquals((await reader.event()).data, "three");
      await reader.cancel();
      await next.close();
    },
  );

  scene(
    "a file from a backup: an id of what it does not hold is never that of another event",
    async (scene) => {
      const [log, database] = scene.open();
      await log.append(event("kept"));
      const { epoch } = placeOf(log);
      log.close!();
      database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      scene.file.close(database);
      const backup = `${scene.file.path}.backup`;
      copyFileSync(scene.file.path, backup);

      const [later, handle] = scene.open();
      const lost = [await later.append(event("lost 1")), await later.append(event("lost 2"))];
      later.close!();
      scene.file.close(handle);
      for (const more of ["", "-wal", "-shm"]) rmSync(scene.file.path + more, { force: true });
      copyFileSync(backup, scene.file.path);

      const [restored] = scene.open();
      assertEquals(placeOf(restored).epoch, epoch);
      assertEquals(await restored.read(lost[1]!, 10), null);
      const others = [await restored.append(event("new 1")), await restored.append(event("new 2"))];
      for (const [i, { position }] of others.entries()) assertEquals(position, lost[i]!.position);
      for (const place of lost) assertEquals(await restored.read(place, 10), null);
      assertEquals((await restored.read(others[0]!, 10))?.length, 1);
    },
  );
});

// ---------------------------------------------------------------------------------- transactions of the application

describe("sqliteLog, and a transaction of the application", () => {
  scene(
    "an append is never part of it: it waits for its end, and a rollback takes nothing along",
    async (scene) => {
      const [log, database] = scene.open();
      const told = follow(log);
      database.exec("CREATE TABLE orders (id INTEGER)");
      for (const end of ["ROLLBACK", "COMMIT"]) {
        database.exec("BEGIN; INSERT INTO orders VALUES (1)");
        let isAppended = false;
        const append = log.append(event(end)).then(() => isAppended = true);
        await turns(5);
        assertEquals(isAppended, false);
        database.exec(end);
        await within(append, "the append");
      }
      assertEquals(told.data, ["ROLLBACK", "COMMIT"]);
      assertEquals(await held(log), ["ROLLBACK", "COMMIT"]);
      assertEquals(database.prepare("SELECT id FROM orders").all().length, 1);
    },
  );

  scene(
    "who sends after it has ended has what waited for it appended, without a timer",
    async (scene) => {
      const [log, database] = scene.open();
      let appended = 0;
      const append = () => void log.append(event("x")).then(() => appended++);
      database.exec("BEGIN");
      append();
      await Promise.resolve();
      database.exec("COMMIT");
      append();
      for (let i = 0; i < 10; i++) await Promise.resolve();
      assertEquals(appended, 2);
    },
  );

  scene("one that stays open: sends reject, say why, and are not in the log", async (scene) => {
    const [log, database] = scene.open({ appendTimeout: 50 });
    await log.append(event("before"));
    database.exec("BEGIN");
    for (const work of [() => log.append(event("x")), () => log.read({ position: 0 }, 1)]) {
      const error = await refusal(work);
      assertEquals(error.code, "log-unavailable");
      assert(error.message.includes("a transaction of the application"), error.message);
    }
    database.exec("COMMIT");
    await log.append(event("after"));
    assertEquals(await held(log), ["before", "after"]);
  });

  scene("a log that is made within one opens when it has ended", async (scene) => {
    const database = scene.file.open();
    database.exec("BEGIN");
    const log = scene.log(database);
    const told = follow(log);
    const append = log.append(event("a"));
    await turns(3);
    assertEquals(told.opened, []);
    database.exec("ROLLBACK");
    await within(append, "the append");
    await until(() => told.opened.length === 1, "the log to open");
    assertEquals(told.failures, []);
    assertEquals(await held(log), ["a"]);
  });

  scene(
    "its settings stay what they are, and appends of one turn are one transaction",
    async (scene) => {
      const [log, database] = scene.open();
      const observer = scene.file.open();
      database.exec("PRAGMA busy_timeout = 1234; PRAGMA synchronous = EXTRA");
      const version = () =>
        observer.prepare("PRAGMA data_version").all()[0]!.data_version as number;
      const before = version();
      await Promise.all(Array.from({ length: 200 }, (_, i) => log.append(event(`${i}`))));
      assertEquals(version(), before + 1);
      assertEquals(database.prepare("PRAGMA busy_timeout").all()[0]!.timeout, 1234);
      assertEquals(database.prepare("PRAGMA synchronous").all()[0]!.synchronous, 3);
      assertEquals(database.prepare("PRAGMA journal_mode").all()[0]!.journal_mode, "wal");
    },
  );
});

// -------------------------------------------------------------------------------------------------- hub.within

describe("hub.within on sqliteLog", () => {
  scene(
    "a commit is heard, on every handle, in the order of commits; a rollback leaves nothing",
    async (scene) => {
      const [log, database] = scene.open();
      const [other, own] = scene.open();
      const hub = createHub({ log, logger: quietLogger });
      const heard = [follow(log), follow(other)];
      database.exec("CREATE TABLE orders (id INTEGER)");
      const transaction = async (handle: Database, id: number, end: string) => {
        handle.exec("BEGIN IMMEDIATE");
        handle.prepare("INSERT INTO orders VALUES (?)").run(id);
        await hub.within(handle).publish("orders", "paid", id);
        await turns(3);
        handle.exec(end);
      };
      await transaction(database, 1, "COMMIT");
      await transaction(database, 2, "ROLLBACK");
      await transaction(own, 3, "ROLLBACK");
      await transaction(own, 4, "COMMIT");
      await hub.publish("orders", "paid", 5);
      for (const { data } of heard) {
        await until(() => data.length >= 3, () => `three events (${data})`);
        assertEquals(data, ["1", "4", "5"]);
      }
      assertEquals(await held(log), ["1", "4", "5"]);
      await hub.close();
    },
  );

  scene("a function that ends before anything is awaited takes its events along", async (scene) => {
    const [log, database] = scene.open();
    const hub = createHub({ log, logger: quietLogger });
    const told = follow(log);
    const sends: Promise<unknown>[] = [];
    database.exec("BEGIN");
    for (const data of ["a", "b"]) sends.push(hub.within(database).broadcast("e", data));
    database.exec("COMMIT");
    const after = hub.broadcast("e", "c");
    await within(Promise.all([...sends, after]), "the sends");
    await until(() => told.data.length >= 3, "three events");
    assertEquals(told.data, ["a", "b", "c"]);
    await hub.close();
  });

  scene("what is no transaction of this database is refused", async (scene) => {
    const [log, database] = scene.open();
    const foreign = new DatabaseFile();
    try {
      const other = foreign.open();
      const within = (value: unknown) => log.within!(value);
      for (const wrong of [undefined, {}, "db", database, other]) {
        const error = assertThrows(() => within(wrong), StreamsideError);
        assertEquals(error.code, "invalid-argument", error.message);
      }
      other.exec("BEGIN");
      assertEquals(assertThrows(() => within(other), StreamsideError).code, "invalid-argument");
      other.exec("COMMIT");
      scene.log(other).close!();
      other.exec("BEGIN");
      assertEquals(assertThrows(() => within(other), StreamsideError).code, "invalid-argument");
      other.exec("COMMIT");

      database.exec("BEGIN");
      const append = within(database);
      database.exec("COMMIT");
      assertEquals((await refusal(() => append(event("late")))).code, "invalid-argument");
      assertEquals(await held(log), []);
    } finally {
      foreign.remove();
    }
  });

  scene(
    "an event that cannot be part of it rolls it back: nothing is committed without it",
    async (scene) => {
      const [log, database] = scene.open();
      database.exec("CREATE TABLE orders (id INTEGER)");
      database.exec(
        "CREATE TRIGGER no_events BEFORE INSERT ON streamside BEGIN SELECT RAISE(ABORT, 'no events today'); END",
      );
      database.exec("BEGIN; INSERT INTO orders VALUES (1)");
      const error = await refusal(() => log.within!(database)(event("a")));
      assertEquals(error.code, "log-unavailable");
      assert(/rolled back.*no events today/.test(error.message), error.message);
      assertThrows(() => database.exec("COMMIT"));
      assertEquals(database.prepare("SELECT id FROM orders").all(), []);
    },
  );

  scene(
    "an idempotencyKey stands once, whether it comes within a transaction or not",
    async (scene) => {
      const [log, database] = scene.open();
      const keyed = event("once", { idempotencyKey: "k" });
      database.exec("BEGIN");
      await log.within!(database)(keyed);
      await log.within!(database)(keyed);
      database.exec("COMMIT");
      const first = await log.append(keyed);
      assertEquals(first.position, 1);
      database.exec("BEGIN");
      await log.within!(database)(keyed);
      database.exec("COMMIT");
      assertEquals(await held(log), ["once"]);
    },
  );

  scene("rows and events agree, whatever fails", async (scene) => {
    const transactions = cases("SQLITE_TRANSACTIONS", 300, 10_000);
    const [log, database] = scene.open({ history: { events: 1_000_000, bytes: 2 ** 40 } });
    const [, other] = scene.open({ history: { events: 1_000_000, bytes: 2 ** 40 } });
    database.exec("CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    const told = follow(log);
    const appended: string[] = [];
    const sends: Promise<unknown>[] = [];
    for (let i = 0; i < transactions; i++) {
      const handle = Math.random() < 0.5 ? database : other;
      // Now and then another one writes meanwhile: one of the two fails.
      const rival = handle === database ? other : database;
      try {
        handle.exec(Math.random() < 0.5 ? "BEGIN" : "BEGIN IMMEDIATE");
        if (Math.random() < 0.2) {
          handle.prepare("SELECT count(*) FROM orders").all();
          rival.exec(`INSERT INTO orders VALUES (-${i + 1})`);
          rival.exec(`DELETE FROM orders WHERE id = -${i + 1}`);
        }
        const append = log.within!(handle);
        for (let n = 0; n < 1 + Math.random() * 3; n++) {
          const id = i * 10 + n;
          handle.prepare("INSERT INTO orders VALUES (?)").run(id);
          if (Math.random() < 0.1) throw new Error("on purpose");
          await append(event(`${id}`));
          if (Math.random() < 0.1) throw new Error("on purpose");
          if (Math.random() < 0.05) handle.prepare("INSERT INTO orders VALUES (?)").run(id);
        }
        if (Math.random() < 0.1) await turns(1);
        handle.exec(Math.random() < 0.2 ? "ROLLBACK" : "COMMIT");
      } catch {
        if (isOpen(handle)) handle.exec("ROLLBACK");
      }
      if (Math.random() < 0.1) {
        appended.push(`own ${i}`);
        sends.push(log.append(event(`own ${i}`)));
      }
      if (Math.random() < 0.1) await turns(1);
    }
    await Promise.all(sends);
    const rows = database.prepare("SELECT id FROM orders ORDER BY id").all().map(({ id }) =>
      `${id}`
    );
    assert(rows.length > transactions / 4, `${rows.length} rows`);
    const all = await held(log);
    assertEquals(all.filter((data) => !data.startsWith("own")), rows);
    assertEquals(all.filter((data) => data.startsWith("own")), appended);
    await until(() => told.data.length >= all.length, "everything to be told");
    assertEquals(told.data, all);
  });
});

// --------------------------------------------------------------------------------------------------- what fails

describe("sqliteLog says what is wrong, and what to do", () => {
  scene("options, and what is not a database", (scene) => {
    const database = scene.file.open();
    const refused: [() => unknown, RegExp][] = [
      [() => sqliteLog(undefined as never), /needs a database.*undefined/],
      [() => sqliteLog({} as never), /needs a database.*object/],
      [() => sqliteLog(database, { table: 'a"b' }), /table.*"a\\"b"/],
      [() => sqliteLog(database, { table: "" }), /table/],
      [() => sqliteLog(database, { synchronous: "off" as never }), /synchronous.*"off"/],
      [() => sqliteLog(database, { appendTimeout: 0 }), /appendTimeout/],
      [() => sqliteLog(database, { history: { events: -1 } }), /history.events/],
    ];
    for (const [make, says] of refused) {
      const error = assertThrows(make, StreamsideError);
      assertEquals(error.code, "invalid-argument");
      assert(says.test(error.message), error.message);
    }
  });

  scene(
    "another connection that writes: it waits without holding up the process, and then says so",
    async (scene) => {
      const [log, database] = scene.open({ appendTimeout: 100 });
      database.exec("PRAGMA busy_timeout = 20000");
      const other = scene.file.open();
      other.exec("BEGIN IMMEDIATE");
      const error = await refusal(() => log.append(event("x")));
      assertEquals(error.code, "log-unavailable");
      assert(/locked for 100 ms/.test(error.message), error.message);
      other.exec("COMMIT");
      other.exec("BEGIN IMMEDIATE");
      const append = log.append(event("patient"));
      await turns(3);
      other.exec("COMMIT");
      await within(append, "the append");
      assertEquals(await held(log), ["patient"]);
    },
  );

  scene("too much that waits", async (scene) => {
    const [log, database] = scene.open({ maxPendingBytes: 1_000 });
    database.exec("BEGIN");
    const first = log.append(event("x".repeat(2_000)));
    const error = await refusal(() => log.append(event("y")));
    assert(/maxPendingBytes/.test(error.message), error.message);
    database.exec("COMMIT");
    await first;
    assertEquals((await held(log)).length, 1);
  });

  scene(
    "a read-only handle: what is there can be followed; a new log cannot be made",
    async (scene) => {
      const [log] = scene.open();
      await log.append(event("a"));
      const reader = scene.log(scene.file.open({ readOnly: true }));
      const told = follow(reader);
      await log.append(event("b"));
      await until(() => told.data.length > 0, "what is appended elsewhere");
      assertEquals([told.data, await held(reader)], [["b"], ["a", "b"]]);
      const error = await refusal(() => reader.append(event("c")));
      assertEquals(error.code, "log-unavailable");
      assert(/read-only/.test(error.message), error.message);
      const made = assertThrows(
        () => sqliteLog(scene.file.open({ readOnly: true }), { table: "other" }),
        StreamsideError,
      );
      assert(/read-only/.test(made.message), made.message);
    },
  );

  scene(
    "a database that is full: what was acknowledged stays, and it goes on when there is room",
    async (scene) => {
      const [log, database] = scene.open();
      await log.append(event("a"));
      const [{ page_count: pages }] = database.prepare("PRAGMA page_count").all() as [
        { page_count: number },
      ];
      database.exec(`PRAGMA max_page_count = ${pages + 2}`);
      const error = await refusal(() => log.append(event("x".repeat(100_000))));
      assertEquals(error.code, "log-unavailable");
      assert(/full.*Make room/.test(error.message), error.message);
      await log.append(event("b"));
      assertEquals(await held(log), ["a", "b"]);
    },
  );

  scene(
    "a file that is not SQLite's, one that is corrupt, and one that is closed",
    async (scene) => {
      writeFileSync(scene.file.path, "These are words, and many of them. ".repeat(200));
      const foreign = assertThrows(() => sqliteLog(scene.file.open()), StreamsideError);
      assertEquals(foreign.code, "log-unavailable");
      assert(/not a database of SQLite/.test(foreign.message), foreign.message);

      const file = new DatabaseFile();
      try {
        const first = file.open();
        const log = sqliteLog(first);
        for (let i = 0; i < 50; i++) await log.append(event(`${i}`.repeat(500)));
        log.close!();
        first.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        file.close(first);
        // The first page, with the names of the tables, stays as it is.
        const bytes = readFileSync(file.path);
        bytes.fill(0xff, 4096);
        writeFileSync(file.path, bytes);
        const corrupt = assertThrows(() => sqliteLog(file.open()), StreamsideError);
        assertEquals(corrupt.code, "log-unavailable");
        assert(/corrupt.*backup/.test(corrupt.message), corrupt.message);
      } finally {
        file.remove();
      }
    },
  );

  scene("a handle that is closed under it", async (scene) => {
    const file = new DatabaseFile();
    try {
      const database = file.open();
      const log = scene.log(database);
      const told = follow(log);
      file.close(database);
      const error = await refusal(() => log.append(event("a")));
      assertEquals(error.code, "log-unavailable");
      assert(/closed/.test(error.message), error.message);
      await until(() => told.failures.length > 0, "followers to be told");
    } finally {
      file.remove();
    }
  });

  scene("a log of a later version, and a table that is not a log's", (scene) => {
    const [log, database] = scene.open();
    log.close!();
    database.exec("UPDATE streamside_state SET version = 2");
    const later = assertThrows(() => sqliteLog(database), StreamsideError);
    assertEquals(later.code, "log-unavailable");
    assert(/version 2.*update Streamside/.test(later.message), later.message);
    for (const name of ["orders", "x_state"]) {
      database.exec(`CREATE TABLE ${name} (id INTEGER)`);
      const error = assertThrows(
        () => sqliteLog(database, { table: name.replace("_state", "") }),
        StreamsideError,
      );
      assertEquals(error.code, "invalid-argument");
      assert(/not a log's/.test(error.message), error.message);
    }
  });

  scene("tables that somebody removes: it begins anew, and says so", async (scene) => {
    const [log, database] = scene.open();
    const told = follow(log);
    await log.append(event("a"));
    const other = scene.file.open();
    other.exec("DROP TABLE streamside; DROP TABLE streamside_state; DROP TABLE streamside_keys");
    await until(() => told.opened.length === 2, "another epoch");
    assert(told.opened[0] !== told.opened[1]);
    await log.append(event("b"));
    database.exec("DELETE FROM streamside_state");
    await within(log.append(event("c")), "an append");
    assertEquals(told.failures, []);
  });
});

// ------------------------------------------------------------------------------------------------------ its size

describe("the size of sqliteLog", () => {
  scene("an answer is bounded, whatever the size of events", async (scene) => {
    const [log] = scene.open();
    for (const letter of "abcde") await log.append(event(letter.repeat(600_000)));
    const counts: number[] = [];
    for (let after: LogPosition = { position: 0 };;) {
      const next = await log.read(after, 100);
      if (next!.length === 0) break;
      counts.push(next!.length);
      after = next!.at(-1)!;
    }
    assertEquals(counts, [2, 2, 1]);
  });

  scene("the file keeps within its history, since pages are used again", async (scene) => {
    const [log] = scene.open({ history: { bytes: 500_000 } });
    const sizes: number[] = [];
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 200 }, () => log.append(event("x".repeat(900)))));
      sizes.push(statSync(scene.file.path).size);
    }
    // 4 MB went through it.
    assert(sizes.at(-1)! < 1_500_000, `its sizes were ${sizes}`);
    assert(sizes.at(-1)! <= sizes.at(-4)! * 1.1, `its sizes were ${sizes}`);
  });

  scene(
    "a history that was larger is trimmed in steps, though nothing comes; what is too old goes too",
    async (scene) => {
      const [log, database] = scene.open();
      await Promise.all(Array.from({ length: 5_000 }, (_, i) => log.append(event(`${i}`))));
      log.close!();
      const observer = scene.file.open();
      const count = () =>
        Number(observer.prepare("SELECT count(*) AS n FROM streamside").all()[0]!.n);
      const [smaller] = [scene.log(database, { history: { events: 100 } })];
      const stop = follow(smaller).stop;
      const seen: number[] = [];
      await until(() => {
        seen.push(count());
        return seen.at(-1) === 100;
      }, () => `100 events to be left (${seen.at(-1)})`);
      const steps = seen.slice(1).map((after, i) => seen[i]! - after);
      assert(Math.max(...steps) < 4_000, `it went in steps of ${[...new Set(steps)]}`);
      stop();
      const old = scene.log(database, { history: { age: 50 } });
      follow(old);
      await until(() => count() === 0, "what is too old to go");
      const { head, start } = placeOf(old);
      assertEquals([head.position, start], [5_000, head]);
    },
  );
});
