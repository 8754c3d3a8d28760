/**
 * The standard's `EventSource`, for every runtime.
 *
 * @module
 */
import type { StreamMessage } from "./event.ts";
import { isRepeatable, StreamClient } from "./stream.ts";
import { CLOSED, CONNECTING, OPEN } from "./target.ts";
import type { Client, ClientListener, ClientOptions, ListenerOptions } from "./types.ts";

/** The options of {@link EventSource}: the standard's one, and those of `createClient` that it leaves open. */
export interface EventSourceInit
  extends Pick<ClientOptions, "body" | "fetch" | "headers" | "lastEventId" | "method" | "signal"> {
  /** Whether cookies go along to other origins. Default `false`. */
  withCredentials?: boolean;
}

/** What `new EventSource(…)` gives: it has begun to connect. */
export interface EventSource extends
  Pick<
    Client,
    | "url"
    | "withCredentials"
    | "readyState"
    | "CONNECTING"
    | "OPEN"
    | "CLOSED"
    | "onopen"
    | "onerror"
    | "dispatchEvent"
    | "removeEventListener"
  > {
  /** Closes for good. */
  close(): void;
  /** Called for events without a type of their own. */
  onmessage: ((event: MessageEvent) => unknown) | null;
  /** Adds a listener for the state of the connection. */
  addEventListener(
    type: "open" | "error",
    listener: ClientListener<Event> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** Adds a listener for events of a type. */
  addEventListener(
    type: string,
    listener: ClientListener<MessageEvent> | null,
    options?: boolean | ListenerOptions,
  ): void;
  /** Adds a listener, as any `EventTarget` does. */
  addEventListener(
    type: string,
    listener: ClientListener<Event> | null,
    options?: boolean | ListenerOptions,
  ): void;
}

/**
 * `EventSource` to the letter of the standard (WHATWG HTML 9.2.2), also where there is none: it connects at once, never
 * gives up on a connection that was lost, waits as long as the stream asks for, and raises no event but the standard's.
 * What only a platform can give is missing: its events are not `isTrusted`, and outside of browsers there is no CORS.
 *
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved; a `TypeError` without a URL
 * @example
 * ```ts
 * const source = new EventSource("/api/v1/sse/subscribe", { withCredentials: true });
 * source.onmessage = (event) => console.log(event.data);
 * ```
 */
export const EventSource: {
  /** Begins to connect. */
  new (url: string | URL, init?: EventSourceInit): EventSource;
  /** What its instances inherit. */
  readonly prototype: EventSource;
  /** 0 */
  readonly CONNECTING: 0;
  /** 1 */
  readonly OPEN: 1;
  /** 2 */
  readonly CLOSED: 2;
} = class EventSource extends EventTarget {
  readonly #source: Source;
  /** The `on…` handlers, each behind a listener of its own. */
  readonly #handlers = new Map<string, { handler: Handler; listener: (event: Event) => void }>();

  constructor(url: string | URL, init: EventSourceInit = {}) {
    super();
    // `undefined` is a URL, by WebIDL: the string "undefined".
    if (arguments.length === 0) throw new TypeError("new EventSource needs a URL");
    this.#source = new Source(this, url, init);
    this.#source.connect();
  }

  get url(): string {
    return this.#source.url;
  }
  get withCredentials(): boolean {
    return this.#source.withCredentials;
  }
  get readyState(): number {
    return this.#source.readyState;
  }

  get onopen(): Handler | null {
    return this.#handler("open");
  }
  set onopen(handler: unknown) {
    this.#handle("open", handler);
  }
  get onmessage(): Handler | null {
    return this.#handler("message");
  }
  set onmessage(handler: unknown) {
    this.#handle("message", handler);
  }
  get onerror(): Handler | null {
    return this.#handler("error");
  }
  set onerror(handler: unknown) {
    this.#handle("error", handler);
  }

  close(): void {
    this.#source.close();
  }

  #handler(type: string): Handler | null {
    return this.#handlers.get(type)?.handler ?? null;
  }

  /** A handler takes its place among the listeners when it is set, and keeps it until it is `null` (HTML 8.1.8.1). */
  #handle(type: string, handler: unknown): void {
    const known = this.#handlers.get(type);
    if (typeof handler !== "function") {
      if (known) this.removeEventListener(type, known.listener);
      this.#handlers.delete(type);
    } else if (known) known.handler = handler as Handler;
    else {
      const entry = {
        handler: handler as Handler,
        listener: (event: Event) => entry.handler.call(this, event),
      };
      this.#handlers.set(type, entry);
      this.addEventListener(type, entry.listener);
    }
  }
} as unknown as typeof EventSource;

type Handler = (this: unknown, event: Event) => void;

// As WebIDL has it: constants on the class and its prototype, and members that can be enumerated.
for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSED })) {
  for (const holder of [EventSource, EventSource.prototype]) {
    Object.defineProperty(holder, name, { value, enumerable: true });
  }
}
for (const name of Object.getOwnPropertyNames(EventSource.prototype)) {
  if (name !== "constructor") {
    Object.defineProperty(EventSource.prototype, name, { enumerable: true });
  }
}
Object.defineProperty(EventSource.prototype, Symbol.toStringTag, {
  value: "EventSource",
  configurable: true,
});

/** The URLs that a `fetch` may reach (Fetch, 4.2). `about:blank` is a page, and so never a stream. */
const FETCHABLE = /^(https?|blob|data|file):/;

/** The connection, whose events the `EventSource` dispatches. */
class Source extends StreamClient {
  readonly #target: EventTarget;

  constructor(target: EventTarget, url: string | URL, init: EventSourceInit) {
    super(url, {
      ...init,
      credentials: init.withCredentials ? "include" : undefined,
      timeout: 0,
      reconnect: { maxAttempts: isRepeatable(init.method) ? Infinity : 0 },
      standard: true,
    });
    this.#target = target;
    this.unreachable = !FETCHABLE.test(this.url);
  }

  protected override deliver(event: StreamMessage): void {
    this.#target.dispatchEvent(new MessageEvent(event.type, event as MessageEventInit));
  }

  protected override emit(type: string, detail?: object): void {
    // The others are not the standard's.
    if (type === "open" || type === "error") {
      this.#target.dispatchEvent(Object.assign(new Event(type), detail));
    }
  }
}
