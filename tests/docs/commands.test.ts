/**
 * Every command of every page runs, as its reader would run it: each block is a script for `sh`, in a copy of the
 * project, beside the servers that it is for. A block that is neither run here nor named with the test that runs it
 * fails.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { allPages, blocksOf, type Page } from "../../scripts/documentation.ts";
import { freePort } from "../client/helpers.ts";
import { onNodeAlone } from "../campaign.ts";
import { skipWithout } from "../programs.ts";
import { runtime, until, within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const own = [
  process.execPath,
  ...{ node: ["--import", "tsx"], deno: ["run", "-A"], bun: [] }[runtime],
];

/** A block that is run here. */
interface Run {
  /** What it prints, to its output or its errors. */
  prints: RegExp;
  /** Whether it goes on until it is ended; what it prints then when the blocks after it have run. */
  stays?: true | RegExp;
  /** The server that it is for. Default: the one of the block before. */
  server?: "dev" | "demo";
  /** Whether it is a server itself, for those after it. */
  serves?: true;
}

/** A block that is not: word for word, and who runs it in place of this test, or why nobody does. */
interface Elsewhere {
  text: string;
  because: string;
}

const quickstart = "tests/docs/quickstart.test.ts runs it";
const newcomer = "tests/docs/newcomer.test.ts runs it, with the long campaigns";

/** The blocks of each page, in order. A string: who runs all of the page. */
const expected: Record<string, (Run | Elsewhere)[] | string> = {
  "README.md": [
    {
      text: "npm ci && npm start\nnpm ci && npm test",
      because: `${newcomer}, but for the suite, of which it is a part`,
    },
    { text: "node server.mjs", because: quickstart },
  ],
  "CONTRIBUTING.md": [
    {
      text:
        "npm ci\nnpm start\nnpm test -- client --runtime node\nnpm test\nnpm run check\nnpm run bench",
      because: "CI runs all of them but the last, which takes minutes of a quiet machine",
    },
  ],
  "bench/README.md": [
    {
      text: ["", " -- cpu rate", " -- --write cpu", " -- --quick", " -- --rounds 5 send"]
        .map((options) => `npm run bench${options}`)
        .concat(
          "npm run bench:logs",
          "npm run bench:runs",
          "npm run bench:channels",
          "npm run bench:sqlite",
        ).join("\n"),
      because: "it takes minutes of a quiet machine, and the first writes into the page",
    },
  ],
  "bench/client.md": [
    {
      text: "npm run bench:client\nnpm run bench:client -- node bun",
      because: "it takes minutes of a quiet machine",
    },
  ],
  "docs/command-line.md": "tests/cli/cli.test.ts runs all of them",
  "docs/debugging.md": [
    { server: "dev", prints: /200 OK[^]*text\/event-stream[^]*retry: 2000\nid: /, stays: true },
    { prints: /event: streamside:reset/, stays: true }, // the id is of another log
    { prints: /connected/, stays: true },
    { prints: /first byte/ },
    { server: "demo", prints: /retry: \d+\nid: /, stays: true },
  ],
  "docs/getting-started.md": [
    { text: "npm ci && npm pack", because: newcomer },
    {
      text:
        "mkdir ../hello && cd ../hello\nnpm init -y\nnpm install ../streamside/streamside-0.1.0.tgz",
      because: newcomer,
    },
    { text: "node server.mjs", because: quickstart },
    { text: "deno run -A server.mjs", because: quickstart },
    { text: "bun server.mjs", because: quickstart },
    { text: "curl -N localhost:8080/events/subscribe", because: quickstart },
    { serves: true, prints: /room\.js/ },
    { prints: /retry: \d+\nid: /, stays: true },
  ],
  "docs/other-languages.md": [
    { serves: true, prints: /Streamside is on/ },
    { prints: /retry: \d+\nid: /, stays: /event: headline\ndata: It works\n/ },
    { prints: /^eyJ[\w.-]+$/m },
  ],
  "docs/production.md": [
    {
      text: "sysctl -w net.ipv4.tcp_retries2=8",
      because: "it changes the machine; below, that it has this setting",
    },
  ],
  "docs/sending.md": [{ server: "dev", prints: /"connections":0/ }],
};

/** The shell blocks of a page. */
const scripts = (page: Page) =>
  blocksOf(page).filter(({ language }) => /^(sh|bash|shell|console)$/.test(language));

/** A block without its comments. */
const bare = (text: string) => text.replace(/(^|\s+)# .*$/gm, "").trim().replace(/\n{2,}/g, "\n");

describe("the commands of the pages", () => {
  test("each is run by a test, or named with the reason why not", async () => {
    const faults: string[] = [];
    for (const page of await allPages()) {
      const blocks = scripts(page);
      const known = expected[page.path] ?? [];
      if (typeof known === "string") continue;
      for (const [i, { line, text }] of blocks.entries()) {
        const entry = known[i];
        const where = `${page.path}:${line}`;
        if (entry === undefined) faults.push(`${where}: no test runs ${JSON.stringify(text)}`);
        else if ("text" in entry && entry.text !== bare(text)) {
          faults.push(`${where}: ${JSON.stringify(bare(text))} is not ${entry.text}`);
        }
      }
      if (blocks.length < known.length) faults.push(`${page.path}: a block is not there any more`);
    }
    assertEquals(faults, []);
    const paths = new Set((await allPages()).map(({ path }) => path));
    assertEquals(Object.keys(expected).filter((path) => !paths.has(path)), []);
  });

  test("the npm scripts that a page names are there", async () => {
    const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    const missing: string[] = [];
    for (const { path, text } of await allPages()) {
      for (const [, name] of text.matchAll(/\bnpm run (?:--if-present )?([a-z][\w:-]*)/g)) {
        if (!Object.hasOwn(scripts, name!)) missing.push(`${path}: npm run ${name}`);
      }
    }
    assertEquals(missing, []);
  });

  test("the machine has the setting for half-open connections", {
    skip: process.platform !== "linux" && "a setting of Linux",
  }, async () => {
    const value = Number(await readFile("/proc/sys/net/ipv4/tcp_retries2", "utf8"));
    assert(value > 0, String(value));
  });

  for (const [path, entries] of Object.entries(expected)) {
    if (typeof entries === "string" || !entries.some((entry) => "prints" in entry)) continue;
    const needs = [onNodeAlone, ...["curl", "jq", "python3"].map((name) => skipWithout(name))];
    test(path, { skip: needs.find((reason) => reason !== false) ?? false }, async () => {
      const [page] = (await allPages()).filter((page) => page.path === path);
      await runBlocks(page!, entries);
    });
  }

  test("at the head of each example: it starts, and answers what is asked there", {
    skip: runtime !== "node" ? "each is started on the runtime it names" : skipWithout("curl"),
  }, async () => {
    const names = (await Promise.all(["examples", "examples/frameworks"].map(async (folder) =>
      (await readdir(join(root, folder))).map((name) =>
        `${folder}/${name}`
      )
    ))).flat().filter((name) =>
      name.endsWith(".ts")
    );
    let count = 0;
    for (const path of names) {
      const [comment] = (await readFile(join(root, path), "utf8")).split("*/");
      const text = comment!.replaceAll(/^ \* ?/gm, "");
      const [, command] = /`([^`\n]+ examples\/[^`\n]+\.ts)`/.exec(text) ?? [];
      const [block] = scripts({ path, text });
      if (command === undefined || block === undefined) continue;
      count++;
      await inCopy({ path, text: "" }, async (start, port) => {
        await start(command, port).prints(/Streamside is on/);
        const run = start(at(port, block.text), port);
        await run.prints(/retry: \d+\nid: /);
        if (/ -X POST /.test(block.text)) {
          await run.prints(/"connections":|"id":|event: greeting/);
        }
      });
    }
    assert(count >= 5, `${count} examples were found`);
  });
});

const at = (port: number, text: string) =>
  text.replaceAll(/\b(localhost|127\.0\.0\.1):8080/g, `$1:${port}`);

type Start = (script: string, port: number) => Shell;

/** Gives a copy of the project to run commands in, and a port; what still runs at the end is ended. */
async function inCopy(
  page: Page,
  run: (start: Start, port: number) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "streamside-commands-"));
  const children: Shell[] = [];
  try {
    const port = await freePort();
    await copy(folder, page, port);
    await run((script, port) => {
      const child = new Shell(script, folder, port);
      children.push(child);
      return child;
    }, port);
  } finally {
    await Promise.all(children.map((child) => child.kill()));
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs those of a page that are run here, one after the other; what stays, until the last has ended. */
async function runBlocks(page: Page, entries: (Run | Elsewhere)[]): Promise<void> {
  const ports = { dev: await freePort(), demo: await freePort() };
  await inCopy(page, async (start, port) => {
    let current = port;
    const staying: [Shell, RegExp][] = [];
    const started = new Set<string>();
    for (const [i, { text }] of scripts(page).entries()) {
      const entry = entries[i]!;
      if ("text" in entry) continue;
      if (entry.server !== undefined) {
        current = ports[entry.server];
        if (!started.has(entry.server)) {
          started.add(entry.server);
          const server = entry.server === "dev"
            ? `npx streamside serve --dev --port ${current}`
            : "node --import tsx examples/node.ts";
          await start(server, current).prints(/listening on|Streamside is on/);
        }
      }
      const run = start(at(current, text), current);
      await run.prints(entry.prints);
      if (entry.serves) await answers(current);
      else if (entry.stays === undefined) assertEquals(await run.ends(), 0, run.said);
      if (entry.stays instanceof RegExp) staying.push([run, entry.stays]);
    }
    for (const [run, what] of staying) await run.prints(what);
  });
}

/** What a reader has: a clone with its modules, the files of the page, and `npx streamside`. */
async function copy(folder: string, page: Page, port: number): Promise<void> {
  for (
    const name of [
      "mod.ts",
      "src",
      "docs",
      "examples",
      "package.json",
      "tsconfig.json",
      "deno.json",
    ]
  ) {
    const filter = (path: string) => !/node_modules|\.next/.test(path);
    await cp(join(root, name), join(folder, name), { recursive: true, filter });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  const capnp = join(folder, "examples/workers/workerd.capnp");
  await writeFile(capnp, (await readFile(capnp, "utf8")).replace(":8080", `:${port}`));
  for (const { file, text } of blocksOf(page)) {
    if (file !== undefined) await writeFile(join(folder, file), text);
  }
  await mkdir(join(folder, "bin"));
  const words = own.map((word) => `'${word}'`).join(" ");
  // Of npx the package's own command, from the source and on this runtime; the others as they are.
  await writeFile(
    join(folder, "bin/npx"),
    `#!/bin/sh\nif [ "$1" = streamside ]; then shift; exec ${words} src/cli/mod.ts "$@"; fi\n` +
      `name="$1"; shift; exec "node_modules/.bin/$name" "$@"\n`,
    { mode: 0o755 },
  );
}

/** A script that runs. */
class Shell {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  readonly #script: string;
  said = "";

  constructor(script: string, folder: string, port: number) {
    this.#script = script;
    this.#child = spawn("sh", ["-e", "-c", script], {
      cwd: folder,
      // A group of its own, to end what the shell has started with it.
      detached: true,
      env: {
        ...process.env,
        PATH: `${folder}/bin:${folder}/node_modules/.bin:${process.env.PATH}`,
        PORT: String(port),
        HUB: `http://127.0.0.1:${port}/api/v1/sse`,
        DATA: join(folder, "data"),
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const output of [this.#child.stdout!, this.#child.stderr!]) {
      output.setEncoding("utf8").on("data", (text) => this.said += text);
    }
    this.#ended = new Promise((resolve) => this.#child.once("close", resolve));
  }

  prints(what: RegExp): Promise<void> {
    const said = () => this.said.replaceAll("\r", "");
    return until(() => what.test(said()), () => `${this.#script} to print ${what}: ${said()}`);
  }

  ends(): Promise<number | null> {
    return within(this.#ended, `the end of ${this.#script}`);
  }

  async kill(): Promise<void> {
    try {
      process.kill(-this.#child.pid!, "SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#ended;
  }
}

/** Waits until a server answers. */
async function answers(port: number): Promise<void> {
  for (const began = Date.now();;) {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/sse/health`).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
    assert(Date.now() - began < 60_000, `nothing listens at ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
