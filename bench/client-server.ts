/**
 * The server of `bench/client.ts`: sends prepared events as fast as they are taken, and says its port on a line.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** What a path sends: one event, and how many of them go out with a write. */
const streams: Record<string, { event: (n: number) => string; each: number }> = {
  "/typical": {
    event: (n) => `id: ${n}\nevent: tick\ndata: {"n":${n},"text":"${"x".repeat(95)}"}\n\n`,
    each: 400,
  },
  "/small": { event: (n) => `event: tick\ndata: ${n}\n\n`, each: 2000 },
  "/single": {
    event: (n) => `id: ${n}\nevent: tick\ndata: {"n":${n},"text":"${"x".repeat(95)}"}\n\n`,
    each: 1,
  },
};

/** How many events are prepared; a longer stream sends them again. */
const PREPARED = 20_000;

const prepared = new Map(
  Object.entries(streams).map(([path, { event, each }]) => {
    const writes = Array.from({ length: PREPARED / each }, (_, i) => i * each);
    return [
      path,
      writes.map((first) =>
        Buffer.from(Array.from({ length: each }, (_, i) => event(first + i)).join(""))
      ),
    ];
  }),
);

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url!, "http://localhost");
  const chunks = prepared.get(pathname)!;
  const writes = Number(searchParams.get("count")) / streams[pathname]!.each;
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.on("error", () => {});
  let next = 0;
  // Stays open at the end: the client is the one who leaves.
  const write = () => {
    while (next < writes && !response.destroyed) {
      if (!response.write(chunks[next++ % chunks.length]!)) {
        return void response.once("drain", write);
      }
    }
  };
  write();
});

server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());
