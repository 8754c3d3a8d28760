/** The core and the handler on workerd, as `examples/workers` runs them. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { freePort } from "../client/helpers.ts";
import { within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const bin = (name: string): string => join(root, "node_modules", ".bin", name);

async function answers(url: string): Promise<void> {
  for (;;) {
    const answer = await fetch(url).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("workerd", () => {
  let directory = "";
  let worker: ChildProcess;
  let base = "";

  /** Serves what the directory has; the storage of its objects is there, too. */
  async function startWorker(): Promise<void> {
    const port = await freePort();
    base = `http://127.0.0.1:${port}/api/v1/sse`;
    worker = spawn(bin("workerd"), [
      "serve",
      join(directory, "workerd.capnp"),
      `--socket-addr=http=127.0.0.1:${port}`,
    ], { stdio: "inherit" });
    await within(answers(`${base}/health`), "workerd to listen", 60_000);
  }

  async function stopWorker(): Promise<void> {
    const exited = new Promise((resolve) => worker.once("exit", resolve));
    worker.kill("SIGKILL");
    await exited;
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "streamside-workerd-"));
    await mkdir(join(directory, "storage"));
    const config = await readFile(join(root, "examples/workers/workerd.capnp"), "utf8");
    const path = JSON.stringify(join(directory, "storage"));
    await writeFile(
      join(directory, "workerd.capnp"),
      config.replace('"examples/workers/dist"', path),
    );
    await promisify(execFile)(bin("esbuild"), [
      join(root, "examples/workers/room.ts"),
      "--bundle",
      "--format=esm",
      `--outfile=${join(directory, "dist/room.js")}`,
    ]);
    await startWorker();
  });

  after(async () => {
    await stopWorker();
    await rm(directory, { recursive: true });
  });

  const say = (data: unknown) =>
    fetch(`${base}/send?sessionId=grace`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ all: true, event: "said", data }),
    });

  const gauge = async (name: string) => {
    const text = await (await fetch(`${base}/metrics`)).text();
    return Number(new RegExp(`^streamside_${name} (\\d+)$`, "m").exec(text)?.[1]);
  };

  test("a stream gets what others send, goes on from its last id, and is forgotten when it ends", async () => {
    const first = new AbortController();
    const stream = await fetch(`${base}/subscribe?sessionId=ada`, { signal: first.signal });
    assertEquals(stream.headers.get("Content-Type"), "text/event-stream");
    const reader = textOf(stream);
    assertEquals((await say("one")).status, 202);
    const seen = await reader("data: one\n");
    const id = /data: one\nid: (\S+)\n/.exec(seen)?.[1];
    assert(id);
    first.abort();
    // workerd finds out that a reader is gone when it writes to it.
    await say("two");
    await say("three");
    await within(
      (async () => {
        while (await gauge("connections") > 0) {
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      })(),
      "the connection to be forgotten",
    );

    const second = new AbortController();
    const resumed = await fetch(`${base}/subscribe?sessionId=ada`, {
      headers: { "Last-Event-ID": id },
      signal: second.signal,
    });
    const missed = await textOf(resumed)("data: three\n");
    assertMatch(missed, /data: two\nid: \S+\n\nevent: said\ndata: three\n/);
    assert(!missed.includes("data: one"));
    second.abort();
  });

  test("an object that is gone and comes back: its clients resume", async () => {
    const stream = await fetch(`${base}/subscribe?sessionId=ada`);
    const reader = textOf(stream);
    assertEquals((await say("before")).status, 202);
    const id = /data: before\nid: (\S+)\n/.exec(await reader("data: before\n"))?.[1];
    assert(id);
    assertEquals((await say("meanwhile")).status, 202);
    await stopWorker();
    await startWorker();

    assertEquals((await say("after")).status, 202);
    const leaving = new AbortController();
    const resumed = await fetch(`${base}/subscribe?sessionId=ada`, {
      headers: { "Last-Event-ID": id },
      signal: leaving.signal,
    });
    const missed = await textOf(resumed)("data: after\n");
    assertMatch(missed, /data: meanwhile\nid: \S+\n\nevent: said\ndata: after\n/);
    assert(!missed.includes("streamside:reset"), missed);
    leaving.abort();
  });

  test("without a session it answers 401 as problem details", async () => {
    const response = await fetch(`${base}/subscribe`);
    assertEquals(response.status, 401);
    assertEquals(response.headers.get("Content-Type"), "application/problem+json");
    await response.body?.cancel();
  });
});

/** Reads on until the text holds a part; gives all that was read so far. */
function textOf(response: Response): (part: string) => Promise<string> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  return (part) =>
    within(
      (async () => {
        while (!text.includes(part)) {
          const { done, value } = await reader.read();
          if (done) throw new Error(`the stream ended before ${JSON.stringify(part)}: ${text}`);
          text += value;
        }
        return text;
      })(),
      JSON.stringify(part),
    );
}
