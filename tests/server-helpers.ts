/**
 * What server tests share: a handler behind a real server of this runtime, a reader of event streams, and a client
 * that speaks HTTP in bytes.
 *
 * @module
 */
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { assert, assertEquals } from "@std/assert";
import {
  createHandler,
  createHub,
  type Handler,
  type HandlerOptions,
  type Hub,
  type HubOptions,
  type Logger,
  sessionFromRequest,
} from "../mod.ts";
import {
  type FetchHandler,
  type NodeRequest,
  type NodeResponse,
  toNodeListener,
} from "../src/node/mod.ts";

/** The runtime that runs this test. */
export const runtime: "node" | "deno" | "bun" = "Deno" in globalThis
  ? "deno"
  : "Bun" in globalThis
  ? "bun"
  : "node";

/** How long a test waits for anything, in ms. Only a failing test ever waits that long. */
const LIMIT = 60_000;

/** A promise, or an error that says what was waited for. */
export async function within<T>(
  promise: Promise<T>,
  what: string,
  limit: number = LIMIT,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${limit} ms for ${what}`)), limit);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until a condition holds: for what nothing tells of. */
export async function until(
  condition: () => boolean,
  what: string | (() => string),
): Promise<void> {
  const began = Date.now();
  while (!condition()) {
    if (Date.now() - began > LIMIT) {
      throw new Error(`waited ${LIMIT} ms for ${typeof what === "string" ? what : what()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

// ---------------------------------------------------------------------------------------------------- servers

/** A server on a port of its own. */
export interface TestServer {
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

interface DenoServer {
  addr: { port: number };
  shutdown(): Promise<void>;
}

interface BunServer {
  port: number;
  stop(force: boolean): Promise<void>;
}

/** Serves a handler as this runtime does: `Deno.serve`, `Bun.serve`, or node:http. */
export async function serve(handler: FetchHandler): Promise<TestServer> {
  const scope = globalThis as unknown as {
    Deno: { serve(options: object, handler: FetchHandler): DenoServer };
    Bun: { serve(options: object): BunServer };
  };
  if (runtime === "node") return await serveNode(toNodeListener(handler));
  const address = { port: 0, hostname: "127.0.0.1" };
  if (runtime === "deno") {
    const server = scope.Deno.serve({ ...address, onListen: () => {} }, handler);
    return testServer(server.addr.port, () => server.shutdown());
  }
  const server = scope.Bun.serve({ ...address, fetch: handler, idleTimeout: 0 });
  return testServer(server.port, () => server.stop(true));
}

/** What node:http calls, whatever it returns. */
export type AnyListener = (request: NodeRequest, response: NodeResponse) => unknown;

/** Serves a listener with this runtime's node:http. */
export async function serveNode(listener: AnyListener): Promise<TestServer> {
  return await listen(createServer(listener as RequestListener));
}

/** Lets a node:http server, or one of its kin, listen. */
export async function listen(server: Server): Promise<TestServer> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return testServer((server.address() as AddressInfo).port, async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections?.();
    await closed;
  });
}

function testServer(port: number, close: () => Promise<void>): TestServer {
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    close: () => within(close(), "the server to close"),
  };
}

/** The servers to run a test behind that is about the way from the hub to the socket. */
export const servers: Record<string, (handler: FetchHandler) => Promise<TestServer>> = {
  ...(runtime === "deno" ? { "Deno.serve": serve } : {}),
  ...(runtime === "bun" ? { "Bun.serve": serve } : {}),
  "node:http": (handler) => serveNode(toNodeListener(handler)),
};

// ---------------------------------------------------------------------------------------------------- services

/** A hub and its handler behind a server, and clients of them. */
export class Service {
  readonly hub: Hub;
  readonly handler: Handler;
  readonly server: TestServer;
  /** What the hub logged: the level, and the rest as text. */
  readonly log: [level: keyof Logger, text: string][];
  readonly #readers: EventReader[] = [];

  constructor(
    hub: Hub,
    handler: Handler,
    server: TestServer,
    log: [level: keyof Logger, text: string][],
  ) {
    this.hub = hub;
    this.handler = handler;
    this.server = server;
    this.log = log;
  }

  get base(): string {
    return `${this.server.url}/api/v1/sse`;
  }

  /** A GET of the subscribe route. */
  get(session: string | null, query = "", headers: Record<string, string> = {}): Promise<Response> {
    const all = session === null ? headers : { "X-Session-Id": session, ...headers };
    return within(fetch(`${this.base}/subscribe${query}`, { headers: all }), "a response");
  }

  /** Opens a stream and waits for its preamble, so that the connection is live. */
  async subscribe(
    session: string,
    query = "",
    headers: Record<string, string> = {},
  ): Promise<EventReader> {
    const response = await this.get(session, query, headers);
    if (response.status !== 200 || response.headers.has("retry-after")) {
      throw new Error(`subscribe answered ${response.status}: ${await response.text()}`);
    }
    const reader = new EventReader(response);
    this.#readers.push(reader);
    const first = await reader.block();
    if (first.retry === undefined) throw new Error(`a preamble, got ${JSON.stringify(first)}`);
    return reader;
  }

  /** A POST of JSON, unless `body` is a string, a stream or bytes already. */
  post(
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
    session = "sender",
  ): Promise<Response> {
    const raw = typeof body === "string" || body instanceof Uint8Array ||
      body instanceof ReadableStream;
    return within(
      fetch(`${this.base}${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Session-Id": session, ...headers },
        body: raw ? body as BodyInit : JSON.stringify(body),
        duplex: "half",
      } as RequestInit),
      `the answer to POST ${path}`,
    );
  }

  /** Lets go of all readers. */
  async release(): Promise<void> {
    await Promise.all(this.#readers.map((reader) => reader.cancel()));
  }
}

/** What {@link withService} starts. */
export interface ServiceOptions {
  readonly hub?: HubOptions;
  readonly handler?: Partial<HandlerOptions>;
  readonly serve?: (handler: FetchHandler) => Promise<TestServer>;
}

/** The text of an answer that ends by itself: a stream where none belongs is a failure, not a wait without end. */
export async function textOf(response: Response): Promise<string> {
  if (response.headers.get("content-type") === "text/event-stream") {
    await response.body?.cancel();
    throw new Error(`an answer, got a stream (${response.status})`);
  }
  return await within(response.text(), "the body of an answer");
}

/** Checks an answer that is a problem (RFC 9457), and returns its members. */
export async function problem(
  response: Response | Promise<Response>,
  status: number,
  code: string,
): Promise<{ detail: string }> {
  const answer = await response;
  const text = await textOf(answer);
  assertEquals(answer.status, status, text);
  assertEquals(answer.headers.get("content-type"), "application/problem+json");
  assertEquals(answer.headers.get("x-content-type-options"), "nosniff");
  assertEquals(answer.headers.get("cache-control"), "no-store");
  const body = JSON.parse(text);
  assertEquals([body.status, body.code, body.type], [status, code, "about:blank"], text);
  assert(typeof body.title === "string" && body.title.length > 3);
  assert(typeof body.detail === "string" && body.detail.length > 3);
  return body;
}

/** What the answer to a subscribe says that is refused only for now. */
export interface RefusedForNow {
  /** The status that the problem names. */
  status: number;
  code: string;
  detail: string;
  /** The last event id that is given back. */
  id: string | undefined;
}

/** Reads the answer to a subscribe that is refused only for now, and checks all that does not depend on the reason. */
export async function refusedForNow(
  response: Response | Promise<Response>,
): Promise<RefusedForNow> {
  const answer = await response;
  assertEquals([answer.status, answer.headers.get("content-type")], [200, "text/event-stream"]);
  const [block, ...more] = await new EventReader(answer).rest();
  assertEquals([block?.event, more], ["streamside:unavailable", []]);
  const retry = Number(block!.retry);
  assert(retry >= 2_000 && retry <= 10_000, `retry: ${retry}`);
  assertEquals(answer.headers.get("retry-after"), String(Math.ceil(retry / 1000)));
  const problem = JSON.parse(block!.data!);
  assertEquals(Object.keys(problem), ["type", "title", "status", "detail", "code"]);
  return { status: problem.status, code: problem.code, detail: problem.detail, id: block!.id };
}

/** Any session id is a session, with two channels granted. */
export const authenticate = (request: Request): { session: string; channels: string[] } | null => {
  const session = sessionFromRequest(request);
  return session === null ? null : { session, channels: ["news", "sport"] };
};

/**
 * Runs a test against a service of its own, and sees to it that nothing is left behind: when the clients are gone, the
 * gauges of the hub are zero.
 */
export async function withService(
  options: ServiceOptions,
  run: (service: Service) => Promise<void>,
): Promise<void> {
  const log: [level: keyof Logger, text: string][] = [];
  const hub = createHub({ logger: recordingLogger(log), ...options.hub });
  const handler = createHandler(hub, { authenticate, ...options.handler });
  const server = await (options.serve ?? serve)(handler);
  const service = new Service(hub, handler, server, log);
  try {
    await run(service);
    await service.release();
    await untilIdle(hub);
  } finally {
    await service.release();
    await hub.close();
    await server.close();
  }
}

/** Runs a test on a hub without a server, and closes it whatever becomes of the test. */
export async function withHub(
  options: HubOptions,
  run: (hub: Hub) => void | Promise<void>,
): Promise<void> {
  const hub = createHub({ logger: quietLogger, ...options });
  try {
    await run(hub);
  } finally {
    await hub.close();
  }
}

/** Waits until a hub has forgotten every connection. */
export async function untilIdle(hub: Hub): Promise<void> {
  const gauges = () => {
    const { connections, sessions, channels, lagging } = hub.stats();
    return { connections, sessions, channels, lagging };
  };
  await until(
    () => Object.values(gauges()).every((value) => value === 0),
    () => `the hub to forget its connections: ${JSON.stringify(gauges())}`,
  );
  assertEquals(hub.sessions(), []);
}

/** A logger that writes down what it is told. */
export function recordingLogger(log: [level: keyof Logger, text: string][]): Logger {
  const write = (level: keyof Logger) => (...data: unknown[]) => {
    log.push([level, data.map(String).join(" ")]);
  };
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

/** A logger for hubs whose log lines are of no interest. */
export const quietLogger: Logger = recordingLogger([]);

// ---------------------------------------------------------------------------------------------------- event streams

/** One block of an event stream: the lines up to a blank one. */
export interface Block {
  event?: string;
  data?: string;
  id?: string;
  retry?: string;
  comments?: string[];
}

/** Reads an event stream block by block, straight after WHATWG HTML 9.2.6. */
export class EventReader {
  readonly response: Response | undefined;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #text = "";
  #done = false;

  constructor(source: Response | ReadableStream<Uint8Array>) {
    this.response = source instanceof Response ? source : undefined;
    this.#reader = (source instanceof Response ? source.body! : source).getReader();
  }

  /** The next block. */
  async block(): Promise<Block> {
    const block = await this.#next();
    if (block === undefined) throw new Error("the stream ended before the block that was awaited");
    return block;
  }

  /** The next event: a block with data. */
  async event(): Promise<Block> {
    for (;;) {
      const block = await this.block();
      if (block.data !== undefined) return block;
    }
  }

  /** The next events. */
  async events(count: number): Promise<Block[]> {
    const events: Block[] = [];
    while (events.length < count) events.push(await this.event());
    return events;
  }

  /** The data of the next events. */
  async data(count: number): Promise<string[]> {
    return (await this.events(count)).map(({ data }) => data!);
  }

  /** What is left until the stream ends. */
  async rest(): Promise<Block[]> {
    const blocks: Block[] = [];
    for (let block = await this.#next(); block; block = await this.#next()) blocks.push(block);
    return blocks;
  }

  /** Goes away. */
  async cancel(): Promise<void> {
    this.#done = true;
    // A stream that broke has nothing to cancel any more.
    await this.#reader.cancel().catch(() => {});
  }

  async #next(): Promise<Block | undefined> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end !== -1) {
        const block = parseBlock(this.#text.slice(0, end));
        this.#text = this.#text.slice(end + 2);
        return block;
      }
      if (this.#done) {
        if (this.#text !== "") throw new Error(`a block is cut off: ${JSON.stringify(this.#text)}`);
        return undefined;
      }
      const { done, value } = await within(
        this.#reader.read(),
        `more of a stream, having ${JSON.stringify(this.#text)}`,
      );
      if (done) this.#done = true;
      else this.#text += this.#decoder.decode(value, { stream: true });
    }
  }
}

/** A block of the event stream format. A line that is no field of it is an error here, not ignored. */
export function parseBlock(text: string): Block {
  const block: Block = {};
  for (const line of text.split("\n")) {
    const [, field, value] = /^(event|data|id|retry|):(?: ?)([^\r]*)$/.exec(line) ?? [];
    if (field === undefined || value === undefined) {
      throw new Error(`not a line of an event stream: ${JSON.stringify(line)}`);
    }
    if (field === "") (block.comments ??= []).push(value);
    else if (field === "data" && block.data !== undefined) block.data += `\n${value}`;
    else block[field as "event" | "data" | "id" | "retry"] = value;
  }
  return block;
}

// ---------------------------------------------------------------------------------------------------- bytes

/** An HTTP response as it came over the wire; `body` in UTF-8. */
export interface RawResponse {
  version: string;
  status: number;
  headers: Headers;
  body: string;
}

/** A connection that speaks HTTP/1 in bytes. Text in and out stands for bytes (latin1). */
export class RawClient {
  readonly socket: Socket;
  #received = "";
  #ended = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text) => {
      this.#received += text;
      this.#wake();
    });
    socket.on("error", () => {}); // "close" follows, and that is what a test waits for
    for (const ending of ["end", "close"]) {
      socket.on(ending, () => {
        this.#ended = true;
        this.#wake();
      });
    }
  }

  /** Connects to a port of this machine. */
  static async open(port: number): Promise<RawClient> {
    const socket = connect(port, "127.0.0.1");
    const client = new RawClient(socket);
    await within(
      new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject)),
      "a connection",
    );
    return client;
  }

  write(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** What came and was not taken yet. */
  get received(): string {
    return this.#received;
  }

  /** The other side has closed. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Waits until what came holds a text, or the other side has closed. */
  async waitFor(enough: (received: string) => boolean, limit?: number): Promise<void> {
    while (!enough(this.#received) && !this.#ended) {
      const more = new Promise<void>((resolve) => this.#wake = resolve);
      await within(more, `more than ${JSON.stringify(this.#received.slice(-500))}`, limit);
    }
  }

  /** Takes so many bytes, or up to and with a mark. */
  async take(what: number | string, limit?: number): Promise<string> {
    const length = () => {
      if (typeof what === "number") return what;
      const at = this.#received.indexOf(what);
      return at === -1 ? Infinity : at + what.length;
    };
    await this.waitFor(() => this.#received.length >= length(), limit);
    if (this.#received.length < length()) {
      throw new Error(
        `the connection ended, having sent ${JSON.stringify(this.#received.slice(-500))}`,
      );
    }
    const taken = this.#received.slice(0, length());
    this.#received = this.#received.slice(taken.length);
    return taken;
  }

  /** Takes the head of a response. */
  async head(limit?: number): Promise<RawResponse> {
    const [first, ...lines] = (await this.take("\r\n\r\n", limit)).slice(0, -4).split("\r\n");
    const [, version, status] = /^HTTP\/(1\.[01]) (\d{3})(?: |$)/.exec(first!) ?? [];
    if (version === undefined) throw new Error(`not a status line: ${JSON.stringify(first)}`);
    const headers = new Headers();
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    return { version, status: Number(status), headers, body: "" };
  }

  /** Takes one chunk of a chunked body; an empty one is the last. */
  async chunk(limit?: number): Promise<string> {
    const line = await this.take("\r\n", limit);
    if (!/^[\da-fA-F]+\r\n$/.test(line)) throw new Error(`no chunk size: ${JSON.stringify(line)}`);
    const data = await this.take(parseInt(line, 16) + 2, limit);
    if (!data.endsWith("\r\n")) throw new Error(`a chunk goes on: ${JSON.stringify(data)}`);
    return data.slice(0, -2);
  }

  /** Takes a whole response. */
  async response(method = "GET", limit?: number): Promise<RawResponse> {
    const response = await this.head(limit);
    const { status, headers } = response;
    let body = "";
    if (method === "HEAD" || status < 200 || status === 204 || status === 304) return response;
    if (headers.get("transfer-encoding") === "chunked") {
      for (let chunk = await this.chunk(limit); chunk !== ""; chunk = await this.chunk(limit)) {
        body += chunk;
      }
    } else if (headers.has("content-length")) {
      body = await this.take(Number(headers.get("content-length")), limit);
    } else {
      await this.waitFor(() => false, limit);
      body = this.#received;
      this.#received = "";
    }
    response.body = new TextDecoder().decode(bytesOf(body));
    return response;
  }

  /** Takes an event stream's body, chunked or not, until it holds a text. */
  async streamUntil(chunked: boolean, mark: string): Promise<string> {
    let text = "";
    while (!text.includes(mark)) text += chunked ? await this.chunk() : await this.take("\n\n");
    return text;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** The bytes that a text stands for. */
export function bytesOf(latin1: string): Uint8Array {
  return Uint8Array.from(latin1, (character) => character.charCodeAt(0));
}
