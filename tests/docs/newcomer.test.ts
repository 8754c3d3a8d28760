/**
 * README.md and docs/getting-started.md from the first command to the last, word for word: in a fresh copy of the
 * project, which it installs, and a new folder beside it.
 *
 * It downloads what `npm ci` does, and runs with the long campaigns.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cp, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { type Block, blocksOf, read } from "../../scripts/documentation.ts";
import { readEvents } from "../../src/client/mod.ts";
import { freePort } from "../client/helpers.ts";
import { runtime, within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const skip = runtime !== "node"
  ? "it starts all three runtimes itself"
  : !process.env.STREAMSIDE_TEST_LONG && "only with the long campaigns: npm run test:long";

/** What a fresh clone does not have. */
const made = new Set(["node_modules", ".git", "tmp", "dist", ".next", "public"]);
/** Deno and Bun are on a reader's PATH. */
const path = `${join(root, "node_modules/.bin")}${delimiter}${process.env.PATH}`;

describe("a newcomer", () => {
  let folder = "", clone = "", project = "";
  const blocks: Block[] = [];

  before(async () => {
    if (skip) return;
    folder = await realpath(await mkdtemp(join(tmpdir(), "streamside-newcomer-")));
    [clone, project] = [join(folder, "streamside"), join(folder, "hello")];
    await cp(root, clone, { recursive: true, filter: (source) => !made.has(basename(source)) });
    for (const page of await read("README.md", "docs/getting-started.md")) {
      blocks.push(...blocksOf(page));
    }
  });

  after(async () => {
    if (!skip) await rm(folder, { recursive: true, force: true });
  });

  /** The only block that begins so. */
  const block = (begins: string): string => {
    const found = blocks.filter(({ text }) => text.startsWith(begins));
    assert(found.length > 0, `no block begins with ${begins}`);
    return found[0]!.text;
  };
  const run = (script: string, cwd: string) =>
    execFileSync("sh", ["-e", "-c", script], { cwd, stdio: "pipe", timeout: 300_000 });

  test(
    "installs the clone and starts the demo by the first line of the README",
    { skip },
    async () => {
      const [line] = block("npm ci && npm start").split("\n");
      const server = await Server.start(line!, clone);
      assert((await (await fetch(server.url)).text()).includes("<html"));
      await server.stop();
    },
  );

  test("makes a package, and installs it in a new folder", { skip }, async () => {
    run(block("npm ci && npm pack"), clone);
    run(block("mkdir ../hello"), clone);
    for (const { file, text } of blocks) {
      if (file !== undefined) await writeFile(join(project, file), text);
    }
  });

  for (const command of ["node server.mjs", "deno run -A server.mjs", "bun server.mjs"]) {
    test(`has events by ${command}`, { skip }, async () => {
      assertEquals(block(command).split(" #")[0]!.trim(), command);
      const server = await Server.start(command, project);
      try {
        const stop = new AbortController();
        const { signal } = stop;
        const stream = await fetch(`${server.url}/events/subscribe`, { signal });
        const events = readEvents(stream, { signal });
        const first = within(events.next(), "an event");
        await fetch(`${server.url}/count`, { method: "POST" });
        const { type, data } = (await first).value!;
        assertEquals([type, data], ["count", "1"]);
        stop.abort();
      } finally {
        await server.stop();
      }
    });
  }
});

/** A server that a command starts. */
class Server {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  static async start(command: string, cwd: string): Promise<Server> {
    const env = { ...process.env, PATH: path, PORT: String(await freePort()) };
    const child = spawn("sh", ["-c", command], {
      ...{ cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] },
    });
    let said = "";
    const url = new Promise<string>((resolve, reject) => {
      for (const output of [child.stdout!, child.stderr!]) {
        output.setEncoding("utf8").on("data", (text) => {
          said += text;
          const [, port] = /http:\/\/(?:localhost|127\.0\.0\.1):(\d+)/.exec(said) ?? [];
          if (port !== undefined) resolve(`http://127.0.0.1:${port}`);
        });
      }
      child.once("close", () => reject(new Error(`${command} ended: ${said}`)));
    });
    const server = new Server("", child);
    try {
      return new Server(await within(url, `the address that ${command} prints`, 300_000), child);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode !== null) return;
    process.kill(-this.#child.pid!, "SIGKILL");
    await ended;
  }
}
