/**
 * Streamside in Hono on node:http: `npx tsx examples/frameworks/hono.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { type Context, Hono } from "hono";
import { createHandler, createHub } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";

interface Env {
  Variables: { user?: { id: string } };
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the middleware below has found.
  authenticate(_request, c: Context<Env>) {
    const user = c.get("user");
    return user && { session: user.id };
  },
  authorize: (_identity, message) => message.session !== undefined,
});

const app = new Hono<Env>();
// In place of this: hono/jwt, a session, a token. This one believes everybody.
app.use(async (c, next) => {
  const id = c.req.header("X-Session-Id");
  if (id) c.set("user", { id });
  await next();
});
app.all("/events/*", (c) => handler(c.req.raw, c));
app.get("/sessions", (c) => c.json(hub.sessions()));
app.post("/greet/:name", async (c) => {
  return c.json(await hub.send(c.req.param("name"), "greeting", { from: "Hono" }));
});

const server = createServer(toNodeListener((request) => app.fetch(request)));
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
