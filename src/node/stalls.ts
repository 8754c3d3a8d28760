/**
 * Readers that take nothing at all, found by one timer for all of them.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import { setTimeout } from "node:timers";
import { isGone, untaken } from "./outgoing.ts";

/** How often a response is looked at before it counts as stalled; once more, since the first look may come at once. */
const LOOKS = 4;

/** What the last look at a response saw. */
interface Look {
  /** What the client had not taken then. */
  untaken: number;
  /** How often it was as much as the time before. */
  idle: number;
}

/**
 * Cuts the connections of readers that take nothing at all for a time. A slow reader takes something, and stays.
 *
 * Time is counted in looks. A look that comes late, since the process was frozen or busy, counts for nobody.
 */
export class Stalls {
  readonly #interval: number;
  readonly #waiting = new Map<ServerResponse, Look>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next look is due, by `performance.now()`. */
  #due = 0;

  /** Stalls of `timeout` ms, up to a quarter more. */
  constructor(timeout: number) {
    // A longer delay than a timer takes would fire at once.
    this.#interval = Math.min(timeout / LOOKS, 2 ** 31 - 1);
  }

  /** A response has been given more than was taken, or its end. */
  watch(outgoing: ServerResponse): void {
    this.#waiting.set(outgoing, { untaken: untaken(outgoing), idle: 0 });
    if (this.#timer === undefined) this.#lookLater();
  }

  /** All of it was taken, or nobody reads any more. The timer goes on, and stops when it finds nobody. */
  forget(outgoing: ServerResponse): void {
    this.#waiting.delete(outgoing);
  }

  #lookLater(): void {
    this.#due = performance.now() + this.#interval;
    this.#timer = setTimeout(() => this.#look(), this.#interval);
    // The connections keep the process going, and not the timer.
    this.#timer.unref();
  }

  #look(): void {
    const isLate = performance.now() - this.#due > Math.max(this.#interval / 4, 250);
    for (const [outgoing, last] of this.#waiting) {
      const left = untaken(outgoing);
      if (isGone(outgoing) || outgoing.writableFinished) this.#waiting.delete(outgoing);
      else if (left !== last.untaken) this.#waiting.set(outgoing, { untaken: left, idle: 0 });
      // One without a socket waits for its turn on the connection (pipelining), and not for its reader.
      else if (!isLate && outgoing.socket && ++last.idle > LOOKS) {
        this.#waiting.delete(outgoing);
        outgoing.destroy();
      }
    }
    this.#timer = undefined;
    if (this.#waiting.size > 0) this.#lookLater();
  }
}
