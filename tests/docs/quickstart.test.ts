/**
 * The two files of the README, as pasted, with the package built and this runtime's own command.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { bundle } from "../../scripts/bundle.ts";
import { blocksOf, read } from "../../scripts/documentation.ts";
import { createClient } from "../../src/client/mod.ts";
import { runtime, within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("the two files of the README run as pasted", async () => {
  const folder = await mkdtemp(join(tmpdir(), "streamside-quickstart-"));
  let server: ChildProcess | undefined;
  try {
    const [readme] = await read("README.md");
    const files = blocksOf(readme!).filter(({ file }) => file !== undefined);
    assertEquals(files.map(({ file }) => file), ["server.mjs", "index.html"]);
    for (const { file, text } of files) {
      assertEquals(await readFile(join(root, "examples/quickstart", file!), "utf8"), text);
      await writeFile(join(folder, file!), text);
    }
    await install(folder);

    const args = runtime === "deno" ? ["run", "-A", "server.mjs"] : ["server.mjs"];
    server = spawn(process.execPath, args, {
      cwd: folder,
      env: { ...process.env, PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const url = await within(urlOf(server), "the server's address");
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
  } finally {
    server?.kill("SIGKILL");
    await rm(folder, { recursive: true });
  }
});

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
