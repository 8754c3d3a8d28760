/**
 * The example in `examples/frameworks/next`, built and started as in production. Next loads the library more than once:
 * the instrumentation, which is first, has a copy of its own, and the routes get the hub that this copy has made.
 *
 * It needs `npm ci --prefix examples/frameworks/next`, and runs with the long campaigns.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { assert, assertEquals } from "@std/assert";
import { type Server, startWith, stop } from "../examples/server.ts";
import { EventReader, runtime, within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const example = join(root, "examples/frameworks/next");
const skip = runtime !== "node"
  ? "Next's server runs on Node"
  : !process.env.STREAMSIDE_TEST_LONG
  ? "only with the long campaigns: npm run test:long"
  : !process.env.CI && !existsSync(join(example, "node_modules"))
  ? "needs npm ci --prefix examples/frameworks/next"
  : false;
const env = { NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production" };

describe("Next.js, as built: examples/frameworks/next", () => {
  let directory: string | undefined;
  let server: Server | undefined;

  const ask = (path: string, init: RequestInit = {}) =>
    within(
      fetch(`${server!.url}${path}`, {
        ...init,
        headers: { "X-Session-Id": "ada", ...init.headers },
      }),
      `the answer to ${path}`,
    );
  const greet = async (): Promise<number> => {
    return (await (await ask("/greet/ada", { method: "POST" })).json()).connections;
  };
  const subscribe = async (headers = {}, signal?: AbortSignal): Promise<EventReader> => {
    const response = await ask("/api/v1/sse/subscribe", { headers, signal });
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("Content-Type"), "text/event-stream");
    return new EventReader(response);
  };
  const gone = () =>
    within(
      (async () => {
        while ((await (await ask("/sessions")).json()).length > 0) {
          await new Promise((wake) => setTimeout(wake, 5));
        }
      })(),
      "the hub to forget the reader",
    );

  before(async () => {
    if (skip) return;
    directory = await mkdtemp(join(tmpdir(), "streamside-next-"));
    const library = join(directory, "node_modules/streamside");
    const next = join(directory, "node_modules/next/dist/bin/next");
    await cp(example, directory, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => path !== join(example, ".next"),
    });
    await rm(library, { recursive: true, force: true });
    const run = async (cwd: string, script: string, ...args: string[]) => {
      await promisify(execFile)(process.execPath, [script, ...args], {
        cwd,
        env: { ...process.env, ...env },
        timeout: 120_000,
      });
    };
    // The library as its package has it, of the sources that are there.
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    await run(root, tsc, "-p", "tsconfig.build.json", "--outDir", join(library, "dist"));
    await cp(join(root, "package.json"), join(library, "package.json"));
    await cp(
      join(root, "node_modules/eventsource-parser"),
      join(directory, "node_modules/eventsource-parser"),
      { recursive: true },
    );
    await run(directory, next, "build");
    server = await startWith(
      [process.execPath, next, "start", directory, "-H", "127.0.0.1", "-p", "0"],
      env,
    );
  });

  after(async () => {
    if (server) server.process.kill("SIGKILL");
    if (directory) await rm(directory, { recursive: true, force: true });
  });

  test("headers at once, and what another route sends", { skip }, async () => {
    const reader = await subscribe();
    assertEquals(await greet(), 1);
    const { event, data } = await reader.event();
    assertEquals([event, data], ["greeting", JSON.stringify({ from: "Next.js" })]);
    await reader.cancel();
    await gone();
  });

  test("a POST to the handler", { skip }, async () => {
    const reader = await subscribe();
    const sent = await ask("/api/v1/sse/send", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ session: "ada", event: "greeting", data: { from: "bob" } }),
    });
    assertEquals([sent.status, (await sent.json()).connections], [202, 1]);
    assertEquals((await reader.event()).data, JSON.stringify({ from: "bob" }));
    await reader.cancel();
    await gone();
  });

  test("Last-Event-ID resumes with what was missed", { skip }, async () => {
    const reader = await subscribe();
    await greet();
    const first = await reader.event();
    await reader.cancel();
    await gone();
    assertEquals(await greet(), 0);
    const resumed = await subscribe({ "Last-Event-ID": first.id! });
    const missed = await resumed.event();
    assertEquals(missed.event, "greeting");
    assert(missed.id !== first.id);
    await resumed.cancel();
    await gone();
  });

  test("a client that is killed leaves nothing behind", { skip }, async () => {
    // A process of its own: what it held open, the system closes.
    const script = `const response = await fetch(process.env.ADDRESS, {
      headers: { "X-Session-Id": "ada" } });
      console.log(process.env.ADDRESS, response.status);
      for await (const _ of response.body);`;
    const client = await startWith([process.execPath, "--input-type=module", "-e", script], {
      ADDRESS: `${server!.url}/api/v1/sse/subscribe`,
    });
    assertEquals(await (await ask("/sessions")).json(), ["ada"]);
    client.process.kill("SIGKILL");
    await gone();
  });

  test("the page is there", { skip }, async () => {
    const response = await ask("/");
    assertEquals(response.status, 200);
    assert((await response.text()).includes("Greeted by"));
  });

  test(
    "SIGTERM, which the instrumentation hears, ends the streams, then the server",
    { skip },
    async () => {
      const reader = await subscribe();
      await reader.block();
      const ended = stop(server!);
      await within(reader.rest(), "the stream to end");
      // Next's own exit code after it has closed its server; a signal that nobody handled would be "SIGTERM".
      assertEquals(await ended, 143);
    },
  );
});
