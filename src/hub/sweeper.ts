/**
 * Whatever is due at a time: heartbeats, ends and stalls, all with one timer.
 *
 * @module
 */

import { MAX_DELAY } from "../validate.ts";
import type { Connection, EndReason } from "./connection.ts";
import { Deadlines } from "./deadlines.ts";
import type { Places } from "./places.ts";

/** What a sweeper needs from the hub. */
export interface SweeperOptions {
  /** How often a heartbeat comes, in ms. */
  readonly heartbeat: number;
  /** For how long a connection may take nothing, in ms. */
  readonly stallTimeout: number;
  /** Lets go of an ended connection whose reader does not take its last bytes. */
  readonly abandon: (connection: Connection, reason: EndReason) => void;
}

/** How often a reader without room is looked at within `stallTimeout`. */
const LOOKS = 4;
/**
 * A look that is later than this, in ms, does not count: it was the process that was away (stopped, or its machine
 * suspended), and not the readers.
 */
const LATE = 1_000;

/**
 * One timer for all connections. It runs only while there are connections. It finds what is due without looking at the
 * others: the next deadline stands first, and those whose readers have no room are a set of their own.
 */
export class Sweeper {
  readonly #places: Places;
  readonly #options: SweeperOptions;
  readonly #deadlines = new Deadlines();
  #timer: ReturnType<typeof setTimeout> | undefined;
  // By performance.now(): setting the system clock back must not hold heartbeats up.
  #sweepAt = Infinity;
  #beatAt = 0;
  #lookAt = 0;

  /** A sweeper of some connections. */
  constructor(places: Places, options: SweeperOptions) {
    this.#places = places;
    this.#options = options;
  }

  /** A connection was opened. */
  opened(connection: Connection): void {
    const { heartbeat, stallTimeout } = this.#options;
    const now = performance.now();
    this.#deadlines.add(connection);
    if (this.#timer === undefined) {
      this.#beatAt = now + heartbeat;
      this.#lookAt = now + stallTimeout / LOOKS;
    }
    this.#schedule(now);
  }

  /** A connection has ended. */
  ended(connection: Connection): void {
    this.#deadlines.remove(connection);
  }

  /** The place of an ended connection is free. */
  left(): void {
    if (this.#places.places === 0) this.stop();
  }

  /** Stops: nothing more is due. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sweepAt = Infinity;
  }

  #schedule(now: number): void {
    const due = now + this.#deadlines.next - Date.now();
    const time = Math.min(this.#beatAt, this.#lookAt, due);
    if (time >= this.#sweepAt) return;
    clearTimeout(this.#timer);
    this.#sweepAt = time;
    // A timer with a longer delay would fire at once.
    const delay = Math.min(Math.max(0, time - now), MAX_DELAY);
    this.#timer = setTimeout(() => this.#sweep(), delay);
  }

  #sweep(): void {
    const now = performance.now();
    const date = Date.now();
    this.#sweepAt = Infinity;
    this.#places.prune();
    if (now >= this.#beatAt) {
      this.#beatAt = now + this.#options.heartbeat;
      this.#places.beat();
    }
    while (this.#deadlines.next <= date) {
      const connection = this.#deadlines.first!;
      this.#places.end(connection, connection.deadlineReason);
    }
    if (now >= this.#lookAt) {
      if (now - this.#lookAt < LATE) this.#look();
      this.#lookAt = now + this.#options.stallTimeout / LOOKS;
    }
    if (this.#places.places > 0) this.#schedule(now);
  }

  #look(): void {
    for (const connection of this.#places.watched) {
      if (connection.ready) this.#places.unwatch(connection);
      else if (connection.look() >= LOOKS) {
        if (connection.isClosing) this.#options.abandon(connection, "stalled");
        else this.#places.end(connection, "stalled");
      }
    }
  }
}
