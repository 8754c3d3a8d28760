/**
 * Streamside in Elysia: `bun run examples/frameworks/elysia.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import process from "node:process";
import { Elysia } from "elysia";
import { createHandler, createHub } from "../../mod.ts";

interface User {
  id: string;
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that `derive` below has found.
  authenticate: (_request, { user }: { user: User | undefined }) => user && { session: user.id },
  authorize: (_identity, message) => message.session !== undefined,
});

const app = new Elysia({ serve: { idleTimeout: 0 } }) // else Bun ends a stream that says nothing for a while
  // In place of this: @elysiajs/jwt, a session, a token. This one believes everybody.
  .derive(({ headers }): { user: User | undefined } => {
    const id = headers["x-session-id"];
    return { user: id === undefined ? undefined : { id } };
  })
  // The handler reads the body itself.
  .all("/events/*", ({ request, user }) => handler(request, { user }), { parse: "none" })
  .get("/sessions", () => hub.sessions())
  .post("/greet/:name", ({ params }) => hub.send(params.name, "greeting", { from: "Elysia" }))
  .listen(Number(process.env.PORT ?? 8080));
console.log(`Streamside is on http://localhost:${app.server!.port}`);
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  await app.stop();
});
