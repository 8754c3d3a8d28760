/**
 * A real PostgreSQL of a test's own: its port, its directory, its end.
 *
 * @module
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { assert } from "@std/assert";
import pg from "pg";
import { freePort } from "./client/helpers.ts";
import { find, skipWithout } from "./programs.ts";
import { within } from "./server-helpers.ts";

const run = promisify(execFile);

/** Debian keeps the programs of each version in a directory of its own, off the PATH. */
function programs(name: string): string[] {
  const home = "/usr/lib/postgresql";
  let versions: string[] = [];
  try {
    versions = readdirSync(home).sort((a, b) => Number(b) - Number(a));
  } catch {
    // Then it is on the PATH, or nowhere.
  }
  return [name, ...versions.map((version) => `${home}/${version}/bin/${name}`)];
}

/** The option `skip` of a test that needs PostgreSQL. */
export const skip: string | false = skipWithout(...programs("initdb"));

/** How a program of PostgreSQL is run: none of them runs as root. */
function commandOf(name: string, args: readonly string[]): string[] {
  const program = find(...programs(name));
  assert(program !== undefined, `no ${name} of PostgreSQL`);
  if (process.getuid?.() !== 0) return [program, ...args];
  const users = readFileSync("/etc/passwd", "utf8");
  const user = /^postgres:/m.test(users) ? "postgres" : "nobody";
  const [, , uid, gid] = users.split("\n").find((line) => line.startsWith(`${user}:`))!.split(":");
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", program, ...args];
}

/** Starts a PostgreSQL with these settings, such as `synchronous_commit=off`. */
export async function startPostgres(...settings: string[]): Promise<PostgresServer> {
  const server = await PostgresServer.create(settings);
  await server.start();
  return server;
}

/** A PostgreSQL that can be killed, stopped and started again. */
export class PostgresServer {
  readonly port: number;
  readonly directory: string;
  readonly #settings: readonly string[];
  #process: ChildProcess | undefined;

  constructor(port: number, directory: string, settings: readonly string[]) {
    this.port = port;
    this.directory = directory;
    this.#settings = settings;
  }

  /** One with a new database cluster, not started. */
  static async create(settings: readonly string[]): Promise<PostgresServer> {
    const server = await PostgresServer.empty(settings);
    const options = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"];
    await server.run("initdb", ...options, "--locale=C", `--pgdata=${server.data}`);
    return server;
  }

  /** One whose data directory is still to be made. */
  static async empty(settings: readonly string[]): Promise<PostgresServer> {
    const directory = await mkdtemp(join(tmpdir(), "streamside-postgres-"));
    await chmod(directory, 0o777);
    return new PostgresServer(await freePort(), directory, settings);
  }

  get data(): string {
    return join(this.directory, "data");
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  /** Runs one of PostgreSQL's programs, as a user that is not root. */
  async run(name: string, ...args: string[]): Promise<string> {
    const [program, ...rest] = commandOf(name, args);
    const { stdout } = await run(program!, rest, { cwd: this.directory });
    return stdout;
  }

  /** Starts it, with what its directory holds. Resolves when it takes queries. */
  async start(): Promise<void> {
    const settings = [
      `port=${this.port}`,
      "listen_addresses=127.0.0.1",
      "unix_socket_directories=",
      "fsync=off",
      "shared_buffers=16MB",
      "max_connections=60",
      ...this.#settings,
    ];
    const args = ["-D", this.data, ...settings.flatMap((setting) => ["-c", setting])];
    const [program, ...rest] = commandOf("postgres", args);
    let output = "";
    const child = this.#process = spawn(program!, rest, {
      stdio: ["ignore", "ignore", "pipe"],
      cwd: this.directory,
    });
    child.stderr!.on("data", (data) => output = (output + data).slice(-4_000));
    await within(this.#answers(child), "PostgreSQL to answer").catch((error) => {
      throw new Error(`${error.message}: ${output}`);
    });
  }

  async #answers(child: ChildProcess): Promise<void> {
    for (;;) {
      const answer = await this.query("select 1").then(() => true, () => false);
      if (answer || child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert(child.exitCode === null, "PostgreSQL has ended");
  }

  /** Asks one thing over a connection of its own. */
  async query(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: this.url });
    client.on("error", () => {});
    await client.connect();
    try {
      return (await client.query(text, values)).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** Kills it with SIGKILL, and waits until all its processes are gone. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    // The others end when they see that the first one has: until then they hold the port and the memory.
    const ended = new Promise((resolve) => child.once("close", resolve));
    process.kill(child.pid!, "SIGKILL");
    await within(ended, "PostgreSQL to end");
  }

  /** Ends it for good. */
  async close(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}
