/**
 * A `Request` for a node:http request. The lazy one makes a real `Request` only when somebody looks at more of it than
 * method, URL and headers: a real one costs 60 µs, as much as all the rest of opening a stream.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";

/** What a `Request` is made of. */
export interface NodeExchange {
  /** The request as node:http has it. */
  readonly incoming: IncomingMessage;
  /** Its response: when that closes early, the request's `signal` aborts. */
  readonly outgoing: ServerResponse;
  /** The request's URL, complete. */
  readonly url: string;
  /**
   * The `Request` that was made of it, kept until the response has closed or is a stream of a hub's: Node's own lets go
   * of what aborts its `signal` when nobody holds the `Request` any more, even if somebody holds the signal.
   */
  request?: Request | undefined;
}

/** A real `Request`. */
export function realRequest(exchange: NodeExchange, headers?: Headers): Request {
  const { incoming, outgoing, url } = exchange;
  const method = incoming.method ?? "GET";
  const abort = new AbortController();
  const onClose = () => {
    if (!outgoing.writableFinished) abort.abort();
    exchange.request = undefined;
  };
  // A lazy request may be looked at when its client has gone already.
  if (outgoing.destroyed) onClose();
  else outgoing.once("close", onClose);
  return exchange.request = new Request(url, {
    method,
    headers: headers ?? headersOf(incoming),
    body: method === "GET" || method === "HEAD" ? null : bodyOf(incoming),
    signal: abort.signal,
    duplex: "half",
  } as RequestInit);
}

/** Whether a `Request` cannot have this method (Fetch Standard, 2.2.1). */
export function isForbiddenMethod(method: string | undefined): boolean {
  return /^(?:CONNECT|TRACE|TRACK)$/i.test(method ?? "");
}

function headersOf(incoming: IncomingMessage): Headers {
  const headers = new Headers();
  const { rawHeaders } = incoming;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    // HTTP/2 has what is in the request line as headers of its own.
    if (name.startsWith(":")) continue;
    const value = rawHeaders[i + 1]!;
    // RFC 9113, 8.2.3: a cookie may come in pieces, and is put together with semicolons. Deno's headers take commas.
    const piece = /^cookie$/i.test(name) ? headers.get(name) : null;
    if (piece === null) headers.append(name, value);
    else headers.set(name, `${piece}; ${value}`);
  }
  return headers;
}

/** The body; one that a body parser has read already is written again from what it made of it. */
function bodyOf(incoming: IncomingMessage): BodyInit {
  const { body, rawBody } = incoming as {
    body?: unknown;
    rawBody?: string | Uint8Array<ArrayBuffer>;
  };
  if (incoming.readableEnded && (rawBody !== undefined || body !== undefined)) {
    const isRaw = typeof body === "string" || body instanceof Uint8Array;
    return rawBody ?? (isRaw ? body as BodyInit : JSON.stringify(body));
  }
  return streamOf(incoming);
}

/**
 * The body as it comes. Nothing is asked for before somebody reads, and what is left when they stop flows away:
 * `Readable.toWeb` would hold on to it, and with it to the next request of the connection.
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

/** A `Request` whose method, URL and headers cost nothing, and that becomes a real one for anything else. */
class LazyRequest {
  readonly #exchange: NodeExchange;
  #headers: Headers | undefined;
  #real: Request | undefined;

  constructor(exchange: NodeExchange) {
    this.#exchange = exchange;
  }

  get method(): string {
    return this.#exchange.incoming.method ?? "GET";
  }

  get url(): string {
    return this.#exchange.url;
  }

  get headers(): Headers {
    return this.#headers ??= headersOf(this.#exchange.incoming);
  }

  /** The real one, made when first asked for. */
  real(): Request {
    return this.#real ??= realRequest(this.#exchange, this.headers);
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

/** A `Request` that is made when it is looked at. */
export function lazyRequest(exchange: NodeExchange): Request {
  return new LazyRequest(exchange) as unknown as Request;
}
