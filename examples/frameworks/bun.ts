/**
 * Streamside on `Bun.serve` alone: `bun run examples/frameworks/bun.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import process from "node:process";
import { createHandler, createHub } from "../../mod.ts";

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
  return Response.json(await hub.send(name, "greeting", { from: "Bun.serve" }));
}

const server = Bun.serve({
  port: Number(process.env.PORT ?? 8080),
  idleTimeout: 0, // Bun ends a response that says nothing for 10 s; a stream may
  fetch: respond,
});
console.log(`Streamside is on http://localhost:${server.port}`);
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  await server.stop();
});
