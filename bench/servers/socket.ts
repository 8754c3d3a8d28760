/**
 * No library: a loop that writes one shared, already framed buffer to each socket, past the response.
 *
 * @module
 */

import { createServer } from "node:http";
import type { Socket } from "node:net";
import { drive, PORT } from "./driver.ts";

const sockets = new Map<string, Socket>();
let id = 0;

const server = createServer((request, response) => {
  const session = request.url!.slice(request.url!.indexOf("session=") + 8);
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.flushHeaders();
  sockets.set(session, response.socket!);
  response.on("close", () => sockets.delete(session));
});

function framed(data: string): Buffer {
  const event = `id: 00000000000000000000-${++id}\nevent: tick\ndata: ${data}\n\n`;
  return Buffer.from(`${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`);
}

server.listen(PORT, "127.0.0.1", () =>
  drive({
    connections: () => sockets.size,
    broadcast: (data) => {
      const chunk = framed(data);
      for (const socket of sockets.values()) socket.write(chunk);
    },
    send: (number, data) => {
      sockets.get(`s${number}`)!.write(framed(data));
    },
  }));
