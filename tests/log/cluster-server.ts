/**
 * One of several servers for `cluster.test.ts`: a hub on the Redis at `REDIS_URL`, or on the NATS at `NATS_URL`.
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
const log = NATS_URL === undefined ? await onRedis(REDIS_URL!) : await onNats(NATS_URL);
const hub = createHub({ log, logger: quietLogger, retry: 100 });
const handler = createHandler(hub, {
  authenticate: (request) => {
    const session = authenticate(request)?.session;
    // Sessions of the same last digit share a channel.
    return session === undefined ? null : { session, channels: [`channel-${session.at(-1)}`] };
  },
  authorize: () => true,
});
const server = await serve(handler);
console.log(server.url);

async function onRedis(url: string): Promise<Log> {
  const client = createClient({ url }).on("error", () => {});
  await client.connect();
  return redisLog(client);
}

async function onNats(servers: string): Promise<Log> {
  const connection = await connect({
    servers,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
    // It may be started just while the engine is away.
    waitOnFirstConnect: true,
  });
  return jetStreamLog(connection);
}
