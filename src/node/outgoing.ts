/**
 * The state of a response of node:http or node:http2, by one name for both.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";

/** Whether the client has gone or the connection was cut: nothing written arrives any more. */
export function isGone(outgoing: ServerResponse): boolean {
  // HTTP/2: a stream can be reset while its connection goes on.
  const { stream } = outgoing as ServerResponse & Partial<Http2ServerResponse>;
  return stream ? stream.destroyed : outgoing.destroyed;
}

/** Resolves when the response has closed: it was sent as a whole, or the client has gone. */
export function whenClosed(outgoing: ServerResponse): Promise<void> {
  if (isGone(outgoing) || outgoing.writableFinished) return Promise.resolve();
  // `on`, since `once` makes one more function for each connection.
  return new Promise((resolve) => outgoing.on("close", resolve));
}

/** Whether nothing more may be written: the client has gone, or somebody has ended the response. */
export function isOver(outgoing: ServerResponse): boolean {
  return outgoing.writableEnded || isGone(outgoing);
}

/**
 * Whether the answer has a body (RFC 9110, 6.4.1). A middleware may have replaced the method, and the response knows
 * the one that came over the wire. What is written to the answer to a HEAD goes nowhere and never ends.
 */
export function takesBody(outgoing: ServerResponse, method: string): boolean {
  const { stream, _hasBody, statusCode } = outgoing as ServerResponse & {
    stream?: { headRequest?: boolean };
    _hasBody?: boolean;
  };
  const isHead = method === "HEAD" || stream?.headRequest === true || _hasBody === false;
  return !isHead && statusCode >= 200 && statusCode !== 204 && statusCode !== 304;
}

/**
 * How many written bytes the client has not taken yet. If their number falls while nothing is written, somebody reads.
 */
export function untaken(outgoing: ServerResponse): number {
  // The kernel takes a large write in pieces, and Node tells it only here. HTTP/2 has one queue for all streams.
  const handle = outgoing.req.httpVersionMajor < 2
    ? (outgoing.socket as { _handle?: { writeQueueSize?: number } | null } | null)?._handle
    : undefined;
  return outgoing.writableLength + (handle?.writeQueueSize ?? 0);
}
