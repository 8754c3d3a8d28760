/**
 * `@boringnode/transmit`: streams subscribed to one channel.
 *
 * @module
 */

import { Transmit } from "@boringnode/transmit";
import { createServer } from "node:http";
import { drive, PORT } from "./driver.ts";

const transmit = new Transmit({ pingInterval: false, transport: null });
let connections = 0;

const server = createServer(async (request, response) => {
  const uid = request.url!.slice(request.url!.indexOf("session=") + 8);
  transmit.createStream({ uid, request, response, context: {} });
  await transmit.subscribe({ uid, channel: "ticks", context: {} });
  connections++;
});

server.listen(PORT, "127.0.0.1", () =>
  drive({
    connections: () => connections,
    broadcast: (data) => transmit.broadcast("ticks", { event: "tick", data }),
  }));
