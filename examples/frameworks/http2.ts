/**
 * Streamside on node:http2, to which browsers speak over TLS: all streams of a page on one connection.
 *
 * ```sh
 * openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out cert.pem
 * npx tsx examples/frameworks/http2.ts
 * curl -kN https://localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -k -X POST https://localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
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
  return Response.json(await hub.send(name, "greeting", { from: "node:http2" }));
}

const server = createSecureServer({
  cert: readFileSync(process.env.CERT ?? "cert.pem"),
  key: readFileSync(process.env.KEY ?? "key.pem"),
  allowHTTP1: true, // for clients that know nothing newer
}, toNodeListener(respond));
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on https://localhost:${(server.address() as AddressInfo).port}`);
});

// This kind of server has no `closeAllConnections`, and clients keep a connection open that has no stream any more.
const sockets = new Set<Socket>();
server.on("secureConnection", (socket) => {
  sockets.add(socket);
  socket.once("close", () => sockets.delete(socket));
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => sockets.forEach((socket) => socket.destroy()), 1000).unref();
});
