/**
 * Streamside in Express, behind `compression` and `express-session`: `npx tsx examples/frameworks/express.ts`.
 *
 * ```sh
 * curl -X POST localhost:8080/login/ada --cookie-jar cookies
 * curl -N localhost:8080/events/subscribe --cookie cookies &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import process from "node:process";
import compression from "compression";
import express from "express";
import session from "express-session";
import { createHandler, createHub } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";

declare module "express-session" {
  interface SessionData {
    user: { id: string };
  }
}

const hub = createHub<{ greeting: { from: string } }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The user of the session that the middleware below has loaded.
  authenticate: (_request, { req }: NodeContext<express.Request>) =>
    req.session.user && { session: req.session.user.id },
  authorize: (_identity, message) => message.session !== undefined,
});

const app = express();
app.use(compression()); // it leaves streams alone, since they say `no-transform`
app.use(express.json());
app.use(session({
  secret: process.env.SESSION_SECRET ?? randomUUID(),
  // With `true` the end of a stream would save the session as it was when the stream began.
  resave: false,
  saveUninitialized: false,
  cookie: { sameSite: "lax" },
}));
app.use("/events", toNodeListener(handler));

// In place of this: Passport, a password. This one believes everybody.
app.post("/login/:name", (req, res) => {
  req.session.user = { id: req.params.name };
  res.sendStatus(204);
});
app.post("/logout", (req, res, next) => {
  const { user } = req.session;
  req.session.destroy(async (error) => {
    if (error) return next(error);
    if (user) await hub.disconnect(user.id); // a stream that is open does not look at the session again
    res.sendStatus(204);
  });
});
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
