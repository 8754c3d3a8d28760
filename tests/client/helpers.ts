/**
 * What the client's tests need: a server whose every byte the test writes, streams without a network, and ways to wait
 * for the thing itself.
 *
 * @module
 */
import http from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** How long anything may take before its test fails, in milliseconds. */
const LIMIT = 60_000;

/** The headers of an event stream. */
export const STREAM = { "Content-Type": "text/event-stream" };

/** One request that a {@link serve}d server got, with its response to write. */
export interface Exchange {
  request: http.IncomingMessage;
  response: http.ServerResponse;
  /** The request's body, once it has been read. */
  body: Promise<string>;
  /** Whether the connection is gone. */
  gone: boolean;
  /** Starts an event stream with `text`. */
  stream(text?: string): void;
}

/** A server on 127.0.0.1 whose every byte is written by `answer`. */
export interface Server extends AsyncDisposable {
  url: string;
  /** All requests so far, in order. */
  exchanges: Exchange[];
  /** Stops listening and breaks every connection. */
  stop(): Promise<void>;
}

/** Starts a server on a free port, or on `port`. */
export async function serve(
  answer: (exchange: Exchange, index: number) => void,
  port = 0,
): Promise<Server> {
  const exchanges: Exchange[] = [];
  const sockets = new Set<Socket>();
  const server = http.createServer((request, response) => {
    const exchange: Exchange = {
      request,
      response,
      gone: false,
      body: new Promise((resolve) => {
        let text = "";
        request.on("data", (chunk) => text += chunk);
        request.on("end", () => resolve(text));
      }),
      stream(text = "") {
        response.writeHead(200, STREAM);
        response.flushHeaders();
        if (text) response.write(text);
      },
    };
    response.on("close", () => exchange.gone = true);
    response.on("error", () => exchange.gone = true);
    exchanges.push(exchange);
    answer(exchange, exchanges.length - 1);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const { port: bound } = server.address() as AddressInfo;
  const stop = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const { response } of exchanges) response.destroy();
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections?.();
    await closed;
  };
  return { url: `http://127.0.0.1:${bound}/`, exchanges, stop, [Symbol.asyncDispose]: stop };
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = await serve(() => {});
  await server.stop();
  return Number(new URL(server.url).port);
}

/** Resolves when `condition` holds; rejects when it does not in time. */
export async function until(condition: () => unknown, what: string): Promise<void> {
  const end = Date.now() + LIMIT;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`Waited ${LIMIT} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Resolves with the next event of `type`. */
export function next<E = Event>(target: EventTarget, type: string): Promise<E> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`Waited ${LIMIT} ms for: ${type}`)), LIMIT);
    target.addEventListener(type, (event) => {
      clearTimeout(timer);
      resolve(event as unknown as E);
    }, { once: true });
  });
}

/** A response whose body the test writes, chunk by chunk. */
export interface Feed {
  response: Response;
  /** The request it answers. */
  request: Request;
  push(chunk: string | Uint8Array): void;
  end(): void;
  fail(error: unknown): void;
  /** Whether the body was cancelled. */
  cancelled: boolean;
}

/** A `fetch` without a network: each request becomes a {@link Feed}. */
export function feeds(): {
  fetch: (input: string | Request, init?: RequestInit) => Promise<Response>;
  all: Feed[];
} {
  const all: Feed[] = [];
  const encoder = new TextEncoder();
  return {
    all,
    fetch(input, init) {
      const request = new Request(input, init);
      let controller!: ReadableStreamDefaultController<Uint8Array>;
      const body = new ReadableStream<Uint8Array>({
        start(given) {
          controller = given;
        },
        cancel() {
          feed.cancelled = true;
        },
      });
      const feed: Feed = {
        request,
        response: new Response(body, { headers: STREAM }),
        cancelled: false,
        push(chunk) {
          controller.enqueue(typeof chunk == "string" ? encoder.encode(chunk) : chunk);
        },
        end: () => controller.close(),
        fail: (error) => controller.error(error),
      };
      all.push(feed);
      return Promise.resolve(feed.response);
    },
  };
}

/** Collects everything that a client raises of the given types, as lines to compare. */
export function record(target: EventTarget, ...types: string[]): string[] {
  const lines: string[] = [];
  for (const type of types) {
    target.addEventListener(type, (event) => {
      const { data, reason, attempt, status } = event as Event & Record<string, unknown>;
      lines.push([type, data ?? reason ?? attempt ?? status].filter((x) => x != null).join(" "));
    });
  }
  return lines;
}
