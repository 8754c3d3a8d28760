/**
 * What a response of node:http or node:http2 tells of itself, one name for both.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";

/** The client has gone, or the connection was cut: nothing that is written arrives. */
export function isGone(outgoing: ServerResponse): boolean {
  // HTTP/2: a stream that was reset ends while its connection goes on.
  const { stream } = outgoing as ServerResponse & Partial<Http2ServerResponse>;
  return stream ? stream.destroyed : outgoing.destroyed;
}

/** Resolves when the response has closed: all of it was sent, or the client has gone. */
export function whenClosed(outgoing: ServerResponse): Promise<void> {
  if (isGone(outgoing) || outgoing.writableFinished) return Promise.resolve();
  // `on`, since `once` takes a function more for each connection.
  return new Promise((resolve) => outgoing.on("close", resolve));
}

/** Nothing more is to be written: the client has gone, or somebody has ended the response. */
export function isOver(outgoing: ServerResponse): boolean {
  return outgoing.writableEnded || isGone(outgoing);
}

/**
 * Whether the answer has a body (RFC 9110, 6.4.1). The response knows the method that came over the wire, which a
 * middleware may have replaced: what is written to the answer to a HEAD goes nowhere, and never ends.
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
 * How many bytes of what was written the client has not taken yet: while nothing is written, fewer of them mean that
 * somebody reads.
 */
export function untaken(outgoing: ServerResponse): number {
  // The kernel takes a large write in pieces, and Node tells of them here only. HTTP/2 has one queue for all streams.
  const handle = outgoing.req.httpVersionMajor < 2
    ? (outgoing.socket as { _handle?: { writeQueueSize?: number } | null } | null)?._handle
    : undefined;
  return outgoing.writableLength + (handle?.writeQueueSize ?? 0);
}
