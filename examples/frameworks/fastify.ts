/**
 * Streamside in Fastify: `npx tsx examples/frameworks/fastify.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import type { IncomingMessage } from "node:http";
import process from "node:process";
import fastify from "fastify";
import { createHandler, createHub } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";

interface User {
  id: string;
}

declare module "fastify" {
  interface FastifyRequest {
    user: User | null;
  }
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the hook below has found.
  authenticate: (_request, { req }: NodeContext<IncomingMessage & { user: User | null }>) =>
    req.user && { session: req.user.id },
  authorize: (_identity, message) => message.session !== undefined,
});
const listener = toNodeListener(handler);

const app = fastify();
app.decorateRequest("user", null);
// In place of this: @fastify/jwt, @fastify/session, a token. This one believes everybody.
app.addHook("onRequest", (request, _reply, done) => {
  const id = request.headers["x-session-id"];
  if (typeof id === "string") request.user = { id };
  done();
});
app.all("/events/*", (request, reply) => {
  reply.hijack(); // it is answered here
  const { user, body } = request; // the body that Fastify has read
  return listener(Object.assign(request.raw, { user, body }), reply.raw);
});
app.get("/sessions", () => hub.sessions());
app.post<{ Params: { name: string } }>(
  "/greet/:name",
  ({ params }) => hub.send(params.name, "greeting", { from: "Fastify" }),
);

const url = await app.listen({ port: Number(process.env.PORT ?? 8080) });
console.log(`Streamside is on http://localhost:${new URL(url).port}`);
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  setTimeout(() => app.server.closeAllConnections(), 1000).unref();
  await app.close();
});
