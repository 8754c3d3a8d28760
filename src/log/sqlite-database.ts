/**
 * What a log needs of SQLite, the same over all that offer it: `node:sqlite`, `bun:sqlite`, `better-sqlite3` and a Durable
 * Object's `SqlStorage`. They are told apart by what they can do.
 *
 * @module
 */

import { quote, StreamsideError } from "../errors.ts";
import { invalid } from "../validate.ts";

/**
 * A database of SQLite, by what it can do. `DatabaseSync` of `node:sqlite`, `Database` of `bun:sqlite` and of
 * `better-sqlite3` have `prepare` and `exec`; a Durable Object's `ctx.storage.sql` has `exec` alone, which takes values
 * and gives a cursor.
 */
export interface SqliteDatabase {
  /** Runs what is written in SQL. */
  exec(...args: never[]): unknown;
  /** Makes a statement that has `all` and `run`. */
  prepare?(...args: never[]): unknown;
}

/** What can be stored, and comes out again. */
export type SqlValue = string | number | null;

/** A row, in the order of its columns. */
export type SqlRow = readonly unknown[];

/** How much a commit waits for the disk, where the database can say. */
export type Synchronous = "normal" | "full";

/** A database, as a log uses it. All of it happens at once: nothing is asynchronous. */
export interface Sql {
  /** Whether other processes may write to the file. */
  readonly isShared: boolean;
  /** Whether the application has a transaction open on this handle. */
  readonly isInTransaction: boolean;
  /** The rows that a query gives. */
  all(text: string, ...values: SqlValue[]): SqlRow[];
  /** Runs a statement that gives no rows. */
  run(text: string, ...values: SqlValue[]): void;
  /** Runs statements without values. */
  exec(text: string): void;
  /** Queries that see one state of the database. */
  read<T>(work: () => T): T;
  /** One transaction. It waits for no lock: it throws if another connection is writing. */
  write<T>(synchronous: Synchronous, work: () => T): T;
  /** Lets go of its statements. Bun keeps a file open that is closed while there are some. */
  release(): void;
}

/**
 * A handle of the user's, as a log uses it.
 *
 * @throws {StreamsideError} `invalid-argument` for anything else
 */
export function sqlOf(database: SqliteDatabase): Sql {
  const any = Object(database) as Handle & Storage;
  if (typeof any.exec === "function") {
    return typeof any.prepare === "function" ? new Connection(any) : new StorageSql(any);
  }
  throw invalid(
    "sqliteLog needs a database: a DatabaseSync of node:sqlite, a Database of bun:sqlite or better-sqlite3, or " +
      `the ctx.storage.sql of a Durable Object; got ${quote(database)}.`,
  );
}

interface Handle {
  exec(text: string): unknown;
  prepare(text: string): Statement;
  /** Of `node:sqlite`, from Node 22.16 on. */
  readonly isTransaction?: unknown;
  /** Of the others. */
  readonly inTransaction?: unknown;
}

interface Statement {
  all(...values: SqlValue[]): unknown[];
  run(...values: SqlValue[]): unknown;
  /** Of Bun. */
  finalize?(): void;
}

/** A handle with statements: all but that of a Durable Object. */
class Connection implements Sql {
  readonly isShared = true;
  readonly #handle: Handle;
  readonly #statements = new Map<string, Statement>();

  constructor(handle: Handle) {
    this.#handle = handle;
  }

  get isInTransaction(): boolean {
    const is = this.#handle.isTransaction ?? this.#handle.inTransaction;
    if (typeof is === "boolean") return is;
    // Earlier ones do not say. SQLite refuses a BEGIN within a transaction, and leaves that as it is.
    try {
      this.exec("BEGIN");
    } catch (error) {
      if (/within a transaction/.test(messageOf(error))) return true;
      throw error;
    }
    this.exec("ROLLBACK");
    return false;
  }

  all(text: string, ...values: SqlValue[]): SqlRow[] {
    // An option of node:sqlite has it give arrays.
    return this.#prepare(text).all(...values)
      .map((row) => Array.isArray(row) ? row : Object.values(row as object));
  }

  run(text: string, ...values: SqlValue[]): void {
    this.#prepare(text).run(...values);
  }

  exec(text: string): void {
    this.#handle.exec(text);
  }

  read<T>(work: () => T): T {
    return this.#transaction("BEGIN", work);
  }

  write<T>(synchronous: Synchronous, work: () => T): T {
    // Both are the application's own, and are what they were when it goes on. A handle that waits for a lock blocks the
    // whole process meanwhile: better-sqlite3 does for 5 s.
    const [settings] = this.all(
      "SELECT timeout, synchronous FROM pragma_busy_timeout, pragma_synchronous",
    );
    const [timeout, level] = settings!.map(Number) as [number, number];
    const own = synchronous === "full" ? 2 : 1;
    let before = "";
    let after = "";
    if (timeout > 0) {
      before += "PRAGMA busy_timeout = 0;";
      after += `PRAGMA busy_timeout = ${timeout};`;
    }
    if (level !== own) {
      before += `PRAGMA synchronous = ${own};`;
      after += `PRAGMA synchronous = ${level};`;
    }
    try {
      return this.#transaction(`${before}BEGIN IMMEDIATE`, work);
    } finally {
      if (after !== "") this.exec(after);
    }
  }

  release(): void {
    for (const statement of this.#statements.values()) statement.finalize?.();
    this.#statements.clear();
  }

  #transaction<T>(begin: string, work: () => T): T {
    this.exec(begin);
    try {
      const result = work();
      this.exec("COMMIT");
      return result;
    } catch (error) {
      try {
        this.exec("ROLLBACK");
      } catch {
        // Of some errors SQLite has rolled back by itself.
      }
      throw error;
    }
  }

  #prepare(text: string): Statement {
    let statement = this.#statements.get(text);
    if (!statement) this.#statements.set(text, statement = this.#handle.prepare(text));
    return statement;
  }
}

interface Storage {
  exec(text: string, ...values: SqlValue[]): { raw(): Iterable<SqlRow> };
}

/**
 * A Durable Object's `ctx.storage.sql`. Nobody else has the file, and what happens without an `await` is one transaction
 * already. It takes no BEGIN.
 */
class StorageSql implements Sql {
  readonly isShared: boolean = false;
  readonly isInTransaction: boolean = false;
  readonly #storage: Storage;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  all(text: string, ...values: SqlValue[]): SqlRow[] {
    return [...this.#storage.exec(text, ...values).raw()];
  }

  run(text: string, ...values: SqlValue[]): void {
    this.#storage.exec(text, ...values);
  }

  exec(text: string): void {
    this.#storage.exec(text);
  }

  read<T>(work: () => T): T {
    return work();
  }

  write<T>(_: Synchronous, work: () => T): T {
    return work();
  }

  release(): void {
    // It has none.
  }
}

/** What SQLite cannot do at the moment. */
type Trouble = keyof typeof ADVICE | "busy" | "missing";

/** What each says, and what to do about it. */
const ADVICE: Record<"readonly" | "full" | "corrupt" | "foreign" | "io" | "closed", string> = {
  readonly:
    "The database is read-only. Open it for writing, and see that this process may write to the file and to its directory.",
  full:
    "The database is full, or its disk is. Make room, raise max_page_count, or hold less (history).",
  corrupt:
    "The file is corrupt. Stop all servers on it, and put a backup back or move it away: a log that begins anew gives " +
    "every client a reset, and nothing else is lost with it.",
  foreign: "The file is not a database of SQLite. Open another file, or move this one away.",
  io: "The disk or the file system fails. Look at it before anything else is written.",
  closed: "The database is closed. Close the hub and the log first, and the database after them.",
};

/** What stands behind SQLite's primary result codes. */
const CODES: Record<number, Trouble> = {
  5: "busy",
  6: "busy",
  8: "readonly",
  10: "io",
  11: "corrupt",
  13: "full",
  14: "io",
  26: "foreign",
};

/** Not every handle gives the code with each error. */
const MESSAGES: readonly (readonly [RegExp, Trouble])[] = [
  [/SQLITE_BUSY|SQLITE_LOCKED|(database|table) (\S+ )?is locked|busy executing/i, "busy"],
  [/SQLITE_READONLY|readonly database/i, "readonly"],
  [/SQLITE_FULL|database or disk is full/i, "full"],
  [/SQLITE_CORRUPT|malformed/i, "corrupt"],
  [/SQLITE_NOTADB|not a database/i, "foreign"],
  [/SQLITE_IOERR|SQLITE_CANTOPEN|disk I\/O error|unable to open database/i, "io"],
  [/not open|has closed|closed database/i, "closed"],
  [/no such table/i, "missing"],
];

/** What an error of any handle is about; `undefined` for one that SQLite should not give. */
export function troubleOf(error: unknown): Trouble | undefined {
  const { errcode, errno, code } = Object(error) as Record<string, unknown>;
  const number = Number(errcode ?? errno);
  const found = CODES[number & 0xff];
  if (found !== undefined) return found;
  const text = `${code} ${messageOf(error)}`;
  return MESSAGES.find(([pattern]) => pattern.test(text))?.[1];
}

/** An error as users get it: which it is, and what to do. */
export function explain(error: unknown): StreamsideError {
  if (error instanceof StreamsideError) return error;
  const trouble = troubleOf(error);
  const advice = trouble === "busy"
    ? "The database is locked: another connection has been writing for long. Keep its transactions short."
    : trouble === undefined || trouble === "missing"
    ? "SQLite refuses."
    : ADVICE[trouble];
  return new StreamsideError("log-unavailable", `${advice} (${messageOf(error)})`, {
    cause: error,
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
