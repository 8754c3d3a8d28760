/**
 * An entry as a hub holds it: a position, whom it is addressed to, and the event's bytes, encoded once for everybody.
 *
 * Entries are written one after the other into pages. Consecutive entries for the same readers are then one piece of
 * memory already: handing out a thousand events costs one view and no copy.
 *
 * @module
 */

import {
  encode,
  formatEvent,
  formatTransient,
  parseEvent,
  RESERVED_PREFIX,
} from "../event-format.ts";
import type { Address } from "./address.ts";
import { formatCursor } from "./cursor.ts";
import type { LogEntry, LogPosition, LogRecord } from "./record.ts";

/** Some names, none of which holds a NUL, in one string: a set takes three times as much, on Bun five times. */
export class Names implements Iterable<string> {
  /** The names, with a NUL before, between and after them. */
  readonly text: string;

  /** These names. */
  constructor(names: readonly string[]) {
    this.text = `\0${names.join("\0")}\0`;
  }

  /** Whether a name is one of them. */
  has(name: string): boolean {
    return this.text.includes(`\0${name}\0`);
  }

  /** Each name, as often as it was given. */
  [Symbol.iterator](): Iterator<string> {
    return this.text.slice(1, -1).split("\0")[Symbol.iterator]();
  }
}

/** A record that has its place in a log, with its bytes in the event stream format. */
export interface EncodedEntry extends LogPosition {
  /** See {@link LogPosition.tag}. */
  readonly tag: string | undefined;
  /** Whom it is addressed to. */
  readonly to: Address;
  /** See {@link LogEntry.time}. */
  readonly time: number;
  /** The page its bytes are in, among those of others: neither to be changed nor to be given away. */
  readonly page: Uint8Array;
  /** Where in the page its bytes begin. */
  readonly start: number;
  /** Where in the page its bytes end. An instruction to the hubs has no bytes: `start === end`. */
  readonly end: number;
  /** See {@link LogRecord.key}. */
  readonly key: string | undefined;
  /** See {@link LogRecord.except}. */
  readonly except: Names | undefined;
  /** See {@link LogRecord.transient}. */
  readonly transient: boolean;
  /** An instruction to the hubs, as it was appended; `undefined` for an event. */
  readonly instruction: LogRecord | undefined;
  /** The next entry to the same address with the same key, once there is one. */
  newer: EncodedEntry | undefined;
}

const MAX_PAGE_BYTES = 64 * 1024;
const MIN_PAGE_BYTES = 2 * 1024;
/** A page is held while one of its entries is: two that are partly used are at most a sixteenth of the history. */
const PAGES = 32;
const encoder = new TextEncoder();

/** Writes the entries of one epoch into pages. */
export class EntryWriter {
  readonly #epoch: string;
  readonly #pageBytes: number;
  #page = new Uint8Array(0);
  /** Where in the page the last text begins, and where it ends. */
  #start = 0;
  #end = 0;

  /** A writer whose entries carry ids of this epoch, for a history of so many `bytes`. */
  constructor(epoch: string, { bytes = Infinity }: { readonly bytes?: number } = {}) {
    this.#epoch = epoch;
    this.#pageBytes = Math.max(MIN_PAGE_BYTES, Math.min(MAX_PAGE_BYTES, Math.ceil(bytes / PAGES)));
  }

  /** An entry with its bytes, written once. */
  write(entry: LogEntry): EncodedEntry {
    const { position, tag, time, record } = entry;
    const instruction = record.event.startsWith(RESERVED_PREFIX) ? record : undefined;
    const transient = instruction === undefined && record.transient === true;
    // It is not to hold a page for those that are kept, and not to be held by one.
    const page = transient
      ? encode(formatTransient(record.event, record.data))
      : this.#put(instruction === undefined ? this.#format(entry) : "");
    const isShared = page === this.#page;
    return {
      position,
      tag,
      to: record.to,
      time,
      page,
      start: isShared ? this.#start : 0,
      end: isShared ? this.#end : page.length,
      // It supersedes nothing: who lags would get neither.
      key: transient ? undefined : record.key,
      except: record.except?.length ? new Names(record.except) : undefined,
      transient,
      instruction,
      newer: undefined,
    };
  }

  #format(entry: LogEntry): string {
    const { event, data } = entry.record;
    return formatEvent(event, data, formatCursor(this.#epoch, entry));
  }

  /** Puts a text into the current page or a new one, or, if it would leave much of a page unused, into its own. */
  #put(text: string): Uint8Array {
    const { read, written } = encoder.encodeInto(text, this.#page.subarray(this.#end));
    if (read === text.length) {
      this.#start = this.#end;
      this.#end += written;
      return this.#page;
    }
    const bytes = encoder.encode(text);
    if (bytes.length > this.#pageBytes / 8) return bytes;
    this.#page = new Uint8Array(this.#pageBytes);
    this.#page.set(bytes);
    this.#start = 0;
    this.#end = bytes.length;
    return this.#page;
  }
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * An entry as a log hands it over, read back from its bytes. What they cannot tell is lost: all line ends of the data
 * are LF, and a lone surrogate is U+FFFD. To clients, and so to everybody, it is the same event.
 */
export function decodeEntry(entry: EncodedEntry): LogEntry {
  const { position, tag, time, to, page, start, end, key, except, transient, instruction } = entry;
  const record = instruction ?? {
    to,
    ...parseEvent(decoder.decode(page.subarray(start, end))),
    ...key === undefined ? {} : { key },
    ...except === undefined ? {} : { except: [...except] },
    ...transient ? { transient } : {},
  };
  return tag === undefined ? { position, time, record } : { position, tag, time, record };
}
