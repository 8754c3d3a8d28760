/**
 * The handler: a request in, a response out, for any server or router that speaks Fetch.
 *
 * | request | answer |
 * | --- | --- |
 * | `GET {basePath}/subscribe?channel=a&lastEventId=…&replay=20` | the event stream |
 * | `GET {basePath}/runs/{channel}` | a run: from its first event, or the last id, to its end |
 * | `POST {basePath}/send` | sends for a client that `authorize` allows it |
 * | `POST {basePath}/test/echo` | with `testEndpoints`: each string back as a `test` event |
 * | `GET {basePath}/health` | whether new subscribers are taken |
 * | `GET {basePath}/metrics` | with `authorizeMetrics`: `hub.stats()` for Prometheus |
 *
 * @module
 */

import { quote, StreamsideError, type StreamsideErrorCode } from "../errors.ts";
import { CONNECT, COUNT, FOLLOW, HUB, type InternalHub } from "../hub/hub.ts";
import { Turns } from "../hub/turns.ts";
import type { EventMap, Hub, SendResult } from "../hub/types.ts";
import { bound, delay, isName, NAME } from "../validate.ts";
import { VERSION } from "../version.ts";
import {
  type Answer,
  jsonAnswer,
  PRIVATE,
  Problem,
  runAnswer,
  streamAnswer,
  toResponse,
} from "./answer.ts";
import { letFlow, readJson } from "./body.ts";
import { type Cors, corsOf, crossOriginHeaders, isAllowedOrigin, preflight } from "./cors.ts";
import { type Message, parseMessage } from "./message.ts";
import { formatMetrics, METRICS_TYPES, metricsFormat } from "./metrics.ts";
import type { ContextArgument, Handler, HandlerOptions, Handling, Identity } from "./types.ts";

/**
 * A handler for a hub.
 *
 * @throws {StreamsideError} `invalid-argument` without a hub of {@link createHub} or an `authenticate`, and for an
 *   invalid option: a bound that is not a positive number, an origin that no browser sends
 * @example
 * ```ts
 * const handler = createHandler(hub, {
 *   authenticate: async (request) => await sessions.find(sessionFromRequest(request)),
 *   authorize: (identity, message) => message.channel !== undefined && identity.mayWrite(message.channel),
 *   cors: ["https://app.example"],
 * });
 * Deno.serve(handler);
 * ```
 */
export function createHandler<Events extends EventMap, I extends Identity, Context = unknown>(
  hub: Hub<Events>,
  options: HandlerOptions<I, Context>,
): Handler<Context> {
  if (typeof options?.authenticate !== "function") {
    throw new StreamsideError(
      "invalid-argument",
      "createHandler needs an `authenticate` function, which says whose session a request belongs to.",
    );
  }
  const routes = new Routes(openable(hub), options);
  const handler = handle<Context>((request, context) => routes.answer(request, context));
  return Object.assign(handler, {
    subscribe: handle<Context>((request, context) => routes.answer(request, context, "/subscribe")),
    send: handle<Context>((request, context) => routes.answer(request, context, "/send")),
    follow: (request: Request, channel: string, ...[context]: ContextArgument<Context>) =>
      respond(request, routes.answer(request, context as Context, "/runs", channel)),
  });
}

/** A hub of this version, whichever copy of the library made it. */
function openable(hub: unknown): InternalHub {
  const version = (hub as Partial<InternalHub> | null | undefined)?.[HUB];
  if (version === VERSION) return hub as InternalHub;
  throw new StreamsideError(
    "invalid-argument",
    version === undefined
      ? "createHandler needs a hub made by createHub."
      : `This hub was made by Streamside ${version}, and createHandler is of Streamside ${VERSION}. ` +
        "Install one version for both: `npm ls streamside` tells who asks for which.",
  );
}

type Answering<Context> = (request: Request, context: Context) => Promise<Answer>;

function handle<Context>(answering: Answering<Context>): Handling<Context> {
  // A context that is left out is one that may be: `ContextArgument` sees to it.
  const handler = (request: Request, context?: Context): Promise<Response> =>
    respond(request, answering(request, context as Context));
  return Object.defineProperty(handler, ANSWERING, { value: answering }) as Handling<Context>;
}

async function respond(request: Request, answering: Promise<Answer>): Promise<Response> {
  const answer = await answering;
  if (answer.status >= 400) await letFlow(request);
  return toResponse(answer);
}

/** Where a handler has what is beneath it. */
const ANSWERING: unique symbol = Symbol.for(`streamside.answering@${VERSION}`);

/**
 * What is beneath a handler made by this version, for an entry point that needs no `Response`. `undefined` for any
 * other function. It reads only a request's method, URL, headers and body.
 */
export function answeringOf(
  handler: (request: Request, context: never) => unknown,
): Answering<unknown> | undefined {
  return (handler as { [ANSWERING]?: Answering<unknown> })[ANSWERING];
}

/**
 * The session id that a request carries in `X-Session-Id` or, since the browser's `EventSource` cannot send headers, in
 * `?sessionId=`. `null` if there is none or it is invalid: over 1 024 characters, or with CR, LF or NUL. It proves
 * nothing: look it up in `authenticate`.
 *
 * @example
 * ```ts
 * const handler = createHandler(hub, {
 *   authenticate: (request) => logins.get(sessionFromRequest(request) ?? ""),
 * });
 * ```
 */
export function sessionFromRequest(request: Request): string | null {
  const session = request.headers.get("X-Session-Id") ||
    new URL(request.url).searchParams.get("sessionId");
  return isName(session) ? session : null;
}

type Route<Context> = [
  method: "GET" | "POST",
  answer: (request: Request, context: Context, url: URL, channel: string) => Promise<Answer>,
];

/** A path below the base path: the route, and the channel where it ends with one. */
interface Target {
  readonly route: string;
  readonly channel: string;
}

/** The route of a run, without its channel. */
const RUNS = "/runs";

class Routes<I extends Identity, Context> {
  readonly #hub: InternalHub;
  readonly #options: HandlerOptions<I, Context>;
  readonly #basePath: string;
  readonly #cors: Cors;
  readonly #maxBodyBytes: number;
  readonly #bodyTimeout: number;
  readonly #maxQueryLength: number;
  readonly #authTimeout: number;
  readonly #unavailable: "stream" | "status";
  readonly #maxReplay: number;
  /** Each path below the base path, its method, and what answers it. */
  readonly #routes = new Map<string, Route<Context>>();

  constructor(hub: InternalHub, options: HandlerOptions<I, Context>) {
    this.#hub = hub;
    this.#options = options;
    this.#basePath = pathOf(options.basePath ?? "/api/v1/sse");
    this.#cors = corsOf(options.cors ?? []);
    this.#maxBodyBytes = bound("maxBodyBytes", options.maxBodyBytes, hub.maxEventBytes + 65_536);
    this.#bodyTimeout = delay("bodyTimeout", options.bodyTimeout, 30_000);
    this.#maxQueryLength = bound("maxQueryLength", options.maxQueryLength, 8_192);
    this.#authTimeout = delay("authTimeout", options.authTimeout, 10_000);
    this.#maxReplay = options.replay === undefined ? hub.maxReplay : options.replay;
    if (!(typeof this.#maxReplay === "number" && this.#maxReplay >= 0)) {
      throw new StreamsideError(
        "invalid-argument",
        `replay must be a number, 0 or more, got ${quote(this.#maxReplay)}.`,
      );
    }
    this.#unavailable = options.unavailable ?? "stream";
    if (!["stream", "status"].includes(this.#unavailable)) {
      throw new StreamsideError(
        "invalid-argument",
        `unavailable must be "stream" or "status", got ${quote(this.#unavailable)}.`,
      );
    }
    this.#routes.set("/subscribe", [
      "GET",
      (request, context, url) => this.#subscribe(request, context, url),
    ]);
    this.#routes.set(RUNS, [
      "GET",
      (request, context, url, channel) => this.#follow(request, context, url, channel),
    ]);
    this.#routes.set("/send", ["POST", (request, context) => this.#send(request, context)]);
    this.#routes.set("/health", ["GET", () => this.#health()]);
    if (options.testEndpoints) {
      this.#routes.set("/test/echo", ["POST", (request, context) => this.#echo(request, context)]);
    }
    if (options.authorizeMetrics) {
      this.#routes.set("/metrics", ["GET", (request, context) => this.#metrics(request, context)]);
    }
  }

  async answer(
    request: Request,
    context: Context,
    route?: string,
    channel: string = "",
  ): Promise<Answer> {
    let answer: Answer;
    try {
      answer = await this.#answer(
        request,
        context,
        route === undefined ? undefined : { route, channel },
      );
    } catch (error) {
      answer = this.#toProblem(error).toAnswer();
    }
    return {
      ...answer,
      headers: { ...answer.headers, ...crossOriginHeaders(request, this.#cors) },
    };
  }

  async #answer(
    request: Request,
    context: Context,
    target: Target | undefined,
  ): Promise<Answer> {
    const url = urlOf(request);
    const { route, channel } = target ?? this.#targetOf(url);
    const [method, answer] = this.#routes.get(route) ?? [];
    if (!method || !answer) throw this.#notFound(url);
    const allow = method === "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
    if (request.method === "OPTIONS") return preflight(request, this.#cors, allow);
    if (request.method !== method && !(method === "GET" && request.method === "HEAD")) {
      throw new Problem(405, "method-not-allowed", `This path accepts ${allow}.`, { Allow: allow });
    }
    if (url.search.length > this.#maxQueryLength) {
      this.#hub[COUNT]("refusedQueries");
      throw new Problem(
        414,
        "query-too-long",
        `The query is longer than ${this.#maxQueryLength} characters.`,
      );
    }
    if (method === "POST" && !isAllowedOrigin(request, url, this.#cors)) {
      throw new Problem(403, "origin-not-allowed", "Pages of this origin may not post here.");
    }
    return await answer(request, context, url, channel);
  }

  #targetOf({ pathname }: URL): Target {
    const isBelow = pathname.startsWith(`${this.#basePath}/`);
    const path = isBelow ? pathname.slice(this.#basePath.length) : "";
    if (!path.startsWith(`${RUNS}/`)) return { route: path === RUNS ? "" : path, channel: "" };
    try {
      // All of the rest: some proxies hand on a slash for the %2F of a channel's name.
      return { route: RUNS, channel: decodeURIComponent(path.slice(RUNS.length + 1)) };
    } catch {
      throw new Problem(
        400,
        "invalid-url",
        "The channel in the path is not percent-encoded UTF-8.",
      );
    }
  }

  /** Whoever mounts the handler at another path than it expects, or behind a router that cuts it, reads this. */
  #notFound({ pathname }: URL): Problem {
    const base = quote(this.#basePath || "/", 256);
    const detail = pathname.startsWith(`${this.#basePath}/`)
      ? `There is no route at ${quote(pathname)}, under the basePath ${base}.`
      : `There is no route at ${quote(pathname)}: the routes are under the basePath ${base}.`;
    return new Problem(404, "not-found", detail);
  }

  #subscribe(request: Request, context: Context, url: URL): Promise<Answer> {
    return this.#stream(request, url, (id) => this.#open(request, context, url, id));
  }

  #follow(request: Request, context: Context, url: URL, channel: string): Promise<Answer> {
    return this.#stream(request, url, (id) => this.#openRun(request, context, channel, id));
  }

  /** A stream, or, if it is refused only for now, an answer after which an `EventSource` comes back. */
  async #stream(
    request: Request,
    url: URL,
    open: (lastEventId: string | null) => Promise<Answer>,
  ): Promise<Answer> {
    // RFC 9110, 15.3.5: a cache may keep a 204 unless told not to.
    if (this.#options.enabled === false) return NO_STREAM;
    const lastEventId = lastEventIdOf(request, url);
    try {
      return await open(lastEventId);
    } catch (error) {
      const problem = this.#toProblem(error);
      if (this.#unavailable === "status" || !problem.isForNow) throw problem;
      return problem.toStreamAnswer(lastEventId);
    }
  }

  async #open(
    request: Request,
    context: Context,
    url: URL,
    lastEventId: string | null,
  ): Promise<Answer> {
    // First: while everyone is refused and keeps coming back, `authenticate` is not called for each.
    this.#hub.assertAccepting();
    const requestedAt = this.#hub.cursor();
    const replay = replayOf(url, this.#maxReplay);
    const identity = await this.#authenticate(request, context);
    const named = new Set(url.searchParams.getAll("channel"));
    this.#hub.assertChannels(named.size);
    const channels = [...named].filter((channel) => this.#isGranted(identity, channel));
    // A stream that resumes goes on without a channel that was taken away: an `EventSource` would give up at a 403.
    if (channels.length < named.size && !lastEventId) {
      throw notGranted([...named].find((channel) => !channels.includes(channel))!);
    }
    if (request.method === "HEAD") {
      this.#hub.assertAccepting();
      return streamAnswer(null);
    }
    try {
      return streamAnswer(this.#hub[CONNECT](identity.session, {
        channels: named.size > 0 ? channels : listOf(identity),
        named: named.size > 0 ? named : undefined,
        lastEventId,
        replay,
        requestedAt,
        expires: identity.expires,
      }));
    } catch (error) {
      // A session that has logged out gets the same answer as if it had asked afterwards. A session that was
      // disconnected for another reason comes back and is let in: its rights have changed, or it is back already and
      // this server heard of the disconnect late.
      if (isDisconnected(error)) await this.#authenticate(request, context);
      throw error;
    }
  }

  async #openRun(
    request: Request,
    context: Context,
    channel: string,
    lastEventId: string | null,
  ): Promise<Answer> {
    this.#hub.assertAccepting();
    const requestedAt = this.#hub.cursor();
    const identity = await this.#authenticate(request, context);
    if (!this.#isGranted(identity, channel)) throw notGranted(channel);
    const { session, expires } = identity;
    try {
      const run = await this.#hub[FOLLOW](session, channel, { lastEventId, requestedAt, expires });
      // The reader has seen it all: an `EventSource` comes back after each end, and stays away from then on.
      if (run === "ended") return NO_STREAM;
      if (run === undefined) {
        throw new Problem(
          404,
          "no-run",
          `There is no run of the channel ${quote(channel)}: it never ran, or is forgotten.`,
        );
      }
      return runAnswer(request.method === "HEAD" ? null : run());
    } catch (error) {
      if (isDisconnected(error)) await this.#authenticate(request, context);
      throw error;
    }
  }

  async #send(request: Request, context: Context): Promise<Answer> {
    const { authorize } = this.#options;
    const identity = await this.#authenticate(request, context);
    if (!authorize) {
      throw new Problem(
        403,
        "not-authorized",
        "Nobody may send: this handler has no `authorize`.",
      );
    }
    const message = parseMessage(await this.#readBody(request));
    if ((await this.#inTime(() => authorize(identity, message, context), "authorize")) !== true) {
      throw new Problem(403, "not-authorized", "This session may not send this message.");
    }
    return jsonAnswer(202, await this.#deliver(message));
  }

  async #readBody(request: Request): Promise<unknown> {
    try {
      return await readJson(request, { bytes: this.#maxBodyBytes, time: this.#bodyTimeout });
    } catch (error) {
      if (error instanceof Problem && (error.status === 413 || error.status === 408)) {
        this.#hub[COUNT]("refusedBodies");
      }
      if (error instanceof Problem && error.status === 500) {
        this.#hub.logger.error(`streamside: ${error.message}`);
      }
      throw error;
    }
  }

  #deliver(message: Message): Promise<SendResult> {
    const { session, channel, event, data, except, key, transient, idempotencyKey } = message;
    const options = { except, key, transient, idempotencyKey };
    if (session !== undefined) return this.#hub.send(session, event, data, options);
    if (channel !== undefined) return this.#hub.publish(channel, event, data, options);
    return this.#hub.broadcast(event, data, options);
  }

  async #echo(request: Request, context: Context): Promise<Answer> {
    const { session } = await this.#authenticate(request, context);
    const body = await this.#readBody(request);
    if (!Array.isArray(body) || !body.every((item) => typeof item === "string")) {
      throw new Problem(
        400,
        "invalid-message",
        'The body must be an array of strings, such as ["a", "b"].',
      );
    }
    if (body.length > MAX_ECHOES) {
      throw new Problem(
        400,
        "invalid-message",
        `The body has ${body.length} messages; at most ${MAX_ECHOES} are sent.`,
      );
    }
    const turns = new Turns();
    turns.begin();
    for (const text of body) {
      await this.#hub.send(session, "test", text);
      if (turns.isOver()) await turns.next();
    }
    return jsonAnswer(200, { status: "ok", messages_sent: body.length });
  }

  #health(): Promise<Answer> {
    const { draining, isFollowingLog } = this.#hub;
    const status = draining ? "draining" : isFollowingLog ? "ok" : "log-unavailable";
    return Promise.resolve(jsonAnswer(status === "ok" ? 200 : 503, { status }));
  }

  async #metrics(request: Request, context: Context): Promise<Answer> {
    const allowed = await this.#inTime(
      () => this.#options.authorizeMetrics!(request, context),
      "authorizeMetrics",
    );
    if (allowed !== true) {
      throw new Problem(403, "not-authorized", "This request may not see the metrics.");
    }
    const format = metricsFormat(request.headers.get("Accept"));
    return {
      status: 200,
      headers: { ...PRIVATE, "Content-Type": METRICS_TYPES[format] },
      body: formatMetrics(this.#hub.stats(), format),
    };
  }

  async #authenticate(request: Request, context: Context): Promise<I> {
    const identity = await this.#inTime(
      () => this.#options.authenticate(request, context),
      "authenticate",
    );
    if (!identity) throw unauthorized();
    const fault = faultOf(identity);
    if (fault !== undefined) {
      throw this.#failed(`authenticate returned an invalid identity: ${fault}`);
    }
    const { expires } = identity;
    if (expires !== undefined && Number(expires) <= Date.now()) throw unauthorized();
    return identity;
  }

  /** Whether an identity may subscribe to a channel. What its function does not answer with true or false grants nothing. */
  #isGranted({ channels = [] }: Identity, channel: string): boolean {
    if (typeof channels !== "function") return channels.includes(channel);
    if (!isName(channel)) return false;
    let answer: unknown;
    try {
      answer = channels(channel);
    } catch (error) {
      throw this.#failed("the identity's `channels` threw", error);
    }
    if (typeof answer === "boolean") return answer;
    const got = isThenable(answer) ? "a promise" : quote(answer);
    // Nobody waits for it.
    if (isThenable(answer)) answer.then(undefined, () => {});
    throw this.#failed(`the identity's \`channels\` must return true or false, got ${got}`);
  }

  /** What a callback of the application returns, unless it throws or takes too long. */
  async #inTime<T>(call: () => T | PromiseLike<T>, name: string): Promise<T> {
    let result: T | PromiseLike<T>;
    try {
      result = call();
      // Most callbacks answer at once and need no timer.
      if (!isThenable(result)) return result;
    } catch (error) {
      throw this.#failed(`${name} threw`, error);
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#hub.logger.error(`streamside: ${name} did not answer within ${this.#authTimeout} ms`);
        reject(
          new Problem(503, "unavailable", "This server cannot answer now.", { "Retry-After": "5" }),
        );
      }, this.#authTimeout);
    });
    const answered = Promise.resolve(result).catch((error: unknown) => {
      throw this.#failed(`${name} threw`, error);
    });
    try {
      return await Promise.race([answered, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** A failure of the application: its operator is told what failed, and the client nothing. */
  #failed(what: string, ...details: unknown[]): Problem {
    this.#hub.logger.error(`streamside: ${what}`, ...details);
    return new Problem(500, "internal-error", "This server failed to answer.");
  }

  #toProblem(error: unknown): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof StreamsideError) {
      const [status, headers] = STATUS[error.code] ?? [500];
      return new Problem(status, error.code, error.message, headers);
    }
    return this.#failed("a request failed", error);
  }
}

const NO_STREAM: Answer = { status: 204, headers: PRIVATE, body: null };

function notGranted(channel: string): Problem {
  return new Problem(
    403,
    "channel-not-granted",
    `The channel ${quote(channel)} is not granted to this session.`,
  );
}

/** A base path as it is in a request's URL: percent-encoded, without a slash at its end. */
function pathOf(basePath: string): string {
  const path = String(basePath).replace(/\/+$/, "");
  if (path === "") return "";
  if (!/^\/[^?#]*$/.test(path)) {
    throw new StreamsideError(
      "invalid-argument",
      `basePath must be a path that begins with a slash, such as "/api/v1/sse", got ${
        quote(basePath)
      }.`,
    );
  }
  return new URL(`http://localhost${path}`).pathname;
}

/** A browser that reconnects sends the header, and the URL as it was at first (WHATWG HTML 9.2.3). */
function lastEventIdOf(request: Request, url: URL): string | null {
  const header = request.headers.get("Last-Event-ID");
  return header ? textOf(header) : url.searchParams.get("lastEventId");
}

/** With how many held events a stream is to begin. */
function replayOf(url: URL, most: number): number {
  const text = url.searchParams.get("replay");
  if (text === null) return 0;
  if (!/^\d{1,15}$/.test(text)) {
    throw new Problem(400, "invalid-query", `replay must be a whole number, got ${quote(text)}.`);
  }
  return Math.floor(Math.min(Number(text), most));
}

/** A header's text, if it is UTF-8: `Headers` gives a character for each byte. */
function textOf(header: string): string {
  if (/^[\0-\x7f]*$/.test(header) || /[^\0-\xff]/.test(header)) return header;
  const bytes = Uint8Array.from(header, (character) => character.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return header;
  }
}

/** What is wrong with an identity. The session's id is left out: it must not be in a log as a whole. */
function faultOf({ session, channels, expires }: Identity): string | undefined {
  if (!isName(session)) return `\`session\` must be ${NAME}.`;
  const isList = Array.isArray(channels) && channels.every(isName);
  if (channels && !isList && typeof channels !== "function") {
    return `\`channels\` must be an array, or a function that returns true or false; each channel must be ${NAME}.`;
  }
  if (expires === undefined) return undefined;
  const isTime = typeof expires === "number" || typeof expires === "object" && expires !== null;
  if (!isTime || Number.isNaN(Number(expires))) {
    return `\`expires\` must be a valid Date or a number of ms since the epoch, got ${
      typeof expires === "string" ? quote(expires) : String(expires)
    }.`;
  }
  return undefined;
}

/** Not every server checks the `Host` header before it builds a URL with it. */
function urlOf(request: Request): URL {
  try {
    return new URL(request.url);
  } catch {
    throw new Problem(400, "invalid-url", "The Host header and the path do not form a valid URL.");
  }
}

/**
 * How many messages one request to the echo may have. A body has room for hundreds of thousands of short ones: they
 * would push everyone's events out of the history.
 */
const MAX_ECHOES = 1_000;

const STATUS: Record<StreamsideErrorCode, [status: number, headers?: Record<string, string>]> = {
  "invalid-event": [400],
  "invalid-data": [400],
  "invalid-argument": [400],
  "event-too-large": [413],
  "disconnected": [503, { "Retry-After": "1" }],
  "too-many-channels": [400],
  "too-many-connections": [503, { "Retry-After": "5" }],
  "too-many-connections-of-session": [429, { "Retry-After": "5" }],
  "already-running": [409],
  "log-unavailable": [503, { "Retry-After": "5" }],
  "closed": [503, { "Retry-After": "1" }],
};

/** The channels that an identity lists: all of them are subscribed to unless some are named. */
function listOf({ channels }: Identity): readonly string[] {
  return typeof channels === "function" ? [] : channels ?? [];
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as PromiseLike<T> | undefined)?.then === "function";
}

function isDisconnected(error: unknown): boolean {
  return error instanceof StreamsideError && error.code === "disconnected";
}

function unauthorized(): Problem {
  return new Problem(401, "not-authenticated", "The request has no valid session.", {
    // RFC 9110, 15.5.2: a 401 names a scheme. With this one, no browser asks for a password.
    "WWW-Authenticate": "Session",
  });
}
