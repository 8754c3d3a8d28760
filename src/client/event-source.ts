/**
 * The standard's `EventSource`, for every runtime.
 *
 * @module
 */
import type { StreamMessage } from "./event.ts";
import { StreamClient } from "./stream.ts";
import type { Client, ClientListener, ClientOptions, ListenerOptions } from "./types.ts";

/** The options of {@link EventSource}: the standard's one, and those of `createClient` that it leaves open. */
export interface EventSourceInit
  extends Pick<ClientOptions, "body" | "fetch" | "headers" | "lastEventId" | "method" | "signal"> {
  /** Whether cookies go along to other origins. Default `false`. */
  withCredentials?: boolean;
}

/** What `new EventSource(…)` gives: a client that has begun to connect. */
export interface EventSource
  extends Omit<Client, "addEventListener" | "events" | "on" | "onmessage"> {
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
 * gives up, and raises no event but the standard's.
 *
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved
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
} = class EventSource extends StreamClient {
  constructor(url: string | URL, init: EventSourceInit = {}) {
    super(url, {
      ...init,
      credentials: init.withCredentials ? "include" : undefined,
      timeout: 0,
      reconnect: { maxAttempts: Infinity },
      standard: true,
    });
    this.connect();
  }

  protected override deliver(event: StreamMessage): void {
    this.dispatchEvent(new MessageEvent(event.type, event as MessageEventInit));
  }
} as unknown as typeof EventSource;
