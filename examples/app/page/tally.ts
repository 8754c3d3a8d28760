/**
 * Counts the numbered events: whether one is missing, or came twice, and what a return brought back. It knows only what
 * the events themselves carry.
 *
 * @module
 */
import type { Tick } from "../events.ts";

/** What was found when the page had caught up after it was away. */
export interface Return {
  /** How long there was no connection, in ms. */
  away: number;
  /** How many numbered events were sent meanwhile and have come now; the first and the last of their numbers. */
  count: number;
  first: number;
  last: number;
  /** From the new connection to the last of them, in ms. */
  took: number;
  /** Of all numbers since the page was away, how many are missing, and how many came twice. */
  missed: number;
  twice: number;
  /** The server said that it no longer had everything. */
  reset: boolean;
  /** It was another start of the server, which counts from 1. */
  restarted: boolean;
}

/** The count. Times are in ms since 1970 by the page's clock. */
export class Tally {
  /** How many numbered events have come. */
  received = 0;
  /** How many numbers were left out. */
  missed = 0;
  /** How many came that had come before. */
  twice = 0;
  /** The highest number. */
  last: number | undefined;
  readonly #onReturn: (found: Return) => void;
  #run: string | undefined;
  /** The least that an event took: on one machine 0 or 1 ms, on two also the difference between their clocks. */
  #least = Infinity;
  #lostAt: number | undefined;
  #openedAt = 0;
  #return: Return | undefined;

  /** Calls `onReturn` when everything has come that was sent while the page was away. */
  constructor(onReturn: (found: Return) => void) {
    this.#onReturn = onReturn;
  }

  /** When an event that the server sent at `at` was sent, by the page's clock. */
  timeOf(at: number): number {
    return at + (Number.isFinite(this.#least) ? this.#least : 0);
  }

  /** Whether what comes now was sent while the page was away. */
  get catchingUp(): boolean {
    return this.#return !== undefined;
  }

  /** The connection is lost. */
  lost(now: number): void {
    this.#lostAt ??= now;
  }

  /** There is a connection (again). */
  opened(now: number): void {
    if (this.#lostAt !== undefined) {
      const away = now - this.#lostAt;
      this.#return ??= {
        ...{ away, count: 0, first: 0, last: 0, took: 0, missed: 0, twice: 0 },
        ...{ reset: false, restarted: false },
      };
      this.#return.away = away;
      this.#openedAt = now;
    }
    this.#lostAt = undefined;
  }

  /** The server said that events are gone. */
  reset(): void {
    if (this.#return) this.#return.reset = true;
  }

  /** Counts one. Was it sent while the page was away? */
  take(tick: Tick, now: number): boolean {
    this.#meet(tick.run);
    this.received++;
    const found = this.#return;
    const twice = this.last !== undefined && tick.n <= this.last ? 1 : 0;
    this.twice += twice;
    if (found) found.twice += twice;
    this.#expect(tick.n - 1);
    this.last = Math.max(tick.n, this.last ?? tick.n);
    const late = this.#isLate(tick.at, now);
    if (late && found) {
      found.count++;
      found.first ||= tick.n;
      found.last = tick.n;
      found.took = now - this.#openedAt;
    }
    return late;
  }

  /** The server has told which number it had sent last: after it, no lower one is to come. */
  check({ n, at, run }: Tick, now: number): void {
    this.#meet(run);
    this.#expect(n);
    this.#isLate(at, now);
  }

  /** Numbers of another start of the server have nothing to do with those before. */
  #meet(run: string): void {
    if (run === this.#run) return;
    if (this.#return && this.#run !== undefined) this.#return.restarted = true;
    this.#run = run;
    this.last = undefined;
    this.#least = Infinity;
  }

  /** All numbers up to this one have been sent, before what has come now. */
  #expect(n: number): void {
    const missed = Math.max(0, n - (this.last ?? n));
    this.missed += missed;
    if (this.#return) this.#return.missed += missed;
    this.last = Math.max(n, this.last ?? n);
  }

  /** Whether something was sent while the page was away. The first that was not tells that the page has caught up. */
  #isLate(at: number, now: number): boolean {
    const found = this.#return;
    if (found && this.timeOf(at) < this.#openedAt) return true;
    this.#return = undefined;
    if (found) this.#onReturn(found);
    this.#least = Math.min(this.#least, now - at);
    return false;
  }
}
