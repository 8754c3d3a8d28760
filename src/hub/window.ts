/**
 * The window: the recent part of the log that a process holds, encoded and indexed by address.
 *
 * All delivery is one operation on it: {@link Window.read}, the events for a reader after a position. A fan-out reads
 * once for all who subscribe to the same channels. A reader that lags or resumes reads for itself.
 *
 * @module
 */

import { type Address, sessionAddress } from "../log/address.ts";
import type { LogEntry } from "../log/entry.ts";
import { EntryQueue, History, type HistoryOptions } from "../log/history.ts";
import { Audience, gather, type Range, type Read } from "./read.ts";

/** Broadcasts that leave sessions out. Nothing can be sent to this address. */
const EXCEPTIONS: Address = "!";
/** Events with a key. Nothing can be sent to this address. */
const KEYED: Address = "?";
const MAX_READS = 64;
/** How many bytes the kept reads may take, before the newest is added. */
const MAX_READ_BYTES = 4 * 1024 * 1024;

/** The recent entries of a log. */
export class Window {
  readonly #history: History;
  /** The entries of each address. {@link EXCEPTIONS} and {@link KEYED} list those that readers may get differently. */
  readonly #index = new Map<Address, EntryQueue>();
  /** The newest entry of each key and address. */
  readonly #keyed = new Map<string, LogEntry>();
  /** The last reads for whole audiences. Readers that catch up from the same place share their bytes. */
  readonly #reads = new Map<string, { to: number; read: Read }>();
  #readBytes = 0;
  /** The audience without channels. */
  readonly #everyone = new Audience(new Set());

  /** An empty window that begins after a position. */
  constructor(options: HistoryOptions, head: number) {
    this.#history = new History(options, head);
  }

  /** Everything after this position, up to the head, is held. */
  get start(): number {
    return this.#history.start;
  }

  /** The newest position. */
  get head(): number {
    return this.#history.head;
  }

  /** How many entries are held. */
  get size(): number {
    return this.#history.entries.size;
  }

  /** How many bytes of events are held. */
  get bytes(): number {
    return this.#history.bytes;
  }

  /** Adds the newest entry. */
  add(entry: LogEntry): void {
    this.#history.add(entry);
    this.#queue(entry.to).push(entry);
    if (entry.except) this.#queue(EXCEPTIONS).push(entry);
    if (entry.key !== undefined) {
      this.#queue(KEYED).push(entry);
      const name = keyName(entry);
      const older = this.#keyed.get(name);
      if (older) older.newer = entry;
      this.#keyed.set(name, entry);
    }
  }

  /** Forgets the entries that exceed the bounds at this time (ms since the epoch), but none after `upTo`. */
  prune(now: number, upTo: number): void {
    this.#history.prune(now, upTo, this.#forget);
  }

  /** Lets go of the last reads, which nobody needs while nothing is sent. */
  release(): void {
    this.#reads.clear();
    this.#readBytes = 0;
  }

  /** The entries of a range, oldest first. */
  *entries(from: number, to: number): Generator<LogEntry, void> {
    const { entries } = this.#history;
    for (let i = entries.indexAfter(from); i < entries.size; i++) {
      const entry = entries.at(i);
      if (entry.position > to) return;
      yield entry;
    }
  }

  /** The events of a range for a whole audience: without those addressed to sessions, and regardless of `except`. */
  readForAudience(audience: Audience, range: Range): Read {
    const { from, to, limit, block } = range;
    const hasOwn = audience.addresses.some((to, i) => i > 0 && this.#has(to, range));
    if (!hasOwn) audience = this.#everyone;
    const key = `${audience.number}:${from}:${limit}:${block}`;
    const last = this.#reads.get(key);
    // A read that hit its byte limit gives the same result for any longer range.
    if (last && (last.to === to || last.read.position < Math.min(last.to, to))) return last.read;
    const read = this.#read(audience.addresses, undefined, range, false);
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
  read(session: string, audience: Audience, range: Range, latest: boolean): Read {
    const own = sessionAddress(session);
    const alone = this.#has(own, range) || this.#has(EXCEPTIONS, range) ||
      (latest && this.#has(KEYED, range));
    if (!alone) return this.readForAudience(audience, range);
    return this.#read([...audience.addresses, own], session, range, latest);
  }

  #has(address: Address, { from, to }: Range): boolean {
    const queue = this.#index.get(address);
    if (!queue) return false;
    const index = queue.indexAfter(from);
    return index < queue.size && queue.at(index).position <= to;
  }

  #read(
    addresses: readonly Address[],
    session: string | undefined,
    range: Range,
    latest: boolean,
  ): Read {
    const entries = this.#addressed(addresses, range.from, range.to);
    return gather(entries, session, range, latest ? range.to : 0);
  }

  /** The entries to any of these addresses in a range, in log order. */
  *#addressed(addresses: readonly Address[], from: number, to: number): Generator<LogEntry, void> {
    const queues: { queue: EntryQueue; next: number }[] = [];
    for (const address of addresses) {
      const queue = this.#index.get(address);
      if (!queue) continue;
      const next = queue.indexAfter(from);
      if (next < queue.size) queues.push({ queue, next });
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

  #queue(address: Address): EntryQueue {
    let queue = this.#index.get(address);
    if (!queue) this.#index.set(address, queue = new EntryQueue());
    return queue;
  }

  readonly #forget = (entry: LogEntry): void => {
    this.#drop(entry.to);
    if (entry.except) this.#drop(EXCEPTIONS);
    if (entry.key === undefined) return;
    this.#drop(KEYED);
    const name = keyName(entry);
    if (this.#keyed.get(name) === entry) this.#keyed.delete(name);
  };

  /** The oldest entry of all is the oldest of its address. */
  #drop(address: Address): void {
    const queue = this.#index.get(address)!;
    queue.shift();
    if (queue.size === 0) this.#index.delete(address);
  }
}

/** A key belongs to an address. Neither can contain NUL. */
function keyName(entry: LogEntry): string {
  return `${entry.to}\0${entry.key}`;
}
