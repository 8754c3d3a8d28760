/**
 * The application's pulse: numbered events to everyone, as many a second as somebody has asked for, and the hub's
 * counters once a second.
 *
 * @module
 */
import type { Hub } from "../../mod.ts";
import type { Events, Tick } from "./events.ts";

/** The most ticks a second that can be asked for. */
export const maxPerSecond = 5000;

/** When nobody has been connected for this long, in ms, there is nobody to count for. */
const patience = 60_000;

/** Sends to everyone until it is stopped. */
export class Pulse {
  /** Tells this count from others. */
  readonly run: string;
  /** When this server started, in ms since 1970. */
  readonly started: number = Date.now();
  readonly #hub: Hub<Events>;
  readonly #onError: (error: unknown) => void;
  #perSecond = 10;
  #sent: number;
  #owed = 0;
  #last = performance.now();
  #seen = Date.now();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #seconds: ReturnType<typeof setInterval>;

  /**
   * Begins at once, after the number of the server before this one, if that is known; what goes wrong in sending is told
   * to `onError`, and the sending goes on.
   */
  constructor(hub: Hub<Events>, last: Tick | undefined, onError: (error: unknown) => void) {
    this.#hub = hub;
    this.run = last?.run ?? crypto.randomUUID().slice(0, 8);
    this.#sent = last?.n ?? 0;
    this.#onError = onError;
    this.#seconds = setInterval(() => this.#tell().catch(onError), 1000);
    this.#plan();
  }

  /** How many ticks a second are sent, at most: from 0 to {@link maxPerSecond}. */
  get perSecond(): number {
    return this.#perSecond;
  }

  set perSecond(value: number) {
    this.#perSecond = value;
    this.#owed = 0;
    this.#plan();
  }

  /** Ends it. */
  stop(): void {
    clearInterval(this.#seconds);
    clearTimeout(this.#timer);
    this.#perSecond = 0;
  }

  #plan(): void {
    clearTimeout(this.#timer);
    if (this.#perSecond === 0) return;
    this.#timer = setTimeout(
      () => this.#beat().catch(this.#onError).finally(() => this.#plan()),
      Math.max(20, 1000 / this.#perSecond),
    );
  }

  async #beat(): Promise<void> {
    const now = performance.now();
    // What a busy machine could not send in time is not made up for: the chart shows what it bears.
    const most = Math.max(1, this.#perSecond / 5);
    this.#owed = Math.min(most, this.#owed + this.#perSecond * (now - this.#last) / 1000);
    this.#last = now;
    if (Date.now() - this.#seen > patience) return;
    const sending: Promise<unknown>[] = [];
    for (; this.#owed >= 1; this.#owed--) sending.push(this.#tick());
    await Promise.all(sending);
  }

  #tick(): Promise<unknown> {
    // #region resume
    const tick = { n: ++this.#sent, at: Date.now(), run: this.run };
    return this.#hub.broadcast("tick", tick);
    // #endregion
  }

  async #tell(): Promise<void> {
    // #region stats
    const { connections, events, deliveries } = this.#hub.stats();
    const tick = { n: this.#sent, at: Date.now(), run: this.run };
    const stats = { ...tick, started: this.started, connections, events, deliveries };
    if (connections > 0) await this.#hub.broadcast("stats", stats, { key: "stats" });
    // #endregion
    if (connections > 0) this.#seen = stats.at;
  }
}
