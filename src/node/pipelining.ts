/**
 * HTTP/1.1 pipelining: responses that wait behind another one of their connection.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

const WAITING: unique symbol = Symbol("streamside.waiting");

interface WithWaiting {
  [WAITING]?: Set<ServerResponse>;
}

/**
 * Sees to it that a response which waits behind another one of its connection (HTTP/1.1 pipelining) closes with the
 * connection: Node, before version 26, tells only the first one, and nobody of a request that was read already.
 */
export function closeWithConnection(socket: Socket & WithWaiting, outgoing: ServerResponse): void {
  let waiting = socket[WAITING];
  if (waiting === undefined) {
    waiting = socket[WAITING] = new Set();
    // One listener for all: of many, Node warns.
    socket.on("close", onConnectionClose);
  }
  waiting.add(outgoing);
  outgoing.once("close", () => waiting.delete(outgoing));
}

function onConnectionClose(this: WithWaiting): void {
  for (const outgoing of this[WAITING] ?? []) {
    if (outgoing.destroyed || outgoing.socket !== null) continue;
    outgoing.destroy();
    outgoing.emit("close");
  }
}
