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
import { whenClosed } from "./outgoing.ts";
import { closeWithConnection } from "./pipelining.ts";
import {
  headOf,
  isForbiddenMethod,
  lazyRequest,
  type NodeExchange,
  realRequest,
} from "./request.ts";
import { refuse, writeAnswer, writeResponse } from "./response.ts";
import { Stalls } from "./stalls.ts";
import { bound } from "../validate.ts";

/** A function on Request and Response, such as the one that `createHandler` gives. */
export type FetchHandler = (request: Request) => Response | Promise<Response>;

/** A request of node:http or node:http2. */
export type NodeRequest = IncomingMessage | Http2ServerRequest;

/** A response of node:http or node:http2. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

/**
 * What a handler gets besides the request: node:http's request and response, with all that a framework and its
 * middleware added.
 *
 * @example
 * ```ts
 * import type { Request as ExpressRequest } from "express";
 * import { type NodeContext, toNodeListener } from "streamside/node";
 *
 * const handler = createHandler(hub, {
 *   authenticate: (_, { req }: NodeContext<ExpressRequest>) => req.user && { session: req.user.id },
 * });
 * express().use("/api/v1/sse", passport.session(), toNodeListener(handler));
 * ```
 */
export interface NodeContext<Req extends NodeRequest = NodeRequest> {
  /** The request, in the framework's own type. */
  readonly req: Req;
  /** The response. The handler answers: write nothing to it. */
  readonly res: NodeResponse;
}

/** What `http.createServer` and its like call. Resolves when the response has closed, and never rejects. */
export type NodeListener<Req extends NodeRequest = NodeRequest> = (
  request: Req,
  response: NodeResponse,
) => Promise<void>;

/** Options of {@link toNodeListener}. */
export interface NodeListenerOptions {
  /**
   * Whether to use `X-Forwarded-Proto` and `X-Forwarded-Host` for the request's URL. Only behind a proxy that sets them
   * itself. Default: false.
   */
  readonly trustProxy?: boolean;
  /** Gets the error if a handler throws. The answer is 500 without details. Default: `console.error`. */
  readonly onError?: (error: unknown) => void;
  /**
   * How long a reader may take nothing at all of a body before it is cut off, in ms; 0 or Infinity: for ever. This is
   * for streams that a middleware wrapped and for other handlers: a hub's own streams have the hub's `stallTimeout`.
   * Default: 300 000 for event streams, none for other bodies.
   */
  readonly stallTimeout?: number;
}

/**
 * A node:http listener that answers with a handler. Express and Connect take it as middleware too. The handler sees the
 * request as it is then, with whatever a middleware changed of its method, URL, headers or parsed body.
 *
 * The `Request` that `authenticate` gets becomes a real one when more than its method, URL and headers is read. Node's
 * `new Request(request)` and `fetch(request)` do not notice that: give them `request.clone()`.
 *
 * @throws {StreamsideError} `invalid-argument` for an invalid `stallTimeout`
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
 *   return listener(Object.assign(request.raw, { body: request.body }), reply.raw); // whose body Fastify has read
 * });
 * ```
 */
export function toNodeListener<Req extends NodeRequest = NodeRequest>(
  handler: (request: Request, context: NodeContext<Req>) => Response | Promise<Response>,
  options: NodeListenerOptions = {},
): NodeListener<Req> {
  const { trustProxy = false, stallTimeout } = options;
  const onError = options.onError ??
    ((error) => console.error("streamside: a request failed", error));
  const ofStreams = stallsOf(stallTimeout ?? 300_000);
  const ofOthers = stallTimeout === undefined ? undefined : ofStreams;

  async function answer(exchange: NodeExchange, context: NodeContext<Req>): Promise<void> {
    const { method = "GET" } = exchange.incoming;
    const head = headOf(exchange.incoming, trustProxy);
    if (head === undefined) {
      const problem = new Problem(400, "invalid-host", "The Host header is invalid.");
      return writeAnswer(exchange, method, problem.toAnswer());
    }
    const answering = answeringOf(handler);
    if (answering) {
      const answer = await answering(lazyRequest(exchange, head), context);
      return writeAnswer(exchange, method, answer, ofStreams);
    }
    if (isForbiddenMethod(method)) {
      const problem = new Problem(501, "not-implemented", "This server does not know the method.");
      return writeAnswer(exchange, method, problem.toAnswer());
    }
    // Another handler may do anything with its request, also `new Request(request)`, so it gets a real one.
    const response = await handler(realRequest(exchange, head), context);
    const isStream = /^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "");
    await writeResponse(exchange, method, response, isStream ? ofStreams : ofOthers);
  }

  return (req, res) => {
    const exchange = { incoming: req as IncomingMessage, outgoing: res as ServerResponse };
    if (res.socket === null) closeWithConnection(req.socket, exchange.outgoing);
    const closed = whenClosed(exchange.outgoing);
    answer(exchange, { req, res }).catch((error: unknown) => {
      onError(error);
      refuse(exchange.outgoing);
    });
    return closed;
  };
}

function stallsOf(timeout: number): Stalls | undefined {
  if (timeout === 0) return undefined;
  const time = bound("stallTimeout", timeout, timeout);
  return time === Infinity ? undefined : new Stalls(time);
}
