/**
 * The client's connection: one attempt at a time, from the request to the last byte, and what follows each end.
 * `createClient` and `EventSource` are this class with different patience.
 *
 * @module
 */
import { createParser } from "eventsource-parser";
import { backoff } from "./backoff.ts";
import { StreamMessage } from "./event.ts";
import { ClientTarget, CLOSED, CONNECTING, OPEN } from "./target.ts";
import type { ClientOptions, CloseReason } from "./types.ts";
import { onWake } from "./wake.ts";

/** A client's options, and whether to keep to the letter of the standard where `createClient` does better. */
export interface StreamOptions extends ClientOptions {
  /** No status but 200 is tried again, and no event is raised but the standard's. */
  standard?: boolean;
}

interface Failure {
  status?: number;
  error: unknown;
}

/**
 * A client is closed, waiting to reconnect, connecting, or open. Each state but open, which follows from connecting,
 * begins in `#become`, and lives under a signal that aborts when the next begins. Whatever an attempt learns after
 * that, it says nothing, so that there is never more than one that speaks.
 */
export class StreamClient extends ClientTarget<StreamOptions> {
  #state: AbortController = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer's time is up; it may go off before. */
  #due!: number;
  /** The wait before the first attempt that the stream asks for with `retry:`, in place of the option's. */
  #delay: number | undefined;
  #attempts = 0;
  #openedAt: number | undefined;

  get reconnectAttempts(): number {
    // A connection that stood for a second has lasted; a server that accepts and drops is still failing.
    return Date.now() - this.#openedAt! > 1000 ? 0 : this.#attempts;
  }

  connect(): void {
    if (this.readyState == CLOSED) this.reconnect();
  }

  reconnect(): void {
    const { enabled = true, signal } = this.options;
    if (enabled && !signal?.aborted) {
      this.#attempts = 0;
      this.#start();
    } else this.end();
  }

  close(): void {
    this.#leave("closed");
  }

  /** Called after each chunk. */
  protected fed(): void {}

  /** Ends the state that was, with whatever is under way in it, and begins another; a `final` one heeds nothing more. */
  #become(readyState: number, final?: unknown): AbortSignal {
    const last = this.#state;
    const { signal } = this.#state = new AbortController();
    this.readyState = readyState;
    this.#openedAt = undefined;
    clearTimeout(this.#timer);
    last.abort();
    if (!final) {
      this.options.signal?.addEventListener("abort", () => this.#leave("aborted"), { signal });
    }
    return signal;
  }

  /** Ends the attempt or the wait: closes for a reason; without one waits for the next attempt, or gives up. */
  #leave(reason?: CloseReason, failure?: Failure, atLeast = 0): void {
    const { wake = true, standard, reconnect } = this.options;
    const attempt = this.reconnectAttempts + 1;
    // Forever, when there is no next attempt.
    const delay = reason ? Infinity : Math.max(
      // `retry: 0` is for the first attempt: from 0, the others would all be over within milliseconds.
      backoff(attempt, reconnect, attempt > 1 ? this.#delay || undefined : this.#delay),
      atLeast,
    );
    const gone = delay == Infinity;
    const wasClosed = this.readyState == CLOSED;
    const signal = this.#become(gone ? CLOSED : CONNECTING, reason);
    if (reason && wasClosed) return this.end();
    if (!gone && !signal.aborted) {
      this.#attempts = attempt;
      this.#wait(delay);
    }
    if (!reason && wake) {
      // The network or the page came back: no use in waiting, nor in having given up.
      onWake(() => this.reconnect(), signal);
    }
    if (failure) this.emit("error", failure);
    // A listener may have connected or closed meanwhile; what is over anyway is told, though it closed.
    if (signal.aborted && !(gone && this.readyState == CLOSED)) return;
    if (gone) this.end();
    if (standard) return;
    if (gone) this.emit("close", { reason: reason ?? "attempts" });
    else this.emit("reconnecting", { attempt, delay });
  }

  /**
   * Sets the one timer: for the wait before an attempt, or, with a `timeout`, for silence of that long. It stays as it is
   * while chunks come: setting it anew for each took as long as parsing fifty events.
   */
  #wait(time: number, timeout?: number): void {
    this.#due = Date.now() + time;
    this.#timer = setTimeout(() => {
      const late = Date.now() - this.#due;
      // Ten seconds late: the machine slept, and the world is another.
      if (late > 10_000) this.reconnect();
      else if (!timeout) this.#start();
      else if (late < 0) this.#wait(-late, timeout);
      else this.#leave(undefined, { error: Error(timeout + " ms silent") });
      // Asked for more than 2 ** 31 - 1, it would fire at once.
    }, Math.min(time, 2e9));
  }

  /**
   * One attempt; `challenged` when it is the header function's second chance after a 401. It falls silent when its signal
   * aborts.
   */
  async #start(challenged?: boolean): Promise<void> {
    const signal = this.#become(CONNECTING);
    try {
      // Calls that follow each other at once end in one request.
      await null;
      if (signal.aborted) return;
      const {
        fetch: send = fetch,
        headers: given,
        maxEventBytes = 2 ** 24,
        onComment,
        standard,
        timeout = 45_000,
        // `method`, `body` and `credentials`; no other option is one of a request.
        ...init
      } = this.options;
      if (timeout) this.#wait(timeout, timeout);
      const asks = typeof given == "function";
      const headers = new Headers(asks ? await given() : given);
      if (signal.aborted) return;
      headers.set("Accept", "text/event-stream");
      // A header is bytes: the standard sends the id as UTF-8, one character a byte.
      const id = unescape(encodeURIComponent(this.lastEventId));
      if (id) headers.set("Last-Event-ID", id);
      // Kept until there is a response: a Request that nobody holds Node.js collects, and then no abort ends its fetch.
      const request = new Request(this.url, { ...init, headers, cache: "no-store", signal });
      const response = await send(request);

      const reader = response.body?.getReader();
      // Asking the signal at each event would cost as much as parsing it.
      let live = true;
      const cancel = () => {
        live = false;
        reader?.cancel().catch(() => {});
      };
      if (signal.aborted) return cancel();
      signal.onabort = cancel;

      const { status } = response;
      const type = response.headers.get("Content-Type");
      if (status != 200 || !/^text\/event-stream *(;|$)/i.test(type!)) {
        if (status == 401 && asks && !challenged) return this.#start(true);
        // In seconds, or a date (RFC 9110 10.2.3).
        const after = response.headers.get("Retry-After") as string;
        return this.#leave(
          !standard && /408|429|5../.test(status as unknown as string) ? undefined : "server",
          { status, error: Error(status + " " + type) },
          Math.min(+after * 1000 || Date.parse(after) - Date.now() || 0, 2e9),
        );
      }

      this.readyState = OPEN;
      this.#openedAt = Date.now();
      this.emit("open");

      const origin = new URL(response.url || request.url).origin;
      const parser = createParser({
        maxBufferSize: maxEventBytes,
        onComment: onComment && ((comment) => {
          if (live) this.call(onComment, comment);
        }),
        onId: (id) => {
          if (live) this.lastEventId = id;
        },
        onRetry: (delay) => this.#delay = Math.min(delay, 2e9),
        onEvent: ({ event = "message", data }) => {
          if (!live) return;
          if (event == "streamside:reset" && !standard) event = "reset";
          this.deliver(new StreamMessage(event, data, this.lastEventId, origin, this));
        },
      });
      // The parser takes the byte order mark away.
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      for (;;) {
        const { value, done } = await reader!.read();
        if (!live) return;
        if (done) throw Error("Stream ended");
        this.#due = Date.now() + timeout;
        // Streaming is the slow way of Node's decoder; only a chunk that may end inside of a character needs it.
        parser.feed(decoder.decode(value, { stream: !(value.at(-1)! < 128) }));
        this.fed();
      }
    } catch (error) {
      if (!signal.aborted) this.#leave(undefined, { error });
    }
  }
}
