/**
 * Where a hub gets its entries from, encoded, whatever log is behind it.
 *
 * @module
 */

import { isFieldValue, RESERVED_PREFIX } from "../event-format.ts";
import { quote } from "../errors.ts";
import { invalid } from "../validate.ts";
import { isTag } from "./cursor.ts";
import { type EncodedEntry, EntryWriter } from "./entry.ts";
import type { HistoryOptions } from "./history.ts";
import type { Log, LogFollower } from "./log.ts";
import type { LogEntry, LogPosition } from "./record.ts";

/** As {@link LogFollower}, for encoded entries. */
export interface EntryFollower extends Omit<LogFollower, "appended"> {
  /** See {@link LogFollower.appended}. */
  appended(entries: readonly EncodedEntry[]): void;
}

/** The reading side of a log, as {@link Log} has it, with encoded entries. */
export interface EntrySource {
  /** See {@link Log.follow}. */
  follow(follower: EntryFollower): () => void;
  /** See {@link Log.read}. */
  read(after: LogPosition, limit: number): Promise<readonly EncodedEntry[] | null>;
}

/**
 * How a log in the hub's process says that it holds its entries encoded: the hubs' windows hold the same ones. It is of
 * this copy of the library alone, since another may encode otherwise.
 */
export const ENCODED: unique symbol = Symbol("streamside.encoded");

/** What takes the place of an entry that no client can be given. */
const VOID = `${RESERVED_PREFIX}void`;
/** How large the history is that an answer is encoded for: its pages are small. */
const ANSWER_BYTES = 256 * 1024;

/** The source of a log's entries, for a window of so much `history`. `refused` is told of entries that are not valid. */
export function sourceOf(
  log: Log & { readonly [ENCODED]?: EntrySource },
  history: HistoryOptions,
  refused: (error: unknown) => void,
): EntrySource {
  return log[ENCODED] ?? new EncodingSource(log, history, refused);
}

/** Encodes what a log hands over. */
class EncodingSource implements EntrySource {
  readonly #log: Log;
  readonly #history: HistoryOptions;
  readonly #refused: (error: unknown) => void;
  #epoch = "";

  constructor(log: Log, history: HistoryOptions, refused: (error: unknown) => void) {
    this.#log = log;
    this.#history = history;
    this.#refused = refused;
  }

  follow(follower: EntryFollower): () => void {
    let writer: EntryWriter;
    let life = "";
    let told: LogPosition = { position: 0 };
    return this.#log.follow({
      opened: (epoch, head, start) => {
        checkEpoch(epoch);
        checkPosition("head", head);
        checkPosition("start", start);
        if (start.position > head.position) {
          throw invalid(`A log begins (${start.position}) at its head (${head.position}) at most.`);
        }
        if (epoch !== life) writer = new EntryWriter(epoch, this.#history);
        else if (head.position < told.position || isAnother(head, told)) {
          throw invalid(
            `A log that has lost entries needs another epoch than ${epoch}: its head is ${
              format(head)
            }, and ` +
              `${format(told)} was told.`,
          );
        }
        this.#epoch = life = epoch;
        told = head;
        follower.opened(epoch, head, start);
      },
      appended: (entries) => {
        const encoded = entries.map((entry) => {
          checkPosition("entry", entry);
          if (entry.position <= told.position) {
            throw invalid(
              `A log's positions must grow, got ${format(entry)} after ${format(told)}.`,
            );
          }
          told = { position: entry.position, tag: entry.tag };
          return this.#encode(writer, entry);
        });
        follower.appended(encoded);
      },
      failed: (error) => follower.failed(error),
    });
  }

  async read(after: LogPosition, limit: number): Promise<readonly EncodedEntry[] | null> {
    const writer = new EntryWriter(this.#epoch, { bytes: ANSWER_BYTES });
    const entries = await this.#log.read(after, limit);
    return entries === null ? null : entries.map((entry) => this.#encode(writer, entry));
  }

  /** A log may hold what others wrote into it: none of that must forge a field or an event. */
  #encode(writer: EntryWriter, entry: LogEntry): EncodedEntry {
    const { record } = entry;
    if (isValid(record)) return writer.write(entry);
    this.#refused(
      invalid(
        `The entry ${entry.position} of the log is invalid and goes to nobody: its address, event, data, key, ` +
          `except or transient. Its event is ${
            quote((record as { event?: unknown } | undefined)?.event)
          }.`,
      ),
    );
    return writer.write({ ...entry, record: { to: "@", event: VOID, data: "" } });
  }
}

/** Whether two places are at one position and of two entries. */
function isAnother(one: LogPosition, other: LogPosition): boolean {
  return one.position === other.position && one.tag !== other.tag;
}

function format({ position, tag }: LogPosition): string {
  return tag === undefined ? `${position}` : `${position}-${tag}`;
}

/** Whether a value is a record that can be encoded. */
function isValid(record: unknown): boolean {
  if (typeof record !== "object" || record === null) return false;
  const { to, event, data, key, except, transient } = record as Record<string, unknown>;
  return isField(to) && (to === "*" || to[0] === "@" || to[0] === "#") &&
    isField(event) && typeof data === "string" && (key === undefined || isField(key)) &&
    (transient === undefined || transient === true) &&
    (except === undefined || (Array.isArray(except) && except.every(isField)));
}

function isField(value: unknown): value is string {
  return typeof value === "string" && isFieldValue(value);
}

/** An epoch is part of ids, which come back in a header. */
function checkEpoch(epoch: unknown): void {
  if (typeof epoch === "string" && /^[!-~]{1,256}$/.test(epoch)) return;
  throw invalid(
    `A log's epoch must be 1 to 256 visible ASCII characters, got ${quote(epoch)}.`,
  );
}

/**
 * Checks a place that a log of the user's own gives.
 *
 * @throws {StreamsideError} `invalid-argument`
 */
export function checkPosition(what: string, place: unknown): asserts place is LogPosition {
  const { position, tag } = Object(place) as Record<string, unknown>;
  if (!Number.isSafeInteger(position) || (position as number) < 0) {
    const got = typeof position === "number" ? position : quote(position);
    throw invalid(`A log's ${what} needs a position, a whole number, 0 or more; got ${got}.`);
  }
  if (tag === undefined || isTag(tag)) return;
  throw invalid(`A log's tag must be 1 to 64 visible ASCII characters, got ${quote(tag)}.`);
}
