/**
 * Streamside in Express: `npx tsx examples/frameworks/express.ts`.
 *
 * ```sh
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import type { AddressInfo } from "node:net";
import process from "node:process";
import express from "express";
import { createHandler, createHub } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";

declare global {
  namespace Express {
    interface Request {
      user?: { id: string };
    }
  }
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the middleware below has found.
  authenticate: (_request, { req }: NodeContext<express.Request>) =>
    req.user && { session: req.user.id },
  authorize: (_identity, message) => message.session !== undefined,
});

const app = express();
app.use(express.json());
// In place of this: Passport, a session, a token. This one believes everybody.
app.use((req, _res, next) => {
  const id = req.get("X-Session-Id");
  if (id) req.user = { id };
  next();
});
app.use("/events", toNodeListener(handler));
app.get("/sessions", (_req, res) => void res.json(hub.sessions()));
app.post("/greet/:name", async (req, res) => {
  res.json(await hub.send(req.params.name, "greeting", { from: "Express" }));
});

const server = app.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});
process.on("SIGTERM", async () => {
  await hub.close({ within: 1000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
});
