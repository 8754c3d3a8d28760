/**
 * Sends a handler's answer out through node:http.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { Answer } from "../http/answer.ts";
import type { SinkOwner } from "../hub/sink.ts";
import { takeOver } from "../hub/stream-sink.ts";
import { endsConnection, isComplete, letFlow } from "./linger.ts";
import { isOver, takesBody } from "./outgoing.ts";
import { pump } from "./pump.ts";
import type { NodeExchange } from "./request.ts";
import { serveConnection } from "./serve.ts";
import type { Stalls } from "./stalls.ts";

/** Writes an answer of our own handler. */
export function writeAnswer(
  exchange: NodeExchange,
  method: string,
  { status, headers, body }: Answer,
  stalls?: Stalls,
): void {
  const { outgoing } = exchange;
  const isStream = typeof body === "object" && body !== null;
  // The client has to know where the answer ends, though the response ends later.
  const length = typeof body === "string" && isEarly(exchange)
    ? { "Content-Length": String(Buffer.byteLength(body)) }
    : undefined;
  const vary = headers.Vary && { Vary: withEarlier(outgoing, headers.Vary) };
  try {
    outgoing.writeHead(status, vary || length ? { ...headers, ...vary, ...length } : headers);
  } catch (error) {
    // Somebody else has answered meanwhile, such as a timeout. Nobody will read the stream, so it is closed.
    if (isStream) body.gone();
    throw error;
  }
  if (isStream && takesBody(outgoing, method)) return serve(exchange, body, stalls);
  if (isStream) body.gone();
  const text = isStream ? null : body;
  // RFC 9110, 15.5.9: after a 408 the server does not wait for the rest.
  if (headers.Connection === "close") outgoing.end(text ?? undefined);
  else finish(exchange, text);
}

/** Whether the answer comes before the whole request has, and ends a connection that the client still writes to. */
function isEarly({ incoming, outgoing }: NodeExchange): boolean {
  return !isComplete(incoming) && endsConnection(outgoing);
}

/** Ends an answer, after `last`, and not before its client could read it. */
function finish(exchange: NodeExchange, last: string | null, stalls?: Stalls): void {
  const { incoming, outgoing } = exchange;
  const end = (last?: string) => {
    if (isOver(outgoing)) return;
    outgoing.end(last);
    stalls?.watchEnd(outgoing);
  };
  if (!isEarly(exchange)) {
    end(last ?? undefined);
    return letFlow(incoming);
  }
  if (isOver(outgoing)) return letFlow(incoming);
  if (last === null) outgoing.flushHeaders();
  else outgoing.write(last);
  letFlow(incoming, end);
}

/** Hands the response to a connection, which keeps nothing of the request. */
function serve(exchange: NodeExchange, owner: SinkOwner, stalls: Stalls | undefined): void {
  exchange.request = undefined;
  serveConnection(exchange.incoming, exchange.outgoing, owner, stalls);
}

/**
 * Writes a response. If its body is a hub's stream that nobody has read from, the hub itself serves it. Any other body
 * is pumped, and `stalls` watches its reader.
 */
export async function writeResponse(
  exchange: NodeExchange,
  method: string,
  response: Response,
  stalls: Stalls | undefined,
): Promise<void> {
  const { outgoing } = exchange;
  const { body } = response;
  try {
    writeHead(outgoing, response);
  } catch (error) {
    await body?.cancel();
    throw error;
  }
  if (body === null || !takesBody(outgoing, method)) {
    // The answer does not wait for a body that nobody reads.
    finish(exchange, null);
    return await body?.cancel();
  }
  const owner = takeOver(body);
  if (owner) return serve(exchange, owner, stalls);
  await pump(body, outgoing, stalls);
  finish(exchange, null, stalls);
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

/** Keeps the `Vary` that a middleware has set (RFC 9110, 12.5.5). */
function withEarlier(outgoing: ServerResponse, vary: string): string {
  const earlier = outgoing.getHeader("vary");
  return earlier === undefined ? vary : `${earlier}, ${vary}`;
}

/** Answers a request that failed, if no answer has begun; else closes its connection. */
export function refuse(outgoing: ServerResponse): void {
  // Somebody else has answered, such as a timeout. Their answer is not cut off.
  if (outgoing.writableEnded) return;
  if (outgoing.headersSent) return void outgoing.destroy();
  // The headers set before describe another body, above all its length.
  for (const name of outgoing.getHeaderNames()) {
    if (name.startsWith("content-")) outgoing.removeHeader(name);
  }
  outgoing.statusCode = 500;
  outgoing.end();
}
