/**
 * What a handler answered goes out through node:http.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Answer } from "../http/answer.ts";
import type { SinkOwner } from "../hub/sink.ts";
import { takeOver } from "../hub/stream-sink.ts";
import { takesBody } from "./outgoing.ts";
import { pump } from "./pump.ts";
import type { NodeExchange } from "./request.ts";
import { serveConnection } from "./serve.ts";
import type { Stalls } from "./stalls.ts";

/** Writes an answer of our own handler to a request of a method. */
export function writeAnswer(
  exchange: NodeExchange,
  method: string,
  { status, headers, body }: Answer,
  stalls?: Stalls,
): void {
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
  if (isStream && takesBody(outgoing, method)) return serve(exchange, body, stalls);
  outgoing.end(isStream ? undefined : body ?? undefined);
  if (isStream) body.gone();
  letFlow(incoming);
}

/** What nobody read of a request stands before the next one of its connection. Node lets it flow away, Deno does not. */
function letFlow(incoming: IncomingMessage): void {
  incoming.resume();
}

/** Hands the response to a connection, which keeps nothing of the request. */
function serve(exchange: NodeExchange, owner: SinkOwner, stalls: Stalls | undefined): void {
  exchange.request = undefined;
  serveConnection(exchange.incoming, exchange.outgoing, owner, stalls);
}

/**
 * Writes a response to a request of a method. A stream of a hub's that nobody has read from is served by the hub itself;
 * any other body is pumped, and `stalls` looks after its reader.
 */
export async function writeResponse(
  exchange: NodeExchange,
  method: string,
  response: Response,
  stalls: Stalls | undefined,
): Promise<void> {
  const { incoming, outgoing } = exchange;
  const { body } = response;
  try {
    writeHead(outgoing, response);
  } catch (error) {
    await body?.cancel();
    throw error;
  }
  if (body === null || !takesBody(outgoing, method)) {
    // The answer does not wait for what becomes of a body that nobody reads.
    outgoing.end();
    letFlow(incoming);
    return await body?.cancel();
  }
  const owner = takeOver(body);
  if (owner) return serve(exchange, owner, stalls);
  await pump(body, outgoing, stalls);
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
