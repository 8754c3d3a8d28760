/**
 * node:http in, a handler on Request and Response, node:http out.
 *
 * The same listener serves `http.createServer`, `https`, HTTP/2 with `allowHTTP1`, Express and Fastify middleware, and
 * the node:http of Deno and Bun. A subscribe response is not pumped through its body: the connection writes to the
 * response itself, or straight to its socket.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { Answer } from "./answer.ts";
import { answeringOf } from "./handler.ts";
import { lazyRequest, type NodeExchange, realRequest, urlOf } from "./node-request.ts";
import { serveConnection } from "./node-sink.ts";
import { Problem } from "./problem.ts";
import { takeOver } from "./sink.ts";

/** A function on Request and Response, such as the one that `createHandler` gives. */
export type FetchHandler = (request: Request) => Response | Promise<Response>;

/** What `http.createServer` and its like call. */
export type NodeListener = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void;

/** Options of {@link toNodeListener}. */
export interface NodeListenerOptions {
  /**
   * Believe `X-Forwarded-Proto` and `X-Forwarded-Host` when the request's URL is made: only behind a proxy that sets
   * them itself. Default: false.
   */
  readonly trustProxy?: boolean;
  /** Told of what a handler throws, which is answered with 500 without detail. Default: `console.error`. */
  readonly onError?: (error: unknown) => void;
}

/**
 * A node:http listener that answers with a handler. Express and Connect take it as middleware too.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { toNodeListener } from "streamside/node";
 *
 * createServer(toNodeListener(handler)).listen(8080);
 * express().use("/api/v1/sse", toNodeListener(handler));
 * ```
 */
export function toNodeListener(
  handler: FetchHandler,
  options: NodeListenerOptions = {},
): NodeListener {
  const onError = options.onError ??
    ((error) => console.error("streamside: a request failed", error));
  return (incoming, outgoing) => {
    answer(handler, incoming, outgoing as ServerResponse, options).catch((error: unknown) => {
      onError(error);
      refuse(outgoing as ServerResponse);
    });
  };
}

/** A request that failed gets an answer if none has begun, and its connection closed if one has. */
function refuse(outgoing: ServerResponse): void {
  if (outgoing.headersSent) outgoing.destroy();
  else {
    outgoing.statusCode = 500;
    outgoing.end();
  }
}

async function answer(
  handler: FetchHandler,
  incoming: IncomingMessage | Http2ServerRequest,
  outgoing: ServerResponse,
  options: NodeListenerOptions,
): Promise<void> {
  const url = urlOf(incoming as IncomingMessage, options.trustProxy === true);
  const exchange = { incoming: incoming as IncomingMessage, outgoing, url: url ?? "" };
  if (url === undefined) {
    const problem = new Problem(400, "invalid-host", "The Host of this request is none.");
    return writeAnswer(exchange, problem.toAnswer());
  }
  const answering = answeringOf(handler);
  if (answering) writeAnswer(exchange, await answering(lazyRequest(exchange)));
  // Anything may be done with a request, `new Request(request)` too: it has to be a real one.
  else await writeResponse(exchange, await handler(realRequest(exchange)));
}

/** Writes an answer of our own handler. */
function writeAnswer(
  { incoming, outgoing }: NodeExchange,
  { status, headers, body }: Answer,
): void {
  const isStream = typeof body === "object" && body !== null;
  if (headers.Vary !== undefined) headers.Vary = withEarlier(outgoing, headers.Vary);
  try {
    outgoing.writeHead(status, headers);
  } catch (error) {
    // Somebody else has answered meanwhile, a timeout say: the stream that nobody will read is not left open.
    if (isStream) body.gone();
    throw error;
  }
  if (isStream) return serveConnection(incoming, outgoing, body);
  outgoing.end(body ?? undefined);
  letFlow(incoming);
}

/** What nobody read of a request stands before the next one of its connection. Node lets it flow away, Deno does not. */
function letFlow(incoming: IncomingMessage): void {
  incoming.resume();
}

async function writeResponse(
  { incoming, outgoing }: NodeExchange,
  response: Response,
): Promise<void> {
  try {
    writeHead(outgoing, response);
  } catch (error) {
    await response.body?.cancel();
    throw error;
  }
  const owner = takeOver(response.body);
  if (owner) return serveConnection(incoming, outgoing, owner);
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

/** Writes a body out as fast as it is taken, and cancels it when nobody takes it any more. */
async function pump(body: ReadableStream<Uint8Array>, outgoing: ServerResponse): Promise<void> {
  const reader = body.getReader();
  let wake: (() => void) | undefined;
  const onDrain = () => wake?.();
  const onClose = () => {
    // The reason why it ended is of no interest to anybody any more.
    reader.cancel().catch(() => {});
    wake?.();
  };
  outgoing.on("drain", onDrain);
  outgoing.on("close", onClose);
  outgoing.flushHeaders();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || outgoing.destroyed) break;
      if (!outgoing.write(value) && !outgoing.destroyed) {
        await new Promise<void>((resolve) => wake = resolve);
      }
    }
    outgoing.end();
  } finally {
    outgoing.off("drain", onDrain);
    outgoing.off("close", onClose);
  }
}
