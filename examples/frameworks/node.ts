/**
 * Streamside on node:http alone: `npx tsx examples/frameworks/node.ts`.
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
import { createHandler, createHub } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // In place of this: a session, a token. This one believes everybody.
  authenticate(request) {
    const session = request.headers.get("X-Session-Id");
    return session ? { session } : null;
  },
  authorize: (_identity, message) => message.session !== undefined,
});

async function respond(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith("/events/")) return await handler(request);
  if (pathname === "/sessions") return Response.json(hub.sessions());
  const [, name] = /^\/greet\/(\w+)$/.exec(pathname) ?? [];
  if (name === undefined || request.method !== "POST") return new Response(null, { status: 404 });
  return Response.json(await hub.send(name, "greeting", { from: "node:http" }));
}

const server = createServer(toNodeListener(respond));
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
