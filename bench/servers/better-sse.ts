/**
 * better-sse: sessions registered with one channel.
 *
 * @module
 */

import { createChannel, createSession, type Session } from "better-sse";
import { createServer } from "node:http";
import { drive, PORT } from "./driver.ts";

const channel = createChannel();
const sessions = new Map<string, Session>();

const server = createServer(async (request, response) => {
  const name = request.url!.slice(request.url!.indexOf("session=") + 8);
  const session = await createSession(request, response);
  sessions.set(name, session);
  channel.register(session);
});

server.listen(PORT, "127.0.0.1", () =>
  drive({
    connections: () => channel.sessionCount,
    broadcast: (data) => channel.broadcast(data, "tick"),
    send: (number, data) => sessions.get(`s${number}`)!.push(data, "tick"),
  }));
