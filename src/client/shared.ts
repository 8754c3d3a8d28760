/**
 * One connection for all tabs of an origin: one tab holds it, and tells the others everything that it brings, by
 * `BroadcastChannel`. When that tab closes, crashes or freezes, another takes over and resumes.
 *
 * The states of a tab, and what moves it:
 *
 * - **closed**: before `connect()`, after `close()` and after a refusal. `connect()` makes it a follower.
 * - **follower**: it hears the leader, and waits for the lock that makes it the leader. If the leader does not answer,
 *   it takes the lock away.
 * - **leader**: it holds the lock and the connection. It hears itself as the others hear it. When its lock is taken
 *   away, or it hears a later leader, it becomes a follower.
 * - **alone**: a leader that tells nobody, because the browser denies locks or channels.
 *
 * Besides that, a follower or a leader reads in one of two ways:
 *
 * - **along**: it gives out what is told, in order. Each leader has a number (`term`), which it tells each time. A
 *   known position is no reason to leave an event out, since a server that started over may use it again. There is one
 *   exception: if a new leader resumes from an earlier point than this tab has heard, the tab leaves out what is
 *   repeated.
 * - **behind**: it has missed something: it came with its own cursor, or slept through messages. It reads from where it
 *   is by its own connection, until that has reached the leader, and then reads along. If that fails, it raises
 *   `reset` and reads along from where the others are, which may be before what it has heard.
 *
 * @module
 */
import type { CheckedEvents } from "../event-map.ts";
import { onAbort } from "#runtime";
import { StreamMessage } from "./event.ts";
import { isRepeatable, StreamClient } from "./stream.ts";
import { ClientTarget, CLOSED, CONNECTING, OPEN, RESET } from "./target.ts";
import type { Client, ClientOptions, CloseReason } from "./types.ts";
import { onWake } from "./wake.ts";

/** The options of `createSharedClient`. */
export interface SharedClientOptions extends ClientOptions {
  /**
   * Who reads. Clients of one origin with the same name and the same URL share a connection, and all of them hear what
   * it brings. So name the session: `{ name: sessionId }`. A URL that differs, by its channels or by a ticket, is another
   * connection. With `headers`, `fetch`, `method` or `body` a name is required. Default: the URL alone.
   */
  name?: string;
}

/** What a leader tells: everything that happens to its connection, in order. */
interface Told {
  /** The number of the leader. Later leaders have higher numbers. */
  term: number;
  /** The leader before it, in the first thing that it tells. */
  after: number | undefined;
  /** The connection's `readyState`. */
  state: number;
  attempts: number;
  /** The positions before and after this. */
  from: string;
  to: string;
  /**
   * Whether the position is from this connection. One from an earlier connection may be of another life of the server.
   */
  fresh: boolean;
  /** An event of the stream, or, with `detail`, one of the client's own. */
  type?: string;
  data?: string;
  origin?: string;
  /** The members of one of the client's own events. */
  detail?: { reason?: CloseReason; status?: number; error?: unknown } | undefined;
  comment?: string;
}

/**
 * What a follower asks of the leader: a method of `Source`. `wake` means that there is a reason to try at once, which
 * many tabs may see at the same moment.
 */
type Asked = "tell" | "reconnect" | "wake";

/** How many positions a follower may be ahead of the tab that takes over. */
const REMEMBERED = 4096;

/**
 * Calls `granted` when this tab gets the lock, and holds it until `signal` aborts. Rejects if it is denied or taken
 * away.
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
  /** The leader's members of `Told`. */
  term = 0;
  after: number | undefined;
  declare listener: (told: Told) => void;
  #from: string = this.lastEventId;
  #fresh = false;
  /** Whether it only waits: for the next attempt, or for a reason to make one. */
  #waits = false;

  tell(part?: Partial<Told>, fresh: boolean = this.#fresh): void {
    this.#fresh = fresh;
    const { term, after, readyState: state, reconnectAttempts: attempts, lastEventId: to } = this;
    const from = this.#from;
    this.after = undefined;
    this.#from = to;
    this.listener({ term, after, state, attempts, from, to, fresh, ...part });
  }

  /** Tries at once, unless it is trying already. */
  wake(): void {
    if (this.#waits) this.reconnect();
    this.#waits = false;
  }

  protected override deliver({ type, data, origin }: StreamMessage): void {
    this.tell({ type, data, origin }, true);
  }

  /** The beginning of a stream and its heartbeats move the position without an event. */
  protected override fed(): void {
    if (this.#from !== this.lastEventId) this.tell({}, true);
  }

  protected override emit(type: string, detail?: Told["detail"]): void {
    this.#waits = type !== "open";
    // Not everything that can be thrown can be sent to other tabs.
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
  readonly #name: string = "streamside " + (this.options.name ?? "") + " " + this.url;
  /** How long this tab waits for a sign of life, or to catch up, in milliseconds. */
  readonly #patience: number = Math.min(this.options.timeout || Infinity, 45_000);
  /** Lasts from `connect()` to the end, when it aborts. It ends the lock, or the wait for it. */
  #life: AbortController | undefined;
  /** A client that is alone has no channel. */
  #channel: BroadcastChannel | undefined;
  /** The connection of a leader, or of a client that is alone. */
  #source: Source | undefined;
  /** What the next message will tell. */
  #batch: Told[] = [];
  /** The number of the last leader heard; 0 for none. */
  #term!: number;
  /** The positions that this tab has heard of, in order. */
  #trail!: string[];
  /** The leader's place in the trail: its end, unless a new leader has yet to reach what this tab has heard. */
  #place!: number;
  #fresh!: boolean;
  /** Set while this tab is behind: ends the connection by which it catches up. If it is aborted, there is none. */
  #behind: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  protected start(): void {
    const { signal, wake } = this.options;
    this.readyState = CONNECTING;
    if (this.#life) return this.#ask("reconnect");
    const life = this.#life = new AbortController();
    this.#term = this.#place = 0;
    this.#trail = [this.lastEventId];
    life.signal.addEventListener("abort", onAbort(signal, () => this.#leave("aborted")));
    if (wake !== false) onWake(() => this.#ask("wake"), life.signal);
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

  /** Leaves. The other tabs go on without this one. */
  #leave(reason: CloseReason): void {
    if (!this.#life) return this.end();
    this.#resign();
    this.#readAlong();
    this.#life.abort();
    this.#life = undefined;
    this.#channel?.close();
    this.#channel = undefined;
    clearTimeout(this.#timer);
    if (this.readyState !== CLOSED) this.end(reason);
  }

  // ------------------------------------------------------------------------------------------------- who leads

  /** Waits for the lock, or takes it from a leader that does not answer. */
  #compete(steal?: boolean): void {
    const { signal } = this.#life!;
    holdLock(this.#name, signal, () => this.#lead(), steal).catch((error) => {
      if (signal.aborted) return;
      this.#resign();
      if (error.name !== "AbortError") {
        // The browser denies locks: to a sandboxed frame, or where cookies are blocked.
        this.#channel!.close();
        this.#channel = undefined;
        this.#lead();
        // Another tab took the lock from this one.
      } else this.#compete();
    });
    this.#watch(true);
  }

  /** A follower that hears nothing asks the leader for a sign of life, and then takes its place. */
  #watch(asked?: boolean): void {
    clearTimeout(this.#timer);
    if (this.#source) return;
    if (asked) this.#ask("tell");
    this.#timer = setTimeout(() => {
      if (asked) this.#compete(true);
      else this.#watch(true);
    }, this.#patience / 3);
  }

  /** Connects from where the last leader was heard last, even if this tab reads elsewhere. */
  #lead(): void {
    clearTimeout(this.#timer);
    const source = this.#source = this.#open(this.#trail[this.#place]!);
    // By the clock, since a tab that has heard nobody may still lead after others.
    source.term = Math.max(Date.now(), this.#term + 1);
    source.after = this.#term;
    source.listener = (told) => {
      // One message for everything in one chunk.
      if (this.#batch.push(told) === 1) queueMicrotask(() => this.#flush());
      this.#take(told);
    };
    // A change of the leader is no event.
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
    if (typeof message === "string") return this.#source?.[message]();
    for (const told of message) this.#take(told);
    if (this.#life) this.#watch();
  }

  /** Takes over the connection's state, raises the client's own events, and gives out what was told. */
  #take(told: Told): void {
    const life = this.#life;
    const { onComment } = this.options;
    const { term, state, type, detail, comment } = told;
    // From a leader that was replaced and does not know it yet.
    if (!life || term < this.#term) return;
    if (this.#source?.term !== term) this.#resign();
    const opened = state === OPEN && this.readyState !== OPEN;
    if (state !== CLOSED) this.readyState = state;
    this.reconnectAttempts = told.attempts;
    const next = this.#follow(told);
    if (opened) this.emit("open");
    if (comment !== undefined && onComment) this.call(onComment, comment);
    if (this.#life !== life) return;
    if (!detail) {
      // The leader gave up before this tab came.
      if (state === CLOSED && this.readyState !== CLOSED) this.#ask("wake");
      if (next) this.#move(told);
    } else if (type !== "close") this.emit(type!, detail);
    // Something may still be a reason to try again.
    else if (detail.reason === "attempts") this.end("attempts");
    else {
      // Perhaps from another attempt, after this tab was told that all had failed.
      this.readyState = CONNECTING;
      this.#leave(detail.reason!);
    }
  }

  /** Follows the leader to its position. Returns whether this tab has yet to go there. */
  #follow({ term, after, state, from, to, fresh, type }: Told): boolean {
    const came = this.#term;
    const { lastEventId } = this;
    if (term !== came) {
      this.#place = after === came && from ? this.#trail.lastIndexOf(from) : -1;
      this.#term = term;
    }
    const missed = this.#trail[this.#place] !== from;
    if (missed) {
      this.#trail = [from];
      this.#place = 0;
    }
    const ahead = this.#trail.length - 1 > this.#place;
    const known = this.#trail.indexOf(to, this.#place + 1);
    if (known > 0) this.#place = known;
    else if (from !== to) {
      // The positions that this tab was ahead by belong to another life of the server.
      this.#trail.splice(++this.#place, REMEMBERED, to);
      if (this.#place > REMEMBERED) {
        this.#trail.shift();
        this.#place--;
      }
    }
    // A tab that comes without a position has missed nothing.
    if (missed && lastEventId !== from && (came || lastEventId)) {
      (this.#behind ??= new AbortController()).abort();
    }
    if (!this.#behind) return known < 0 && (!ahead || from !== to || type === RESET);
    this.#fresh = fresh;
    this.#meet();
    // While the leader has no connection, the server may have room for one only.
    if (state !== OPEN) this.#behind?.abort();
    else if (this.#behind?.signal.aborted) this.#catchUp();
    return false;
  }

  /** Moves to a position, and delivers the event that leads there. */
  #move({ to, type, data, origin }: Told): void {
    this.lastEventId = to;
    if (type) this.deliver(new StreamMessage(type, data!, to, origin!, this));
  }

  // ------------------------------------------------------------------------------------------------- catching up

  /** Reads along, if this tab is where the leader is. */
  #meet(): void {
    if (this.#fresh && this.lastEventId === this.#trail[this.#place]) this.#readAlong();
  }

  #readAlong(): void {
    this.#behind?.abort();
    this.#behind = undefined;
  }

  /** Reads by this tab's own connection. Only one tab at a time does so. */
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
        else if (type === "close" || detail.status) this.#reset();
        this.#meet();
      };
      signal.addEventListener("abort", () => source.close());
      source.connect();
    }).catch(() => {});
  }

  /** Events were missed: tells the user, and goes on with the others. */
  #reset(): void {
    this.#readAlong();
    const to = this.lastEventId = this.#trail[this.#place]!;
    this.deliver(new StreamMessage(RESET, "{}", to, new URL(this.url).origin, this));
  }
}

/**
 * Makes a client that shares one connection with all tabs of its origin that are the same reader: `createClient`'s
 * surface, with each tab's own listeners. If a tab closes, crashes or freezes, the others go on. Without the Web Locks
 * API or `BroadcastChannel`, as in an insecure context, it is a client with its own connection.
 *
 * The connection is made with the `headers`, `fetch` and other options of one of the tabs, and all tabs hear what it
 * brings. So a client that sends who it is needs a `name` that tells sessions apart. Cookies are the same in all tabs.
 * But when they change, only a new connection has the new ones, so name the session then, too.
 *
 * A tab that comes with its own `lastEventId` catches up by a second connection. If the server refuses it, or it does
 * not succeed within the `timeout`, the tab raises `reset` and goes on with the others.
 *
 * It is not for the route of a run: a tab that comes in the middle hears the rest alone, and closes as if that were all.
 * Use `createClient` there.
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
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved; a `TypeError` for `headers`, `fetch`,
 * `method` or `body` without a `name`, and for a `method` that is not idempotent, such as `POST`, in every runtime
 */
// deno-lint-ignore no-explicit-any
export function createSharedClient<Events extends CheckedEvents<Events> = Record<string, any>>(
  url: string | URL,
  options: SharedClientOptions = {},
): Client<Events> {
  const { name, headers, fetch, method, body } = options;
  if ((headers ?? fetch ?? method ?? body ?? undefined) !== undefined && name === undefined) {
    throw new TypeError("headers, fetch, method or body without a name: name the session");
  }
  // Each tab that takes over would have it sent once more.
  if (!isRepeatable(method)) throw new TypeError(method + " cannot be shared");
  const shares = globalThis.navigator?.locks && globalThis.BroadcastChannel;
  const client = shares ? new SharedClient(url, options) : new StreamClient(url, options);
  return client as unknown as Client<Events>;
}
