/**
 * The two files of the README, as pasted, with the package built and this runtime's own command.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { bundle } from "../../scripts/bundle.ts";
import { blocksOf, read } from "../../scripts/documentation.ts";
import { createClient } from "../../src/client/mod.ts";
import { skipWithout } from "../programs.ts";
import { launch, skip } from "../client/browser-helpers.ts";
import { runtime, until, within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("the two files of the README run as pasted", { skip: skipWithout("curl") }, async () => {
  const [readme] = await read("README.md");
  const files = blocksOf(readme!).filter(({ file }) => file !== undefined);
  assertEquals(files.map(({ file }) => file), ["server.mjs", "index.html"]);
  for (const { file, text } of files) {
    assertEquals(await readFile(join(root, "examples/quickstart", file!), "utf8"), text);
  }
  await withServer(async ({ url }) => {
    const get = async (path: string) => await (await fetch(url + path)).text();
    assert((await get("/")).includes("createClient"));
    assert((await get("/client.js")).includes("createClient"));

    const { count, cursor } = JSON.parse(await get("/count"));
    assertEquals(count, 0);
    await fetch(`${url}/count`, { method: "POST" }); // before the page has connected
    const client = createClient(`${url}/events/subscribe`, { lastEventId: cursor });
    const events = client.events("count");
    client.connect();
    const first = await within(events.next(), "the event between the state and the stream");
    assertEquals(first.value?.data, "1");
    await fetch(`${url}/count`, { method: "POST" });
    assertEquals((await within(events.next(), "the next event")).value?.data, "2");
    client.close();

    // What the page about it shows of the stream.
    const [page] = await read("docs/getting-started.md");
    const command = blocksOf(page!).map(({ text }) => text).find((text) => /^curl /.test(text))!;
    const [program, ...args] = command.trim().replace("localhost:8080", new URL(url).host).split(
      " ",
    );
    const curl = spawn(program!, args, { stdio: ["ignore", "pipe", "ignore"] });
    let shown = "";
    curl.stdout.setEncoding("utf8").on("data", (text) => shown += text);
    try {
      await until(() => /^id: /m.test(shown), () => `the first id in ${JSON.stringify(shown)}`);
      await fetch(`${url}/count`, { method: "POST" });
      await until(
        () => /\nevent: count\ndata: 3\nid: \S+\n/.test(shown),
        () => `the event in ${JSON.stringify(shown)}`,
      );
    } finally {
      curl.kill();
    }
  });
});

test(
  "the page of the README counts in two windows, and comes back to a new server",
  { skip },
  async () => {
    const browser = await launch();
    try {
      await withServer(async ({ url, restart }) => {
        const pages = [await browser.newPage(), await browser.newPage()] as const;
        const shows = async (text: string) => {
          for (const page of pages) {
            await page.getByText(text, { exact: true }).waitFor({ timeout: 60_000 });
          }
        };
        for (const page of pages) await page.goto(url);
        await shows("connected");
        await pages[0].getByRole("button").click();
        await shows("1");
        await restart();
        await shows("0"); // the reset: the new server's state
        await pages[1].getByRole("button").click();
        await shows("1");
      });
    } finally {
      await browser.close();
    }
  },
);

/** Runs a test on the quickstart in a folder of its own, beside the package. */
async function withServer(
  run: (server: { url: string; restart(): Promise<void> }) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "streamside-quickstart-"));
  let server: ChildProcess | undefined;
  const start = async (port: string) => {
    const args = runtime === "deno" ? ["run", "-A", "server.mjs"] : ["server.mjs"];
    server = spawn(process.execPath, args, {
      cwd: folder,
      env: { ...process.env, PORT: port },
      stdio: ["ignore", "pipe", "inherit"],
    });
    return await within(urlOf(server), "the server's address");
  };
  const stop = async () => {
    if (server === undefined || server.exitCode !== null) return;
    const ended = new Promise((resolve) => server!.once("exit", resolve));
    server.kill("SIGKILL");
    await within(ended, "the server's end");
  };
  try {
    await cp(join(root, "examples/quickstart"), folder, { recursive: true });
    await install(folder);
    const url = await start("0");
    const restart = async () => {
      await stop();
      await start(new URL(url).port);
    };
    await run({ url, restart });
  } finally {
    await stop();
    await rm(folder, { recursive: true });
  }
}

/** Installs the package as `npm install` would, built from the source. */
async function install(folder: string): Promise<void> {
  const target = join(folder, "node_modules/streamside");
  await mkdir(join(target, "dist"), { recursive: true });
  await writeFile(join(folder, "package.json"), "{}");
  await copyFile(join(root, "package.json"), join(target, "package.json"));
  const tsc = join(root, "node_modules/.bin/tsc");
  execFileSync(tsc, ["-p", "tsconfig.build.json", "--outDir", join(target, "dist")], {
    cwd: root,
    stdio: "inherit",
  });
  const script = bundle('export * from "./src/client/mod.ts";');
  await writeFile(join(target, "dist/client.browser.js"), script);
}

/** The address that a server prints. */
async function urlOf({ stdout }: ChildProcess): Promise<string> {
  let text = "";
  for await (const chunk of stdout!.setEncoding("utf8")) {
    text += chunk;
    const [, port] = /http:\/\/localhost:(\d+)\n/.exec(text) ?? [];
    if (port !== undefined) return `http://127.0.0.1:${port}`;
  }
  throw new Error(`the server ended, having said ${JSON.stringify(text)}`);
}
