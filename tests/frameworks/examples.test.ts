/**
 * The examples in `examples/frameworks` that run as they stand, each in a process of its own, on every runtime that it
 * is for.
 *
 * @module
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type ClientHttp2Session, connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before } from "node:test";
import { assertEquals } from "@std/assert";
import { start } from "../examples/server.ts";
import { cert, key } from "../node/certificate.ts";
import { runtime } from "../server-helpers.ts";
import { describeExample, type Example } from "./contract.ts";

type Runtime = typeof runtime;

/** What is true of one example alone. */
interface Entry extends Partial<Example> {
  readonly from: string;
  /** The runtimes that it is for. */
  readonly on: readonly Runtime[];
  /** What its process is told. */
  readonly env?: () => Record<string, string>;
}

const everywhere: readonly Runtime[] = ["node", "deno", "bun"];

/** What a client over HTTP/2 does in a process of its own: see `Example.reads`. */
const readsHttp2: string = `
  const { connect } = await import("node:http2");
  const session = connect(new URL(url).origin, { rejectUnauthorized: false });
  await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => {
    session.request({ ":path": new URL(url).pathname, ...headers }).once("data", resolve);
  })));`;

/** By the file's path in `examples`. */
const examples: Record<string, Entry> = {
  "frameworks/express": { from: "Express", on: everywhere, login: loginWithCookie },
  "frameworks/fastify": { from: "Fastify", on: everywhere },
  "frameworks/koa": { from: "Koa", on: everywhere },
  "frameworks/hono": { from: "Hono", on: everywhere },
  "frameworks/hono-deno": { from: "Hono", on: ["deno"] },
  "frameworks/hono-bun": { from: "Hono", on: ["bun"] },
  "frameworks/elysia": { from: "Elysia", on: ["bun"] },
  "frameworks/h3-v1": { from: "h3 v1", on: everywhere },
  "frameworks/h3-v2": { from: "h3 v2", on: everywhere },
  "itty-router": { from: "itty-router", on: everywhere },
  "frameworks/node": { from: "node:http", on: everywhere },
  "frameworks/http2": {
    from: "node:http2",
    on: ["node"],
    env: () => ({ CERT: join(folder, "cert.pem"), KEY: join(folder, "key.pem") }),
    fetch: fetchHttp2,
    reads: readsHttp2,
  },
  "frameworks/deno": { from: "Deno.serve", on: ["deno"] },
  "frameworks/bun": { from: "Bun.serve", on: ["bun"] },
};

for (const [path, { on, env, ...example }] of Object.entries(examples)) {
  if (!on.includes(runtime)) continue;
  describeExample(`${example.from}: examples/${path}.ts`, {
    ...example,
    start: () => start(path, env?.() ?? {}),
  });
}

// ------------------------------------------------------------------------------------------------------- a login

/** Logs in, and has the session's cookie from then on. */
async function loginWithCookie(url: string, name: string): Promise<Record<string, string>> {
  const answer = await fetch(`${url}/login/${name}`, { method: "POST" });
  assertEquals(answer.status, 204);
  const [cookie] = answer.headers.get("Set-Cookie")!.split(";");
  return { Cookie: cookie! };
}

// -------------------------------------------------------------------------------------------------------- HTTP/2

let folder = "";
let session: ClientHttp2Session | undefined;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "streamside-certificate-"));
  await writeFile(join(folder, "cert.pem"), cert);
  await writeFile(join(folder, "key.pem"), key);
});

after(async () => {
  session?.destroy();
  await rm(folder, { recursive: true });
});

/** As much of `fetch` as the tests use, over one HTTP/2 connection, as a browser has one. */
async function fetchHttp2(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const { origin, pathname } = new URL(String(input));
  session ??= connect(origin, { ca: cert });
  const { method = "GET", headers, body } = init ?? {};
  const stream = session.request(
    { ":method": method, ":path": pathname, ...headers as Record<string, string> },
    { endStream: !body },
  );
  if (body) stream.end(body);
  return await new Promise<Response>((resolve, reject) => {
    stream.once("error", reject);
    stream.once("response", ({ ":status": status, ...headers }) => {
      const isEmpty = method === "HEAD";
      if (isEmpty) stream.resume();
      const fields = Object.entries(headers).map(([name, value]) => [name, String(value)]);
      resolve(
        new Response(isEmpty ? null : Readable.toWeb(stream) as ReadableStream<Uint8Array>, {
          status: status as number,
          headers: fields as [string, string][],
        }),
      );
    });
  });
}
