/**
 * The client's connection: one attempt at a time, from the request to the last byte, and what follows each end.
 * `createClient` and `EventSource` are this class with different patience.
 *
 * @module
 */
import { createParser } from "eventsource-parser";
import { backoff } from "./backoff.ts";
import { StreamMessage } from "./client-event.ts";
import { ClientTarget, CLOSED, CONNECTING, OPEN } from "./client-target.ts";
import type { ClientOptions, CloseReason } from "./client-types.ts";

/** A timer that fires this much too late, in milliseconds, was asleep with its machine. */
const LATE = 10_000;

/** The longest time that `setTimeout` can wait; a longer one would fire at once. */
const LONGEST = 2 ** 31 - 1;

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
  /** The wait before the first attempt: the stream's `retry:`, else the option's. */
  #delay: number = this.options.reconnect?.delay ?? 2000;
  #attempts = 0;
  #openedAt = Infinity;
  /** Whether the header function has had its second chance after a 401. */
  #challenged = false;

  get reconnectAttempts(): number {
    // A connection that stood as long as the first wait has lasted; a server that accepts and drops is still failing.
    return Date.now() - this.#openedAt >= Math.max(this.#delay, 100) ? 0 : this.#attempts;
  }

  connect(): void {
    if (this.readyState == CLOSED) this.reconnect();
  }

  reconnect(): void {
    const { enabled, signal } = this.options;
    if (enabled === false || signal?.aborted) return;
    this.end(false);
    this.#start(0);
  }

  close(): void {
    this.#leave("closed");
  }

  /** Ends the state that was, with whatever is under way in it, and begins another; a `final` one heeds nothing more. */
  #become(readyState: number, final?: unknown): AbortSignal {
    const last = this.#state;
    const { signal } = this.#state = new AbortController();
    this.readyState = readyState;
    this.#openedAt = Infinity;
    clearTimeout(this.#timer);
    last.abort();
    if (!final) {
      this.options.signal?.addEventListener("abort", () => this.#leave("aborted"), { signal });
    }
    return signal;
  }

  /** Begins an attempt, with the count of attempts as given. */
  #start(attempts: number): void {
    const signal = this.#become(CONNECTING);
    this.#attempts = attempts;
    this.#run(signal).catch((error) => {
      if (!signal.aborted) this.#leave(undefined, { error });
    });
  }

  /** Ends the attempt or the wait: closes for a reason; without one waits for the next attempt, or gives up. */
  #leave(reason?: CloseReason, failure?: Failure, atLeast = 0): void {
    const { reconnect, standard, wake } = this.options;
    const attempt = this.reconnectAttempts + 1;
    let delay = reason ? undefined : backoff(attempt, reconnect, this.#delay);
    const gone = delay === undefined;
    const wasClosed = this.readyState == CLOSED;
    const signal = this.#become(gone ? CLOSED : CONNECTING, reason);
    if (reason && wasClosed) return;
    if (delay !== undefined) {
      delay = Math.max(delay, atLeast);
      this.#attempts = attempt;
      this.#wait(delay, () => this.#start(attempt));
    }
    if (!reason && wake !== false) {
      // The network or the page came back: no use in waiting, nor in having given up.
      for (const type of ["online", "pageshow", "visibilitychange"]) {
        globalThis.addEventListener?.(type, () => {
          if (!globalThis.document?.hidden) this.reconnect();
        }, { signal });
      }
    }
    if (failure) this.emit("error", failure);
    // A listener may have connected or closed meanwhile.
    if (signal.aborted) return;
    if (gone) this.end(true);
    if (standard) return;
    if (gone) this.emit("close", { reason: reason ?? "attempts" });
    else this.emit("reconnecting", { attempt, delay });
  }

  /** Sets the one timer: for silence during an attempt, for the wait between two. */
  #wait(time: number, then: () => void): void {
    clearTimeout(this.#timer);
    const due = Date.now() + time;
    this.#timer = setTimeout(() => {
      if (Date.now() - due > LATE) this.#start(0);
      else then();
    }, Math.min(time, LONGEST));
  }

  /** Waits for the next sign of life. */
  #listen(): void {
    const { timeout = 45_000 } = this.options;
    if (timeout) {
      this.#wait(
        timeout,
        () => this.#leave(undefined, { error: new Error(`Silent for ${timeout} ms`) }),
      );
    }
  }

  /** One attempt: it throws what goes wrong on the way, and falls silent when `signal` aborts. */
  async #run(signal: AbortSignal): Promise<void> {
    const {
      body,
      credentials,
      fetch = globalThis.fetch,
      headers: given,
      maxEventBytes = 2 ** 24,
      method,
      onComment,
      standard,
    } = this.options;
    this.#listen();
    const asks = typeof given == "function";
    // Waiting even for a value lets calls that follow each other at once end in one request.
    const headers = new Headers(await (asks ? given() : given));
    if (signal.aborted) return;
    headers.set("Accept", "text/event-stream");
    // A header is bytes: the standard sends the id as UTF-8.
    const id = String.fromCharCode(...new TextEncoder().encode(this.lastEventId));
    if (id) headers.set("Last-Event-ID", id);
    const response = await fetch(
      new Request(this.url, { method, body, credentials, headers, cache: "no-store", signal }),
    );

    const reader = response.body?.getReader();
    const cancel = () => reader?.cancel().catch(() => {});
    if (signal.aborted) return cancel() as undefined;
    signal.addEventListener("abort", cancel);

    const { status } = response;
    const type = response.headers.get("Content-Type");
    if (status != 200 || !/^text\/event-stream *(;|$)/i.test(type!)) {
      if (status == 401 && asks && !this.#challenged) {
        this.#challenged = true;
        return this.#start(this.#attempts);
      }
      const failure = { status, error: new Error(`${this.url} answered ${status}, ${type}`) };
      const reason = status == 204
        ? "no-content"
        : !standard && /408|429|5../.test("" + status)
        ? undefined
        : "refused";
      // In seconds, or a date (RFC 9110 10.2.3).
      const after = response.headers.get("Retry-After") as string;
      return this.#leave(reason, failure, +after * 1000 || Date.parse(after) - Date.now() || 0);
    }

    this.#challenged = false;
    this.readyState = OPEN;
    this.#openedAt = Date.now();
    this.emit("open");

    const { origin } = new URL(response.url || this.url);
    let now = 0;
    const parser = createParser({
      maxBufferSize: maxEventBytes,
      onComment,
      onId: (id) => {
        if (!signal.aborted) this.lastEventId = id;
      },
      onRetry: (delay) => {
        this.#delay = delay;
      },
      onEvent: ({ event = "message", data }) => {
        if (signal.aborted) return;
        if (event == "streamside:reset" && !standard) event = "reset";
        this.deliver(new StreamMessage(event, data, this.lastEventId, origin, now, this));
      },
      onError: (error) => {
        if (error.type.startsWith("max")) throw error;
      },
    });
    // The decoder takes the byte order mark away; past a first line, the parser looks for none of its own.
    parser.feed("\n");
    // Streaming is the slow way of Node's decoder, so a chunk takes it only where a character may be split: after
    // one that ended inside of a character, or at the start, for the byte order mark.
    const streaming = new TextDecoder();
    const whole = new TextDecoder("utf-8", { ignoreBOM: true });
    let split = true;
    while (!signal.aborted) {
      const { done, value } = await reader!.read();
      if (signal.aborted) return;
      if (done) throw new Error("The stream ended");
      this.#listen();
      now = performance.now();
      const wasSplit = split;
      split = !(value.at(-1)! < 128);
      parser.feed(
        wasSplit || split ? streaming.decode(value, { stream: true }) : whole.decode(value),
      );
    }
  }
}
