/**
 * The newest part of a log, for the window of a hub that starts: its clients resume without asking the log again.
 *
 * @module
 */

import type { EncodedEntry } from "../log/entry.ts";
import { boundsOf, bytesOf, type HistoryOptions } from "../log/history.ts";
import type { LogPosition } from "../log/record.ts";
import type { EntrySource } from "../log/source.ts";

/** How many entries one read asks for. */
const PAGE = 512;

/** A part of a log, up to its head. */
export interface Newest {
  /** What comes before the first of them: all after it is among them. */
  readonly start: LogPosition;
  /** The entries, oldest first. */
  readonly entries: readonly EncodedEntry[];
}

/**
 * Reads the newest entries of a log between two positions, as many as a history holds. It goes back page by page, so
 * that it reads about as much as it keeps, whatever the log holds. `undefined` if the log does not hold what it needs.
 */
export async function readNewest(
  source: EntrySource,
  head: LogPosition,
  start: LogPosition,
  history: HistoryOptions,
): Promise<Newest | undefined> {
  const bounds = boundsOf(history);
  const pages: EncodedEntry[][] = [];
  let events = 0;
  let bytes = 0;
  let upTo = head.position;
  let span = PAGE;
  while (upTo > start.position && events < bounds.events && bytes < bounds.bytes) {
    const after = Math.max(start.position, upTo - span);
    const page = await readRange(source, after, upTo);
    // The oldest were trimmed meanwhile.
    if (page === null) break;
    if (page === "too many") {
      span = Math.max(PAGE, Math.floor(span / 4));
      continue;
    }
    pages.push(page);
    events += page.length;
    for (const entry of page) bytes += bytesOf(entry);
    upTo = after;
    // Positions may be far apart.
    if (page.length < PAGE / 2) span *= 2;
  }
  const entries = pages.reverse().flat();
  if (upTo === start.position) return { start, entries };
  // The tag of the entry before the first is not known, but a cursor may stand there: so the first is the one before.
  const [first, ...rest] = entries;
  return first && { start: { position: first.position, tag: first.tag }, entries: rest };
}

/** The entries of a range. It may hold too many only if it is longer than a page. */
async function readRange(
  source: EntrySource,
  after: number,
  upTo: number,
): Promise<EncodedEntry[] | "too many" | null> {
  const found: EncodedEntry[] = [];
  for (let position = after; position < upTo;) {
    const entries = await source.read({ position }, PAGE);
    if (entries === null) return null;
    const last = entries.at(-1);
    if (last === undefined) break;
    for (const entry of entries) if (entry.position <= upTo) found.push(entry);
    position = last.position;
    if (position < upTo && found.length >= PAGE) return "too many";
  }
  return found;
}
