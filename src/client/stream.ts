/**
 * The client's connection: one attempt at a time, from the request to the last byte, and what follows each end.
 * `createClient` and `EventSource` are this class with different options.
 *
 * @module
 */
import { onAbort, request } from "#runtime";
import { backoff, type ReconnectOptions } from "./backoff.ts";
import { cancel } from "./body.ts";
import { COMPLETE_WITH_END, END } from "./end.ts";
import { StreamMessage } from "./event.ts";
import { fetchOf } from "./fetch.ts";
import { createParser } from "./parser.ts";
import { isStream, refusalOf, type RefusedError } from "./refusal.ts";
import { ClientTarget, CLOSED, CONNECTING, type Failure, OPEN, RESET } from "./target.ts";
import type { ClientOptions, CloseReason } from "./types.ts";
import { onWake } from "./wake.ts";

/** A client's options, and whether to keep to the letter of the standard. */
export interface StreamOptions extends ClientOptions {
  /** No status but 200 is tried again, and no event is raised but the standard's. */
  standard?: boolean;
}

/**
 * The idempotent methods (RFC 9110, 9.2.2), and methods of other standards that only read. A request with another
 * method is not sent again by itself: the server may have done what it asks for already, and would do it twice.
 */
const IDEMPOTENT = /^(GET|HEAD|OPTIONS|TRACE|PUT|DELETE|QUERY|REPORT|SEARCH|PROPFIND)$/i;

/** Whether a request with this method may be sent again though nobody asked for it. */
export function isRepeatable(method: string = "GET"): boolean {
  return IDEMPOTENT.test(method);
}

/** The longest wait, in milliseconds. A timer set to more than 2 ** 31 - 1 fires at once. */
const LONGEST = 2e9;

/** If a timer is later than this, in milliseconds, the machine slept or the process was frozen. */
const SLEPT = 10_000;

/** The longest id that is sent, in bytes: servers refuse requests with 8 or 16 KiB of headers. */
const LONGEST_ID = 4096;

/** What a header must not contain (RFC 9110, 5.5). Node's `fetch` throws for it. */
const UNSENDABLE = /[^\t\x20-\x7e\x80-\xff]/;

/**
 * A client is closed, waiting to reconnect, connecting, or open. Each state except open, which follows from connecting,
 * begins in `#become` and has a signal that aborts when the next state begins. After that an attempt says nothing, so
 * that never more than one speaks.
 */
export class StreamClient extends ClientTarget<StreamOptions> {
  #state: AbortController = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the time is up, by `performance.now()`, which nobody sets. The timer may fire earlier. */
  #due = 0;
  /** How far `Date.now()` was ahead of `performance.now()` when the server was last heard or the wait began. */
  #ahead = 0;
  /** The stream's `retry:`. */
  #told: number | undefined;
  #attempts = 0;
  #openedAt: number | undefined;
  /** Whether the network or the page may bring on an attempt. */
  readonly #wakes: boolean;
  readonly #policy: ReconnectOptions;

  constructor(url: string | URL, options: StreamOptions = {}) {
    super(url, options);
    const repeatable = isRepeatable(options.method);
    this.#wakes = options.wake ?? repeatable;
    const maxAttempts = options.reconnect?.maxAttempts ?? (repeatable ? undefined : 0);
    this.#policy = { ...options.reconnect, maxAttempts };
  }

  get reconnectAttempts(): number {
    // A connection of a second has succeeded. A server that accepts and drops connections is still failing.
    return performance.now() - this.#openedAt! > 1000 ? 0 : this.#attempts;
  }

  protected start(): void {
    this.#attempts = 0;
    this.#attempt();
  }

  close(): void {
    this.#close("closed");
  }

  /** Whether no attempt can ever succeed. */
  protected unreachable?: boolean;

  /** Called after each chunk. */
  protected fed(): void {}

  /**
   * Ends the state that was, with whatever is under way in it, and begins another; a `final` one heeds nothing more.
   */
  #become(readyState: number, final?: boolean): AbortSignal {
    const last = this.#state;
    const { signal } = this.#state = new AbortController();
    this.readyState = readyState;
    this.#openedAt = undefined;
    clearTimeout(this.#timer);
    last.abort();
    // The abort may have made somebody begin yet another state.
    if (!final && !signal.aborted) {
      signal.addEventListener("abort", onAbort(this.options.signal, () => this.#close("aborted")));
    }
    return signal;
  }

  /** Ends an attempt that failed, and waits for the next one or gives up. */
  #fail(failure: Failure, atLeast = 0): void {
    const { standard } = this.options;
    const policy = { ...this.#policy };
    const attempt = this.reconnectAttempts + 1;
    // By the standard, the wait is exactly what the stream asks for, unless attempts fail.
    if (standard && attempt === 1) policy.jitter = 0;
    // `retry: 0` is for the first attempt only: growing from 0, all attempts would be over within milliseconds.
    const told = attempt > 1 ? this.#told || undefined : this.#told;
    const base = policy.delay === undefined ? told : Math.max(policy.delay, told ?? 0);
    const delay = Math.max(backoff(attempt, policy, base), atLeast);
    if (delay === Infinity) return this.#close("attempts", failure);

    const signal = this.#become(CONNECTING);
    if (!signal.aborted) {
      this.#attempts = attempt;
      this.#wait(delay);
      this.#untilWoken(signal);
    }
    this.emit("error", failure);
    if (!signal.aborted) this.emit("reconnecting", { attempt, delay });
  }

  #close(reason: CloseReason, failure?: Failure): void {
    const wasClosed = this.readyState === CLOSED;
    const signal = this.#become(CLOSED, reason !== "attempts");
    if (wasClosed) return this.end();
    if (reason === "attempts") this.#untilWoken(signal);
    if (failure) this.emit("error", failure);
    // An error listener may have connected again.
    if (this.readyState !== CLOSED) return;
    this.end(reason);
  }

  /** Starts an attempt when the network or the page comes back, while waiting or after giving up. */
  #untilWoken(state: AbortSignal): void {
    if (this.#wakes) onWake(() => this.reconnect(), state);
  }

  /** Sets the one timer: for the wait before an attempt, or, with a `timeout`, for a silence of that length. */
  #wait(time: number, timeout?: number): void {
    this.#expect(time);
    this.#watch(timeout);
  }

  /** The server was heard, or a wait begins: the time is up in `time` milliseconds. */
  #expect(time: number): void {
    const now = performance.now();
    this.#due = now + time;
    this.#ahead = Date.now() - now;
  }

  /**
   * The timer stays as it is while chunks come: setting it anew for each took as long as parsing fifty events.
   *
   * Time is measured by `performance.now()`, since the system clock may be set. `performance.now()` may stand still
   * while the machine sleeps, and then `Date.now()` gets ahead of it. Setting the system clock forward looks the same.
   * It does no harm: one attempt comes too early.
   */
  #watch(timeout: number | undefined): void {
    this.#timer = setTimeout(() => {
      const now = performance.now();
      const late = now - this.#due;
      const slept = Math.max(late, Date.now() - now - this.#ahead) > SLEPT;
      if (slept && (isRepeatable(this.options.method) || this.#wakes)) this.reconnect();
      else if (!timeout) this.#attempt();
      else if (late < 0) this.#watch(timeout);
      else this.#fail({ error: new Error(`The server was silent for ${timeout} ms (timeout)`) });
    }, Math.min(this.#due - performance.now(), LONGEST));
  }

  /**
   * One attempt. `challenged`: it is the header function's second chance, after a 401. It says nothing after its signal
   * has aborted.
   */
  async #attempt(challenged?: boolean): Promise<void> {
    const signal = this.#become(CONNECTING);
    try {
      // Several calls at once make one request.
      await null;
      if (signal.aborted) return;
      const { headers, standard, timeout = 45_000 } = this.options;
      if (timeout) this.#wait(timeout, timeout);
      const id = this.#sendableId();
      const [response, url] = await this.#request(signal, id);
      if (signal.aborted) return cancel(response.body);
      if (response.status === 401 && typeof headers === "function" && !challenged) {
        cancel(response.body);
        return this.#attempt(true);
      }
      const refused = standard && isStream(response)
        ? undefined
        : await refusalOf(response, signal, (delay) => this.#told = Math.min(delay, LONGEST));
      if (signal.aborted) return;
      if (refused) this.#refused(refused, response);
      else await this.#read(response, new URL(response.url || url).origin, id === undefined);
    } catch (error) {
      if (signal.aborted) return;
      if (this.unreachable) this.#close("server", { error });
      else this.#fail({ error });
    }
  }

  /** The last id for a header: its UTF-8, one character for each byte. `undefined` if it cannot be sent. */
  #sendableId(): string | undefined {
    const bytes = new TextEncoder().encode(this.lastEventId);
    const id = bytes.length > LONGEST_ID ? "\0" : String.fromCharCode(...bytes);
    if (!UNSENDABLE.test(id)) return id;
    this.options.logger?.debug("The last event id cannot be sent", this.lastEventId.slice(0, 100));
    return undefined;
  }

  /** Sends the request of an attempt; resolves with the response and the URL that it came from. */
  async #request(signal: AbortSignal, id: string | undefined): Promise<[Response, string]> {
    const { fetch: given = fetch, headers, method, body, credentials, redirect } = this.options;
    const sent = new Headers(typeof headers === "function" ? await headers() : headers);
    signal.throwIfAborted();
    sent.set("Accept", "text/event-stream");
    if (id) sent.set("Last-Event-ID", id);
    return await request(fetchOf(given), this.url, {
      method: method ?? "GET",
      body: body ?? null,
      ...(credentials && { credentials }),
      headers: Object.fromEntries(sent),
      cache: "no-store",
      redirect: redirect === "error" ? "manual" : "follow",
      signal,
    });
  }

  /** The server refused: for now, or for good. */
  #refused(error: RefusedError, response: Response): void {
    const { status, problem } = error;
    const failure = { error, status, problem };
    // The server has nothing to say, which is no failure.
    if (status === 204 && !this.options.standard) return this.#close("ended");
    const temporary = !this.options.standard &&
      (isStream(response) || /^(408|429|5..)$/.test(String(response.status)));
    if (!temporary) return this.#close("server", failure);
    // In seconds, or a date (RFC 9110, 10.2.3) of the server's clock.
    const { headers } = response;
    const after = headers.get("Retry-After") ?? "";
    const now = Date.parse(headers.get("Date") ?? "") || Date.now();
    const wait = Number(after) * 1000 || Date.parse(after) - now || 0;
    this.#fail(failure, Math.min(wait, LONGEST));
  }

  /** Reads a stream to its end. `lost`: the server could not be told where to go on. */
  async #read(response: Response, origin: string, lost: boolean): Promise<void> {
    const { maxEventBytes, onComment, standard, timeout = 45_000 } = this.options;
    const reader = response.body?.getReader();
    // Compares states, since asking the signal for `aborted` at each event takes as long as parsing it.
    const state = this.#state;
    state.signal.onabort = () => cancel(reader);
    const deliver = (type: string, data: string) => {
      if (this.#state !== state) return;
      // An attempt that brings an event is no failure. The library's own events do not count: a failing hub sends them,
      // too.
      if (this.#attempts && !type.startsWith("streamside:")) this.#attempts = 0;
      this.deliver(new StreamMessage(type, data, this.lastEventId, origin, this));
      if (type === END && !standard && this.#state === state) this.#close("ended");
    };
    const read = createParser({
      onEvent: deliver,
      onId: (id) => {
        if (this.#state === state) this.lastEventId = id;
      },
      onRetry: (delay) => this.#told = Math.min(delay, LONGEST),
      onComment: onComment && ((comment) => {
        if (this.#state === state) this.call(onComment, comment);
      }),
    }, maxEventBytes);

    this.readyState = OPEN;
    this.#openedAt = performance.now();
    if (standard) this.#attempts = 0;
    this.emit("open");
    if (lost && !standard) deliver(RESET, "{}");
    for (;;) {
      if (!reader) throw new Error("The response has no body");
      const { value, done } = await reader.read();
      if (this.#state !== state) return;
      if (done) {
        const last = this.#policy.maxAttempts === 0 && !standard;
        if (last && !response.headers.has(COMPLETE_WITH_END)) return this.#close("ended");
        throw new Error("The stream ended");
      }
      this.#expect(timeout);
      read(value);
      this.fed();
    }
  }
}
