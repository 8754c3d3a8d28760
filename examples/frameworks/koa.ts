/**
 * Streamside in Koa: `npx tsx examples/frameworks/koa.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import Koa from "koa";
import { createHandler, createHub } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";

interface State {
  user?: { id: string };
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the middleware below has found.
  authenticate: (_request, { req }: NodeContext<IncomingMessage & State>) =>
    req.user && { session: req.user.id },
  authorize: (_identity, message) => message.session !== undefined,
});
const listener = toNodeListener(handler);

const app = new Koa<State>();
// In place of this: koa-session, koa-passport, a token. This one believes everybody.
app.use(async (ctx, next) => {
  const id = ctx.get("X-Session-Id");
  if (id) ctx.state.user = { id };
  await next();
});
app.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/events/")) return await next();
  ctx.respond = false; // it is answered here
  const { body } = ctx.request as { body?: unknown }; // what a body parser has read, if there is one
  await listener(Object.assign(ctx.req, { user: ctx.state.user, body }), ctx.res);
});
app.use(async (ctx) => {
  const [, name] = /^\/greet\/(\w+)$/.exec(ctx.path) ?? [];
  if (ctx.path === "/sessions") ctx.body = hub.sessions();
  else if (name) ctx.body = await hub.send(name, "greeting", { from: "Koa" });
});

const server = app.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
