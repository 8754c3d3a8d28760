/**
 * Reads of the log, shared: many clients that come back at once, from history that no window holds, ask it once.
 *
 * @module
 */

import type { EncodedEntry } from "../log/entry.ts";
import type { LogPosition } from "../log/record.ts";
import type { EntrySource } from "../log/source.ts";

/** How many entries one read asks for: pages begin at multiples of it. */
export const LOG_PAGE = 512;
/** How many pages are kept for those who come to them a little later. */
const KEPT = 16;
/** How many bytes of entries are kept, at most. */
const KEPT_BYTES = 8 * 1024 * 1024;
/** How many reads are on their way at a time. Those who wait for the same page get the same answer. */
const AT_ONCE = 4;

/** What a read found; `null` as for {@link EntrySource.read}. */
type Found = readonly EncodedEntry[] | null;

interface Page {
  readonly found: Promise<Found>;
  /** How many bytes its entries take; `undefined` while it is on its way. */
  bytes: number | undefined;
}

/** The pages of a log that readers ask for. */
export class LogPages {
  readonly #source: EntrySource;
  /** Pages by their start, those asked for first at the front. */
  readonly #pages = new Map<number, Page>();
  /** What is asked for now, by what and by whom: who knows of more entries than another gets an answer of its own. */
  readonly #asked = new Map<string, Promise<Found>>();
  #bytes = 0;
  #reading = 0;
  readonly #queue: (() => void)[] = [];

  /** Pages of a source. */
  constructor(source: EntrySource) {
    this.#source = source;
  }

  /**
   * The next entries after a place, as {@link EntrySource.read} gives them. Followers were told everything up to `head`,
   * and the window begins at `start`.
   */
  async read(after: LogPosition, head: number, start: number): Promise<Found> {
    const { position, tag } = after;
    const first = Math.floor(position / LOG_PAGE) * LOG_PAGE;
    // A page before the window does not change any more, whoever asks for it and when. It does not tell the tag of the
    // entry before it.
    if (first + LOG_PAGE > start || (tag !== undefined && position === first)) {
      return await this.#askOnce(after, head);
    }
    const entries = await (this.#pages.get(first) ?? this.#open(first)).found;
    const index = entries?.findIndex((entry) => entry.position > position) ?? -1;
    const isKnown = tag === undefined ||
      entries?.some((entry) => entry.position === position && entry.tag === tag);
    // The oldest were trimmed, or the log gave less than a page: what it has from here on, it says itself.
    return index !== -1 && isKnown ? entries!.slice(index) : await this.#askOnce(after, head);
  }

  /** Asks the log, or waits for the answer of who asks the same, knowing as much. */
  async #askOnce(after: LogPosition, head: number): Promise<Found> {
    const question = `${after.position} ${after.tag} ${head}`;
    const asked = this.#asked.get(question);
    if (asked === undefined) return await this.#ask(question, after);
    const entries = await asked;
    if (entries !== null || after.position <= head) return entries;
    // Who comes from a server that is ahead may know a position that the log did not have when it was asked.
    return await (this.#asked.get(question) ?? this.#ask(question, after));
  }

  #ask(question: string, after: LogPosition): Promise<Found> {
    const found = this.#read(after).finally(() => this.#asked.delete(question));
    this.#asked.set(question, found);
    return found;
  }

  /** Lets go of all pages: nobody has asked for a while, or they are of another life of the log. */
  clear(): void {
    this.#pages.clear();
    this.#asked.clear();
    this.#bytes = 0;
  }

  #open(start: number): Page {
    const page: Page = { found: this.#read({ position: start }), bytes: undefined };
    this.#pages.set(start, page);
    page.found.then((entries) => this.#opened(start, page, entries), () => this.#drop(start, page));
    return page;
  }

  #opened(start: number, page: Page, entries: Found): void {
    if (entries === null) return this.#drop(start, page);
    page.bytes = 0;
    for (const entry of entries) page.bytes += entry.end - entry.start;
    if (this.#pages.get(start) !== page) return;
    this.#bytes += page.bytes;
    for (const [oldest, kept] of this.#pages) {
      if (this.#pages.size <= KEPT && this.#bytes <= KEPT_BYTES) return;
      if (kept.bytes !== undefined) this.#drop(oldest, kept);
    }
  }

  #drop(start: number, page: Page): void {
    if (this.#pages.get(start) !== page) return;
    this.#pages.delete(start);
    this.#bytes -= page.bytes ?? 0;
  }

  async #read(after: LogPosition): Promise<Found> {
    if (this.#reading >= AT_ONCE) {
      await new Promise<void>((resolve) => this.#queue.push(resolve));
    } else this.#reading++;
    try {
      return await this.#source.read(after, LOG_PAGE);
    } finally {
      const next = this.#queue.shift();
      if (next) next();
      else this.#reading--;
    }
  }
}
