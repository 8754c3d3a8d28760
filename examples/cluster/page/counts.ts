/**
 * Counts the numbers of all servers: whether one is missing, or came twice.
 *
 * @module
 */
import type { Count } from "../server.ts";

/** The count. */
export class Counts {
  /** How many numbers have come. */
  received = 0;
  /** How many were left out. */
  missed = 0;
  /** How many came that had come before, or too late. */
  twice = 0;
  readonly #since: number;
  /** The last number of each process, by when it began and its id. */
  readonly #last = new Map<string, number>();

  /** Counts from when the state was loaded, in ms since 1970 by the server's clock. */
  constructor(since: number) {
    this.#since = since;
  }

  /** Counts one. */
  take({ pid, n, began }: Count): void {
    const process = `${began} ${pid}`;
    // Of a process that began later the first number is to come; of the others any may be the next.
    const last = this.#last.get(process) ?? (began > this.#since ? 0 : n - 1);
    this.received++;
    if (n <= last) this.twice++;
    else this.missed += n - last - 1;
    this.#last.set(process, Math.max(n, last));
  }
}
