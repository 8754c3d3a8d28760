/**
 * Presence: tells the log which sessions are connected here, and hears of those that are connected elsewhere.
 *
 * There is one exchange with the log at a time, for all that has changed meanwhile, and one timer for all. A hub that
 * nobody asks only tells; one that is asked, or listened to, hears as well.
 *
 * @module
 */

import { StreamsideError } from "../errors.ts";
import { newTag } from "../log/appends.ts";
import type { PresenceLog, SessionPresence } from "../log/presence-log.ts";
import { type PresenceObserver, PresenceView } from "./presence-view.ts";

/** The times of presence, in ms. */
export interface PresenceTimes {
  /** How often there is an exchange, at most. Who listens hears as often. */
  readonly tick: number;
  /** How often the log is told that the server is there, at least. */
  readonly renewal: number;
  /** For how long the server counts as there, if it is not heard of. */
  readonly lease: number;
  /** How long a session may be gone. */
  readonly grace: number;
  /** For how long nobody is said to be offline, after the log was away or was found empty. */
  readonly recovery: number;
}

/**
 * Being back within 5 s is no change. Another server tells of it a tick later, and this one asks within one more: so the
 * grace is 5 s, two ticks, and a second for the log.
 *
 * Who was on a server that was killed is offline when its lease is over. It was renewed 4 s before the kill at most: so
 * they had 8 s. Whoever asks, a tick later at most, is told that they have gone: 13 s after the kill.
 */
export const TIMES: PresenceTimes = {
  tick: 1_000,
  renewal: 4_000,
  lease: 12_000,
  grace: 8_000,
  recovery: 15_000,
};

/** How long a server that closes waits until the log knows, in ms. */
const FAREWELL = 2_000;

/** What presence needs from the hub. */
export interface PresenceOptions {
  readonly log: PresenceLog;
  readonly times: PresenceTimes;
  /** The sessions that are connected here. */
  readonly sessions: () => Iterable<string>;
  /** The channels of a session that is connected here; `undefined` if it is not. */
  readonly channelsOf: (session: string) => string[] | undefined;
  /** The log does not answer. It is told once, until the log answers again. */
  readonly failed: (error: unknown) => void;
}

/** Who is online, here and elsewhere. */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #observer: PresenceObserver;
  readonly #server: string = newTag() + newTag();
  /** What the log has told; `cursor` is how far. Nothing is asked for while it is `undefined`. */
  #view: PresenceView;
  #cursor: unknown;
  /** The sessions that the log does not know as they are now. */
  #changed = new Set<string>();
  /** The log knows all others. */
  #isKnown = false;
  #listeners = 0;
  /** Who listens is told: the log has said who was there before. */
  #isListening = false;
  #unwatch: (() => void) | undefined;
  /** Others have told the log something. */
  #isStale = false;
  #hasFailed = false;
  #isClosed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next exchange is due, by `performance.now()`. */
  #dueAt = Infinity;
  #exchangedAt = -Infinity;
  #exchanging: Promise<void> | undefined;
  /** The exchange after the one that is under way, for all who ask meanwhile. */
  #next: Promise<void> | undefined;

  /** Nobody is connected, and nobody asks. */
  constructor(options: PresenceOptions, observer: PresenceObserver) {
    this.#options = options;
    this.#observer = observer;
    this.#view = new PresenceView(options.times.grace, observer);
  }

  /** A session has come or gone, or its channels have changed. */
  changed(session: string): void {
    if (this.#isClosed) return;
    this.#changed.add(session);
    this.#schedule();
  }

  /** Somebody listens to who comes and goes. Returns how to stop. */
  listen(): () => void {
    if (++this.#listeners === 1) {
      this.#unwatch = this.#options.log.watch?.(() => {
        this.#isStale = true;
        this.#schedule();
      });
      this.#schedule();
    }
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.#listeners > 0) return;
      this.#isListening = false;
      this.#unwatch?.();
      this.#unwatch = undefined;
    };
  }

  /** The sessions connected to any server, or those of them that subscribe to a channel. */
  async list(channel?: string): Promise<string[]> {
    if (this.#cursor === undefined) this.#cursor = null;
    await this.#refresh();
    return this.#view.list(channel);
  }

  /** Leaves. Resolves when the log knows, or after a while. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#unwatch?.();
    if (this.#exchangedAt === -Infinity) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, FAREWELL));
    await Promise.race([this.#leave(), late]);
    clearTimeout(timer);
  }

  async #leave(): Promise<void> {
    try {
      await this.#exchanging?.catch(() => {});
      const { log, times: { lease } } = this.#options;
      const sessions = this.#presenceOf(this.#changed);
      await log.exchange({ server: this.#server, isWhole: false, sessions, gone: "left" }, lease);
    } catch (error) {
      // Others find out when the lease is over.
      if (!this.#hasFailed) this.#options.failed(error);
    }
  }

  /** When the next exchange is due, after the last one. */
  #interval(): number {
    const { log, sessions, times: { tick, renewal } } = this.#options;
    const isLocal = log.watch !== undefined;
    // It is asked who is there before anything is told.
    const isBeginning = this.#listeners > 0 && !this.#isListening;
    if (isBeginning || this.#isStale || this.#changed.size > 0) {
      return isLocal && !this.#hasFailed ? 0 : tick;
    }
    if (this.#listeners > 0 && (!isLocal || this.#view.isWaiting)) return tick;
    if (isLocal) return Infinity;
    for (const _ of sessions()) return renewal;
    return Infinity;
  }

  #schedule(): void {
    if (this.#isClosed || this.#exchanging !== undefined) return;
    const interval = this.#interval();
    const due = this.#exchangedAt + interval;
    if (interval === Infinity || due >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = due;
    const delay = due - performance.now();
    // All that changes in one turn is told at once.
    if (delay <= 0) queueMicrotask(() => this.#due());
    else this.#timer = setTimeout(() => this.#due(), delay);
  }

  #due(): void {
    if (this.#isClosed || this.#dueAt === Infinity) return;
    // Who asked is told of what fails.
    this.#begin().catch(() => {});
  }

  /** Resolves when an exchange is over that began after the call. */
  #refresh(): Promise<void> {
    if (this.#exchanging === undefined) return this.#begin();
    return this.#next ??= this.#exchanging.catch(() => {}).then(() => {
      this.#next = undefined;
      return this.#begin();
    });
  }

  #begin(): Promise<void> {
    if (this.#isClosed) {
      return Promise.reject(
        new StreamsideError("closed", "The hub is closed and does not know who is online."),
      );
    }
    // Another one began in between: it is as good.
    if (this.#exchanging !== undefined) return this.#exchanging;
    clearTimeout(this.#timer);
    this.#dueAt = Infinity;
    this.#exchangedAt = performance.now();
    return this.#exchanging = this.#exchange().finally(() => {
      this.#exchanging = undefined;
      this.#schedule();
    });
  }

  async #exchange(): Promise<void> {
    let told = new Set<string>();
    try {
      this.#isStale = false;
      if (this.#listeners > 0 && !this.#isListening) await this.#meet();
      told = this.#changed;
      this.#changed = new Set();
      if (this.#isKnown) await this.#tell(this.#presenceOf(told), false);
      // The log does not know this server: yet, or any more.
      if (!this.#isKnown) {
        const sessions = this.#presenceOf(this.#options.sessions());
        await this.#tell(sessions, sessions.length > 0);
      }
    } catch (error) {
      for (const session of told) this.#changed.add(session);
      if (!this.#hasFailed && !this.#isClosed) this.#options.failed(error);
      this.#hasFailed = true;
      throw unavailable(error);
    }
    if (this.#hasFailed) this.#view.wait(this.#options.times.recovery);
    this.#hasFailed = false;
    this.#view.settle(!this.#isListening);
  }

  /** Learns who is there before anybody is told of it, and before those of this server are. */
  async #meet(): Promise<void> {
    this.#cursor = null;
    this.#view = new PresenceView(this.#options.times.grace, this.#observer);
    await this.#tell([], false);
    this.#isListening = this.#listeners > 0;
  }

  async #tell(sessions: readonly SessionPresence[], isWhole: boolean): Promise<void> {
    const { log, times: { lease, recovery } } = this.#options;
    const cursor = this.#cursor;
    const answer = await log.exchange({ server: this.#server, isWhole, sessions }, lease, cursor);
    this.#isKnown = answer.isKnown;
    if (cursor === undefined) return;
    this.#cursor = answer.cursor ?? null;
    // It has forgotten what it had told, and perhaps who is there.
    if (answer.isAnew && cursor !== null) this.#view.wait(recovery);
    this.#view.apply(answer, !this.#isListening);
  }

  #presenceOf(sessions: Iterable<string>): SessionPresence[] {
    const { channelsOf } = this.#options;
    return Array.from(sessions, (session) => ({ session, channels: channelsOf(session) }));
  }
}

function unavailable(cause: unknown): StreamsideError {
  if (cause instanceof StreamsideError) return cause;
  return new StreamsideError(
    "log-unavailable",
    "The log does not say who is online at the moment; ask again.",
    { cause },
  );
}
