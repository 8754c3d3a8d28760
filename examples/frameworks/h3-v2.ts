/**
 * Streamside in h3 v2: `npx tsx examples/frameworks/h3-v2.ts`, `deno run -A examples/frameworks/h3-v2.ts`,
 * `bun run examples/frameworks/h3-v2.ts`.
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
import { H3, type H3Event } from "h3-v2"; // in your application: "h3"
import { createHandler, createHub } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";

interface User {
  id: string;
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the middleware below has found.
  authenticate(_request, event: H3Event) {
    const user = event.context.user as User | undefined;
    return user && { session: user.id };
  },
  authorize: (_identity, message) => message.session !== undefined,
});

const app = new H3();
// In place of this: a session, a token. This one believes everybody.
app.use((event) => {
  const id = event.req.headers.get("X-Session-Id");
  if (id) event.context.user = { id } satisfies User;
});
app.all("/events/**", (event) => handler(event.req, event));
app.get("/sessions", () => hub.sessions());
app.post(
  "/greet/:name",
  (event) => hub.send(event.context.params!.name!, "greeting", { from: "h3 v2" }),
);

// With Deno: `Deno.serve(app.fetch)`. With Bun: `Bun.serve({ fetch: app.fetch, idleTimeout: 0 })`.
const server = createServer(toNodeListener((request) => app.fetch(request)));
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
