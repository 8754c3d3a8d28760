/**
 * Whatever is due at a time: heartbeats, ends and stalls, all with one timer.
 *
 * @module
 */

import { MAX_DELAY } from "../validate.ts";
import type { Connection, EndReason } from "./connection.ts";
import type { Delivery } from "./delivery.ts";

/** What a sweeper needs from the hub. */
export interface SweeperOptions {
  /** How often a heartbeat comes, in ms. */
  readonly heartbeat: number;
  /** For how long a connection may take nothing, in ms. */
  readonly stallTimeout: number;
  /** Lets go of an ended connection whose reader does not take its last bytes. */
  readonly abandon: (connection: Connection, reason: EndReason) => void;
}

/** One timer for all connections: heartbeats, ends and stalls. It runs only while there are connections. */
export class Sweeper {
  readonly #delivery: Delivery;
  readonly #options: SweeperOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  // By performance.now(): setting the system clock back must not hold heartbeats up.
  #sweepAt = Infinity;
  #beatAt = 0;

  /** A sweeper of the connections of a delivery. */
  constructor(delivery: Delivery, options: SweeperOptions) {
    this.#delivery = delivery;
    this.#options = options;
  }

  /** A connection was opened. */
  opened(connection: Connection): void {
    const { heartbeat, stallTimeout } = this.#options;
    const now = performance.now();
    if (this.#delivery.registry.connections.size === 1) this.#beatAt = now + heartbeat;
    const ends = now + connection.deadline - Date.now();
    this.#sweepBy(Math.min(ends, this.#beatAt, now + stallTimeout / 4), now);
  }

  /** Stops: nothing more is due. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#sweepAt = Infinity;
  }

  #sweepBy(time: number, now: number): void {
    if (time >= this.#sweepAt) return;
    clearTimeout(this.#timer);
    this.#sweepAt = time;
    // A timer with a longer delay would fire at once.
    const delay = Math.min(Math.max(0, time - now), MAX_DELAY);
    this.#timer = setTimeout(() => this.#sweep(), delay);
  }

  #sweep(): void {
    const { heartbeat, stallTimeout, abandon } = this.#options;
    const now = performance.now();
    const date = Date.now();
    this.#sweepAt = Infinity;
    this.#delivery.prune(date);
    if (now >= this.#beatAt) {
      this.#beatAt = now + heartbeat;
      this.#delivery.beat();
    }
    let next = Math.min(this.#beatAt, now + stallTimeout / 4);
    for (const connection of this.#delivery.registry.connections) {
      const left = connection.deadline - date;
      if (left <= 0) this.#delivery.end(connection, connection.deadlineReason);
      else if (this.#isStalled(connection, now)) this.#delivery.end(connection, "stalled");
      else next = Math.min(next, now + left);
    }
    for (const connection of this.#delivery.leaving.keys()) {
      if (this.#isStalled(connection, now)) abandon(connection, "stalled");
    }
    if (this.#delivery.places > 0) this.#sweepBy(next, now);
  }

  #isStalled(connection: Connection, now: number): boolean {
    if (connection.ready) return false;
    const taken = connection.sink?.taken?.() ?? 0;
    if (connection.stalledSince === 0 || taken !== connection.taken) {
      connection.stalledSince = now;
      connection.taken = taken;
    }
    return now - connection.stalledSince >= this.#options.stallTimeout;
  }
}
