/**
 * SQLite as this runtime has it, for tests: `node:sqlite` on Node and Deno, `bun:sqlite` on Bun.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { SqliteDatabase } from "../src/log/sqlite.ts";

/** A handle of `node:sqlite` or `bun:sqlite`, as far as tests use it. */
export interface Database extends SqliteDatabase {
  exec(text: string): void;
  prepare(text: string): {
    all(...values: unknown[]): Record<string, unknown>[];
    run(...values: unknown[]): unknown;
  };
  close(): void;
  /** Of `bun:sqlite`. */
  readonly inTransaction?: boolean;
  /** Of `node:sqlite`. */
  readonly isTransaction?: boolean;
}

type Open = (path: string, options?: { readOnly?: boolean }) => Database;

/** Opens a file; `undefined` where the runtime has no SQLite: Node before 22.13. */
const open: Open | undefined = await opener();

async function opener(): Promise<Open | undefined> {
  // Names that the type checker does not follow: each is there on some runtimes only.
  const load = async (name: string) => await import(name);
  if ("Bun" in globalThis) {
    const { Database } = await load("bun:sqlite");
    return (path, { readOnly = false } = {}) =>
      readOnly ? new Database(path, { readonly: true }) : new Database(path);
  }
  // It warns that it is experimental, once for each process.
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    const { DatabaseSync } = await load("node:sqlite");
    return (path, { readOnly = false } = {}) => new DatabaseSync(path, { readOnly });
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** A test's option `skip`: why there is nothing to test on this runtime. */
export const skipWithoutSqlite: string | false = open === undefined &&
  `no node:sqlite in Node ${process.version}: it came with 22.13`;

/** Opens a file. */
export function openDatabase(path: string, options?: { readOnly?: boolean }): Database {
  return open!(path, options);
}

/** A directory with a file in it, and the handles on it. */
export class DatabaseFile {
  readonly directory: string = mkdtempSync(join(tmpdir(), "streamside-sqlite-"));
  readonly path: string = join(this.directory, "events.db");
  readonly #handles = new Set<Database>();

  /** One more handle. */
  open(options?: { readOnly?: boolean }): Database {
    const database = openDatabase(this.path, options);
    this.#handles.add(database);
    return database;
  }

  /** Closes a handle. */
  close(database: Database): void {
    if (this.#handles.delete(database)) database.close();
  }

  /** Closes all handles, and removes the directory. */
  remove(): void {
    for (const database of [...this.#handles]) this.close(database);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
