/**
 * Streamside on `Deno.serve` alone: `deno run -A examples/frameworks/deno.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
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
  return Response.json(await hub.send(name, "greeting", { from: "Deno.serve" }));
}

const server = Deno.serve({
  port: Number(Deno.env.get("PORT") ?? 8080),
  onListen: ({ port }) => console.log(`Streamside is on http://localhost:${port}`),
}, respond);
Deno.addSignalListener("SIGTERM", async function drain() {
  await hub.close({ within: 1000 });
  await server.shutdown();
  Deno.removeSignalListener("SIGTERM", drain); // a listener keeps Deno running
});
