/**
 * The second argument of a handler, which `authenticate` and its kin get as it is: given by whoever calls, and by each
 * runtime's own server.
 *
 * @module
 */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { assert, assertEquals } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";
import { freePort } from "../client/helpers.ts";
import { quietLogger, runtime, serve, serveNode, within } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const message = { session: "ada", event: "e", data: 1 };
const asked = (path: string) => new Request(`http://localhost/api/v1/sse${path}`);
const posted = (path: string) =>
  new Request(asked(path), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(message),
  });

describe("the context of a handler", () => {
  test("authenticate, authorize and authorizeMetrics get what the handler was called with", async () => {
    const env = { token: "t" };
    const seen: unknown[] = [];
    const see = (context: unknown) => seen.push(context) > 0;
    const hub = createHub({ logger: quietLogger });
    const handler = createHandler(hub, {
      authenticate: (_request, context: typeof env) => (see(context), { session: "ada" }),
      authorize: (_identity, _message, context) => see(context),
      authorizeMetrics: (_request, context) => see(context),
    });
    const answers = [
      await handler(asked("/subscribe"), env),
      await handler.subscribe(asked("/subscribe"), env),
      await handler(posted("/send"), env),
      await handler.send(posted("/send"), env),
      await handler(asked("/metrics"), env),
    ];
    assertEquals(answers.map(({ status }) => status), [200, 200, 202, 202, 200]);
    for (const { body } of answers) await body?.cancel();
    assertEquals(seen.length, 7);
    assert(seen.every((context) => context === env), "it is the same object");
    await hub.close();
  });

  test("toNodeListener gives the request and response that it was called with", async () => {
    const seen: NodeContext[] = [];
    const see = (context: NodeContext) => (seen.push(context), null);
    const hub = createHub({ logger: quietLogger });
    const ours = createHandler(hub, {
      authenticate: (_request, context: NodeContext) => see(context),
    });
    const others = (_request: Request, context: NodeContext) => new Response(see(context));
    for (const handler of [ours, others]) {
      const given: unknown[] = [];
      const listener = toNodeListener(handler);
      const server = await serveNode((req, res) => {
        given.push(req, res);
        return listener(req, res);
      });
      await (await fetch(`${server.url}/api/v1/sse/subscribe`)).text();
      const { req, res } = seen.at(-1)!;
      assert(req === given[0] && res === given[1], "they are the same objects");
      await server.close();
    }
    assertEquals(seen.length, 2);
    await hub.close();
  });

  const own =
    { deno: "Deno.serve gives its info", bun: "Bun.serve gives its server", node: "" }[runtime];
  test(own || "Deno.serve and Bun.serve give theirs", { skip: own === "" }, async () => {
    let seen: unknown;
    const hub = createHub({ logger: quietLogger });
    const handler = createHandler(hub, {
      authenticate: (request, context: { remoteAddr: unknown; requestIP(r: Request): unknown }) => {
        seen = runtime === "deno" ? context.remoteAddr : context.requestIP(request);
        return null;
      },
    });
    const server = await serve(handler as never);
    await (await fetch(`${server.url}/api/v1/sse/subscribe`)).text();
    assertEquals(
      (seen as { hostname?: string }).hostname ?? (seen as { address: string }).address,
      "127.0.0.1",
    );
    await server.close();
    await hub.close();
  });

  test("a worker gives its env", async () => {
    const directory = await mkdtemp(join(tmpdir(), "streamside-env-"));
    const port = await freePort();
    await writeFile(
      join(directory, "worker.ts"),
      `import { createHandler, createHub } from ${JSON.stringify(join(root, "mod.ts"))};
      let handler;
      export default {
        fetch(request, env) {
          handler ??= createHandler(createHub(), {
            authenticate: (request, env) =>
              request.headers.get("Authorization") === env.TOKEN ? { session: "ada" } : null,
          });
          return handler(request, env);
        },
      };`,
    );
    await writeFile(
      join(directory, "workerd.capnp"),
      `using Workerd = import "/workerd/workerd.capnp";
      const config :Workerd.Config = (
        services = [ (name = "main", worker = (
          modules = [ (name = "worker.js", esModule = embed "worker.js") ],
          compatibilityDate = "2026-01-01",
          bindings = [ (name = "TOKEN", text = "secret") ],
        )) ],
        sockets = [ (name = "http", address = "127.0.0.1:${port}", http = (), service = "main") ],
      );`,
    );
    const bin = (name: string) => join(root, "node_modules", ".bin", name);
    await promisify(execFile)(bin("esbuild"), [
      join(directory, "worker.ts"),
      "--bundle",
      "--format=esm",
      `--outfile=${join(directory, "worker.js")}`,
    ]);
    const worker = spawn(bin("workerd"), ["serve", join(directory, "workerd.capnp")], {
      stdio: "inherit",
    });
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    try {
      const url = `http://127.0.0.1:${port}/api/v1/sse/subscribe`;
      const ask = async (token: string) => {
        const answer = await fetch(url, { method: "HEAD", headers: { Authorization: token } })
          .catch(() => undefined);
        return answer?.status;
      };
      let status: number | undefined;
      const poll = async () => {
        while ((status = await ask("other")) === undefined) {
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      await within(poll(), "workerd to listen");
      assertEquals([status, await ask("secret")], [401, 200]);
    } finally {
      worker.kill("SIGKILL");
      await ended;
      await rm(directory, { recursive: true });
    }
  });
});
