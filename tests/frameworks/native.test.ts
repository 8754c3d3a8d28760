/**
 * Frameworks of Fetch on what each runtime serves with: `Deno.serve`, `Bun.serve`, node:http with our listener and with
 * the framework's own. The user that the framework's middleware found gets in.
 *
 * @module
 */
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { getRequestListener } from "@hono/node-server";
import { H3, type H3Event, toNodeHandler } from "h3-v2";
import { type Context, Hono } from "hono";
import { createHandler, createHub } from "../../mod.ts";
import {
  EventReader,
  listen,
  quietLogger,
  runtime,
  serve,
  serveNode,
  type TestServer,
  textOf,
  until,
} from "../server-helpers.ts";

interface User {
  id: string;
}
interface Env {
  Variables: { user?: User };
}

const hub = createHub({ logger: quietLogger });

function hono(): Hono<Env> {
  const handler = createHandler(hub, {
    basePath: "/events",
    authenticate(_request, c: Context<Env>) {
      const user = c.get("user");
      return user && { session: user.id };
    },
    authorize: (identity, _message, c) => c.get("user")?.id === identity.session,
  });
  const app = new Hono<Env>();
  app.use(async (c, next) => {
    const id = c.req.header("X-Login");
    if (id) c.set("user", { id });
    await next();
  });
  app.all("/events/*", (c) => handler(c.req.raw, c));
  return app;
}

function h3(): H3 {
  const handler = createHandler(hub, {
    basePath: "/events",
    authenticate(_request, event: H3Event) {
      const user = event.context.user as User | undefined;
      return user && { session: user.id };
    },
    authorize: () => true,
  });
  const app = new H3();
  app.use((event) => {
    const id = event.req.headers.get("X-Login");
    if (id) event.context.user = { id };
  });
  app.all("/events/**", (event) => handler(event.req, event));
  return app;
}

async function works(server: TestServer): Promise<void> {
  const url = `${server.url}/events`;
  try {
    const refused = await fetch(`${url}/subscribe`);
    assertEquals([refused.status, JSON.parse(await textOf(refused)).code], [
      401,
      "not-authenticated",
    ]);
    const headers = { "X-Login": "ada" };
    const head = await fetch(`${url}/subscribe`, { headers, method: "HEAD" });
    assertEquals([head.status, head.headers.get("Content-Type")], [200, "text/event-stream"]);
    const reader = new EventReader(await fetch(`${url}/subscribe`, { headers }));
    await reader.block();
    const sent = await fetch(`${url}/send`, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify({ session: "ada", event: "e", data: "x".repeat(100_000) }),
    });
    assertEquals([sent.status, (await sent.json()).connections], [202, 1]);
    assertEquals((await reader.event()).data!.length, 100_000);
    await reader.cancel();
    await until(
      // Some find out that a reader is gone when they write to it.
      () => (void hub.broadcast("e", "are you there?"), hub.stats().connections === 0),
      "the hub to forget the reader",
    );
  } finally {
    await server.close();
  }
}

for (const [name, app] of [["Hono", hono()], ["h3 v2", h3()]] as const) {
  describe(name, () => {
    test(`on ${runtime === "node" ? "toNodeListener" : `${runtime}'s own server`}`, async () => {
      await works(await serve((request) => app.fetch(request)));
    });
  });
}

describe("the frameworks' own listeners for node:http", () => {
  test("@hono/node-server", async () => {
    const app = hono();
    // Its own Response in place of the global one would be that of all tests of the process.
    const options = { overrideGlobalObjects: false };
    const listener = getRequestListener((request) => app.fetch(request), options);
    await works(await serveNode((req, res) => listener(req as never, res as never)));
  });

  test("h3 v2's toNodeHandler", async () => {
    await works(await listen(createServer(toNodeHandler(h3()) as never)));
  });
});
