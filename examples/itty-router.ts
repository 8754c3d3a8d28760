/**
 * Streamside in a router, beside other routes: `npx tsx examples/itty-router.ts`.
 *
 * ```sh
 * curl -N 'localhost:8080/events/subscribe?sessionId=ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { AutoRouter, error, type IRequest } from "itty-router";
import { createHandler, createHub, sessionFromRequest } from "../mod.ts";
import { toNodeListener } from "../src/node/mod.ts";

interface WithUser extends IRequest {
  user?: { id: string };
}

const people = new Set(["ada", "grace"]);
const hub = createHub<{ greeting: { from: string } }>();
const sse = createHandler(hub, {
  basePath: "/events",
  // The user that the middleware below has found.
  authenticate: (_request, { user }: WithUser) => user && { session: user.id },
  authorize: (_identity, message) => message.session !== undefined,
});

// A real application looks a session up that nobody can guess: see examples/app.
function withUser(request: WithUser): void {
  const id = sessionFromRequest(request as unknown as Request);
  if (id !== null && people.has(id)) request.user = { id };
}

const router = AutoRouter({ before: [withUser] });
router
  .get("/", () => "Streamside and itty-router")
  .get("/sessions", () => hub.sessions())
  .post("/greet/:name", async ({ params }: IRequest) => {
    const name = params.name ?? "";
    if (!people.has(name)) return error(404, "nobody of that name");
    return await hub.send(name, "greeting", { from: "itty-router" });
  })
  .all("/events/*", (request: WithUser) => sse(request as unknown as Request, request));

const server = createServer(toNodeListener(router.fetch));
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
