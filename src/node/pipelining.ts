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
 * Makes a response that waits behind another one of its connection (HTTP/1.1 pipelining) close with the connection.
 * Before version 26, Node tells only the first response, and nobody whose request was read already.
 */
export function closeWithConnection(socket: Socket & WithWaiting, outgoing: ServerResponse): void {
  let waiting = socket[WAITING];
  if (waiting === undefined) {
    waiting = socket[WAITING] = new Set();
    // One listener for all: Node warns of many.
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
