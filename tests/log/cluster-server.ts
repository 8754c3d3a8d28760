/**
 * One of several servers for `cluster.test.ts`: a hub on the Redis at `REDIS_URL`.
 *
 * @module
 */
import process from "node:process";
import { createClient } from "redis";
import { createHandler, createHub } from "../../mod.ts";
import { redisLog } from "../../src/log/redis.ts";
import { authenticate, quietLogger, serve } from "../server-helpers.ts";

const client = createClient({ url: process.env.REDIS_URL! }).on("error", () => {});
await client.connect();

const hub = createHub({ log: redisLog(client), logger: quietLogger, retry: 100 });
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
