/**
 * One connection for all tabs of an origin: one tab holds it and tells the others, by `BroadcastChannel`, all that it
 * brings. When that tab closes, crashes or freezes, another takes over and resumes.
 *
 * What a tab is, and what moves it:
 *
 * - **closed**: before `connect()`, after `close()` and after a refusal. `connect()` makes it a follower.
 * - **follower**: it hears the leader, and waits for the lock that makes it one. It takes the lock away from a leader
 *   that does not answer.
 * - **leader**: it holds the lock and the connection. It hears itself the way that the others hear it. A lock that is
 *   taken away, or word of a later leader, makes it a follower.
 * - **alone**: a leader that tells nobody, where the browser denies locks or channels.
 *
 * How a follower or a leader reads, beside that:
 *
 * - **along**: what is told next is what it gives out next. Leaders have numbers (`term`), and so has each thing that
 *   one tells. A position is never a reason to leave an event out: a server that began anew may use it again. Only
 *   when a new leader resumes from before what this tab has heard of the last, the tab leaves out what is repeated.
 * - **behind**: it has missed something: it came with a cursor of its own, or slept through messages. It reads by a
 *   connection of its own from where it is, until that has come to where the leader is, and then reads along. Where
 *   this does not succeed, it raises `reset`, and reads along.
 *
 * @module
 */
import type { CheckedEvents } from "../event-map.ts";
import { onAbort } from "./abort.ts";
import { StreamMessage } from "./event.ts";
import { StreamClient } from "./stream.ts";
import { ClientTarget, CLOSED, CONNECTING, OPEN, RESET } from "./target.ts";
import type { Client, ClientOptions, CloseReason } from "./types.ts";
import { onWake } from "./wake.ts";

/** The options of `createSharedClient`. */
export interface SharedClientOptions extends ClientOptions {
  /**
   * Who reads: clients of one origin with the same name share a connection, and all of them hear what it brings. Name
   * the session, `{ name: sessionId }`. With `headers`, `fetch`, `method` or `body` a name is required. Default: the
   * URL.
   */
  name?: string;
}

/** What a leader tells: all that happens to its connection, in order. */
interface Told {
  /** Which leader tells; later ones have higher numbers. */
  term: number;
  /** The leader whose place it took; with the first that it tells. */
  after: number | undefined;
  /** The connection's `readyState`. */
  state: number;
  attempts: number;
  /** The position before this, and after. */
  from: string;
  to: string;
  /** Whether the position is of this connection; one of a connection before may be of another life of the server. */
  fresh: boolean;
  /** An event: of the stream, or, with `detail`, of the client's own. */
  type?: string;
  data?: string;
  origin?: string;
  /** The members of an event of the client's own. */
  detail?: { reason?: CloseReason; status?: number; error?: unknown } | undefined;
  comment?: string;
}

/**
 * What a follower asks of the leader, a method of `Source`. `wake` is a reason to try at once, which many tabs may have
 * at the same moment.
 */
type Asked = "tell" | "reconnect" | "wake";

/** How much a follower may be ahead of the one that takes over. */
const REMEMBERED = 4096;

/**
 * Calls `granted` when this tab gets the lock, and holds it until `signal` aborts. Rejects when it is denied or taken.
 */
function holdLock(
  name: string,
  signal: AbortSignal,
  granted: () => void,
  steal?: boolean,
): Promise<unknown> {
  return navigator.locks.request(
    name,
    steal ? { steal } : { signal },
    () =>
      new Promise((release) => {
        signal.addEventListener("abort", release);
        if (signal.aborted) release(0);
        else granted();
      }),
  );
}

/** A connection that tells instead of raising events. */
class Source extends StreamClient {
  /** What `Told` says of the leader. */
  term = 0;
  after: number | undefined;
  declare listener: (told: Told) => void;
  #from: string = this.lastEventId;
  #fresh = false;
  /** Whether nothing is under way but the wait for the next attempt, or for a reason to make one. */
  #waits = false;

  tell(part?: Partial<Told>, fresh: boolean = this.#fresh): void {
    this.#fresh = fresh;
    const { term, after, readyState: state, reconnectAttempts: attempts, lastEventId: to } = this;
    const from = this.#from;
    this.after = undefined;
    this.#from = to;
    this.listener({ term, after, state, attempts, from, to, fresh, ...part });
  }

  /** Tries at once, unless it does so already. */
  wake(): void {
    if (this.#waits) this.reconnect();
    this.#waits = false;
  }

  protected override deliver({ type, data, origin }: StreamMessage): void {
    this.tell({ type, data, origin }, true);
  }

  /** A stream's beginning and its heartbeats move the position without an event. */
  protected override fed(): void {
    if (this.#from != this.lastEventId) this.tell({}, true);
  }

  protected override emit(type: string, detail?: Told["detail"]): void {
    this.#waits = type != "open";
    // Not everything that can be thrown can be told.
    if (detail?.error) detail.error = Error(String(detail.error));
    this.tell(detail && { type, detail }, false);
  }

  override close(): void {
    this.listener = () => {};
    super.close();
  }
}

class SharedClient extends ClientTarget<SharedClientOptions> {
  reconnectAttempts = 0;
  readonly #name: string = "streamside " + (this.options.name ?? this.url);
  /** The longest that this tab waits for a sign of life, or to catch up, in milliseconds. */
  readonly #patience: number = Math.min(this.options.timeout || Infinity, 45_000);
  /** From `connect()` to the end: what aborts then. The lock, or the wait for it, hangs on it. */
  #life: AbortController | undefined;
  /** There is none for a client that is alone. */
  #channel: BroadcastChannel | undefined;
  /** The connection of a leader, or of a client that is alone. */
  #source: Source | undefined;
  /** What is to be told with the next message. */
  #batch: Told[] = [];
  /** The leader that was heard last; 0 for none. */
  #term!: number;
  /** The positions that this tab has heard of, in order. */
  #trail!: string[];
  /** Where in that the leader is: at the end, but for one that has yet to come to what this tab heard of the last. */
  #place!: number;
  #fresh!: boolean;
  /** While this tab is behind: ends the connection by which it catches up. Aborted, there is none. */
  #behind: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  connect(): void {
    if (this.readyState == CLOSED) this.reconnect();
  }

  reconnect(): void {
    const { enabled, signal, wake } = this.options;
    if (enabled === false || signal?.aborted) return this.end();
    this.readyState = CONNECTING;
    if (this.#life) return this.#ask("reconnect");
    const life = this.#life = new AbortController();
    this.#term = this.#place = 0;
    this.#trail = [this.lastEventId];
    life.signal.addEventListener("abort", onAbort(signal, () => this.#leave("aborted")));
    if (wake !== false) {
      onWake(() => {
        if (this.readyState != OPEN) this.#ask("wake");
      }, life.signal);
    }
    try {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }: MessageEvent<Told[] | Asked>) => this.#hear(data);
      this.#compete();
    } catch {
      // Firefox denies channels where cookies are blocked.
      this.#lead();
    }
  }

  close(): void {
    this.#leave("closed");
  }

  /** Leaves the other tabs, which go on without this one. */
  #leave(reason: CloseReason): void {
    if (!this.#life) return this.end();
    this.#resign();
    this.#readAlong();
    this.#life.abort();
    this.#life = undefined;
    this.#channel?.close();
    this.#channel = undefined;
    clearTimeout(this.#timer);
    if (this.readyState != CLOSED) this.#close(reason);
  }

  #close(reason: CloseReason): void {
    this.readyState = CLOSED;
    this.end();
    this.emit("close", { reason });
  }

  // ------------------------------------------------------------------------------------------------- who leads

  /** Waits for the lock, or takes it from a leader that does not answer. */
  #compete(steal?: boolean): void {
    const { signal } = this.#life!;
    holdLock(this.#name, signal, () => this.#lead(), steal).catch((error) => {
      if (signal.aborted) return;
      this.#resign();
      if (error.name != "AbortError") {
        // The browser denies locks: to a sandboxed frame, or where cookies are blocked.
        this.#channel!.close();
        this.#channel = undefined;
        this.#lead();
        // Another tab took the lock from this one.
      } else this.#compete();
    });
    this.#watch(true);
  }

  /** A follower that hears nothing asks the leader for a word, and then takes its place. */
  #watch(asked?: boolean): void {
    clearTimeout(this.#timer);
    if (this.#source) return;
    if (asked) this.#ask("tell");
    this.#timer = setTimeout(() => {
      if (asked) this.#compete(true);
      else this.#watch(true);
    }, this.#patience / 3);
  }

  /** Connects from where the leader before was heard last, though this tab may read elsewhere. */
  #lead(): void {
    clearTimeout(this.#timer);
    const source = this.#source = this.#open(this.#trail[this.#place]!);
    // By the clock, since a tab that has heard nobody may lead after others.
    source.term = Math.max(Date.now(), this.#term + 1);
    source.after = this.#term;
    source.listener = (told) => {
      // One message for what one chunk brought.
      if (this.#batch.push(told) == 1) queueMicrotask(() => this.#flush());
      this.#take(told);
    };
    // That the leader is another one is no event.
    source.tell({ state: this.readyState });
    source.connect();
  }

  #flush(): void {
    if (this.#batch[0]) this.#channel?.postMessage(this.#batch);
    this.#batch = [];
  }

  /** Gives up the connection for all. */
  #resign(): void {
    this.#flush();
    this.#source?.close();
    this.#source = undefined;
  }

  #open(lastEventId: string): Source {
    const source = new Source(this.url, {
      ...this.options,
      lastEventId,
      signal: undefined,
      wake: false,
      onComment: (comment) => source.tell({ comment }),
    });
    return source;
  }

  // ------------------------------------------------------------------------------------------------- what is told

  /** Asks something of the leader, which may be this tab. */
  #ask(asked: Asked): void {
    if (this.#source) this.#source[asked]();
    else this.#channel?.postMessage(asked);
  }

  #hear(message: Told[] | Asked): void {
    if (typeof message == "string") return this.#source?.[message]();
    for (const told of message) this.#take(told);
    if (this.#life) this.#watch();
  }

  /** Takes over the connection's state, raises the client's own events, and reads what was told. */
  #take(told: Told): void {
    const life = this.#life;
    const { onComment } = this.options;
    const { term, state, type, detail, comment } = told;
    // Of a leader whose place was taken, and who does not know it yet.
    if (!life || term < this.#term) return;
    if (this.#source?.term != term) this.#resign();
    const opened = state == OPEN && this.readyState != OPEN;
    if (state != CLOSED) this.readyState = state;
    this.reconnectAttempts = told.attempts;
    const next = this.#follow(told);
    if (opened) this.emit("open");
    if (comment != undefined && onComment) this.call(onComment, comment);
    if (this.#life != life) return;
    if (!detail) {
      // The leader gave up before this tab came.
      if (state == CLOSED && this.readyState != CLOSED) this.#ask("wake");
      if (next) this.#move(told);
    } else if (type != "close") this.emit(type!, detail);
    // There may yet be a reason to try again.
    else if (detail.reason == "attempts") this.#close("attempts");
    else {
      // Of another attempt, it may be, after this tab was told that all had failed.
      this.readyState = CONNECTING;
      this.#leave(detail.reason!);
    }
  }

  /** Follows the leader to its position. Tells whether this tab has yet to go there. */
  #follow({ term, after, state, from, to, fresh, type }: Told): boolean {
    const came = this.#term;
    const { lastEventId } = this;
    if (term != came) {
      this.#place = after == came && from ? this.#trail.lastIndexOf(from) : -1;
      this.#term = term;
    }
    const missed = this.#trail[this.#place] != from;
    if (missed) {
      this.#trail = [from];
      this.#place = 0;
    }
    const ahead = this.#trail.length - 1 > this.#place;
    const known = this.#trail.indexOf(to, this.#place + 1);
    if (known > 0) this.#place = known;
    else if (from != to) {
      // What this tab was ahead by is of another life of the server.
      this.#trail.splice(++this.#place, REMEMBERED, to);
      if (this.#place > REMEMBERED) {
        this.#trail.shift();
        this.#place--;
      }
    }
    // A tab that comes without a position has missed nothing.
    if (missed && lastEventId != from && (came || lastEventId)) {
      (this.#behind ??= new AbortController()).abort();
    }
    if (!this.#behind) return known < 0 && (!ahead || from != to || type == RESET);
    this.#fresh = fresh;
    this.#meet();
    // While the leader has none, its connection may be the only one that the server grants.
    if (state != OPEN) this.#behind?.abort();
    else if (this.#behind?.signal.aborted) this.#catchUp();
    return false;
  }

  /** Moves to a position, with the event that leads there. */
  #move({ to, type, data, origin }: Told): void {
    this.lastEventId = to;
    if (type) this.deliver(new StreamMessage(type, data!, to, origin!, this));
  }

  // ------------------------------------------------------------------------------------------------- catching up

  /** Reads along, if this tab is where the leader is. */
  #meet(): void {
    if (this.#fresh && this.lastEventId == this.#trail[this.#place]) this.#readAlong();
  }

  #readAlong(): void {
    this.#behind?.abort();
    this.#behind = undefined;
  }

  /** Reads by a connection of this tab's own; one tab at a time does. */
  #catchUp(): void {
    const { signal } = this.#behind = new AbortController();
    const timer = setTimeout(() => this.#reset(), this.#patience);
    signal.addEventListener("abort", () => clearTimeout(timer));
    if (!this.lastEventId) return this.#reset();
    holdLock(this.#name + " catching up", signal, () => {
      const source = this.#open(this.lastEventId);
      source.listener = (told) => {
        const { type, detail } = told;
        if (!detail) this.#move(told);
        else if (type == "close" || detail.status) this.#reset();
        this.#meet();
      };
      signal.addEventListener("abort", () => source.close());
      source.connect();
    }).catch(() => {});
  }

  /** Events are missed: the user is told so, and this tab goes on with the others. */
  #reset(): void {
    this.#readAlong();
    const to = this.lastEventId = this.#trail[this.#place]!;
    this.deliver(new StreamMessage(RESET, "{}", to, new URL(this.url).origin, this));
  }
}

/**
 * Makes a client that shares one connection with all tabs of its origin that are the same reader: `createClient`'s
 * surface, with each tab's own listeners. Tabs that close, crash or freeze are no loss to the others. Where the Web
 * Locks API or `BroadcastChannel` is missing, as in an insecure context, it is a client with its own connection.
 *
 * The connection is made with the `headers`, `fetch` and other options of one of the tabs, and all hear what it brings.
 * So a client that sends who it is needs a `name` that tells sessions apart. Cookies are the browser's, and the same in
 * all tabs; when they change, only a new connection has the new ones: name the session there, too.
 *
 * A tab that comes with a `lastEventId` of its own catches up by a second connection. Where the server refuses that,
 * or it does not succeed within the `timeout`, the tab raises `reset`, and goes on with the others.
 *
 * @example
 * ```ts
 * import { createSharedClient } from "streamside/client";
 *
 * const sse = createSharedClient("/api/v1/sse/subscribe", { name: sessionId });
 * sse.addEventListener("fileChanged", (event) => refresh(event.json().fileId));
 * sse.connect();
 * ```
 *
 * @param url where the stream is; in a page it may be relative
 * @param options see {@link SharedClientOptions}
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved; a `TypeError` where `headers`,
 * `fetch`, `method` or `body` are given and `name` is not, in every runtime
 */
// deno-lint-ignore no-explicit-any
export function createSharedClient<Events extends CheckedEvents<Events> = Record<string, any>>(
  url: string | URL,
  options: SharedClientOptions = {},
): Client<Events> {
  const { name, headers, fetch, method, body } = options;
  if ((headers ?? fetch ?? method ?? body) != null && name == null) {
    throw new TypeError(
      "headers, fetch, method or body without a name: name the session",
    );
  }
  const shares = globalThis.navigator?.locks && globalThis.BroadcastChannel;
  const client = shares ? new SharedClient(url, options) : new StreamClient(url, options);
  return client as unknown as Client<Events>;
}
