/**
 * Streamside in h3 v1, as in Nitro and Nuxt of that time: `npx tsx examples/frameworks/h3-v1.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import {
  createApp,
  createRouter,
  defineEventHandler,
  getHeader,
  getRouterParam,
  toNodeListener as toH3Listener,
} from "h3-v1"; // in your application: "h3"
import { createHandler, createHub } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";

interface User {
  id: string;
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the handler below has found.
  authenticate: (_request, { req }: NodeContext<IncomingMessage & { user?: User }>) =>
    req.user && { session: req.user.id },
  authorize: (_identity, message) => message.session !== undefined,
});
const listener = toNodeListener(handler);

const app = createApp();
// In place of this: a session, a token. This one believes everybody.
app.use(defineEventHandler((event) => {
  const id = getHeader(event, "X-Session-Id");
  if (id) event.context.user = { id } satisfies User;
}));
// Without a user to hand on, `fromNodeMiddleware(listener)` does.
app.use(
  "/events",
  defineEventHandler(({ node: { req, res }, context }) =>
    listener(Object.assign(req, { user: context.user as User | undefined }), res)
  ),
);
app.use(
  createRouter()
    .get("/sessions", defineEventHandler(() => hub.sessions()))
    .post(
      "/greet/:name",
      defineEventHandler((event) =>
        hub.send(getRouterParam(event, "name")!, "greeting", { from: "h3 v1" })
      ),
    ),
);

const server = createServer(toH3Listener(app));
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
