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

const prepared = new Map<string, Buffer[]>();

function prepare(path: string, count: number): Buffer[] {
  const key = path + count;
  const known = prepared.get(key);
  if (known) return known;
  const { event, each } = streams[path]!;
  const chunks: Buffer[] = [];
  for (let n = 1; n <= count; n += each) {
    const last = Math.min(n + each - 1, count);
    chunks.push(Buffer.from(Array.from({ length: last - n + 1 }, (_, i) => event(n + i)).join("")));
  }
  prepared.set(key, chunks);
  return chunks;
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url!, "http://localhost");
  const chunks = prepare(pathname, Number(searchParams.get("count")));
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.on("error", () => {});
  let next = 0;
  // Stays open at the end: the client is the one who leaves.
  const write = () => {
    while (next < chunks.length && !response.destroyed) {
      if (!response.write(chunks[next++]!)) return void response.once("drain", write);
    }
  };
  write();
});

server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());
