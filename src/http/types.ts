/**
 * What a handler promises: its options, its routes, and whose request it is.
 *
 * @module
 */

import type { CorsOptions } from "./cors.ts";
import type { Message } from "./message.ts";

/** Whose request it is, and what that session may see. */
export interface Identity {
  /** The session that {@link Hub.send} addresses. */
  readonly session: string;
  /**
   * The channels it may subscribe to. A request without `?channel=` subscribes to all of them; with `?channel=` it
   * subscribes to the ones it names.
   *
   * Or a function that says whether it may subscribe to a channel, for where a list would be long: then a request
   * subscribes to the ones it names, and to none without `?channel=`. It answers at once, with true or false: what needs
   * time, such as a look into a database, is for `authenticate`. If it throws or returns anything else, the error is
   * logged, and the answer is as if `authenticate` had thrown. It is called with names of 1 to 1 024 characters without
   * CR, LF and NUL. Default: none.
   */
  readonly channels?: readonly string[] | ((channel: string) => boolean);
  /** When it ends, and its streams with it, as a Date or in ms since the epoch. Default: never. */
  readonly expires?: Date | number;
}

/** Options of {@link createHandler}; `I` is what `authenticate` gives, `Context` what the handler is called with. */
export interface HandlerOptions<I extends Identity = Identity, Context = unknown> {
  /**
   * Says whose request it is: the session, and what it may see. `null` or `undefined` means nobody, and the answer is
   * 401. There is no open default. If it throws, or returns an invalid identity, the error is logged and the answer is
   * 500 without details. For a subscribe, see `unavailable`.
   *
   * `context` is the second argument that the handler was called with, as it is: `{ req, res }` from `toNodeListener`,
   * Deno's `info`, Bun's `server`, a worker's `env`, or what your router gives, such as Hono's `c`. Declare its type
   * here and the handler asks for it.
   */
  readonly authenticate: (
    request: Request,
    context: Context,
  ) => I | null | undefined | PromiseLike<I | null | undefined>;
  /** Whether this client may send this message. `context` as for `authenticate`. Default: nobody may send anything. */
  readonly authorize?: (
    identity: I,
    message: Message,
    context: Context,
  ) => boolean | PromiseLike<boolean>;
  /** The path that the routes are under. Default: `"/api/v1/sse"`. */
  readonly basePath?: string;
  /**
   * The origins, such as `"https://app.example"`, whose pages may use the handler, with credentials. `"*"` stands for
   * every origin, without credentials. With `{ origins, headers }`, the headers too that these pages may send. Default:
   * the handler's own origin only.
   */
  readonly cors?: readonly string[] | CorsOptions;
  /** False answers every subscribe with 204, which tells clients to stay away. Default: true. */
  readonly enabled?: boolean;
  /**
   * The answer to a subscribe that is refused only for now: while the hub drains, is full or has not reached its log,
   * when the session has too many connections, and when `authenticate` throws or takes too long.
   *
   * - `"stream"`: 200 with `Retry-After`, and an event stream that ends at once. It holds `retry`, the request's last
   *   event id and `streamside:unavailable`, whose data is the problem. A browser's `EventSource` comes back after
   *   it; on any other status it gives up for good.
   * - `"status"`: 503, 429 or 500, for proxies that fail over on them.
   *
   * Default: `"stream"`.
   */
  readonly unavailable?: "stream" | "status";
  /**
   * With how many held events a request may begin, by `?replay=`: see {@link SubscribeOptions.replay}. More is this many;
   * with 0, `?replay=` gives none. What is not a whole number is answered with 400. Default: the hub's `maxReplay`.
   */
  readonly replay?: number;
  /** Opens `POST {basePath}/test/echo`. Default: false. */
  readonly testEndpoints?: boolean;
  /** Whether this request may see the metrics. `context` as for `authenticate`. Default: there is no metrics route. */
  readonly authorizeMetrics?: (
    request: Request,
    context: Context,
  ) => boolean | PromiseLike<boolean>;
  /** The largest body of a POST, in bytes. Default: the hub's `maxEventBytes` and 65 536 more. */
  readonly maxBodyBytes?: number;
  /** How long the body of a POST may take to arrive, in ms; then 408. Default: 30 000. */
  readonly bodyTimeout?: number;
  /** The longest query, in characters; a longer one is answered with 414. Default: 8 192. */
  readonly maxQueryLength?: number;
  /**
   * How long `authenticate`, `authorize` and `authorizeMetrics` may take, in ms; then 503 (see `unavailable`). Default:
   * 10 000.
   */
  readonly authTimeout?: number;
}

/** The second argument of a handler: optional unless `authenticate` and its kin ask for one. */
export type ContextArgument<Context> = undefined extends Context ? [context?: Context]
  : [context: Context];

/** A function that answers requests, called with what `authenticate` and its kin want to know beside the request. */
export type Handling<Context = unknown> = (
  request: Request,
  ...context: ContextArgument<Context>
) => Promise<Response>;

/** A handler: all routes as one function, and one function for each of the two main routes. */
export interface Handler<Context = unknown> {
  /** Answers any request. Never rejects. */
  (request: Request, ...context: ContextArgument<Context>): Promise<Response>;
  /** Answers a subscribe request, whatever its path: for your own router. */
  readonly subscribe: Handling<Context>;
  /**
   * Answers a request for the run of a channel, whatever its path: for your own router. The channel must be granted, as
   * for the others.
   */
  readonly follow: (
    request: Request,
    channel: string,
    ...context: ContextArgument<Context>
  ) => Promise<Response>;
  /** Answers a send request, whatever its path: for your own router. */
  readonly send: Handling<Context>;
}
