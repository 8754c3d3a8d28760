/**
 * One of several servers for `presence.test.ts`: a hub on the Redis at `REDIS_URL`, or on the NATS at `NATS_URL`. `GET
 * /presence` answers who is online, and what it was told of who comes and goes.
 *
 * @module
 */
import process from "node:process";
import { connect } from "@nats-io/transport-node";
import { createClient } from "redis";
import { createHandler, createHub, type Log } from "../../mod.ts";
import { jetStreamLog } from "../../src/log/jetstream.ts";
import { redisLog } from "../../src/log/redis.ts";
import { authenticate, quietLogger, serve } from "../server-helpers.ts";

const { REDIS_URL, NATS_URL } = process.env;
const hub = createHub({ log: await openLog(), logger: quietLogger, retry: 100 });
const handler = createHandler(hub, { authenticate });
const told: string[] = [];
hub.on("online", ({ session }) => void told.push(`online ${session}`));
hub.on("offline", ({ session }) => void told.push(`offline ${session}`));

const server = await serve(async (request) => {
  if (new URL(request.url).pathname !== "/presence") return await handler(request);
  return Response.json({ sessions: (await hub.presence("news")).sort(), told });
});
// The log has said who was there before: what comes now is news.
await hub.presence();
console.log(server.url);

async function openLog(): Promise<Log> {
  if (NATS_URL !== undefined) return jetStreamLog(await connect({ servers: NATS_URL }));
  const client = createClient({ url: REDIS_URL! }).on("error", () => {});
  await client.connect();
  return redisLog(client);
}
