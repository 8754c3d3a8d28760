/**
 * An entry of the log: a position, whom it is addressed to, and the event's bytes, encoded once for everybody.
 *
 * Entries are written one after the other into pages. Consecutive entries for the same readers are then one piece of
 * memory already: handing out a thousand events costs one view and no copy.
 *
 * @module
 */

import { formatEvent, RESERVED_PREFIX } from "../event-format.ts";
import type { Address } from "./address.ts";
import { formatCursor } from "./cursor.ts";

/** What is appended to a log: everything that another server needs to deliver it. All members are plain JSON. */
export interface LogRecord {
  /** Whom it is addressed to: `*`, `@session` or `#channel`. */
  readonly to: Address;
  /** The event's name. A name that starts with `streamside:` is an instruction to the hubs and goes to no client. */
  readonly event: string;
  /** The event's data as it goes out, before it is split into lines. */
  readonly data: string;
  /** Events to the same address with the same key supersede each other for a reader that lags. */
  readonly key?: string;
  /** Sessions that do not get it; only with `to: "*"`. */
  readonly except?: readonly string[];
}

/** A record that has its place in a log, with its bytes in the event stream format. */
export interface LogEntry {
  /** Where it stands in the log: a whole number. Positions only grow; gaps are allowed. */
  readonly position: number;
  /** Whom it is addressed to. */
  readonly to: Address;
  /** When it was appended, in ms since the epoch. */
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
  readonly except: ReadonlySet<string> | undefined;
  /** The name of an instruction to the hubs; `undefined` for an event. */
  readonly instruction: string | undefined;
  /** The next entry to the same address with the same key, once there is one. */
  newer: LogEntry | undefined;
}

const PAGE_BYTES = 64 * 1024;
const encoder = new TextEncoder();

/**
 * Writes records as entries into pages. Each log has its own writer, or a new one each time it is opened.
 *
 * @example
 * ```ts
 * const writer = new EntryWriter("epoch1");
 * const entry = writer.write(1, { to: "#news", event: "headline", data: "It works" }, Date.now());
 * new TextDecoder().decode(entry.page.subarray(entry.start, entry.end));
 * // event: headline
 * // data: It works
 * // id: epoch1-1
 * ```
 */
export class EntryWriter {
  readonly #epoch: string;
  #page = new Uint8Array(0);
  /** Where in the page the last text begins, and where it ends. */
  #start = 0;
  #end = 0;

  /** A writer whose entries carry ids of this epoch. */
  constructor(epoch: string) {
    this.#epoch = epoch;
  }

  /** The entry of a record at a position, its bytes written once. `time`: ms since the epoch. */
  write(position: number, record: LogRecord, time: number): LogEntry {
    const instruction = record.event.startsWith(RESERVED_PREFIX) ? record.event : undefined;
    const text = instruction === undefined
      ? formatEvent(record.event, record.data, formatCursor(this.#epoch, position))
      : "";
    // A text that is too large gets a page of its own. Later entries go on in the current page.
    const own = this.#put(text) ? undefined : encoder.encode(text);
    return {
      position,
      to: record.to,
      time,
      page: own ?? this.#page,
      start: own ? 0 : this.#start,
      end: own ? own.length : this.#end,
      key: record.key,
      except: record.except?.length ? new Set(record.except) : undefined,
      instruction,
      newer: undefined,
    };
  }

  /** Puts a text into the current page or a new one. False if it may be too large for any page. */
  #put(text: string): boolean {
    // A UTF-16 unit takes at most three bytes. With that much room, the text fits without being counted.
    const most = text.length * 3;
    if (this.#page.length - this.#end < most) {
      if (this.#tryEncode(text)) return true;
      if (most > PAGE_BYTES) return false;
      this.#page = new Uint8Array(PAGE_BYTES);
      this.#end = 0;
    }
    return this.#tryEncode(text);
  }

  #tryEncode(text: string): boolean {
    const { read, written } = encoder.encodeInto(text, this.#page.subarray(this.#end));
    if (read < text.length) return false;
    this.#start = this.#end;
    this.#end += written;
    return true;
  }
}
