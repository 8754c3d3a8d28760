/**
 * What a handler answered goes out through node:http.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Answer } from "../http/answer.ts";
import type { SinkOwner } from "../hub/sink.ts";
import { takeOver } from "../hub/stream-sink.ts";
import { pump } from "./pump.ts";
import type { NodeExchange } from "./request.ts";
import { serveConnection } from "./serve.ts";

/** Writes an answer of our own handler. */
export function writeAnswer(exchange: NodeExchange, { status, headers, body }: Answer): void {
  const { incoming, outgoing } = exchange;
  const isStream = typeof body === "object" && body !== null;
  const { Vary } = headers;
  try {
    outgoing.writeHead(
      status,
      Vary === undefined ? headers : { ...headers, Vary: withEarlier(outgoing, Vary) },
    );
  } catch (error) {
    // Somebody else has answered meanwhile, a timeout say: the stream that nobody will read is not left open.
    if (isStream) body.gone();
    throw error;
  }
  if (isStream) return serve(exchange, body);
  outgoing.end(body ?? undefined);
  letFlow(incoming);
}

/** What nobody read of a request stands before the next one of its connection. Node lets it flow away, Deno does not. */
function letFlow(incoming: IncomingMessage): void {
  incoming.resume();
}

/** Hands the response to a connection, which keeps nothing of the request. */
function serve(exchange: NodeExchange, owner: SinkOwner): void {
  exchange.request = undefined;
  serveConnection(exchange.incoming, exchange.outgoing, owner);
}

export async function writeResponse(exchange: NodeExchange, response: Response): Promise<void> {
  const { incoming, outgoing } = exchange;
  try {
    writeHead(outgoing, response);
  } catch (error) {
    await response.body?.cancel();
    throw error;
  }
  const owner = takeOver(response.body);
  if (owner) return serve(exchange, owner);
  // A client that went away while the handler was at work is not told of again.
  if (response.body === null || incoming.method === "HEAD" || incoming.socket.destroyed) {
    await response.body?.cancel();
    outgoing.end();
  } else await pump(response.body, outgoing);
  letFlow(incoming);
}

function writeHead(outgoing: ServerResponse, response: Response): void {
  outgoing.statusCode = response.status;
  if (response.statusText && outgoing.req.httpVersionMajor < 2) {
    outgoing.statusMessage = response.statusText;
  }
  for (const [name, value] of response.headers) {
    if (name === "vary") outgoing.setHeader(name, withEarlier(outgoing, value));
    else if (name !== "set-cookie") outgoing.setHeader(name, value);
  }
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
}

/** What a middleware said of how the answer varies stays true (RFC 9110, 12.5.5). */
function withEarlier(outgoing: ServerResponse, vary: string): string {
  const earlier = outgoing.getHeader("vary");
  return earlier === undefined ? vary : `${earlier}, ${vary}`;
}

/** A request that failed gets an answer if none has begun, and its connection closed if one has. */
export function refuse(outgoing: ServerResponse): void {
  // Somebody else has given an answer, a timeout say: it is not cut off on its way.
  if (outgoing.writableEnded) return;
  if (outgoing.headersSent) return void outgoing.destroy();
  // What was to be said of a body, its length above all, is not true of this one.
  for (const name of outgoing.getHeaderNames()) {
    if (name.startsWith("content-")) outgoing.removeHeader(name);
  }
  outgoing.statusCode = 500;
  outgoing.end();
}
