/**
 * What was sent, in a file: a server that is started again goes on where it stopped, and its clients too. That takes a
 * runtime with SQLite: Node 22.13 and later, Deno, Bun. Elsewhere the history is in memory, and ends with the process.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { type Log, type LogPosition, memoryLog } from "../../mod.ts";
import { type SqliteDatabase, sqliteLog } from "../../src/log/sqlite.ts";
import type { Tick } from "./events.ts";

/** The history of the server before this one, and of this one. */
export interface History {
  /** For the hub; `undefined`: its own, in memory. */
  readonly log: Log | undefined;
  /** The numbered event that was sent last, if it is held. */
  readonly last: Tick | undefined;
  /** Closes the file. */
  close(): void;
}

interface Database extends SqliteDatabase {
  exec(text: string): unknown;
  close(): void;
}

/** Opens the history in a directory that nobody else can read. */
export async function openHistory(directory: string): Promise<History> {
  const open = await sqlite();
  if (open === undefined) return { log: undefined, last: undefined, close() {} };
  // Two of these servers would count on in one history, each for itself. The lock ends with the process, however it does.
  const lock = open(join(directory, "lock.db"));
  try {
    lock.exec("BEGIN EXCLUSIVE");
  } catch {
    lock.close();
    console.log("Another server has the history's file: that of this one is in memory.");
    return { log: undefined, last: undefined, close() {} };
  }
  // #region history
  const database = open(join(directory, "events.db"));
  const events = sqliteLog(database);
  // #endregion
  const runs = memoryLog();
  const log: Log = {
    follow: (follower) => events.follow(follower),
    append: (record) => events.append(record),
    read: (after, limit) => events.read(after, limit),
    within: (transaction) => events.within!(transaction),
    // An answer is the work of one process, and ends with it.
    runs: runs.runs,
  };
  let isOpen = true;
  return {
    log,
    last: await lastTick(events),
    close() {
      if (!isOpen) return; // who is told twice to end does so once
      isOpen = false;
      void events.close!();
      void runs.close!();
      database.close();
      lock.close();
    },
  };
}

/** How this runtime opens a file. */
async function sqlite(): Promise<((path: string) => Database) | undefined> {
  const load = (name: string) => import(name); // not every runtime knows each of them
  if ("Bun" in globalThis) {
    const { Database } = await load("bun:sqlite");
    return (path) => new Database(path);
  }
  const { emitWarning } = process;
  process.emitWarning = () => {}; // some versions of Node say that it is experimental
  try {
    const { DatabaseSync } = await load("node:sqlite");
    return (path) => new DatabaseSync(path);
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** Looks for the numbered event that was sent last, from the log's end on. */
async function lastTick(log: Log): Promise<Tick | undefined> {
  const places: LogPosition[] = [];
  log.follow({
    opened: (_, head, start) => places.push(head, start),
    appended() {},
    failed() {},
  })();
  const [head, start] = places;
  if (!head || !start) return undefined;
  for (let step = 500;; step *= 4) {
    const from = Math.max(start.position, head.position - step);
    let last: Tick | undefined;
    for (let after: LogPosition = { position: from };;) {
      const entries = await log.read(after, 1000);
      if (!entries || entries.length === 0) break;
      const found = entries.findLast(({ record }) => ["tick", "stats"].includes(record.event));
      if (found) last = JSON.parse(found.record.data);
      after = entries.at(-1)!;
    }
    if (last || from === start.position) return last;
  }
}
