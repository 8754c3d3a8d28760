/**
 * The connection of this page: shared with the session's other tabs or its own, and a switch that cuts it as a lost
 * network does.
 *
 * @module
 */
import { type Client, createClient, createSharedClient } from "../../../src/client/mod.ts";
import type { Events } from "../events.ts";

/** Options of {@link Connection}. */
export interface ConnectionOptions {
  /** The session: its tabs share a connection. */
  session: string;
  /** What proves it. */
  token: string;
  /** Where the log stood when the page's state was read. */
  cursor: string;
  /** Adds the page's listeners to a client. */
  listen: (client: Client<Events>) => void;
  /** Called when something of the connection is another than before. */
  changed: () => void;
  /** Called once: the server wants nothing more of this session. */
  ended: (status: number | undefined) => void;
}

/** What a tab says to the others of its session. */
type Said = { cut: boolean } | "hello";

/** Whether the browser can share a connection: it needs HTTPS, or this machine. */
export const canShare: boolean = "locks" in navigator && "BroadcastChannel" in globalThis;

/** The connection. */
export class Connection {
  state: "connecting" | "open" | "waiting" | "closed" = "connecting";
  /** Which attempt in a row the next is, or is under way. */
  attempt = 0;
  /** When the next attempt begins, in ms since 1970. */
  nextAt: number | undefined;
  /** Since when it is open. */
  openSince: number | undefined;
  /** How many tabs share it, this one included. */
  tabs = 1;
  shared: boolean = canShare;
  readonly #options: ConnectionOptions;
  #client!: Client<Events>;
  #cut = false;
  #lifeline = new AbortController();
  /** How many of this tab's requests are under way, and whether it is its own that the cut concerns. */
  #requests = 0;
  #leads = false;
  readonly #left = new AbortController();
  readonly #channel: BroadcastChannel | undefined;
  #leaveTabs: (() => void) | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    if (canShare) {
      this.#channel = new BroadcastChannel(`demo ${options.session}`);
      this.#channel.onmessage = ({ data }: MessageEvent<Said>) => this.#hear(data);
      this.#channel.postMessage("hello" satisfies Said);
    }
    this.#connect(options.cursor);
  }

  get lastEventId(): string {
    return this.#client.lastEventId;
  }

  get cut(): boolean {
    return this.#cut;
  }

  /** Cuts the connection, for all tabs that share it, or mends it. */
  setCut(cut: boolean): void {
    this.#apply(cut);
    if (this.shared) this.#channel?.postMessage({ cut } satisfies Said);
  }

  /** Shares the connection with the session's other tabs, or has one of its own. Nothing is missed between the two. */
  setShared(shared: boolean): void {
    if (shared === this.shared || !canShare) return;
    this.shared = shared;
    this.#disconnect();
    this.#connect(this.lastEventId);
    this.#options.changed();
  }

  /** Tries at once. */
  reconnect(): void {
    this.#client.reconnect();
  }

  /** Counts the tabs that share the connection. */
  async countTabs(): Promise<void> {
    const { held = [] } = this.shared ? await navigator.locks.query() : {};
    this.tabs = Math.max(1, held.filter(({ name }) => name === this.#tabsLock).length);
  }

  /** Ends it. */
  close(): void {
    this.#left.abort();
    this.#channel?.close();
    this.#disconnect();
    this.state = "closed";
  }

  get #tabsLock(): string {
    return `demo tab of ${this.#options.session}`;
  }

  #connect(cursor: string): void {
    const { session, token, listen } = this.#options;
    // #region resume
    const make = this.shared ? createSharedClient<Events> : createClient<Events>;
    const client = this.#client = make("/api/v1/sse/subscribe", {
      name: session, // whose tabs share the connection
      headers: { "X-Session-Id": token },
      lastEventId: cursor, // came with the state: nothing since then is missed
      reconnect: { maxAttempts: Infinity, maxDelay: 3000 },
      fetch: (...request) => this.#fetch(...request), // the switch that cuts it
    });
    // #endregion
    const signal = this.#left.signal;
    let status: number | undefined;
    client.addEventListener("open", () => {
      this.#become("open");
      this.openSince = Date.now();
      this.attempt = 0;
      this.#options.changed();
    }, { signal });
    client.addEventListener("error", (event) => status = event.status, { signal });
    client.addEventListener("reconnecting", ({ attempt, delay }) => {
      this.#become("waiting");
      this.attempt = attempt;
      this.nextAt = Date.now() + delay;
      this.#options.changed();
    }, { signal });
    client.addEventListener("close", ({ reason }) => {
      if (reason === "server" && client === this.#client) this.#options.ended(status);
    }, { signal });
    listen(client);
    if (this.shared) {
      // Held as long as this tab shares; the browser lets go of it when the tab closes or crashes.
      void navigator.locks.request(
        this.#tabsLock,
        { mode: "shared" },
        () => new Promise<void>((resolve) => this.#leaveTabs = resolve),
      );
    }
    client.connect();
  }

  #disconnect(): void {
    this.#leaveTabs?.();
    this.#leaveTabs = undefined;
    this.#client.close();
  }

  #become(state: Connection["state"]): void {
    this.state = state;
    this.nextAt = undefined;
    if (state !== "open") this.openSince = undefined;
  }

  /** Fetches unless the connection is cut; a cut ends what is under way. */
  #fetch(...[input, init]: Parameters<typeof fetch>): Promise<Response> {
    const request = new Request(input, init);
    if (this.#cut) this.#leads = true;
    this.#requests++;
    request.signal.addEventListener("abort", () => this.#requests--);
    return fetch(request, { signal: AbortSignal.any([request.signal, this.#lifeline.signal]) });
  }

  #hear(said: Said): void {
    if (!this.shared) return;
    if (said !== "hello") this.#apply(said.cut);
    else if (this.#cut) this.#channel!.postMessage({ cut: true } satisfies Said);
  }

  #apply(cut: boolean): void {
    if (cut === this.#cut) return;
    this.#cut = cut;
    if (cut) {
      this.#leads = this.#requests > 0;
      this.#lifeline.abort(new Error("cut by the page"));
    } else {
      this.#lifeline = new AbortController();
      if (this.#leads) this.#client.reconnect();
    }
    this.#options.changed();
  }
}
