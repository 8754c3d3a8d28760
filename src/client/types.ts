/**
 * The client's public types: its options, its events, and the interface of what `createClient` and
 * `createSharedClient` make.
 *
 * @module
 */
import type { ReconnectOptions } from "./backoff.ts";
import type { StreamEvent } from "./event.ts";
import type { Problem } from "./refusal.ts";

/** What a client logs to. `console` has this shape. */
export interface ClientLogger {
  /** Gets one line for each attempt, connection, failure and end. */
  debug(...message: unknown[]): void;
}

/** Headers, as the runtime's `fetch` takes them. */
export type RequestHeaders = NonNullable<RequestInit["headers"]>;

/** A body that `fetch` takes and that can be sent more than once. */
export type RequestBody = Extract<
  RequestInit["body"],
  string | ArrayBuffer | ArrayBufferView | Blob | FormData | URLSearchParams
>;

/** The options of `createClient`. Every one has a default. */
export interface ClientOptions {
  /**
   * Headers of the request: a value, or a function that is called at each attempt, so that a token is fresh. After a
   * response with 401 it is called once more at once. If it throws, the attempt fails. The client sets `Accept` and
   * `Last-Event-ID` itself. Default: none.
   */
  headers?: RequestHeaders | (() => RequestHeaders | Promise<RequestHeaders>);
  /**
   * The method. If it is not idempotent (RFC 9110, 9.2.2), such as `POST`, the request is not sent again by itself:
   * then `reconnect.maxAttempts` is 0 and `wake` is `false`, unless you set them. After a 401 it is still tried a
   * second time. Default `GET`.
   */
  method?: string;
  /** The request's body, for a method that has one. Each attempt sends it, so it is no stream. Default: none. */
  body?: RequestBody | null;
  /** Whether cookies and other credentials are sent, as with `fetch`. Default: the runtime's, `same-origin`. */
  credentials?: "include" | "omit" | "same-origin";
  /**
   * What to fetch with. It is called as every `fetch` is: with a URL, and an init whose `headers` are a plain object
   * with names in lower case. With a server's handler no network is needed:
   * `(url, init) => handler(new Request(url, init))`. Default: the global `fetch`.
   */
  fetch?: (url: string, init: RequestInit) => Response | Promise<Response>;
  /**
   * What to do with a redirect: `"follow"` it, or with `"error"` treat it as a final answer. Where the runtime lets a
   * program see redirects (Node.js, Deno, Bun, workers of servers), `headers` are not sent to another origin. Browsers
   * send all of them except `Authorization`, and the other origin must allow them by CORS. `Last-Event-ID` is always
   * sent. Up to 20 redirects are followed. Default `"follow"`.
   */
  redirect?: "follow" | "error";
  /** The cursor to start from, sent as `Last-Event-ID` (WHATWG HTML 9.2.4): what `hub.cursor()` gave. Default: none. */
  lastEventId?: string;
  /** Closes the client when it aborts. After that the client does not connect. Default: none. */
  signal?: AbortSignal;
  /** With `false`, `connect()` and `reconnect()` do nothing. Default `true`. */
  enabled?: boolean;
  /** Is told everything that happens to the connection. Default: none. */
  logger?: ClientLogger;
  /** Gets each comment of the stream, heartbeats included, without its colon. Default: none. */
  onComment?: (comment: string) => void;
  /**
   * After how long a silence a connection counts as lost, in milliseconds. The server's heartbeats, 15 s apart by
   * default, keep it alive. It also limits the wait for the response. With 0 or `Infinity` the client waits without a
   * limit; Node's own `fetch` still ends a response that is silent for 300 s, and the client then reconnects. Default
   * 45 000.
   */
  timeout?: number;
  /** How to reconnect. */
  reconnect?: ReconnectOptions;
  /**
   * Whether to try at once when the network comes back (`online`), when the page becomes visible or is restored
   * (`pageshow`), or when a timer fired so late that the machine must have slept. Also after giving up. Default `true`,
   * or `false` if the `method` is not idempotent.
   */
  wake?: boolean;
  /**
   * How many characters of an incomplete event are held at most. More is an error, and the
   * client reconnects. They take at most four times as many bytes of memory, and 1 MiB: an event of very many lines
   * (one for each 16 characters of `maxEventBytes`, and 16 384) is an error, too. Default 16 777 216 (16 Mi; a
   * character outside ASCII takes more than one byte on the wire).
   */
  maxEventBytes?: number;
}

/** Why a client closed: the `reason` of its `close` event. */
export type CloseReason =
  /** `close()` was called. */
  | "closed"
  /** The `signal` aborted. */
  | "aborted"
  /**
   * The stream is complete. The server said so (`streamside:end`, or 204), or it ended without breaking off, and
   * `reconnect.maxAttempts` is 0.
   */
  | "ended"
  /**
   * The server's answer was final: 401, 403, another status that will not change by asking again, or something else
   * than `text/event-stream`. The `error` event before it tells which.
   */
  | "server"
  /** All attempts failed. With `wake`, the client may still start again. */
  | "attempts";

/** A connection failed or ended. The client reconnects, or a `close` event follows. */
export interface ClientErrorEvent extends Event {
  /** The response's status, if the server refused. */
  readonly status?: number;
  /** The server's problem details (RFC 9457), if it sent them, in at most 64 KiB and two seconds. */
  readonly problem?: Problem;
  /** What went wrong. A `RefusedError`, if the server refused. */
  readonly error: unknown;
}

/** The client waits before its next attempt. */
export interface ReconnectingEvent extends Event {
  /** Which attempt in a row it is, from 1. */
  readonly attempt: number;
  /** Until it starts, in milliseconds. */
  readonly delay: number;
}

/** The client is closed. */
export interface CloseEvent extends Event {
  /** Why. */
  readonly reason: CloseReason;
}

/**
 * The client's own events. If the stream has events with these names, they are different ones: `events()` gives them,
 * and no listener gets them.
 */
export interface ClientEvents {
  /** A connection stands. */
  open: Event;
  /** A connection failed or ended. */
  error: ClientErrorEvent;
  /** The next attempt is scheduled. */
  reconnecting: ReconnectingEvent;
  /**
   * Events may have been missed, so load the state anew. The server no longer knows the position, or could not be told:
   * a last id with a control character, or of more than 4 096 bytes, cannot be sent.
   */
  reset: StreamEvent<unknown, "reset">;
  /** The client closed: by `close()`, by the server's refusal, or after its last attempt. */
  close: CloseEvent;
}

/** The events of a map `Events`, each with its own type of data. */
export type StreamEventOf<Events> = {
  [Type in keyof Events & string]: StreamEvent<Events[Type], Type>;
}[keyof Events & string];

/** A listener for an event `E` on a client. */
export type ClientListener<E> = ((event: E) => unknown) | { handleEvent(event: E): unknown };

/** How to listen, as with any `EventTarget`. */
export interface ListenerOptions {
  /** Whether to stop after the first event. Default `false`. */
  once?: boolean;
  /** Stops when it aborts. Default: none. */
  signal?: AbortSignal;
  /** Has no effect: a client has no parents. */
  capture?: boolean;
  /** Has no effect: events of a client have no default action. */
  passive?: boolean;
}

/**
 * A client of an event stream: `EventSource`'s surface (WHATWG HTML 9.2.2), and control over the connection. Listeners
 * stay over every reconnection. If a listener throws, its error is uncaught, as with any `EventTarget`, on all
 * runtimes: the other listeners and the stream go on. `globalThis.onerror`, or Node's `uncaughtException`, can catch
 * it.
 */
// deno-lint-ignore no-explicit-any
export interface Client<Events = Record<string, any>> extends EventTarget {
  /** The stream's URL, resolved. It stays what it was when a response is redirected. */
  readonly url: string;
  /** Whether `credentials` is `include`. */
  readonly withCredentials: boolean;
  /** 0 while connecting or waiting to connect, 1 while connected, 2 while closed, also before `connect()`. */
  readonly readyState: 0 | 1 | 2;
  /**
   * How many attempts in a row have failed. 0 again after a connection that lasted for a second, or that brought an
   * event, other than a `reset` and the library's own (`streamside:…`).
   */
  readonly reconnectAttempts: number;
  /** The last `id` of the stream: where the next connection resumes. */
  readonly lastEventId: string;
  /** 0 */
  readonly CONNECTING: 0;
  /** 1 */
  readonly OPEN: 1;
  /** 2 */
  readonly CLOSED: 2;
  /** Called when a connection stands. */
  onopen: ((event: Event) => unknown) | null;
  /** Called for events without a type of their own. */
  onmessage: ((event: StreamEvent) => unknown) | null;
  /** Called when a connection fails or ends. */
  onerror: ((event: Event) => unknown) | null;

  /** Connects, unless it is connected, connecting or waiting to connect. */
  connect(): void;
  /** Drops the connection, if there is one, and connects at once. The count of attempts begins at 0 again. */
  reconnect(): void;
  /** Closes for good; `connect()` starts again from the same position. */
  close(): void;

  /**
   * Iterates over the events of the stream from this call on, of one type or of all, until the client closes. Events
   * wait in memory until they are taken. Leaving the loop ends it.
   *
   * If the server refuses, or all attempts failed (the reasons `server` and `attempts`), it throws the `error` of the
   * last `error` event: a `RefusedError` with status and problem, if the server refused. After `closed`, `aborted` and
   * `ended` it just ends, unless the stream's `streamside:end` says of an `error`, as the end of a run does that was cut
   * short: then it throws an `Error` whose `cause` is that code.
   *
   * @example
   * ```ts
   * for await (const event of client.events("syncProgress")) console.log(event.json());
   * ```
   */
  events<Type extends keyof Events & string>(
    type: Type,
  ): AsyncIterableIterator<StreamEvent<Events[Type], Type>>;
  /** Iterates over the events of every type. */
  events(): AsyncIterableIterator<StreamEventOf<Events>>;
  /** Iterates over the events of a type that `Events` does not name. */
  events(type?: string): AsyncIterableIterator<StreamEvent>;

  /**
   * Listens to one of the client's own events, such as `reset`. A listener stays over every reconnection. Unlike
   * `addEventListener`, it takes only the names of these events and those in `Events`.
   *
   * @example
   * ```ts
   * const stop = client.on("fileChanged", (event) => refresh(event.json().fileId));
   * ```
   *
   * @returns how to stop
   */
  on<Type extends keyof ClientEvents>(
    type: Type,
    listener: (event: ClientEvents[Type]) => unknown,
  ): () => void;
  /** Listens to the stream's events of one type. */
  on<Type extends keyof Events & string>(
    type: Type,
    listener: (event: StreamEvent<Events[Type], Type>) => unknown,
  ): () => void;
  /** Listens to an event of either kind. */
  on<
    Type extends { [Own in keyof ClientEvents]: Own }[keyof ClientEvents] | (keyof Events & string),
  >(
    type: Type,
    listener: (
      event: Type extends keyof ClientEvents ? ClientEvents[Type]
        : StreamEvent<Events[Type & keyof Events], Type>,
    ) => unknown,
  ): () => void;

  /** Listens to one of the client's own events. A listener stays over every reconnection. */
  addEventListener<Type extends keyof ClientEvents>(
    type: Type,
    listener: ClientListener<ClientEvents[Type]> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** Listens to the stream's events of one type. */
  addEventListener<Type extends keyof Events & string>(
    type: Type,
    listener: ClientListener<StreamEvent<Events[Type], Type>> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** Listens to events without a type of their own (`message`), or of a type that `Events` does not name. */
  addEventListener(
    type: string,
    listener: ClientListener<StreamEvent> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** Adds a listener, as any `EventTarget` does. */
  addEventListener(
    type: string,
    listener: ClientListener<Event> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** For a listener that was written for `EventSource`. It can rely on the members of {@link StreamEvent}. */
  addEventListener(
    type: string,
    listener: ClientListener<MessageEvent> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** Ends what `addEventListener` began. */
  removeEventListener(
    type: string,
    // deno-lint-ignore no-explicit-any
    listener: ClientListener<any> | null,
    options?: boolean | ListenerOptions,
  ): void;
}
