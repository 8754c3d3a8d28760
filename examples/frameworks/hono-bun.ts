/**
 * Streamside in Hono on `Bun.serve`: `bun run examples/frameworks/hono-bun.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import process from "node:process";
import { type Context, Hono } from "hono";
import { createHandler, createHub } from "../../mod.ts";

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

const server = Bun.serve({
  port: Number(process.env.PORT ?? 8080),
  idleTimeout: 0, // Bun ends a response that says nothing for 10 s; a stream may
  fetch: app.fetch,
});
console.log(`Streamside is on http://localhost:${server.port}`);
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  await server.stop();
});
