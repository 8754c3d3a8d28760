/**
 * The rest of a request's body after the answer. An answer comes early when the body is too large, or when nobody may
 * send one.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { clearTimeout, setTimeout } from "node:timers";

/** How much of a body flows away after its answer, in bytes. */
const MOST = 128 * 1024 * 1024;
/** For how long, in ms. */
const LONGEST = 30_000;

/** Whether the request has come as a whole. */
export function isComplete(incoming: IncomingMessage): boolean {
  return incoming.complete || incoming.readableEnded;
}

/**
 * Whether the connection goes as soon as the answer has ended, and with it an answer that the client has not read: a
 * proxy that opens a connection for each request is told of a reset in its place (RFC 9112, 9.6).
 */
export function endsConnection({ req, shouldKeepAlive }: ServerResponse): boolean {
  return req.httpVersionMajor < 2 && !shouldKeepAlive;
}

/**
 * Lets what is left of the body flow away, for the client to read its answer and the connection to take the next
 * request: for a while. Then the connection is cut.
 */
export function letFlow(incoming: IncomingMessage, then: () => void = () => {}): void {
  if (isComplete(incoming) || incoming.destroyed) {
    // What came is still to be let go of: Node does so by itself, Deno does not.
    incoming.resume();
    return then();
  }
  let bytes = 0;
  const stop = () => {
    clearTimeout(timer);
    incoming.off("data", onData).off("end", stop).off("close", stop);
    then();
  };
  const cut = () => {
    stop();
    const { stream } = incoming as IncomingMessage & { stream?: { close(): void } };
    if (stream) stream.close();
    else incoming.destroy();
  };
  const onData = (chunk: Uint8Array) => {
    if ((bytes += chunk.length) > MOST) cut();
  };
  const timer = setTimeout(cut, LONGEST);
  timer.unref();
  incoming.on("data", onData).once("end", stop).once("close", stop);
}
