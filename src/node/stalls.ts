/**
 * Finds readers that take nothing at all, with one timer for all.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import { setTimeout } from "node:timers";
import { MAX_DELAY } from "../validate.ts";
import { isGone, untaken } from "./outgoing.ts";

/** After how many looks a response counts as stalled. One look more than the time needs: the first may come at once. */
const LOOKS = 4;

/** What the last look at a response found. */
interface Look {
  /** How many bytes the client had not taken. */
  untaken: number;
  /** How often in a row that number was the same. */
  idle: number;
}

/**
 * Cuts the connections of readers that take nothing at all for a time. A slow reader takes something, and stays.
 *
 * Time is counted in looks. A look that comes late, because the process was frozen or busy, does not count.
 */
export class Stalls {
  readonly #interval: number;
  readonly #waiting = new Map<ServerResponse, Look>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the next look is due, by `performance.now()`. */
  #due = 0;

  /** Finds stalls of `timeout` ms, or up to a quarter more. */
  constructor(timeout: number) {
    // A timer with a longer delay would fire at once.
    this.#interval = Math.min(timeout / LOOKS, MAX_DELAY);
  }

  /** A response was given more than was taken. */
  watch(outgoing: ServerResponse): void {
    this.#waiting.set(outgoing, { untaken: untaken(outgoing), idle: 0 });
    if (this.#timer === undefined) this.#lookLater();
  }

  /** Everything was taken, or nobody reads any more. The timer goes on, and stops when it finds no response. */
  forget(outgoing: ServerResponse): void {
    this.#waiting.delete(outgoing);
  }

  /** A response was given its end. Nobody may be there to take the rest. */
  watchEnd(outgoing: ServerResponse): void {
    this.watch(outgoing);
    outgoing.once("close", () => this.forget(outgoing));
  }

  #lookLater(): void {
    this.#due = performance.now() + this.#interval;
    this.#timer = setTimeout(() => this.#look(), this.#interval);
    // The connections keep the process running, not the timer.
    this.#timer.unref();
  }

  #look(): void {
    const isLate = performance.now() - this.#due > Math.max(this.#interval / 4, 250);
    for (const [outgoing, last] of this.#waiting) {
      const left = untaken(outgoing);
      if (isGone(outgoing) || outgoing.writableFinished) this.#waiting.delete(outgoing);
      else if (left !== last.untaken) this.#waiting.set(outgoing, { untaken: left, idle: 0 });
      // A response without a socket waits for its turn on the connection (pipelining), not for its reader.
      else if (!isLate && outgoing.socket && ++last.idle > LOOKS) {
        this.#waiting.delete(outgoing);
        outgoing.destroy();
      }
    }
    this.#timer = undefined;
    if (this.#waiting.size > 0) this.#lookLater();
  }
}
