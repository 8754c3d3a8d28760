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
import { Problem } from "../http/answer.ts";
import { answeringOf } from "../http/handler.ts";
import { closeWithConnection } from "./pipelining.ts";
import { isForbiddenMethod, lazyRequest, type NodeExchange, realRequest } from "./request.ts";
import { refuse, writeAnswer, writeResponse } from "./response.ts";
import { urlOf } from "./url.ts";

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
