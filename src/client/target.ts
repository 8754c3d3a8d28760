/**
 * What every client is to its user: an `EventTarget` with `EventSource`'s attributes, `on…` handlers and async
 * iterators, where a listener that throws is reported and harms nothing else.
 *
 * @module
 */
import { onAbort, report } from "#runtime";
import { END, faultOf } from "./end.ts";
import { type StreamEvent, StreamMessage } from "./event.ts";
import { type Problem, RefusedError } from "./refusal.ts";
import type { ClientListener, ClientOptions, CloseReason } from "./types.ts";

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSED = 2;

/** A hub sends this event if events may have been missed. The client raises `reset` for it. */
export const RESET = "streamside:reset";

/** The client's own events. Events of the stream with these names are different ones. */
const OWN = ["open", "error", "reconnecting", "reset", "close"];

/** What an `error` event tells. */
export interface Failure {
  error: unknown;
  status?: number | undefined;
  problem?: Problem | undefined;
}

/** What an iterator reads: an event, or after the last one, why the client failed. */
type Item = StreamMessage | Failure;

/** Ends an iterator. */
function finish(reader: ReadableStreamDefaultController<Item>, failure: Failure | undefined): void {
  if (failure) reader.enqueue(failure);
  reader.close();
}

interface Listener {
  type: string;
  /** `null` once it is removed, so that a dispatch under way leaves it out. */
  callback: EventListenerOrEventListenerObject | null;
  once: boolean | undefined;
  /** Stops waiting for the signal that would remove it. */
  unhook: () => void;
}

type ListenerFunction<Argument> = Extract<ClientListener<Argument>, (...args: never) => unknown>;
type ListenerObject<Argument> = Exclude<ClientListener<Argument>, (...args: never) => unknown>;

/**
 * Listeners are kept here and called directly for events of the stream, since the platform's dispatch costs more than
 * parsing does. For each type, one native listener passes on events that are dispatched natively.
 */
export abstract class ClientTarget<Options extends ClientOptions = ClientOptions>
  extends EventTarget {
  readonly CONNECTING: 0 = CONNECTING;
  readonly OPEN: 1 = OPEN;
  readonly CLOSED: 2 = CLOSED;

  declare readonly url: string;
  declare readonly withCredentials: boolean;
  readyState: number = CLOSED;
  declare lastEventId: string;
  /** Called when the client has connected. */
  declare onopen: ((event: Event) => unknown) | null;
  /** Called for events without a type of their own. */
  declare onmessage: ((event: MessageEvent) => unknown) | null;
  /** Called when a connection fails or ends. */
  declare onerror: ((event: Event) => unknown) | null;

  declare protected readonly options: Options;
  /** In order. */
  #listeners: Listener[] = [];
  /**
   * The listeners for the type of the last event of the stream. The next event is mostly of the same type, and one
   * comparison finds that out. A dispatch goes on with the list that it began with.
   */
  #matching!: readonly Listener[];
  #matched: string | undefined;
  /** The iterators under way, each with its type. */
  #readers: [ReadableStreamDefaultController<Item>, string | undefined][] = [];
  /** How the client last closed for good. If it is closed now, an iterator has nothing to wait for. */
  #ended: { failure: Failure | undefined } | undefined;
  /** What the last `error` event told. */
  #failure: Failure | undefined;
  /** Why the stream ended early, if it said so. */
  #fault: Failure | undefined;

  constructor(url: string | URL, options: Options = {} as Options) {
    super();
    // A handler in place of the network has no address, so any will do.
    const base = globalThis.document?.baseURI ?? globalThis.location ??
      (options.fetch && "http://localhost");
    try {
      this.url = new URL(url, base as string).href;
    } catch {
      throw new DOMException(url as string, "SyntaxError");
    }
    this.options = options;
    this.withCredentials = options.credentials === "include";
    this.lastEventId = options.lastEventId ?? "";
    for (const type of ["open", "message", "error"]) {
      const name = "on" + type as "onopen";
      this[name] = null;
      this.addEventListener(type, (event) => this[name]?.(event));
    }
  }

  connect(): void {
    if (this.readyState === CLOSED) this.reconnect();
  }

  reconnect(): void {
    const { enabled = true, signal } = this.options;
    if (enabled && !signal?.aborted) this.start();
    else this.end();
  }

  /** Begins to connect, or begins anew. */
  protected abstract start(): void;

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
    super.addEventListener(type, this);
    if (
      callback && !signal?.aborted &&
      this.#listeners.every((known) => known.type !== type || known.callback !== callback)
    ) {
      const unhook = onAbort(signal, () => this.removeEventListener(type, callback));
      this.#listeners.push({ type, callback, once, unhook });
      this.#matched = undefined;
    }
  }

  override removeEventListener(
    type: string,
    // deno-lint-ignore no-explicit-any
    callback: ClientListener<any> | null,
  ): void {
    this.#listeners = this.#listeners.filter((known) => {
      if (known.type !== type || known.callback !== callback) return true;
      known.callback = null;
      known.unhook();
      return false;
    });
    this.#matched = undefined;
  }

  /** Listens, and returns how to stop; see `Client`. */
  on(type: string, listener: (event: never) => unknown): () => void {
    // A function that listens twice is called twice, and stops once at a time.
    const own = (event: Event) => listener(event as never);
    this.addEventListener(type, own);
    return () => this.removeEventListener(type, own);
  }

  /** Iterates over the events of the stream from now on; see `Client`. */
  events(type?: string): AsyncIterableIterator<StreamEvent> {
    let reader: ReadableStreamDefaultController<Item>;
    const stream = new ReadableStream<Item>({
      start: (controller) => {
        reader = controller;
        if (this.#ended && this.readyState === CLOSED) finish(reader, this.#ended.failure);
        else this.#readers.push([reader, type]);
      },
      cancel: () => {
        this.#readers = this.#readers.filter(([other]) => other !== reader);
      },
    }).getReader();
    return {
      async next() {
        const result = await stream.read();
        if (result.value && "error" in result.value) throw result.value.error;
        return result;
      },
      return() {
        stream.cancel();
        return stream.read();
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    } as unknown as AsyncIterableIterator<StreamEvent>;
  }

  /**
   * Hands an event of the stream to listeners and iterators. If it has the name of one of the client's own events, only
   * iterators get it: whoever can send events must not be able to forge those.
   */
  protected deliver(event: StreamMessage): void {
    const reset = event.type === RESET;
    if (reset) {
      event = new StreamMessage("reset", event.data, event.lastEventId, event.origin, this);
    }
    const { type } = event;
    if (type === END) this.#fault = faultOf(event.data);
    for (const [reader, wanted] of this.#readers) {
      if (!wanted || type === wanted) reader.enqueue(event);
    }
    if (reset) return this.handleEvent(event);
    if (this.#matched !== type) {
      this.#matched = type;
      this.#matching = OWN.includes(type) ? [] : this.#listenersOf(type);
    }
    this.#dispatch(event, this.#matching);
  }

  /** Raises one of the client's own events. */
  protected emit(type: string, detail?: object): void {
    if (type === "error") this.#failure = detail as Failure;
    this.options.logger?.debug(type, detail);
    this.dispatchEvent(Object.assign(new Event(type), detail));
  }

  /**
   * The client has closed for good: ends the iterators, and raises `close`, if there is a reason to tell. If the client has
   * failed, the iterators throw what the last error was, and if the stream ended early, that.
   */
  protected end(reason?: CloseReason): void {
    let failure = reason === "ended"
      ? this.#fault
      : reason === "server" || reason === "attempts"
      ? this.#failure
      : undefined;
    if (failure?.status) {
      // What a tab tells of an error is its text alone.
      const { error, status, problem } = failure;
      failure = { error: new RefusedError((error as Error).message, status, problem) };
    }
    this.#ended = { failure };
    for (const [reader] of this.#readers) finish(reader, failure);
    this.#readers = [];
    if (!reason) return;
    this.readyState = CLOSED;
    this.emit("close", { reason });
  }

  /** Calls the listeners for an event that is not of the stream. The platform calls this for native dispatches. */
  handleEvent(event: Event | StreamMessage): void {
    this.#dispatch(event, this.#listenersOf(event.type));
  }

  #listenersOf(type: string): readonly Listener[] {
    return this.#listeners.filter((known) => known.type === type);
  }

  #dispatch(event: Event | StreamMessage, listeners: readonly Listener[]): void {
    for (const listener of listeners) {
      const { callback } = listener;
      if (!callback) continue;
      if (listener.once) this.removeEventListener(event.type, callback);
      this.call(callback as ClientListener<typeof event>, event);
      // Set by stopImmediatePropagation: a client has no parents to propagate to.
      if (event.cancelBubble) break;
    }
  }

  /**
   * Calls a function of the user's. If it throws, its error is uncaught, as in a listener of any `EventTarget`, and
   * harms nothing else here.
   */
  protected call<Argument>(callback: ClientListener<Argument>, argument: Argument): void {
    try {
      if ((callback as ListenerObject<Argument>).handleEvent) {
        (callback as ListenerObject<Argument>).handleEvent(argument);
      } else (callback as ListenerFunction<Argument>).call(this, argument);
    } catch (error) {
      report(error);
    }
  }
}
