/**
 * A bounded run of entries in log order. A log and a window are both built on it.
 *
 * @module
 */

import { bound } from "../validate.ts";
import type { LogEntry } from "./entry.ts";

/** How much history is held. Older entries are forgotten as soon as one of the bounds is reached. */
export interface HistoryOptions {
  /** At most this many events. Default: 100 000. */
  readonly events?: number;
  /**
   * At most this many bytes of encoded events. Each session in an event's `except` adds 40 and its length. Default:
   * 33 554 432 (32 MiB).
   */
  readonly bytes?: number;
  /** No event older than this, in ms. Default: 600 000 (ten minutes). */
  readonly age?: number;
}

/** A queue of entries, ordered by position, that can be searched. */
export class EntryQueue {
  #items: (LogEntry | undefined)[] = [];
  #first = 0;

  /** How many entries it holds. */
  get size(): number {
    return this.#items.length - this.#first;
  }

  /** The entry at an index, 0 being the oldest. */
  at(index: number): LogEntry {
    return this.#items[this.#first + index]!;
  }

  /** Adds the newest entry. */
  push(entry: LogEntry): void {
    this.#items.push(entry);
  }

  /** Takes the oldest entry out. */
  shift(): LogEntry | undefined {
    if (this.size === 0) return undefined;
    const entry = this.#items[this.#first];
    this.#items[this.#first++] = undefined;
    // Array.shift would move every entry each time. Moving them once in a while costs each entry one move.
    if (this.#first > 64 && this.#first * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return entry;
  }

  /** The index of the first entry after a position, or `size` if there is no such entry. */
  indexAfter(position: number): number {
    let low = this.#first;
    let high = this.#items.length;
    // Readers are mostly near the end.
    if (high > low && this.#items[high - 1]!.position <= position) return this.size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#items[middle]!.position <= position) low = middle + 1;
      else high = middle;
    }
    return low - this.#first;
  }
}

/** Entries under the bounds of {@link HistoryOptions}. */
export class History {
  /** The entries held, oldest first. */
  readonly entries: EntryQueue = new EntryQueue();
  readonly #events: number;
  readonly #bytes: number;
  readonly #age: number;
  #held = 0;
  #start: number;
  #head: number;

  /**
   * An empty history that begins after a position.
   *
   * @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number
   */
  constructor(options: HistoryOptions = {}, head = 0) {
    this.#events = bound("history.events", options.events, 100_000);
    this.#bytes = bound("history.bytes", options.bytes, 32 * 1024 * 1024);
    this.#age = bound("history.age", options.age, 600_000);
    this.#start = head;
    this.#head = head;
  }

  /** Everything after this position, up to the head, is held. */
  get start(): number {
    return this.#start;
  }

  /** The position of the newest entry. */
  get head(): number {
    return this.#head;
  }

  /** The bytes of the entries held. */
  get bytes(): number {
    return this.#held;
  }

  /** Adds the newest entry. It forgets nothing by itself: see {@link History.prune}. */
  add(entry: LogEntry): void {
    this.entries.push(entry);
    this.#held += sizeOf(entry);
    this.#head = entry.position;
  }

  /**
   * Forgets the entries that exceed the bounds at this time (ms since the epoch), but none after `upTo`. `evicted` is
   * called with each of them, oldest first.
   */
  prune(now: number, upTo: number = this.#head, evicted?: (entry: LogEntry) => void): void {
    const { entries } = this;
    while (
      entries.size > 0 && entries.at(0).position <= upTo &&
      (entries.size > this.#events || this.#held > this.#bytes ||
        entries.at(0).time < now - this.#age)
    ) {
      const entry = entries.shift()!;
      this.#held -= sizeOf(entry);
      this.#start = entry.position;
      evicted?.(entry);
    }
  }
}

/** What a short string in a set takes besides its text: 42 bytes on Node.js, measured with 100 000 of them. */
const NAME_BYTES = 40;

/** How many bytes an entry is counted as. */
function sizeOf({ start, end, except }: LogEntry): number {
  let size = end - start;
  // A sender may name any number of sessions. Uncounted, they would take memory without a bound.
  for (const session of except ?? []) size += NAME_BYTES + session.length;
  return size;
}
