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
import type { Socket } from "node:net";
import { type Answer, Problem } from "../http/answer.ts";
import { answeringOf } from "../http/handler.ts";
import type { SinkOwner } from "../hub/sink.ts";
import { takeOver } from "../hub/stream-sink.ts";
import {
  isForbiddenMethod,
  lazyRequest,
  type NodeExchange,
  realRequest,
  urlOf,
} from "./request.ts";
import { serveConnection } from "./socket-sink.ts";

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
 * The `Request` that `authenticate` gets becomes a whole one when more of it is looked at than method, URL and headers.
 * Node's own `new Request(request)` and `fetch(request)` look past that: give them `request.clone()`.
 *
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { toNodeListener } from "streamside/node";
 *
 * createServer(toNodeListener(handler)).listen(8080);
 * express().use("/api/v1/sse", toNodeListener(handler));
 *
 * const listener = toNodeListener(handler);
 * fastify().all("/api/v1/sse/*", (request, reply) => {
 *   reply.hijack(); // it is answered here
 *   listener(Object.assign(request.raw, { body: request.body }), reply.raw); // whose body Fastify has read
 * });
 * ```
 */
export function toNodeListener(
  handler: FetchHandler,
  options: NodeListenerOptions = {},
): NodeListener {
  const onError = options.onError ??
    ((error) => console.error("streamside: a request failed", error));
  return (incoming, outgoing) => {
    if (outgoing.socket === null) closeWithConnection(incoming.socket, outgoing as ServerResponse);
    answer(handler, incoming, outgoing as ServerResponse, options).catch((error: unknown) => {
      onError(error);
      refuse(outgoing as ServerResponse);
    });
  };
}

const WAITING = Symbol("streamside.waiting");

interface WithWaiting {
  [WAITING]?: Set<ServerResponse>;
}

/**
 * Sees to it that a response which waits behind another one of its connection (HTTP/1.1 pipelining) closes with the
 * connection: Node, before version 26, tells only the first one, and nobody of a request that was read already.
 */
function closeWithConnection(socket: Socket & WithWaiting, outgoing: ServerResponse): void {
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

/** A request that failed gets an answer if none has begun, and its connection closed if one has. */
function refuse(outgoing: ServerResponse): void {
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

async function answer(
  handler: FetchHandler,
  incoming: IncomingMessage | Http2ServerRequest,
  outgoing: ServerResponse,
  options: NodeListenerOptions,
): Promise<void> {
  const url = urlOf(incoming as IncomingMessage, options.trustProxy === true);
  const exchange: NodeExchange = {
    incoming: incoming as IncomingMessage,
    outgoing,
    url: url ?? "",
  };
  if (url === undefined) {
    const problem = new Problem(400, "invalid-host", "The Host of this request is none.");
    return writeAnswer(exchange, problem.toAnswer());
  }
  const answering = answeringOf(handler);
  if (answering) return writeAnswer(exchange, await answering(lazyRequest(exchange)));
  if (isForbiddenMethod(incoming.method)) {
    const problem = new Problem(501, "not-implemented", "This server knows no such method.");
    return writeAnswer(exchange, problem.toAnswer());
  }
  // Anything may be done with a request, `new Request(request)` too: it has to be a real one.
  await writeResponse(exchange, await handler(realRequest(exchange)));
}

/** Writes an answer of our own handler. */
function writeAnswer(exchange: NodeExchange, { status, headers, body }: Answer): void {
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

async function writeResponse(exchange: NodeExchange, response: Response): Promise<void> {
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
