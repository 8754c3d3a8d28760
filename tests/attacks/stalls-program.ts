/**
 * A server in a process of its own, that can be frozen: an endless stream for one reader. It says its port, then `full`
 * when the reader is behind; from then on it takes no new connection.
 *
 * @module
 */
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { eventStream } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";

const stallTimeout = Number(process.argv.at(-1));
const endless = () =>
  eventStream(function* () {
    for (;;) yield "x".repeat(16_000);
  }());
const listener = toNodeListener(endless, { stallTimeout });
const server = createServer(
  ((incoming, outgoing) => {
    watch(outgoing);
    listener(incoming, outgoing);
  }) as RequestListener,
);
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));

/** Says when nothing of a response was taken for so long that a stall would be counted already. */
function watch(outgoing: ServerResponse): void {
  let last = -1;
  let looks = 0;
  const timer = setInterval(() => {
    const length = outgoing.socket?.bytesWritten ?? -1;
    looks = length === last ? looks + 1 : 0;
    last = length;
    if (looks < 16) return;
    clearInterval(timer);
    console.log("full");
    server.close();
  }, 50);
}
