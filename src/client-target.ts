/**
 * What every client is to its user: an `EventTarget` with `EventSource`'s attributes, `on…` handlers and async
 * iterators, where a listener that throws is reported and harms nothing else.
 *
 * @module
 */
import type { StreamEvent, StreamMessage } from "./client-event.ts";
import type { ClientListener, ClientOptions } from "./client-types.ts";

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSED = 2;

/**
 * Listeners are kept here and called directly for events of the stream, since the platform's dispatch costs more than
 * parsing does. For each type, one native listener leads events that are dispatched natively to the same place.
 */
export class ClientTarget<Options extends ClientOptions = ClientOptions> extends EventTarget {
  static readonly CONNECTING: 0 = CONNECTING;
  static readonly OPEN: 1 = OPEN;
  static readonly CLOSED: 2 = CLOSED;
  readonly CONNECTING: 0 = CONNECTING;
  readonly OPEN: 1 = OPEN;
  readonly CLOSED: 2 = CLOSED;

  declare readonly url: string;
  declare readonly withCredentials: boolean;
  readyState: number = CLOSED;
  declare lastEventId: string;
  /** Called when a connection stands. */
  declare onopen: ((event: Event) => unknown) | null;
  /** Called for events without a type of their own. */
  declare onmessage: ((event: MessageEvent) => unknown) | null;
  /** Called when a connection fails or ends. */
  declare onerror: ((event: Event) => unknown) | null;

  declare protected readonly options: Options;
  /** By type, in order, each with whether it is called once. */
  readonly #listeners = new Map<string, Map<EventListenerOrEventListenerObject, unknown>>();
  /** The iterators under way, with the type that each is for. */
  readonly #readers = new Map<ReadableStreamDefaultController<StreamMessage>, string | undefined>();
  /** Whether the client has closed for good before; one that is closed now has nothing to wait for. */
  #ended = false;

  constructor(url: string | URL, options: Options = {} as Options) {
    super();
    // A handler in place of the network is at no address, so that any will do.
    const base = globalThis.document?.baseURI ?? globalThis.location ??
      (options.fetch && "http://localhost");
    try {
      this.url = new URL(url, base as string).href;
    } catch {
      throw new DOMException(`No URL: ${url}`, "SyntaxError");
    }
    this.withCredentials = options.credentials == "include";
    this.lastEventId = options.lastEventId ?? "";
    this.options = options;
    for (const type of ["open", "message", "error"]) {
      const name = "on" + type as "onopen";
      this[name] = null;
      this.addEventListener(type, (event) => this[name]?.(event));
    }
  }

  override addEventListener(
    type: "open" | "error",
    callback: ClientListener<Event> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(
    type: string,
    callback: ClientListener<MessageEvent> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(
    type: string,
    callback: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  override addEventListener(
    type: string,
    callback: EventListenerOrEventListenerObject | null,
    options: AddEventListenerOptions | boolean = {},
  ): void {
    const { once, signal } = options as AddEventListenerOptions;
    let listeners = this.#listeners.get(type);
    if (!listeners) {
      this.#listeners.set(type, listeners = new Map());
      super.addEventListener(type, (event) => this.#call(event));
    }
    if (callback && !signal?.aborted && !listeners.has(callback)) {
      listeners.set(callback, once);
      signal?.addEventListener("abort", () => this.removeEventListener(type, callback));
    }
  }

  override removeEventListener(
    type: string,
    // deno-lint-ignore no-explicit-any
    callback: ClientListener<any> | null,
  ): void {
    this.#listeners.get(type)?.delete(callback!);
  }

  /** Iterates over the events of the stream from now on; see `Client`. */
  events(type?: string): AsyncIterableIterator<StreamEvent> {
    let reader: ReadableStreamDefaultController<StreamMessage>;
    const stream = new ReadableStream<StreamMessage>({
      start: (controller) => {
        reader = controller;
        if (this.#ended && this.readyState == CLOSED) reader.close();
        else this.#readers.set(reader, type);
      },
      cancel: () => {
        this.#readers.delete(reader);
      },
    }).getReader();
    return {
      next: () => stream.read(),
      return: () => stream.cancel().then(() => stream.read()),
      [Symbol.asyncIterator]() {
        return this;
      },
    } as unknown as AsyncIterableIterator<StreamEvent>;
  }

  /** Hands an event of the stream to listeners and iterators. */
  protected deliver(event: StreamMessage): void {
    for (const [reader, type] of this.#readers) {
      if (!type || event.type == type) reader.enqueue(event);
    }
    this.#call(event as unknown as Event);
  }

  /** Raises an event of the client's own. */
  protected emit(type: string, detail?: object): void {
    this.options.logger?.debug(type, detail);
    this.dispatchEvent(Object.assign(new Event(type), detail));
  }

  /** Ends the iterators: the client has closed for good. */
  protected end(): void {
    this.#ended = true;
    for (const [reader] of this.#readers) reader.close();
    this.#readers.clear();
  }

  #call(event: Event): void {
    const listeners = this.#listeners.get(event.type);
    // Listeners added during a dispatch wait for the next one; removed ones are not called any more.
    for (const callback of [...listeners?.keys() ?? []]) {
      if (!listeners!.has(callback)) continue;
      if (listeners!.get(callback)) listeners!.delete(callback);
      try {
        if (typeof callback == "function") callback.call(this, event);
        else callback.handleEvent(event);
      } catch (error) {
        // Node.js has no reportError.
        (globalThis.reportError ?? console.error)(error);
      }
      // Set by stopImmediatePropagation; a client has no parents to propagate to.
      if (event.cancelBubble) break;
    }
  }
}
