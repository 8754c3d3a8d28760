/** What listeners may do to a client, and what they cost. */
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { createClient } from "../../src/client/mod.ts";
import { runtime } from "../server-helpers.ts";
import { feeds, next } from "./helpers.ts";

/** Runs a program on this runtime; resolves with its exit code and what it printed. */
function run(name: string, ...given: string[]): Promise<[number, string]> {
  const path = fileURLToPath(new URL(name, import.meta.url));
  const args = {
    node: ["--import", "tsx", path],
    deno: ["run", "-A", "--no-check", path],
    bun: ["run", path],
  }[runtime];
  return new Promise((resolve) => {
    execFile(process.execPath, [...args, ...given], (error, stdout, stderr) => {
      resolve([error ? Number(error.code) : 0, stdout + stderr]);
    });
  });
}

describe("a listener that throws", () => {
  test("is an uncaught error, as of any EventTarget", async () => {
    const [code, output] = await run("./throwing.ts");
    assertEquals(code, 1, output);
    assertStringIncludes(output, "of the listener");
  });

  test("can be caught as such, and the other listeners and the stream go on", async () => {
    const [code, output] = await run("./throwing.ts", "caught");
    // Whether it is reported before or after the next listener is called, is the runtime's affair.
    assertEquals([code, output.trim().split("\n").sort()], [0, [
      "caught of the listener",
      "caught of the listener",
      "heard 1",
      "heard 2",
    ]]);
  });
});

test("many clients and listeners on one signal: no warning, and nothing is left", async () => {
  const warnings: string[] = [];
  const warn = (warning: Error) => warnings.push(warning.name);
  process.on("warning", warn);
  const controller = new AbortController();
  const { fetch } = feeds();
  const options = { fetch, signal: controller.signal, reconnect: { delay: 60_000 } };
  const clients = Array.from({ length: 30 }, () => createClient("http://localhost/", options));
  let heard = 0;
  for (const client of clients) {
    client.addEventListener("close", () => heard++);
    for (let i = 0; i < 20; i++) {
      client.addEventListener("close", () => heard += 1000, { signal: controller.signal });
    }
    client.connect();
    await next(client, "open");
    client.reconnect();
    await next(client, "open");
  }
  // A warning comes a turn later.
  await new Promise((resolve) => setTimeout(resolve, 20));
  controller.abort();
  assertEquals(clients.map((client) => client.readyState), clients.map(() => 2));
  assertEquals(heard % 1000, 30);
  process.off("warning", warn);
  assertEquals(warnings, []);
});
