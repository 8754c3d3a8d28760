/**
 * One connection for all tabs of an origin. The tabs elect a leader with the Web Locks API; it holds the connection and
 * tells the others by `BroadcastChannel`. When it closes, crashes or freezes, another takes over and resumes.
 *
 * Every event travels with the position before it and the position after it. A tab takes an event whose way to it has
 * no gap, drops one whose position it has been at, and so neither misses an event nor sees one twice, whoever leads.
 *
 * @module
 */
import type { CheckedEvents } from "../event-map.ts";
import { StreamMessage } from "./event.ts";
import { StreamClient } from "./stream.ts";
import { ClientTarget, CLOSED, CONNECTING, OPEN } from "./target.ts";
import type { Client, ClientOptions, CloseReason } from "./types.ts";

/** The options of `createSharedClient`. */
export interface SharedClientOptions extends ClientOptions {
  /**
   * Which clients share a connection: those of one origin with the same name. Clients that differ in what they may
   * read, by a header for instance, need names of their own. Default: the URL.
   */
  name?: string;
}

/** What the leader tells. */
interface Told {
  /** The connection's `readyState`. */
  state: number;
  attempts: number;
  /** The position before this, and after. */
  from: string;
  to: string;
  /** An event of the stream. */
  type?: string;
  data?: string;
  origin?: string;
  /** An event of the client's own, with its members. */
  own?: string;
  detail?: { reason?: CloseReason; error?: unknown } | undefined;
  comment?: string;
}

/** What a tab sends: what it was told, or as a follower, what it asks of the leader. */
type Message = Told[] | Asked;

/** `wake` is a reason to try at once, where the leader waits; of many tabs, many may have it at the same moment. */
type Asked = "state" | "reconnect" | "wake";

/** How many positions a tab remembers to have been at: more than a leader can be ahead of the one that takes over. */
const REMEMBERED = 4096;

const nothing = () => {};

/** The channel of a tab that shares with none. */
const alone = { close: nothing, postMessage: nothing } as unknown as BroadcastChannel;

/** A connection that tells instead of raising events. */
class Source extends StreamClient {
  tell: (part: Partial<Told>) => void = nothing;
  /** Whether nothing is under way but the wait for the next attempt, or for a reason to make one. */
  #waits = false;

  /** Tries at once, unless it does so already. */
  wake(): void {
    if (this.#waits) this.reconnect();
  }

  override reconnect(): void {
    this.#waits = false;
    super.reconnect();
  }

  protected override deliver({ type, data, origin }: StreamMessage): void {
    this.tell({ type, data, origin });
  }

  protected override emit(own: string, detail?: Told["detail"]): void {
    this.#waits = own != "open";
    // Not everything that can be thrown can be told.
    if (detail?.error) detail.error = new Error(String(detail.error));
    this.tell(own == "open" ? {} : { own, detail });
  }

  override close(): void {
    this.tell = nothing;
    super.close();
  }
}

class SharedClient extends ClientTarget<SharedClientOptions> {
  reconnectAttempts = 0;
  readonly #name: string = "streamside " + (this.options.name ?? this.url);
  /** From `connect()` to the end: the channel, and what else hangs on this client's life. */
  #channel: BroadcastChannel | undefined;
  #life: AbortController | undefined;
  /** Aborting it gives up the leadership, or the wait for it. */
  #claim: AbortController | undefined;
  /** The connection, while this tab leads. */
  #source: Source | undefined;
  /** What is to be told with the next message. */
  #batch: Told[] = [];
  /** The positions that this tab has been at. */
  readonly #been = new Set<string>([this.lastEventId]);
  /** While this tab catches up by a connection of its own: what the leader tells, and how to end it. */
  #meanwhile: Told[] | undefined;
  #catching: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  connect(): void {
    if (this.readyState == CLOSED) this.reconnect();
  }

  reconnect(): void {
    const { enabled, signal, wake } = this.options;
    if (enabled === false || signal?.aborted) return this.end();
    this.readyState = CONNECTING;
    if (this.#channel) return this.#ask("reconnect");
    try {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data);
    } catch {
      // Firefox denies it where cookies are blocked.
      this.#channel = alone;
    }
    const life = this.#life = new AbortController();
    signal?.addEventListener("abort", () => this.#leave("aborted"), { signal: life.signal });
    for (const type of wake === false ? [] : ["online", "pageshow", "visibilitychange"]) {
      globalThis.addEventListener?.(type, () => {
        const hides = type[0] == "v" && globalThis.document?.hidden;
        if (this.readyState != OPEN && !hides) this.#ask("wake");
      }, { signal: life.signal });
    }
    if (this.#channel == alone) this.#lead();
    else this.#compete();
  }

  close(): void {
    this.#leave("closed");
  }

  /** Asks something of the leader, which may be this tab. */
  #ask(asked: Asked): void {
    if (this.#source) this.#hear(asked);
    else this.#channel!.postMessage(asked);
  }

  /** Leaves the other tabs, which go on without this one. */
  #leave(reason: CloseReason): void {
    if (!this.#channel) return this.end();
    this.#flush();
    this.#channel.close();
    this.#channel = undefined;
    this.#life!.abort();
    this.#claim?.abort();
    clearTimeout(this.#timer);
    this.#resign();
    if (this.readyState != CLOSED) this.#close(reason);
  }

  #close(reason: CloseReason): void {
    this.readyState = CLOSED;
    this.end();
    this.emit("close", { reason });
  }

  /** Waits for the leadership, or takes it from a leader that does not answer. */
  #compete(steal?: boolean): void {
    this.#claim?.abort();
    const claim = this.#claim = new AbortController();
    const { signal } = claim;
    navigator.locks.request(
      this.#name,
      steal ? { steal } : { signal },
      () =>
        new Promise<void>((release) => {
          if (signal.aborted) return release();
          signal.onabort = () => release();
          this.#lead();
        }),
    ).catch((error) => {
      // This tab gave the leadership up, or the wait for it.
      if (signal.aborted) return;
      // The browser denies locks: to a sandboxed frame, or where cookies are blocked.
      if (error.name != "AbortError") {
        this.#channel!.close();
        this.#channel = alone;
        return this.#lead();
      }
      // Another tab took the leadership from this one.
      this.#resign();
      this.#compete();
    });
    this.#watch(true);
  }

  #lead(): void {
    clearTimeout(this.#timer);
    this.#resign();
    this.#source = this.#open((told) => {
      // One message for what one chunk brought.
      if (this.#batch.push(told) == 1) queueMicrotask(() => this.#flush());
      this.#take(told);
    });
  }

  #flush(): void {
    if (this.#batch[0]) this.#channel?.postMessage(this.#batch);
    this.#batch = [];
  }

  /** Gives up the connections that this tab holds. */
  #resign(): void {
    this.#source?.close();
    this.#source = undefined;
    this.#catching?.abort();
    this.#meanwhile = undefined;
  }

  /** Connects from where this tab is. */
  #open(tell: (told: Told) => void): Source {
    let from = this.lastEventId;
    const source = new Source(this.url, {
      ...this.options,
      lastEventId: from,
      signal: undefined,
      // A heartbeat is a comment, and may have moved the position by the end of its chunk.
      onComment: (comment) => queueMicrotask(() => source.tell({ comment })),
    });
    source.tell = (part) => {
      const { readyState: state, reconnectAttempts: attempts, lastEventId: to } = source;
      const told = { state, attempts, from, to, ...part };
      from = to;
      tell(told);
    };
    source.connect();
    return source;
  }

  /** A follower that hears nothing asks the leader for a word, and then takes its place. */
  #watch(asked?: boolean): void {
    clearTimeout(this.#timer);
    if (this.#source) return;
    if (asked) this.#ask("state");
    this.#timer = setTimeout(() => {
      if (asked) this.#compete(true);
      else this.#watch(true);
    }, Math.min(this.options.timeout || Infinity, 45_000) / 3);
  }

  #hear(message: Message): void {
    if (message == "state") this.#source?.tell({});
    else if (message == "reconnect") this.#source?.reconnect();
    else if (message == "wake") this.#source?.wake();
    else {
      this.#watch();
      for (const told of message) this.#take(told);
    }
  }

  /** Takes over the connection's state, raises the client's own events, and sees to the position. */
  #take(told: Told): void {
    if (!this.#channel) return;
    const { onComment } = this.options;
    const { state, own, detail, comment } = told;
    const opened = state == OPEN && this.readyState != OPEN;
    if (state != CLOSED) this.readyState = state;
    this.reconnectAttempts = told.attempts;
    if (opened) this.emit("open");
    if (comment != undefined && onComment) this.call(onComment, comment);
    if (own == "close") {
      const reason = detail!.reason!;
      if (reason != "server") return this.#close(reason);
      // Of another attempt, it may be, after this tab was told that all had failed.
      this.readyState = CONNECTING;
      this.#leave(reason);
    } else if (own) this.emit(own, detail);
    else {
      // The leader gave up before this tab came.
      if (state == CLOSED && this.readyState != CLOSED) this.#ask("wake");
      this.#follow(told);
    }
  }

  #follow(told: Told): void {
    if (this.#meanwhile) {
      this.#meanwhile.push(told);
      this.#join();
    } else if (this.#been.has(told.from) || !this.lastEventId) this.#move(told);
    else if (!this.#source) this.#catchUp(told);
  }

  /** Moves to a position, with the event that leads there, unless this tab has been at it. */
  #move({ from, to, type, data, origin }: Told): void {
    if (from != to && this.#been.has(to)) return;
    this.#been.add(to);
    if (this.#been.size > REMEMBERED) {
      const [oldest] = this.#been;
      this.#been.delete(oldest!);
    }
    this.lastEventId = to;
    if (type) this.deliver(new StreamMessage(type, data!, to, origin!, this));
  }

  /**
   * The leader is at a position that this tab does not know: it came later with a cursor of its own, or slept through
   * messages. Until the two have met, it reads by a connection of its own; one tab at a time does.
   */
  #catchUp(told: Told): void {
    this.#meanwhile = [told];
    const { signal } = this.#catching = new AbortController();
    navigator.locks.request(
      this.#name + " catching up",
      { signal },
      () =>
        new Promise<void>((release) => {
          if (signal.aborted) return release();
          const source = this.#open((told) => {
            if (told.own == "close") this.#reset();
            else if (!told.own) {
              this.#move(told);
              this.#join();
            }
          });
          signal.onabort = () => {
            source.close();
            release();
          };
        }),
    ).catch(nothing);
  }

  /** Goes on with what the leader told since a position that this tab has been at. */
  #join(): void {
    const told = this.#meanwhile;
    const met = told?.findLastIndex(({ to }) => this.#been.has(to)) ?? -1;
    if (met < 0) return;
    this.#catching!.abort();
    this.#meanwhile = undefined;
    for (const next of told!.slice(met + 1)) this.#follow(next);
  }

  /** Catching up was refused: events are missed, and the user is told so. */
  #reset(): void {
    const { to, origin = "" } = this.#meanwhile!.at(-1)!;
    this.#catching!.abort();
    this.#meanwhile = undefined;
    this.#been.add(this.lastEventId = to);
    this.deliver(new StreamMessage("reset", "", to, origin, this));
  }
}

/**
 * Makes a client that shares one connection with all tabs of its origin: `createClient`'s surface, with each tab's own
 * listeners. Tabs that close, crash or freeze are no loss to the others. Where the Web Locks API or `BroadcastChannel`
 * is missing, as in an insecure context, it is a client with its own connection.
 *
 * The leader's tab asks its own `headers`, `fetch` and other options; all tabs should have the same.
 *
 * @example
 * ```ts
 * import { createSharedClient } from "streamside/client";
 *
 * const sse = createSharedClient("/api/v1/sse/subscribe");
 * sse.addEventListener("fileChanged", (event) => refresh(event.json().fileId));
 * sse.connect();
 * ```
 *
 * @param url where the stream is; in a page it may be relative
 * @param options see {@link SharedClientOptions}
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved
 */
// deno-lint-ignore no-explicit-any
export function createSharedClient<Events extends CheckedEvents<Events> = Record<string, any>>(
  url: string | URL,
  options?: SharedClientOptions,
): Client<Events> {
  const shares = globalThis.navigator?.locks && globalThis.BroadcastChannel;
  const client = shares ? new SharedClient(url, options) : new StreamClient(url, options);
  return client as unknown as Client<Events>;
}
