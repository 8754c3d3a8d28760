/**
 * A bounded run of entries in log order. A log and a window are both built on it.
 *
 * @module
 */

import { bound } from "../validate.ts";
import { type Address, EVERYONE } from "./address.ts";
import type { EncodedEntry } from "./entry.ts";
import type { LogPosition } from "./record.ts";

/** How much history is held. The first bound that is reached counts; what is older is forgotten. */
export interface HistoryOptions {
  /** At most this many events. Default: 100 000. */
  readonly events?: number;
  /**
   * At most this many bytes of memory, within a fifth: an event takes its text, its address, key and `except`, and 174
   * to 250 bytes for the entry and the indexes. Default: 33 554 432 (32 MiB): some 100 000 events of 150 bytes as they
   * go out.
   */
  readonly bytes?: number;
  /**
   * No event older than this, in ms, since it was appended in this process, or since this process was told of it. It
   * goes by the time that passes, as far as the process runs, and not by the system's clock; within a hundredth.
   * Default: 600 000 (ten minutes).
   */
  readonly age?: number;
}

/**
 * The bounds of a history, with their defaults.
 *
 * @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number
 */
export function boundsOf(options: HistoryOptions): Required<HistoryOptions> {
  return {
    events: bound("history.events", options.events, 100_000),
    bytes: bound("history.bytes", options.bytes, 32 * 1024 * 1024),
    age: bound("history.age", options.age, 600_000),
  };
}

/** A queue of entries, ordered by position, that can be searched. */
export class EntryQueue {
  #items: (EncodedEntry | undefined)[];
  #first = 0;

  /** A queue of these entries. */
  constructor(...entries: EncodedEntry[]) {
    this.#items = entries;
  }

  /** How many entries it holds. */
  get size(): number {
    return this.#items.length - this.#first;
  }

  /** The entry at an index, 0 being the oldest. */
  at(index: number): EncodedEntry {
    return this.#items[this.#first + index]!;
  }

  /** Adds the newest entry. */
  push(entry: EncodedEntry): void {
    // A push makes room for 16 more when an array has to grow, and most addresses have few entries.
    if (this.#items.length < 8) this.#items = this.#items.concat(entry);
    else this.#items.push(entry);
  }

  /** Takes the oldest entry out. */
  shift(): EncodedEntry | undefined {
    if (this.size === 0) return undefined;
    const entry = this.#items[this.#first];
    this.#items[this.#first++] = undefined;
    // Array.shift would move every entry each time; moving them once in a while costs each entry a few moves.
    if (this.#first * 4 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return entry;
  }

  /** Takes all entries out. */
  clear(): void {
    this.#items = [];
    this.#first = 0;
  }

  /** The index of the first entry after a position; `size` when there is none. */
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

/** Entries that came within a short time. */
interface Stretch {
  readonly began: number;
  ended: number;
  last: number;
}

/** Entries under the bounds of {@link HistoryOptions}. */
export class BoundedHistory {
  /** The entries held, oldest first. */
  readonly entries: EntryQueue = new EntryQueue();
  readonly #events: number;
  readonly #bytes: number;
  readonly #age: number;
  /** When entries came, by `performance.now()`: a hundred stretches at most, each as long as a hundredth of the age. */
  readonly #stretches: Stretch[] = [];
  readonly #index: (() => number) | undefined;
  #held = 0;
  /** The most that the entries can take in an index. */
  #indexed = 0;
  #start: number;
  #startTag: string | undefined;
  #head: number;

  /**
   * An empty history that begins after a position. `index` tells how many bytes the index of its entries takes; without
   * it, each entry is counted as the only one of its address and key, so that a log does not outgrow the window over
   * it.
   *
   * @throws {StreamsideError} `invalid-argument` for a bound that is not a positive number
   */
  constructor(
    options: HistoryOptions = {},
    start: LogPosition = { position: 0 },
    index?: () => number,
  ) {
    const { events, bytes, age } = boundsOf(options);
    this.#events = events;
    this.#bytes = bytes;
    this.#age = age;
    this.#start = start.position;
    this.#startTag = start.tag;
    this.#head = start.position;
    this.#index = index;
  }

  /** Everything after this position, up to the head, is held. */
  get start(): number {
    return this.#start;
  }

  /** The position of the newest entry. */
  get head(): number {
    return this.#head;
  }

  /** The tag of the entry at a position from `start` to `head`; `undefined` in a gap, and where the log gives none. */
  tagAt(position: number): string | undefined {
    if (position === this.#start) return this.#startTag;
    const index = this.entries.indexAfter(position) - 1;
    const entry = index < 0 ? undefined : this.entries.at(index);
    return entry?.position === position ? entry.tag : undefined;
  }

  /** What the entries held take, in bytes. */
  get bytes(): number {
    return this.#held + (this.#index?.() ?? this.#indexed);
  }

  /** Adds the newest entry. It forgets nothing by itself: see {@link BoundedHistory.prune}. */
  add(entry: EncodedEntry): void {
    this.entries.push(entry);
    this.#head = entry.position;
    this.#held += sizeOf(entry);
    this.#indexed += indexBytesOf(entry);
    const now = performance.now();
    const newest = this.#stretches.at(-1);
    if (newest === undefined || now - newest.began > this.#age / 100) {
      this.#stretches.push({ began: now, ended: now, last: entry.position });
    } else {
      newest.ended = now;
      newest.last = entry.position;
    }
  }

  /** The place of the entry before the one at a position; where the history begins, what comes before it. */
  placeBefore(position: number): LogPosition {
    const index = this.entries.indexAfter(position - 1) - 1;
    if (index < 0) return { position: this.#start, tag: this.#startTag };
    const { position: before, tag } = this.entries.at(index);
    return { position: before, tag };
  }

  /** The head goes on to a position without an entry. */
  skip(position: number): void {
    if (position > this.#head) this.#head = position;
  }

  /**
   * Forgets what is beyond the bounds now, but nothing after `upTo`; `evicted` is told of each entry that went, oldest
   * first. `bytes`: in place of the bound of that name.
   */
  prune(
    upTo: number = Infinity,
    evicted?: (entry: EncodedEntry) => void,
    bytes: number = this.#bytes,
  ): void {
    const { entries } = this;
    const old = this.#lastOld();
    while (
      entries.size > 0 && entries.at(0).position <= upTo &&
      (entries.size > this.#events || this.bytes > bytes || entries.at(0).position <= old)
    ) {
      const entry = entries.shift()!;
      this.#held -= sizeOf(entry);
      this.#indexed -= indexBytesOf(entry);
      this.#start = entry.position;
      this.#startTag = entry.tag;
      evicted?.(entry);
    }
    while (this.#stretches.length > 0 && this.#stretches[0]!.last <= this.#start) {
      this.#stretches.shift();
    }
  }

  /** The position of the newest entry that is too old. */
  #lastOld(): number {
    const oldest = performance.now() - this.#age;
    let old = 0;
    for (const { ended, last } of this.#stretches) {
      if (ended >= oldest) break;
      old = last;
    }
    return old;
  }
}

/*
 * What an entry takes besides its text, in bytes: measured on Node 20, Deno 2.9 and Bun 1.4 with 50 000 events of each
 * kind, in a hub with the default log. All three are within a fifth of what is counted.
 */

/** The entry, and its places in the queues of the log and of the window. */
const ENTRY_BYTES = 174;
/** A place in one more queue of the window. */
const SLOT_BYTES = 8;
/** An address in the window's index, besides its string. */
const ADDRESS_BYTES = 50;
/** What an address takes in addition as soon as it has several entries. */
export const QUEUE_BYTES = 80;
/** A key in the map of an address that has many. */
export const KEY_BYTES = 60;
/** What a string takes besides its characters. */
const STRING_BYTES = 16;
/** The object around the names of `except`. */
const NAMES_BYTES = 28;

/** How many bytes an entry is counted as at most, with its part of the window's index. */
export function bytesOf(entry: EncodedEntry): number {
  return sizeOf(entry) + indexBytesOf(entry);
}

/** How many bytes an entry is counted as, without its part of the window's index. */
function sizeOf({ start, end, key, except, instruction }: EncodedEntry): number {
  let size = ENTRY_BYTES + end - start;
  if (instruction !== undefined) size += stringBytes(instruction.data);
  if (key !== undefined) size += SLOT_BYTES + stringBytes(key);
  if (except !== undefined) size += SLOT_BYTES + NAMES_BYTES + stringBytes(except.text);
  return size;
}

/** The most that an entry can add to an index. */
function indexBytesOf({ to, key }: EncodedEntry): number {
  return addressBytes(to) + (key === undefined ? 0 : KEY_BYTES);
}

/** What an address takes in an index, with one entry. Further entries of it share its string. */
export function addressBytes(to: Address): number {
  return to === EVERYONE ? 0 : ADDRESS_BYTES + stringBytes(to);
}

/** Engines hold a string in one byte a character as long as all of them are below U+0100. */
const WIDE = /[\u0100-\uffff]/;

function stringBytes(text: string): number {
  return STRING_BYTES + text.length * (WIDE.test(text) ? 2 : 1);
}
