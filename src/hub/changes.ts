/**
 * Which sessions joined and left which channels lately: what a connection subscribes to at each position of the log.
 *
 * @module
 */

import { RESERVED_PREFIX } from "../event-format.ts";
import { nameOf } from "../log/address.ts";
import type { EncodedEntry } from "../log/entry.ts";
import { isName } from "../validate.ts";

/** An instruction to all hubs of a log: the session's connections subscribe to the channel that the data names. */
export const JOIN: string = `${RESERVED_PREFIX}join`;
/** An instruction to all hubs of a log: they subscribe to it no more. */
export const LEAVE: string = `${RESERVED_PREFIX}leave`;

/** How many changes are remembered at least, also when the window has forgotten them. */
const MOST = 10_000;

/** A session joins or leaves a channel. */
export interface Change {
  /** Where in the log. It counts for what comes after. */
  readonly position: number;
  /** Which session. */
  readonly session: string;
  /** Which channel. */
  readonly channel: string;
  /** It joins; otherwise it leaves. */
  readonly joins: boolean;
}

/** The change that an entry of the log stands for; `undefined` if it is anything else. */
export function changeOf({ position, to, instruction }: EncodedEntry): Change | undefined {
  if (instruction?.event !== JOIN && instruction?.event !== LEAVE) return undefined;
  const { event, data: channel } = instruction;
  // Others may write into a log, too.
  if (!isName(channel)) return undefined;
  return { position, session: nameOf(to), channel, joins: event === JOIN };
}

/** What somebody subscribes to after some changes, oldest first. */
export function changed(
  channels: ReadonlySet<string>,
  changes: readonly Change[],
): ReadonlySet<string> {
  if (changes.length === 0) return channels;
  const after = new Set(channels);
  for (const { channel, joins } of changes) {
    if (joins) after.add(channel);
    else after.delete(channel);
  }
  return after;
}

/**
 * What somebody subscribed to before some changes, oldest first. What an `earlier` change says counts. Without one, a
 * channel whose first change is that it was left was subscribed to, and one whose first change is that it was joined was
 * not.
 *
 * `named`: the channels that a request named, if it did. It did not hear others before.
 */
export function unchanged(
  channels: ReadonlySet<string>,
  changes: readonly Change[],
  earlier: readonly Change[],
  named: ReadonlySet<string> | undefined,
): ReadonlySet<string> {
  const before = new Set(channels);
  const firsts = new Map<string, Change>();
  for (const change of changes.toReversed()) firsts.set(change.channel, change);
  for (const [channel, { joins }] of firsts) {
    const last = earlier.findLast((change) => change.channel === channel);
    const was = last ? last.joins : !joins && (named?.has(channel) ?? true);
    if (was) before.add(channel);
    else before.delete(channel);
  }
  return before;
}

/** The changes of each session: all that the window holds, and of older ones the latest {@link MOST}. */
export class Changes {
  readonly #bySession = new Map<string, Change[]>();
  /** All of them, oldest first; those before `first` are forgotten. */
  #all: Change[] = [];
  #first = 0;
  #start: number;

  /** No changes, from `head` on, where a life of the log begins. */
  constructor(head: number) {
    this.#start = head;
  }

  /** Every change after this position is known. */
  get start(): number {
    return this.#start;
  }

  /** Adds the newest change. `start`: the window holds everything after it. */
  add(change: Change, start: number): void {
    const ofSession = this.#bySession.get(change.session);
    if (ofSession) ofSession.push(change);
    else this.#bySession.set(change.session, [change]);
    this.#all.push(change);
    while (this.#all.length - this.#first > MOST && this.#all[this.#first]!.position <= start) {
      this.#forget();
    }
  }

  /** Puts all changes after a position in front of those that it holds. */
  fill(start: number, older: readonly Change[]): void {
    const held = this.#all.slice(this.#first);
    this.#bySession.clear();
    this.#all = [];
    this.#first = 0;
    this.#start = start;
    for (const change of [...older, ...held]) this.add(change, start);
  }

  /** The first change of a session after a position. */
  next(session: string, position: number): Change | undefined {
    const changes = this.#bySession.get(session);
    return changes?.[indexAfter(changes, position)];
  }

  /** The changes of a session after a position, up to and with another; oldest first. */
  between(session: string, after: number, upTo: number): Change[] {
    const changes = this.#bySession.get(session);
    if (!changes || changes.at(-1)!.position <= after) return [];
    return changes.slice(indexAfter(changes, after), indexAfter(changes, upTo));
  }

  #forget(): void {
    const oldest = this.#all[this.#first++]!;
    this.#start = oldest.position;
    const ofSession = this.#bySession.get(oldest.session)!;
    if (ofSession.length === 1) this.#bySession.delete(oldest.session);
    else ofSession.shift();
    if (this.#first * 4 <= this.#all.length) return;
    this.#all = this.#all.slice(this.#first);
    this.#first = 0;
  }
}

/** The index of the first change after a position. */
function indexAfter(changes: readonly Change[], position: number): number {
  let low = 0;
  let high = changes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (changes[middle]!.position <= position) low = middle + 1;
    else high = middle;
  }
  return low;
}
