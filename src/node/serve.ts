/**
 * How a hub's connection writes to a response of node:http: to the response itself, or, where that is safe, straight to
 * its socket.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { SinkOwner } from "../hub/sink.ts";
import { isGone } from "./outgoing.ts";
import { ResponseSink, SINK, type WithSink } from "./response-sink.ts";
import { directSocket, SocketSink } from "./socket-sink.ts";
import type { Stalls } from "./stalls.ts";

/** Lets a connection write to a response whose head is set. */
export function serveConnection(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  owner: SinkOwner,
  stalls: Stalls | undefined,
): void {
  // Head and first events leave in one packet.
  outgoing.socket?.cork();
  outgoing.flushHeaders();
  const socket = directSocket(incoming, outgoing);
  const sink = socket
    ? new SocketSink(owner, outgoing, socket, stalls)
    : new ResponseSink(owner, outgoing, stalls);
  owner.sink = sink;
  // One function for all connections: it finds the sink on the emitter.
  (outgoing as WithSink)[SINK] = sink;
  outgoing.on("close", onClose);
  if (socket) {
    // A socket that serves its second stream has the listener already.
    if (!(SINK in socket)) socket.on("drain", onDrain);
    (socket as WithSink)[SINK] = sink;
  } else outgoing.on("drain", onDrain);
  // The client may have gone while `authenticate` was at work.
  if (isGone(outgoing) || incoming.socket.destroyed) owner.gone();
  else if (owner.ended) sink.end();
  else owner.drained();
  outgoing.socket?.uncork();
}

function onDrain(this: WithSink): void {
  this[SINK]?.owner?.drained();
}

function onClose(this: WithSink): void {
  this[SINK]?.owner?.gone();
  this[SINK]?.forget();
}
