/**
 * A run as a hub holds it: what is known of it, and its events.
 *
 * A run is a small log of its own. Its id takes the place of the log's epoch, and the numbers of its events that of the
 * positions: so an id of its stream says which run it is of, and means one event for ever, whatever the log loses.
 *
 * @module
 */

import { encode, END, isFieldValue, RESERVED_PREFIX } from "../event-format.ts";
import { newEpoch } from "../log/cursor.ts";
import type { EncodedEntry, EntryWriter } from "../log/entry.ts";
import type { HistoryOptions } from "../log/history.ts";
import {
  ENCODED_EVENT,
  type EncodedRunRecord,
  type KeptRun,
  runWriter,
  writeRunEvent,
} from "../log/run-history.ts";
import type { RunEnd, RunLog, RunRecord, RunSummary } from "../log/run-log.ts";
import { isName } from "../validate.ts";
import { Chunk } from "./sink.ts";
import { LogWindow } from "./window.ts";

const RUN = /^[0-9a-z]{16}$/;
const RUN_ID = /^([0-9a-z]{16})-(?:(end)|(0|[1-9]\d{0,15}))$/;
/** How many events one read asks of the log. */
const PAGE = 512;

/** A name for a run that no other has. */
export function newRunId(): string {
  return newEpoch() + newEpoch();
}

/** The id of an event of a run. */
export function runEventId(run: string, number: number): string {
  return `${run}-${number}`;
}

/**
 * What an id of a run's stream stands for: the run, and the number of the event, or `Infinity` for the end. `undefined`
 * for any other string.
 */
export function parseRunEventId(
  id: string,
): { readonly run: string; readonly number: number } | undefined {
  const [, run, end, digits] = RUN_ID.exec(id) ?? [];
  if (run === undefined) return undefined;
  const number = end === undefined ? Number(digits) : Infinity;
  return end !== undefined || Number.isSafeInteger(number) ? { run, number } : undefined;
}

/** Whether a value is a record as a log hands it over: what others wrote into it must not forge a field or an event. */
export function isRunRecord(value: unknown): value is RunRecord {
  const { type, run, channel, number, event, data } = Object(value) as Record<string, unknown>;
  if (typeof run !== "string" || !RUN.test(run) || !isName(channel)) return false;
  if (type !== "event") return type === "begin" || type === "alive" || type === "end";
  return Number.isSafeInteger(number) && (number as number) > 0 && typeof data === "string" &&
    typeof event === "string" && isFieldValue(event) && !event.startsWith(RESERVED_PREFIX);
}

/** A run, with its newest events. */
export class HeldRun implements KeptRun {
  readonly id: string;
  /** What it is a run of. */
  readonly channel: string;
  /** When it began, in ms since the epoch. */
  readonly since: number;
  counted = 0;
  /** When something was last heard of it, by the clock of the runs. */
  heard: number;
  /** How it ended; `undefined` while it runs. */
  end: RunEnd | undefined;
  readonly #bounds: HistoryOptions;
  #window: LogWindow;
  #writer: EntryWriter | undefined;
  /** The log may hold events that come before those of the window. */
  #isPartial: boolean;
  #filling: Promise<void> | undefined;
  #last: Chunk | undefined;

  /** A run that a log tells of, of whose events none is held yet. */
  constructor(
    { run, channel, since, events, end }: RunSummary,
    { events: most, bytes }: HistoryOptions,
    heard: number,
  ) {
    this.id = run;
    this.channel = channel;
    this.since = since;
    this.end = end;
    this.heard = heard;
    // Its age begins at its end, and then it goes as a whole.
    this.#bounds = { events: most!, bytes: bytes!, age: Infinity };
    this.#window = new LogWindow(this.#bounds, { position: events });
    this.#isPartial = events > 0;
  }

  /** Its newest events. */
  get window(): LogWindow {
    return this.#window;
  }

  /** The log is to be asked for events that come before those of the window. */
  get isPartial(): boolean {
    return this.#isPartial;
  }

  get bytes(): number {
    return this.#window.bytes;
  }

  get size(): number {
    return this.#window.size;
  }

  shrink(bytes: number): void {
    this.#window.prune(Infinity, bytes);
  }

  /** Adds the next event. One that is there already is left out, and what is missing before it is lost to the window. */
  add(record: EncodedRunRecord): void {
    const { head } = this.#window;
    if (record.number <= head) return;
    if (record.number > head + 1) this.skipTo(record.number - 1);
    this.#window.add(this.#encode(record));
  }

  /** The log has events up to a number, of which nothing was told. */
  skipTo(number: number): void {
    if (number <= this.#window.head) return;
    this.#window = new LogWindow(this.#bounds, { position: number });
    this.#isPartial = true;
    this.#filling = undefined;
  }

  /** Asks the log for what comes before the events of the window, once for all readers. */
  fill(log: RunLog): Promise<void> {
    return this.#filling ??= this.#fill(log).finally(() => this.#filling = undefined);
  }

  async #fill(log: RunLog): Promise<void> {
    const window = this.#window;
    const upTo = window.start;
    const older: EncodedEntry[] = [];
    let start = 0;
    let read = 0;
    while (read < upTo) {
      const records = await log.read(this.id, read, PAGE);
      const before = read;
      for (const record of records) {
        if (record.number <= read || record.number > upTo || !isRunRecord(record)) continue;
        if (record.number > read + 1) {
          older.length = 0;
          start = record.number - 1;
        }
        older.push(this.#encode(record));
        read = record.number;
      }
      if (read === before) break;
    }
    // It has begun anew meanwhile, or has forgotten what would come next.
    if (window !== this.#window) return;
    this.#isPartial = false;
    if (read === upTo && window.start === upTo) window.fill({ position: start }, older);
  }

  /** The last bytes of its stream. */
  get last(): Chunk {
    const { error } = this.end!;
    const data = JSON.stringify(error === undefined ? {} : { error });
    const text = `event: ${END}\ndata: ${data}\nid: ${this.id}-end\n\n`;
    return this.#last ??= new Chunk(encode(text), 1);
  }

  #encode(record: EncodedRunRecord): EncodedEntry {
    return record[ENCODED_EVENT] ??
      writeRunEvent(this.#writer ??= runWriter(this.id), record);
  }
}
