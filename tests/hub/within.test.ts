/**
 * Sends within a transaction of the log's database: they are heard if and only if it commits.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import {
  createHub,
  type Hub,
  type HubTransaction,
  type Log,
  type LogRecord,
  memoryLog,
  StreamsideError,
} from "../../mod.ts";
import { EventReader, quietLogger } from "../server-helpers.ts";

interface Events {
  paid: { id: number };
  text: string;
}

/** A transaction of a small database, which holds events alone. */
class Transaction {
  readonly records: LogRecord[] = [];
  isOpen = true;
}

/** A log on that database. */
class DatabaseLog {
  readonly log: Log = memoryLog();
  failure: unknown;

  follow = this.log.follow.bind(this.log);
  append = this.log.append.bind(this.log);
  read = this.log.read.bind(this.log);

  within(transaction: unknown): (record: LogRecord) => Promise<void> {
    if (!(transaction instanceof Transaction && transaction.isOpen)) {
      throw new StreamsideError("invalid-argument", "That is no open transaction.");
    }
    return (record) => {
      if (this.failure !== undefined) return Promise.reject(this.failure);
      transaction.records.push(record);
      return Promise.resolve();
    };
  }

  async end(transaction: Transaction, how: "commit" | "rollback"): Promise<void> {
    transaction.isOpen = false;
    if (how === "rollback") return;
    for (const record of transaction.records) await this.log.append(record);
  }
}

async function withDatabase(
  check: (hub: Hub<Events>, database: DatabaseLog) => Promise<void>,
): Promise<void> {
  const database = new DatabaseLog();
  const hub = createHub<Events>({ log: database, logger: quietLogger, maxEventBytes: 1_000 });
  try {
    await check(hub, database);
  } finally {
    await hub.close();
  }
}

function listen(hub: Hub<Events>, session: string): EventReader {
  return new EventReader(new Response(hub.subscribe(session, { channels: ["orders"] })));
}

async function hear(reader: EventReader, count: number): Promise<string[]> {
  const heard: string[] = [];
  while (heard.length < count) heard.push((await reader.event()).data!);
  return heard;
}

describe("hub.within", () => {
  test("what is sent is heard after the commit, by whom it is addressed to, and never after a rollback", () =>
    withDatabase(async (hub, database) => {
      const [ada, grace] = [listen(hub, "ada"), listen(hub, "grace")];
      const [kept, dropped] = [new Transaction(), new Transaction()];
      const sends: HubTransaction<Events> = hub.within(kept);
      assertEquals(await sends.send("ada", "text", "to ada"), undefined);
      assertEquals(await sends.publish("orders", "paid", { id: 7 }, { except: "ada" }), undefined);
      assertEquals(await sends.broadcast("text", "to all", { key: "k" }), undefined);
      await hub.within(dropped).broadcast("text", "never");
      await hub.broadcast("text", "before");
      await database.end(dropped, "rollback");
      await database.end(kept, "commit");
      await hub.broadcast("text", "after");
      assertEquals(await hear(ada, 4), ["before", "to ada", "to all", "after"]);
      assertEquals(await hear(grace, 4), ["before", '{"id":7}', "to all", "after"]);
      for (const reader of [ada, grace]) await reader.cancel();
      assertEquals(hub.stats().events, 2, "what is sent within a transaction is not counted");
    }));

  test("records are those of the other sends", () =>
    withDatabase(async (hub, { log }) => {
      const appended: LogRecord[] = [];
      const transaction = new Transaction();
      const within = hub.within(transaction);
      const { append } = log;
      log.append = (record) => {
        appended.push(record);
        return append.call(log, record);
      };
      const all = { key: "k", transient: true, idempotencyKey: "once" };
      const options = { ...all, except: ["grace"] };
      for (const sends of [within, createHub<Events>({ log })]) {
        await sends.send("ada", "text", "a\nb", all);
        await sends.publish("orders", "paid", { id: 1 }, options);
        await sends.broadcast("text", "", options);
      }
      assertEquals(transaction.records, appended);
    }));

  test("an invalid event rejects at once, and is no part of the transaction", () =>
    withDatabase(async (hub) => {
      const transaction = new Transaction();
      // deno-lint-ignore no-explicit-any
      const sends: any = hub.within(transaction);
      const refused: [() => Promise<void>, string][] = [
        [() => sends.send("", "text", "x"), "invalid-argument"],
        [() => sends.send("a\nb", "text", "x"), "invalid-argument"],
        [() => sends.publish("", "text", "x"), "invalid-argument"],
        [() => sends.publish("orders", "a\nb", "x"), "invalid-event"],
        [() => sends.broadcast("streamside:reset", "x"), "invalid-event"],
        [() => sends.broadcast("text", undefined), "invalid-data"],
        [() => sends.broadcast("text", "x".repeat(2_000)), "event-too-large"],
        [() => sends.broadcast("text", "x", { except: [""] }), "invalid-argument"],
        [() => sends.broadcast("text", "x", { key: "" }), "invalid-argument"],
        [() => sends.broadcast("text", "x", { idempotencyKey: "" }), "invalid-argument"],
        [() => sends.broadcast("text", "x", { transient: "yes" }), "invalid-argument"],
      ];
      for (const [send, code] of refused) {
        const error = await assertRejects(send, StreamsideError);
        assertEquals(error.code, code, error.message);
      }
      assertEquals(transaction.records, []);
    }));

  test("what is not an open transaction is refused by the log", () =>
    withDatabase(async (hub, database) => {
      const ended = new Transaction();
      await database.end(ended, "commit");
      for (const wrong of [ended, undefined, {}]) {
        const error = assertThrows(() => hub.within(wrong), StreamsideError);
        assertEquals(error.code, "invalid-argument");
      }
    }));

  test("an error of the database says to roll back, and has it as its cause", () =>
    withDatabase(async (hub, database) => {
      database.failure = new Error("the connection is lost");
      const sends = hub.within(new Transaction());
      const error = await assertRejects(() => sends.broadcast("text", "x"), StreamsideError);
      assertEquals(error.code, "log-unavailable");
      assertStringIncludes(error.message, "roll it back");
      assertEquals(error.cause, database.failure);
    }));

  test("a closed hub takes nothing", () =>
    withDatabase(async (hub) => {
      const transaction = new Transaction();
      const sends = hub.within(transaction);
      await hub.close();
      const error = await assertRejects(() => sends.broadcast("text", "x"), StreamsideError);
      assertEquals(error.code, "closed");
      assertEquals(transaction.records, []);
    }));

  test("a log that is on no database: the error names those that are", () => {
    const hub = createHub();
    const error = assertThrows(() => hub.within({}), StreamsideError);
    assertEquals(error.code, "invalid-argument");
    for (const name of ["sqliteLog", "postgresLog"]) assertStringIncludes(error.message, name);
    return hub.close();
  });
});
