/**
 * One of the servers for the loss: a hub on `REDIS_URL` or `NATS_URL`, or `@boringnode/transmit` on Redis. It says its
 * port, and sends so many numbered events a second to everyone while it is told to, on its standard input.
 *
 * @module
 */

import { Transmit } from "@boringnode/transmit";
import { redis } from "@boringnode/bus/transports/redis";
import { connect } from "@nats-io/transport-node";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { createInterface } from "node:readline";
import { createClient } from "redis";
import { createHandler, createHub } from "../../mod.ts";
import { jetStreamLog } from "../../src/log/jetstream.ts";
import { redisLog } from "../../src/log/redis.ts";
import { toNodeListener } from "../../src/node/mod.ts";

const { KIND, REDIS_URL, NATS_URL } = process.env;
const [listener, broadcast] = KIND === "transmit" ? onTransmit() : await onHub();

const server = createServer(listener).listen(0, "127.0.0.1", () => {
  console.log((server.address() as AddressInfo).port);
});

let sending: ReturnType<typeof setInterval> | undefined;
let sent = 0;
createInterface({ input: process.stdin }).on("line", (line) => {
  clearInterval(sending);
  const rate = Number(line);
  const [began, before] = [performance.now(), sent];
  if (rate === 0) return void broadcast(sent++).then(() => console.log(sent));
  sending = setInterval(() => {
    while (sent < before + (performance.now() - began) * rate / 1000) void broadcast(sent++);
  }, 1);
});

function onTransmit(): [RequestListener, (n: number) => Promise<void>] {
  const { port } = new URL(REDIS_URL!);
  const transport = redis({ host: "127.0.0.1", port: Number(port) })();
  const transmit = new Transmit({ pingInterval: false, transport: null }, transport);
  let clients = 0;
  return [
    async (request, response) => {
      // As its client does, but at once and by itself: a stream, and a subscription for it.
      const uid = `${process.pid}-${clients++}`;
      transmit.createStream({ uid, request, response, context: {} } as never);
      await transmit.subscribe({ uid, channel: "all", context: {} } as never);
    },
    (n) => Promise.resolve(transmit.broadcast("all", n)),
  ];
}

async function onHub(): Promise<[RequestListener, (n: number) => Promise<unknown>]> {
  const log = REDIS_URL
    ? redisLog(await createClient({ url: REDIS_URL }).on("error", () => {}).connect())
    : jetStreamLog(await connect({ servers: NATS_URL!, maxReconnectAttempts: -1 }));
  // What the clients do is up to them: they wait equally long for both.
  const hub = createHub({ log, retry: 100 });
  const handler = createHandler(hub, {
    basePath: "",
    authenticate: () => ({ session: crypto.randomUUID() }),
  });
  await hub.broadcast("message", -1); // once the log is reached
  return [toNodeListener(handler), (n) => hub.broadcast("message", n)];
}
