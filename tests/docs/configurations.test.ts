/**
 * The configurations of proxies on the pages, read by the proxies themselves. Caddy's run in front of a hub; what nginx
 * does with its own is in `tests/http/production-nginx.test.ts`.
 *
 * @module
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import { blocksOf, pages } from "../../scripts/documentation.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import { freePort } from "../client/helpers.ts";
import { FAIL_OVER, INTERCEPT, LATER } from "../nginx.ts";
import { cert, key } from "../node/certificate.ts";
import { find, skipWithout } from "../programs.ts";
import {
  authenticate,
  EventReader,
  quietLogger,
  refusedForNow,
  serveNode,
  untilIdle,
  within,
} from "../server-helpers.ts";

/** The blocks of all pages in one language. */
async function blocksIn(language: string): Promise<{ where: string; text: string }[]> {
  return (await pages()).flatMap((page) =>
    blocksOf(page).filter((block) => block.language === language)
      .map(({ line, text }) => ({ where: `${page.path}:${line}`, text }))
  );
}

test("nginx takes each of its blocks", { skip: skipWithout("nginx") }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "streamside-nginx-"));
  const blocks = await blocksIn("nginx");
  assert(blocks.length >= 3);
  try {
    for (const { where, text } of blocks) {
      const upstream = /^upstream /m.test(text) ? "" : "upstream app { server 127.0.0.1:8080; }";
      const inLocation = /^(?:\w+ [^{}]*;\s*)+$/.test(text) ? `location / { ${text} }` : text;
      const http = /^server /m.test(text) ? text : `server { ${inLocation} }`;
      const configuration = join(folder, "nginx.conf");
      await writeFile(join(folder, "cert"), cert);
      await writeFile(join(folder, "key"), key);
      const ours = http.replace(/(ssl_certificate) .*;/, `$1 ${folder}/cert;`)
        .replace(/(ssl_certificate_key) .*;/, `$1 ${folder}/key;`);
      await writeFile(
        configuration,
        `error_log stderr; pid ${folder}/pid; events {}
        http { access_log off; ${upstream} ${ours} }`,
      );
      const args = ["-t", "-q", "-p", folder, "-c", configuration];
      const { status, stderr } = spawnSync(find("nginx")!, args, { encoding: "utf8" });
      assertEquals([where, status], [where, 0], stderr);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("what the tests of nginx take from docs/unavailable.md stands there", async () => {
  const words = (text: string) => text.replaceAll(/\s+/g, " ").trim();
  const [failOver, later] = (await blocksIn("nginx"))
    .filter(({ where }) => where.startsWith("docs/unavailable.md"))
    .map(({ text }) => words(text));
  assertEquals(failOver, words(FAIL_OVER));
  assert(later!.includes(words(INTERCEPT)), later);
  assert(later!.includes(words(LATER)), later);
});

test("Caddy streams at once with each of its blocks, and its encode leaves streams alone", {
  skip: skipWithout("caddy"),
}, async () => {
  const blocks = await blocksIn("caddyfile");
  assertEquals(blocks.length, 2);
  for (const { text } of blocks) {
    const hub = createHub({ logger: quietLogger, heartbeat: 250 });
    const handler = createHandler(hub, { authenticate });
    const page = "<!DOCTYPE html>".padEnd(10_000, "page ");
    const server = await serveNode(
      toNodeListener((request) =>
        new URL(request.url).pathname === "/"
          ? new Response(page, { headers: { "Content-Type": "text/html" } })
          : handler(request)
      ),
    );
    const proxy = await startCaddy(text, server.port);
    try {
      const headers = { "Accept-Encoding": "gzip" };
      const subscribe = () => fetch(`${proxy.url}/api/v1/sse/subscribe?sessionId=ada`, { headers });
      const response = await subscribe();
      assertEquals(response.headers.get("Content-Type"), "text/event-stream");
      assertEquals(response.headers.get("Content-Encoding"), null);
      const reader = new EventReader(response);
      await reader.block();
      await hub.send("ada", "greeting", "hello");
      assertEquals((await reader.event()).data, "hello");
      await reader.cancel();
      await untilIdle(hub);

      const whole = await fetch(proxy.url, { headers });
      const encoding = whole.headers.get("Content-Encoding");
      assertEquals([await whole.text(), encoding], [page, text.includes("encode") ? "gzip" : null]);

      const last = new EventReader(await subscribe());
      await last.block();
      await hub.close({ within: 0 });
      await last.rest(); // it ends
      assertEquals((await refusedForNow(subscribe())).code, "closed");
    } finally {
      await proxy.close();
      await server.close();
      await hub.close();
    }
  }
});

/** Caddy with a block of a page, on a port of its own in place of a name and TLS, before a server. */
async function startCaddy(
  block: string,
  server: number,
): Promise<{ url: string; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "streamside-caddy-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const site = block.replace(/^app\.example/, url).replace("127.0.0.1:8080", `127.0.0.1:${server}`);
  assert(site.includes(url) && site.includes(`:${server}`), site);
  const configuration = join(folder, "Caddyfile");
  await writeFile(configuration, `{\n\tadmin off\n}\n${site}`);
  const child = spawn(
    find("caddy")!,
    ["run", "--adapter", "caddyfile", "--config", configuration],
    {
      env: { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  let said = "";
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const close = async () => {
    child.kill("SIGKILL");
    await within(ended, "Caddy to end");
    await rm(folder, { recursive: true });
  };
  const serves = new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding("utf8").on("data", (text) => {
      said += text;
      if (said.includes("serving initial configuration")) resolve();
    });
    child.once("close", () => reject(new Error(said)));
  });
  try {
    await within(serves, "Caddy to serve");
  } catch (error) {
    await close();
    throw error;
  }
  return { url, close };
}
