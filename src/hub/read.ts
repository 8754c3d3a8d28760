/**
 * Reads of the log: the events for a reader, as one chunk.
 *
 * @module
 */

import { type Address, sessionAddress } from "../log/address.ts";
import type { EncodedEntry } from "../log/entry.ts";
import { Chunk } from "./sink.ts";

/** Readers of the same channels: broadcasts and channel events are the same bytes for all of them. */
export interface Audience {
  /** The addresses they share: everyone, and each channel. */
  readonly addresses: readonly Address[];
  /** How many addresses these are. */
  readonly size: number;
  /** Whether an address is one of them. */
  hears(address: Address): boolean;
}

/** What a read found. */
export interface Read {
  /** The events as one chunk; `undefined` if there are none for this reader. */
  readonly chunk: Chunk | undefined;
  /** Everything addressed to the reader up to here is in this chunk or in earlier ones. */
  readonly position: number;
}

/** The part of the log to read. */
export interface ReadRange {
  /** After this position. */
  readonly from: number;
  /** Up to and with this position. */
  readonly to: number;
  /** At most this many bytes, but always at least one event. */
  readonly limit: number;
  /** With what is transient, which only those get who are live. */
  readonly live?: boolean;
  /** It has no events for others than these and sessions, where that is known. */
  readonly addresses?: readonly Address[];
  /** After the first event found, stop at the next multiple of this position. Default: do not stop. */
  readonly block?: number;
}

/**
 * The entries that are for one reader, out of some that no window holds. As {@link LogWindow.read} in all else.
 *
 * `upTo`: an event is left out if a newer one supersedes it, unless the newer one comes after this position.
 */
export function select(
  entries: readonly EncodedEntry[],
  session: string,
  audience: Audience,
  range: Omit<ReadRange, "from">,
  upTo: number,
): Read {
  const own = sessionAddress(session);
  const addressed = entries.filter(({ to, transient }) =>
    !transient && (to === own || audience.hears(to))
  );
  return gather(addressed, session, range, upTo);
}

/** As many of the entries addressed to a reader as fit in one chunk. `upTo`: as for {@link select}; 0 keeps all. */
export function gather(
  entries: Iterable<EncodedEntry>,
  session: string | undefined,
  { to, limit, block }: Omit<ReadRange, "from">,
  upTo: number,
): Read {
  const found: EncodedEntry[] = [];
  let bytes = 0;
  let blockEnd = Infinity;
  for (const entry of entries) {
    if (entry.instruction !== undefined) continue;
    if (session !== undefined && entry.except?.has(session)) continue;
    if (isSuperseded(entry, session, upTo)) continue;
    const size = entry.end - entry.start;
    if (bytes > 0 && bytes + size > limit) {
      return { chunk: join(found), position: found[found.length - 1]!.position };
    }
    if (entry.position > blockEnd) return { chunk: join(found), position: blockEnd };
    if (block !== undefined && bytes === 0) blockEnd = Math.ceil(entry.position / block) * block;
    found.push(entry);
    bytes += size;
  }
  return { chunk: found.length > 0 ? join(found) : undefined, position: to };
}

/** A newer event counts only if this reader gets it: it may be excepted from the event, or end before it. */
function isSuperseded(entry: EncodedEntry, session: string | undefined, upTo: number): boolean {
  let { newer } = entry;
  while (newer && session !== undefined && newer.except?.has(session)) newer = newer.newer;
  return newer !== undefined && newer.position <= upTo;
}

/** Some chunks as one. */
export function joinChunks(chunks: readonly Chunk[]): Chunk {
  if (chunks.length === 1) return chunks[0]!;
  return new Chunk(
    concat(chunks.map(({ bytes }) => bytes)),
    chunks.reduce((sum, { events }) => sum + events, 0),
  );
}

/** The bytes of some entries as one chunk: a view if they are already side by side, else a copy. */
function join(entries: readonly EncodedEntry[]): Chunk {
  const runs: Uint8Array[] = [];
  for (let i = 0; i < entries.length; i++) {
    const { page, start } = entries[i]!;
    let { end } = entries[i]!;
    while (entries[i + 1]?.page === page && entries[i + 1]!.start === end) end = entries[++i]!.end;
    runs.push(page.subarray(start, end));
  }
  return new Chunk(runs.length === 1 ? runs[0]! : concat(runs), entries.length);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let used = 0;
  for (const part of parts) {
    joined.set(part, used);
    used += part.length;
  }
  return joined;
}
