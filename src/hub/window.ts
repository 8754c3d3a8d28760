/**
 * The window: the recent part of the log that a process holds, encoded and indexed by address.
 *
 * All delivery is one operation on it: {@link LogWindow.read}, the events for a reader after a position. A fan-out reads
 * once for all who subscribe to the same channels. A reader that lags or resumes reads for itself.
 *
 * @module
 */

import { type Address, sessionAddress } from "../log/address.ts";
import type { EncodedEntry } from "../log/entry.ts";
import type { LogPosition } from "../log/record.ts";
import {
  addressBytes,
  BoundedHistory,
  EntryQueue,
  type HistoryOptions,
  KEY_BYTES,
  QUEUE_BYTES,
} from "../log/history.ts";
import { type Audience, gather, type Read, type ReadRange } from "./read.ts";

const NOTHING = new Uint8Array(0);

const MAX_READS = 64;
/** How many bytes the kept reads may take, before the newest is added. */
const MAX_READ_BYTES = 4 * 1024 * 1024;

/** From so many entries on, the newest of each key is looked up in a map, which takes room for each address. */
const MAPPED = 16;

/** The entries of one address. */
class AddressQueue extends EntryQueue {
  /** The newest entry of each key, once there are many entries. */
  #newest: Map<string, EncodedEntry> | undefined;

  /** The newest entry with a key. */
  newest(key: string): EncodedEntry | undefined {
    if (this.#newest !== undefined) return this.#newest.get(key);
    for (let i = this.size - 1; i >= 0; i--) if (this.at(i).key === key) return this.at(i);
    return undefined;
  }

  /** How many keys the map holds. */
  get mapped(): number {
    return this.#newest?.size ?? 0;
  }

  override push(entry: EncodedEntry): void {
    super.push(entry);
    if (this.#newest !== undefined) this.#note(entry);
    else if (this.size >= MAPPED && entry.key !== undefined) {
      this.#newest = new Map();
      for (let i = 0; i < this.size; i++) this.#note(this.at(i));
    }
  }

  override shift(): EncodedEntry | undefined {
    const entry = super.shift();
    if (this.size < MAPPED / 2) this.#newest = undefined;
    if (entry?.key !== undefined && this.#newest?.get(entry.key) === entry) {
      this.#newest.delete(entry.key);
    }
    return entry;
  }

  #note(entry: EncodedEntry): void {
    if (entry.key !== undefined) this.#newest!.set(entry.key, entry);
  }
}

/** What is to be handed to those who are live, and then forgotten: entries in log order, and those of each address. */
class Passing {
  readonly #entries = new EntryQueue();
  readonly #index = new Map<Address, EntryQueue>();
  readonly #exceptions = new EntryQueue();

  /** Those that leave sessions out. */
  get exceptions(): EntryQueue {
    return this.#exceptions;
  }

  /** The entries of all addresses. */
  get entries(): EntryQueue {
    return this.#entries;
  }

  /** The entries of an address. */
  of(address: Address): EntryQueue | undefined {
    return this.#index.get(address);
  }

  add(entry: EncodedEntry): void {
    this.#entries.push(entry);
    const ofAddress = this.#index.get(entry.to);
    if (ofAddress) ofAddress.push(entry);
    else this.#index.set(entry.to, new EntryQueue(entry));
    if (entry.except) this.#exceptions.push(entry);
  }

  /** Forgets all up to a position. */
  prune(upTo: number): void {
    while (this.#entries.size > 0 && this.#entries.at(0).position <= upTo) {
      const { to, except } = this.#entries.shift()!;
      if (except) this.#exceptions.shift();
      const ofAddress = this.#index.get(to)!;
      ofAddress.shift();
      if (ofAddress.size === 0) this.#index.delete(to);
    }
  }
}

/** The recent entries of a log. */
export class LogWindow {
  readonly #options: HistoryOptions;
  #history: BoundedHistory;
  /** The entries of each address: a single one stands for itself, since most sessions have no more. */
  readonly #index = new Map<Address, EncodedEntry | AddressQueue>();
  /** Events that leave sessions out, and events with a key: those that readers may get differently. */
  readonly #exceptions = new EntryQueue();
  readonly #keyed = new EntryQueue();
  /** What is transient, until the fan-out that hands it out is over. */
  readonly #passing = new Passing();
  /** The last reads for whole audiences. Readers that catch up from the same place share their bytes. */
  readonly #reads = new Map<string, { to: number; read: Read }>();
  #readBytes = 0;
  /** What the addresses of the index take, in bytes. */
  #addressBytes = 0;
  /** How many addresses of the index have a queue. */
  #queues = 0;
  /** How many keys are in maps. */
  #mapped = 0;

  /** An empty window that begins after a position. */
  constructor(options: HistoryOptions, head: LogPosition) {
    this.#options = options;
    this.#history = this.#begin(head);
  }

  #begin(start: LogPosition): BoundedHistory {
    return new BoundedHistory(this.#options, start, () => this.#indexBytes());
  }

  /** Everything after this position, up to the head, is held. */
  get start(): number {
    return this.#history.start;
  }

  /** The newest position. */
  get head(): number {
    return this.#history.head;
  }

  /** The tag of the entry at a position from `start` to `head`; `undefined` in a gap, and where the log gives none. */
  tagAt(position: number): string | undefined {
    return this.#history.tagAt(position);
  }

  /** How many entries are held. */
  get size(): number {
    return this.#history.entries.size;
  }

  /** How many bytes the entries take: see {@link HistoryOptions.bytes}. */
  get bytes(): number {
    return this.#history.bytes;
  }

  /** Adds the newest entry. */
  add(entry: EncodedEntry): void {
    this.#hold(entry);
    if (entry.transient) this.#passing.add(entry);
  }

  #hold(entry: EncodedEntry): void {
    if (entry.transient) {
      // An id of a log that gives tags ends with one: the place is kept, without the event.
      if (entry.tag === undefined) this.#history.skip(entry.position);
      else this.#history.add({ ...entry, page: NOTHING, start: 0, end: 0, except: undefined });
      return;
    }
    this.#history.add(entry);
    if (entry.key !== undefined) {
      const older = this.#newest(entry);
      if (older) older.newer = entry;
      this.#keyed.push(entry);
    }
    this.#push(entry.to, entry);
    if (entry.except) this.#exceptions.push(entry);
  }

  /** Puts all entries from `start` on in front of those it holds. */
  fill(start: LogPosition, older: readonly EncodedEntry[]): void {
    const { entries, head } = this.#history;
    const held = Array.from({ length: entries.size }, (_, i) => entries.at(i));
    this.#history = this.#begin(start);
    this.#index.clear();
    this.#exceptions.clear();
    this.#keyed.clear();
    this.#addressBytes = 0;
    this.#queues = 0;
    this.#mapped = 0;
    for (const entry of older) this.#hold(entry);
    for (const entry of held) this.#hold(entry);
    // It may be that of an entry that was not held.
    this.#history.skip(head);
  }

  /** Forgets the entries that exceed the bounds now, but none after `upTo`. `bytes`: in place of the bound. */
  prune(upTo: number, bytes?: number): void {
    this.#passing.prune(upTo);
    this.#history.prune(upTo, this.#forget, bytes);
  }

  /** Lets go of the last reads, which nobody needs while nothing is sent. */
  release(): void {
    this.#reads.clear();
    this.#readBytes = 0;
  }

  /** The entries of a range that are held, oldest first, and then those that are transient. */
  *entries(from: number, to: number): Generator<EncodedEntry, void> {
    yield* within(this.#history.entries, from, to);
    yield* within(this.#passing.entries, from, to);
  }

  /** The events of a range for a whole audience: without those addressed to sessions, and regardless of `except`. */
  readForAudience(audience: Audience, range: ReadRange): Read {
    const { from, to, limit, block, live } = range;
    // Audiences that get the same share the bytes, whatever else they subscribe to. No address holds a line break.
    const addresses = this.#heard(audience, range);
    if (addresses.length === 0) return { chunk: undefined, position: to };
    const key = `${from}:${limit}:${block}:${live}\n${addresses.join("\n")}`;
    const last = this.#reads.get(key);
    // A read that hit its byte limit gives the same result for any longer range.
    if (last && (last.to === to || last.read.position < Math.min(last.to, to))) return last.read;
    const read = this.#read(addresses, undefined, range, false);
    this.#keep(key, to, read);
    return read;
  }

  /** Keeps a read. Only a few are kept, since they hold on to bytes that the history has forgotten. */
  #keep(key: string, to: number, read: Read): void {
    this.#letGo(key);
    for (const oldest of this.#reads.keys()) {
      if (this.#reads.size < MAX_READS && this.#readBytes < MAX_READ_BYTES) break;
      this.#letGo(oldest);
    }
    this.#reads.set(key, { to, read });
    this.#readBytes += read.chunk?.bytes.length ?? 0;
  }

  #letGo(key: string): void {
    this.#readBytes -= this.#reads.get(key)?.read.chunk?.bytes.length ?? 0;
    this.#reads.delete(key);
  }

  /**
   * The events of a range for one reader.
   *
   * `latest`: leave out events that a newer event of the range with the same key supersedes.
   */
  read(session: string, audience: Audience, range: ReadRange, latest: boolean): Read {
    const own = sessionAddress(session);
    const alone = this.#has(own, range) || this.#hasExceptions(range) ||
      (latest && hasAny(this.#keyed, range));
    if (!alone) return this.readForAudience(audience, range);
    return this.#read([...this.#heard(audience, range), own], session, range, latest);
  }

  /**
   * The place after which the newest `count` events for a reader begin, up to a position, without those that a newer one
   * supersedes; `undefined` if there are none. It goes back from the newest ones, as far as it has to.
   */
  placeBeforeNewest(
    session: string,
    audience: Audience,
    count: number,
    upTo: number,
  ): LogPosition | undefined {
    const queues: { queue: EntryQueue; next: number }[] = [];
    for (const address of [...audience.addresses, sessionAddress(session)]) {
      const queue = this.#queue(address);
      const next = queue ? queue.indexAfter(upTo) - 1 : -1;
      if (queue && next >= 0) queues.push({ queue, next });
    }
    const keys = new Set<string>();
    let oldest: number | undefined;
    for (let found = 0; found < count && queues.length > 0;) {
      let newest = queues[0]!;
      for (const candidate of queues) {
        if (candidate.queue.at(candidate.next).position > newest.queue.at(newest.next).position) {
          newest = candidate;
        }
      }
      const { to, key, except, instruction, position } = newest.queue.at(newest.next);
      if (--newest.next < 0) queues.splice(queues.indexOf(newest), 1);
      if (instruction !== undefined || except?.has(session)) continue;
      if (key !== undefined) {
        // No address holds a line break.
        const name = `${to}\n${key}`;
        if (keys.has(name)) continue;
        keys.add(name);
      }
      oldest = position;
      found++;
    }
    return oldest === undefined ? undefined : this.#history.placeBefore(oldest);
  }

  /**
   * The addresses of an audience that a range has events for. Those of the audience, those of the range or its events are
   * looked at, whichever are fewer.
   */
  #heard(audience: Audience, range: ReadRange): Address[] {
    const { from, to, addresses } = range;
    if (addresses !== undefined && addresses.length < audience.size) {
      return addresses.filter((each) => audience.hears(each) && this.#has(each, range)).sort();
    }
    const { entries } = this.#history;
    const first = entries.indexAfter(from);
    const end = entries.indexAfter(to);
    if (end - first >= audience.size || hasAny(this.#passing.entries, range)) {
      return audience.addresses.filter((address) => this.#has(address, range)).sort();
    }
    const heard: Address[] = [];
    for (let i = first; i < end; i++) {
      const { to, instruction } = entries.at(i);
      if (instruction !== undefined || heard.includes(to)) continue;
      if (audience.hears(to)) heard.push(to);
    }
    return heard.sort();
  }

  #has(address: Address, range: ReadRange): boolean {
    return hasAny(this.#queue(address), range) ||
      (range.live === true && hasAny(this.#passing.of(address), range));
  }

  #hasExceptions(range: ReadRange): boolean {
    return hasAny(this.#exceptions, range) ||
      (range.live === true && hasAny(this.#passing.exceptions, range));
  }

  #read(
    addresses: readonly Address[],
    session: string | undefined,
    range: ReadRange,
    latest: boolean,
  ): Read {
    const entries = this.#addressed(addresses, range);
    return gather(entries, session, range, latest ? range.to : 0);
  }

  /** The entries to any of these addresses in a range, in log order. */
  *#addressed(
    addresses: readonly Address[],
    { from, to, live }: ReadRange,
  ): Generator<EncodedEntry, void> {
    const queues: { queue: EntryQueue; next: number }[] = [];
    const include = (queue: EntryQueue | undefined) => {
      const next = queue?.indexAfter(from) ?? 0;
      if (queue && next < queue.size) queues.push({ queue, next });
    };
    for (const address of addresses) {
      include(this.#queue(address));
      if (live) include(this.#passing.of(address));
    }
    while (queues.length > 0) {
      let oldest = queues[0]!;
      for (const candidate of queues) {
        if (candidate.queue.at(candidate.next).position < oldest.queue.at(oldest.next).position) {
          oldest = candidate;
        }
      }
      const entry = oldest.queue.at(oldest.next);
      if (entry.position > to) return;
      yield entry;
      if (++oldest.next === oldest.queue.size) queues.splice(queues.indexOf(oldest), 1);
    }
  }

  #queue(address: Address): EntryQueue | undefined {
    const found = this.#index.get(address);
    return found === undefined || found instanceof EntryQueue ? found : new EntryQueue(found);
  }

  #indexBytes(): number {
    return this.#addressBytes + this.#queues * QUEUE_BYTES + this.#mapped * KEY_BYTES;
  }

  #push(address: Address, entry: EncodedEntry): void {
    const found = this.#index.get(address);
    if (found instanceof AddressQueue) {
      shareAddress(entry, found.at(0));
      this.#mapped -= found.mapped;
      found.push(entry);
      this.#mapped += found.mapped;
      return;
    }
    if (found !== undefined) {
      this.#queues++;
      shareAddress(entry, found);
    } else this.#addressBytes += addressBytes(address);
    this.#index.set(address, found === undefined ? entry : new AddressQueue(found, entry));
  }

  /** The newest entry with a key to the same address, if one is held. */
  #newest({ to, key }: EncodedEntry): EncodedEntry | undefined {
    const found = this.#index.get(to);
    if (found instanceof AddressQueue) return found.newest(key!);
    return found?.key === key ? found : undefined;
  }

  readonly #forget = (entry: EncodedEntry): void => {
    if (entry.transient) return;
    this.#drop(entry.to);
    if (entry.except) this.#exceptions.shift();
    if (entry.key !== undefined) this.#keyed.shift();
  };

  /** The oldest entry of all is the oldest of its address. */
  #drop(address: Address): void {
    const found = this.#index.get(address);
    if (found instanceof AddressQueue) {
      this.#mapped -= found.mapped;
      found.shift();
      this.#mapped += found.mapped;
      if (found.size > 0) return;
      this.#queues--;
    }
    this.#index.delete(address);
    this.#addressBytes -= addressBytes(address);
  }
}

/** The entries of an address hold one string: each would have its own, of some 50 bytes. */
function shareAddress(entry: { to: Address }, { to }: EncodedEntry): void {
  entry.to = to;
}

/** The entries of a queue that are in a range. */
function* within(
  entries: EntryQueue,
  from: number,
  to: number,
): Generator<EncodedEntry, void> {
  for (let i = entries.indexAfter(from); i < entries.size; i++) {
    const entry = entries.at(i);
    if (entry.position > to) return;
    yield entry;
  }
}

function hasAny(queue: EntryQueue | undefined, { from, to }: ReadRange): boolean {
  if (!queue) return false;
  const index = queue.indexAfter(from);
  return index < queue.size && queue.at(index).position <= to;
}
