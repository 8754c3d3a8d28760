/**
 * No library: a loop that writes one shared buffer to each response with `res.write`.
 *
 * @module
 */

import { createServer, type ServerResponse } from "node:http";
import { drive, PORT } from "./driver.ts";

const responses = new Map<string, ServerResponse>();
let id = 0;

const server = createServer((request, response) => {
  const session = request.url!.slice(request.url!.indexOf("session=") + 8);
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
  responses.set(session, response);
  response.on("close", () => responses.delete(session));
});

server.listen(PORT, "127.0.0.1", () =>
  drive({
    connections: () => responses.size,
    broadcast: (data) => {
      const event = Buffer.from(`id: 00000000000000000000-${++id}\nevent: tick\ndata: ${data}\n\n`);
      for (const response of responses.values()) response.write(event);
    },
    send: (number, data) => {
      const event = Buffer.from(`id: 00000000000000000000-${++id}\nevent: tick\ndata: ${data}\n\n`);
      responses.get(`s${number}`)!.write(event);
    },
  }));
