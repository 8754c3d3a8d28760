/**
 * A `Request` for a node:http request. The lazy one makes a real `Request` only when somebody reads more than its
 * method, URL and headers. A real one costs 60 µs, as much as all the rest of opening a stream.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { quote } from "../errors.ts";
import { isGone } from "./outgoing.ts";
import { urlOf } from "./url.ts";

/** A request of node:http and its response. */
export interface NodeExchange {
  /** The request as node:http has it. */
  readonly incoming: IncomingMessage;
  /** Its response. When it closes early, the request's `signal` aborts. */
  readonly outgoing: ServerResponse;
  /**
   * The `Request` that was made of it, kept until the response has closed or belongs to a hub. When nobody holds a
   * `Request` any more, Node lets go of what aborts its `signal`, even if somebody holds the signal.
   */
  request?: Request | undefined;
}

/** A request as it is when it is handed over, with a middleware's changes. */
export interface RequestHead {
  readonly method: string;
  /** The whole URL. */
  readonly url: string;
  readonly headers: Headers;
}

/**
 * The head of a request; `undefined` when its `Host` is invalid.
 *
 * @throws {TypeError} for an invalid header, which a middleware has made
 */
export function headOf(incoming: IncomingMessage, trustProxy: boolean): RequestHead | undefined {
  const url = urlOf(incoming, trustProxy);
  return url === undefined
    ? undefined
    : { method: incoming.method ?? "GET", url, headers: headersOf(incoming) };
}

/** What body parsers leave behind. */
interface Parsed {
  readonly body?: unknown;
  readonly rawBody?: string | Uint8Array<ArrayBuffer>;
}

/** A real `Request`. */
export function realRequest(exchange: NodeExchange, head: RequestHead): Request {
  const { incoming, outgoing } = exchange;
  const { method, url, headers } = head;
  const abort = new AbortController();
  const onClose = () => {
    if (!outgoing.writableFinished) abort.abort();
    exchange.request = undefined;
  };
  // A lazy request may be read after its client has gone.
  if (isGone(outgoing)) onClose();
  else outgoing.once("close", onClose);
  const isRead = method !== "GET" && method !== "HEAD" && isReadAlready(incoming);
  const request = new Request(url, {
    method,
    headers,
    body: method === "GET" || method === "HEAD" ? null : bodyOf(incoming, headers),
    signal: abort.signal,
    duplex: "half",
  } as RequestInit);
  // To everyone who looks, it is a Request whose body was used.
  if (isRead) void request.body?.cancel();
  return exchange.request = request;
}

/** Somebody has read the body, a parser say, and has left nothing of it where it could be found. */
function isReadAlready(incoming: IncomingMessage & Parsed): boolean {
  const { body, rawBody, readableEnded, headers } = incoming;
  const isEmpty = headers["transfer-encoding"] === undefined &&
    (headers["content-length"] ?? "0") === "0" && incoming.httpVersionMajor < 2;
  return readableEnded && !isEmpty && body === undefined && rawBody === undefined;
}

/** Whether a `Request` cannot have this method (Fetch Standard, 2.2.1). */
export function isForbiddenMethod(method: string | undefined): boolean {
  return /^(?:CONNECT|TRACE|TRACK)$/i.test(method ?? "");
}

/**
 * The headers as they are now: with those that a middleware added and without those that it removed. Repeated ones are
 * joined as node:http joins them, so that the handler sees what the framework sees.
 */
function headersOf({ headers }: IncomingMessage): Headers {
  const seen = new Headers();
  // Keys only: HTTP/2 marks with a symbol which headers a proxy must not index.
  for (const name of Object.keys(headers)) {
    const value: unknown = headers[name];
    // HTTP/2 has the parts of the request line as pseudo-headers. Some middleware removes a header by `undefined`.
    if (name.startsWith(":") || value === undefined || value === null) continue;
    try {
      // `set`: a name that is not in lower case is from a middleware, and replaces the client's header.
      if (!Array.isArray(value)) seen.set(name, String(value));
      // RFC 9113, 8.2.3: a cookie that comes in pieces is joined with semicolons.
      else if (name === "cookie") seen.set(name, value.join("; "));
      else {
        seen.delete(name);
        for (const each of value) seen.append(name, String(each));
      }
    } catch (cause) {
      throw new TypeError(
        `The header ${
          quote(name)
        } cannot be passed on: a middleware gave it an invalid name or value. ` +
          "Encode it, with encodeURIComponent for example.",
        { cause },
      );
    }
  }
  return seen;
}

/** The body. If a body parser has read it already, it is written again from the parsed one. */
function bodyOf(incoming: IncomingMessage & Parsed, headers: Headers): BodyInit {
  const { body, rawBody } = incoming;
  if (incoming.readableEnded && (rawBody !== undefined || body !== undefined)) {
    if (typeof body === "string" || body instanceof Uint8Array) return body as BodyInit;
    // Parsed JSON counts with a middleware's changes. From any other parsed type there is no way back.
    const isJson = /^application\/json\b/i.test(headers.get("Content-Type") ?? "");
    return isJson || rawBody === undefined ? JSON.stringify(body ?? rawBody) : rawBody;
  }
  return streamOf(incoming);
}

/**
 * The body as it comes. Nothing is read before somebody asks for it. The rest flows away when they stop:
 * `Readable.toWeb` would hold it, and with it the next request of the connection.
 */
function streamOf(incoming: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  let chunks: AsyncIterator<Uint8Array<ArrayBuffer>> | undefined;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      chunks ??= incoming.iterator({ destroyOnReturn: false });
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await chunks?.return?.();
      incoming.resume();
    },
  }, { highWaterMark: 0 });
}

/** A `Request` that has only its head, and becomes a real one for anything else. */
class LazyRequest implements RequestHead {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly #exchange: NodeExchange;
  #real: Request | undefined;

  constructor(exchange: NodeExchange, { method, url, headers }: RequestHead) {
    this.#exchange = exchange;
    this.method = method;
    this.url = url;
    this.headers = headers;
  }

  /** The real one, made when it is first needed. */
  real(): Request {
    return this.#real ??= realRequest(this.#exchange, this);
  }
}

Object.setPrototypeOf(LazyRequest.prototype, Request.prototype);
for (
  const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(Request.prototype))
) {
  if (Object.hasOwn(LazyRequest.prototype, name)) continue;
  const forward = property.get
    ? {
      get(this: LazyRequest): unknown {
        return Reflect.get(this.real(), name);
      },
    }
    : {
      value(this: LazyRequest, ...args: unknown[]): unknown {
        const real = this.real();
        return Reflect.apply(Reflect.get(real, name), real, args);
      },
    };
  Object.defineProperty(LazyRequest.prototype, name, { ...forward, configurable: true });
}

/** A `Request` that is made when it is needed. */
export function lazyRequest(exchange: NodeExchange, head: RequestHead): Request {
  return new LazyRequest(exchange, head) as unknown as Request;
}
