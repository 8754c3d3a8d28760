/**
 * One of several servers for `cluster.test.ts` and `runs-cluster.test.ts`: a hub on the Redis at `REDIS_URL`, or on the NATS
 * at `NATS_URL`. `POST /run?events=100` begins a run of so many lines on the channel `answer`, which with `stay` goes on in
 * silence, and `POST /stop` stops it.
 *
 * @module
 */
import process from "node:process";
import { connect } from "@nats-io/transport-node";
import { createClient } from "redis";
import { createHandler, createHub, type Log, type StreamsideError } from "../../mod.ts";
import { jetStreamLog } from "../../src/log/jetstream.ts";
import { redisLog } from "../../src/log/redis.ts";
import { lineOf } from "../hub/run-model.ts";
import { authenticate, quietLogger, serve } from "../server-helpers.ts";

const { REDIS_URL, NATS_URL, RUN_TIMEOUT = "30000" } = process.env;
const log = NATS_URL === undefined ? await onRedis(REDIS_URL!) : await onNats(NATS_URL);
const hub = createHub({ log, logger: quietLogger, retry: 100, runTimeout: Number(RUN_TIMEOUT) });
const handler = createHandler(hub, {
  authenticate: (request) => {
    const session = authenticate(request)?.session;
    if (session === undefined) return null;
    // Sessions of the same last digit share a channel.
    return { session, channels: [`channel-${session.at(-1)}`, "answer"] };
  },
  authorize: () => true,
});
const server = await serve(async (request) => {
  const { pathname, searchParams } = new URL(request.url);
  try {
    if (pathname === "/stop") return Response.json(await hub.stopRun("answer"));
    if (pathname !== "/run") return await handler(request);
    const count = Number(searchParams.get("events"));
    const stays = searchParams.has("stay");
    const { cursor } = await hub.run("answer", (signal) => lines(count, stays, signal));
    return Response.json(cursor);
  } catch (error) {
    return Response.json((error as StreamsideError).code, { status: 409 });
  }
});
console.log(server.url);

/** A few lines in each turn of the event loop, so that readers come in between. */
async function* lines(count: number, stays: boolean, signal: AbortSignal): AsyncGenerator<string> {
  for (let i = 0; i < count; i++) {
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    yield lineOf(i);
  }
  if (stays) await new Promise((resolve) => signal.addEventListener("abort", resolve));
}

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
