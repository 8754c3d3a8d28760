/**
 * What a connection has to get, worked out from what was sent and from nothing that the hub says of itself: a ledger
 * of all that was sent, and an account of each connection that checks every byte of its stream against it.
 *
 * @module
 */
import type {
  HistoryOptions,
  Log,
  LogEntry,
  LogFollower,
  LogPosition,
  LogRecord,
} from "../../mod.ts";
import { memoryLog } from "../../mod.ts";
import { type Block, parseBlock } from "../server-helpers.ts";

/** Whom something was sent to. A disconnect, a join and a leave take a place in the log too, and go to nobody. */
export type Target =
  | { readonly kind: "join" | "leave"; readonly name: string; readonly channel: string }
  | { readonly kind: "session" | "disconnect"; readonly name: string }
  | { readonly kind: "channel"; readonly name: string; readonly except?: ReadonlySet<string> }
  | { readonly kind: "all"; readonly except: ReadonlySet<string> };

/** Something that was sent. */
export interface Sent {
  readonly position: number;
  readonly to: Target;
  readonly key: string | undefined;
  readonly transient?: boolean;
  readonly event: string;
  readonly data: string;
  readonly time: number;
  readonly bytes: number;
}

/** What the log may count an event for at most, beside its encoded bytes; no name here is of wide characters. */
function overhead(address: string, key: string | undefined, except: Iterable<string>): number {
  const names = [...except];
  const forAddress = address === "*" ? 0 : 50 + 16 + address.length;
  const forKey = key === undefined ? 0 : 60 + 8 + 16 + key.length;
  const forNames = names.length === 0
    ? 0
    : names.reduce((sum, name) => sum + name.length + 1, 8 + 28 + 16 + 1);
  return 174 + forAddress + forKey + forNames;
}

/** What an event takes as it goes out; an instruction goes to nobody, but its data is held. */
function encodedBytes(event: string, data: string, id: string): number {
  if (event.startsWith("streamside:")) return 16 + data.length;
  const lines = data.split("\n").map((line) => `data: ${line}\n`).join("");
  return new TextEncoder().encode(`event: ${event}\n${lines}id: ${id}\n\n`).length;
}

/** The tag of an entry, in a log that gives tags. */
function tagOf(epoch: string, position: number): string {
  return `${(position * 7919).toString(36)}-${epoch.at(-1)}`;
}

function logAddress(to: Target): string {
  if (to.kind === "all") return "*";
  return `${to.kind === "channel" ? "#" : "@"}${to.name}`;
}

/** A position in one life of the log. */
export interface Place {
  readonly life: Life;
  readonly position: number;
}

/** One life of the log: an epoch, and all that was sent in it, whether the log still holds it or not. */
export class Life {
  readonly epoch: string;
  /** Which life it is, counted from 0. */
  readonly number: number;
  readonly sent: Sent[] = [];
  readonly #bounds: Required<HistoryOptions>;
  readonly #stride: number;
  readonly #hasTags: boolean;
  readonly #holdsTransient: boolean;
  /** How far each hub was told of it when the next life began. */
  told: readonly number[] = [];
  #start = 0;
  #bytes = 0;
  /** How many entries after the start a log holds. */
  #held = 0;

  constructor(epoch: string, number: number, { bounds, stride, hasTags, holdsTransient }: Ledger) {
    this.epoch = epoch;
    this.number = number;
    this.#bounds = bounds;
    this.#stride = stride;
    this.#hasTags = hasTags;
    this.#holdsTransient = holdsTransient;
  }

  /** The id of a position. Between two entries there is no tag. */
  idOf(position: number): string {
    const isEntry = position > 0 && position % this.#stride === 0;
    const id = `${this.epoch}-${position}`;
    return this.#hasTags && isEntry ? `${id}-${tagOf(this.epoch, position)}` : id;
  }

  get head(): number {
    return this.sent.length * this.#stride;
  }

  /** What stands at a position. */
  at(position: number): Sent | undefined {
    return this.sent[position / this.#stride - 1];
  }

  /** What was sent after a position, up to and with another. */
  between(after: number, upTo: number = Infinity): Sent[] {
    return this.sent.slice(Math.floor(after / this.#stride), Math.floor(upTo / this.#stride));
  }

  add(sent: Omit<Sent, "position" | "bytes" | "time">): Sent {
    const position = this.head + this.#stride;
    const encoded = encodedBytes(sent.event, sent.data, this.idOf(position));
    const except = "except" in sent.to ? sent.to.except ?? [] : [];
    const bytes = encoded + overhead(logAddress(sent.to), sent.key, except);
    const added = { ...sent, position, bytes, time: Date.now() };
    this.sent.push(added);
    if (this.#isHeld(added)) {
      this.#bytes += bytes;
      this.#held++;
    }
    return added;
  }

  #isHeld({ transient }: Sent): boolean {
    return !transient || this.#holdsTransient;
  }

  /** What comes right before an entry, of all that a log holds. */
  before(position: number): number {
    let index = position / this.#stride - 1;
    while (index > 0 && !this.#isHeld(this.sent[index - 1]!)) index--;
    return index * this.#stride;
  }

  /** The log does not have to hold what is up to here. */
  start(): number {
    for (let next = this.#start; next < this.sent.length; next++) {
      const oldest = this.sent[next]!;
      if (!this.#isHeld(oldest)) continue;
      const { events, bytes, age } = this.#bounds;
      const isOver = this.#held > events || this.#bytes > bytes ||
        oldest.time < Date.now() - age;
      if (!isOver) break;
      this.#bytes -= oldest.bytes;
      this.#held--;
      this.#start = next + 1;
    }
    return this.#start * this.#stride;
  }
}

/** All that was sent, in the order of the log. */
export class Ledger {
  readonly bounds: Required<HistoryOptions>;
  /** How far one position is from the next. */
  readonly stride: number;
  /** The log gives tags. */
  readonly hasTags: boolean;
  /** The log holds what is transient like anything else. */
  readonly holdsTransient: boolean;
  readonly #lives = new Map<string, Life>();
  #life!: Life;

  constructor(
    bounds: Required<HistoryOptions>,
    stride = 1,
    hasTags = false,
    holdsTransient = false,
  ) {
    this.bounds = bounds;
    this.stride = stride;
    this.hasTags = hasTags;
    this.holdsTransient = holdsTransient;
  }

  /** All lives so far, in their order. */
  get lives(): Life[] {
    return [...this.#lives.values()];
  }

  /** The life that the log lives now. */
  get life(): Life {
    return this.#life;
  }

  /** The log begins, or begins anew. */
  begin(epoch: string): void {
    if (this.#lives.has(epoch)) return;
    this.#life = new Life(epoch, this.#lives.size, this);
    this.#lives.set(epoch, this.#life);
  }

  /** The place that an id stands for; `undefined` for one that no log ever gave. */
  place(id: string): Place | undefined {
    const [, epoch, digits] = /^([^-]+)-(\d+)(?:-(.+))?$/.exec(id) ?? [];
    const life = this.#lives.get(epoch ?? "");
    const position = Number(digits);
    if (!life || position > life.head || id !== life.idOf(position)) return undefined;
    // A log that gives tags never gives a position between two entries.
    return this.hasTags && position % this.stride !== 0 ? undefined : { life, position };
  }
}

/** How a log of one's own takes its time, in ms; 0: at once. */
export interface Delays {
  /** Until it can be followed. */
  readonly opens: number;
  /** Until an append and a read are answered. */
  readonly answers: number;
  /** Until followers are told, all that came meanwhile in one go. */
  readonly tells: number;
}

/** A log as a user may write one: no better than the contract of `Log` asks. Its positions have gaps. */
class OwnLog implements Log {
  static #lives = 0;
  readonly #epoch = `own${String(++OwnLog.#lives).padStart(9, "0")}`;
  readonly #hasTags: boolean;
  readonly #delays: Delays;
  readonly #bounds: Required<HistoryOptions>;
  readonly #stride: number;
  /** Each follower that it is open for, and what it was told last. */
  readonly #followers = new Map<LogFollower, number>();
  #entries: LogEntry[] = [];
  #start = 0;
  #head = 0;
  #untold: LogEntry[] = [];

  constructor(ledger: Ledger, delays: Delays) {
    this.#bounds = ledger.bounds;
    this.#stride = ledger.stride;
    this.#hasTags = ledger.hasTags;
    this.#delays = delays;
  }

  #place(position: number): LogPosition {
    if (!this.#hasTags || position === 0) return { position };
    return { position, tag: tagOf(this.#epoch, position) };
  }

  follow(follower: LogFollower): () => void {
    let isFollowing = true;
    this.#after(this.#delays.opens, () => {
      if (!isFollowing) return;
      this.#followers.set(follower, this.#head);
      follower.opened(this.#epoch, this.#place(this.#head), this.#place(this.#start));
    });
    return () => {
      isFollowing = false;
      this.#followers.delete(follower);
    };
  }

  append(record: LogRecord): Promise<LogPosition> {
    const place = this.#place(this.#head += this.#stride);
    const entry = { ...place, time: Date.now(), record };
    this.#entries.push(entry);
    this.#trim();
    this.#untold.push(entry);
    if (this.#untold.length === 1) this.#after(this.#delays.tells, () => this.#tell());
    return this.#answer(place);
  }

  read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    this.#trim();
    if (after.position < this.#start || after.position > this.#head) return this.#answer(null);
    if (after.tag !== undefined) {
      const isEntry = after.position > 0 && after.position % this.#stride === 0;
      const tag = isEntry ? this.#place(after.position).tag : undefined;
      if (tag !== after.tag) return this.#answer(null);
    }
    const later = this.#entries.filter(({ position }) => position > after.position);
    return this.#answer(later.slice(0, limit));
  }

  #tell(): void {
    const entries = this.#untold.splice(0);
    for (const [follower, told] of this.#followers) {
      const news = entries.filter(({ position }) => position > told);
      if (news.length === 0) continue;
      this.#followers.set(follower, news[news.length - 1]!.position);
      follower.appended(news);
    }
  }

  #trim(): void {
    const { events, bytes, age } = this.#bounds;
    const size = ({ position, tag, record: { to, event, data, key, except } }: LogEntry) => {
      const id = `${this.#epoch}-${position}${tag === undefined ? "" : `-${tag}`}`;
      return encodedBytes(event, data, id) + overhead(to, key, except ?? []);
    };
    let held = this.#entries.reduce((sum, entry) => sum + size(entry), 0);
    const isOver = () =>
      this.#entries.length > events || held > bytes || this.#entries[0]!.time < Date.now() - age;
    while (this.#entries.length > 0 && isOver()) {
      const oldest = this.#entries.shift()!;
      held -= size(oldest);
      this.#start = oldest.position;
    }
  }

  #answer<T>(answer: T): Promise<T> {
    return new Promise((resolve) => this.#after(this.#delays.answers, () => resolve(answer)));
  }

  #after(ms: number, callback: () => void): void {
    if (ms === 0) callback();
    else setTimeout(callback, ms);
  }
}

/** A log that can begin anew, tell its followers late, answer late, and fail: what a network does to one. */
export class ScriptedLog implements Log {
  readonly #ledger: Ledger;
  readonly #delays: Delays | undefined;
  readonly #followers = new Map<LogFollower, ScriptedFollower>();
  #inner: Log;
  /** Reads fail at the moment. */
  failing = false;
  /** Appends fail at the moment. */
  refusing = false;
  /** Reads are answered when they are released. */
  slow = false;
  #reads: (() => void)[] = [];

  /** A `memoryLog`, or, with `delays`, a log of one's own. */
  constructor(ledger: Ledger, delays?: Delays) {
    this.#ledger = ledger;
    this.#delays = delays;
    this.#inner = this.#begin(delays);
  }

  #begin(delays: Delays | undefined): Log {
    return delays ? new OwnLog(this.#ledger, delays) : memoryLog(this.#ledger.bounds);
  }

  /** The followers, in the order in which they came. */
  get followers(): ScriptedFollower[] {
    return [...this.#followers.values()];
  }

  follow(follower: LogFollower): () => void {
    const scripted = new ScriptedFollower(follower, this.#ledger);
    scripted.follow(this.#inner);
    this.#followers.set(follower, scripted);
    return () => {
      scripted.stop();
      this.#followers.delete(follower);
    };
  }

  async append(record: LogRecord): Promise<LogPosition> {
    if (this.refusing) throw new Error("the log takes nothing");
    return await this.#inner.append(record);
  }

  async read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    if (this.failing) throw new Error("the log is out of reach");
    const answer = await this.#inner.read(after, limit);
    if (this.slow) await new Promise<void>((resolve) => this.#reads.push(resolve));
    return answer;
  }

  /** Answers the reads that wait. */
  release(): void {
    for (const answer of this.#reads.splice(0)) answer();
  }

  /** Loses everything, and goes on in another epoch. */
  beginAnew(): void {
    for (const follower of this.followers) follower.release();
    this.#ledger.life.told = this.followers.map(({ head }) => head);
    // What is answered afterwards is of the new life, so all have to know of it at once.
    this.#inner = this.#begin(this.#delays && { ...this.#delays, opens: 0 });
    for (const follower of this.followers) follower.follow(this.#inner);
  }
}

/** One follower of a {@link ScriptedLog}: while it is held back it is told nothing. */
class ScriptedFollower {
  readonly #follower: LogFollower;
  readonly #ledger: Ledger;
  #waiting: LogEntry[] = [];
  #held = false;
  /** How far it was told. */
  head = 0;
  stop: () => void = () => {};

  constructor(follower: LogFollower, ledger: Ledger) {
    this.#follower = follower;
    this.#ledger = ledger;
  }

  follow(log: Log): void {
    this.release();
    this.stop();
    this.stop = log.follow({
      opened: (epoch, head, start) => {
        this.#ledger.begin(epoch);
        this.head = head.position;
        this.#follower.opened(epoch, head, start);
      },
      appended: (entries) => {
        this.#waiting.push(...entries);
        if (!this.#held) this.release();
      },
      failed: (error) => this.#follower.failed(error),
    });
  }

  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    const entries = this.#waiting.splice(0);
    if (entries.length === 0) return;
    this.head = entries[entries.length - 1]!.position;
    this.#follower.appended(entries);
  }
}

/** Who reads a stream, and where it goes on. */
export interface Subscription {
  readonly session: string;
  /** What it was granted. */
  readonly channels: ReadonlySet<string>;
  /** The position at which its request came in, in the life of `head`. */
  readonly requestedAt: number;
  /** Which hub it is connected to. */
  readonly hub: number;
  /** Up to here, its hub need not know what was joined and left: it began later. Default: 0. */
  readonly unknown?: number;
  /** The id that it resumes from, if it does. */
  readonly lastEventId: string | undefined;
  /** Where it begins if it does not resume. */
  readonly head: Place;
  /** With how many held events it begins if it does not resume. Default: 0. */
  readonly replay?: number;
  /** Up to here, its hub had handed everything out when it was opened. Default: 0. */
  readonly handedOut?: number;
  /** What its hub holds is all after this position, or more; for a replay. Default: 0. */
  readonly windowStart?: number;
}

/** What one connection has to get. */
export class Account {
  readonly #ledger: Ledger;
  readonly #subscription: Subscription;
  /** The longest chunk that may be handed out, in bytes; more only for an event alone. */
  readonly #limit: number;
  /** It has everything up to here; `undefined` while it is owed a reset. */
  #at: Place | undefined;
  /** Its id is of a position that the log may come to before it is asked: then nothing is lost, and no reset is due. */
  readonly #ahead: Place | undefined;
  /**
   * Where it begins, in the life in which it was opened. After a reset there may be two: it may have heard before what
   * was joined and left, or not.
   */
  #begins: number[];
  /** It has to get every event after this position, also superseded ones. */
  #completeFrom = Infinity;
  #lags = false;
  /** What is transient and was sent before is not for it, in the life in which it was opened. */
  #liveFrom: number;
  #opened = false;
  #text = "";
  #decoder = new TextDecoder();
  /** The last id that came with a whole block. */
  lastEventId: string | undefined;
  /** How many events came. */
  events = 0;
  /** How many resets came. */
  resets = 0;

  constructor(ledger: Ledger, subscription: Subscription, limit: number) {
    this.#ledger = ledger;
    this.#subscription = subscription;
    this.#limit = limit;
    const { lastEventId, head } = subscription;
    this.lastEventId = lastEventId;
    const resumed = lastEventId === undefined ? head : ledger.place(lastEventId);
    this.#at = resumed?.life === head.life ? resumed : undefined;
    // A resume may become live before a fan-out that is due.
    this.#liveFrom = lastEventId === undefined ? head.position : subscription.handedOut ?? 0;
    // Also an id that no log gave stands for a position, until the log says that it knows nothing of it.
    const [, epoch, digits] = /^([^-]+)-(0|[1-9]\d*)(?:-|$)/.exec(lastEventId ?? "") ?? [];
    const ahead = { life: head.life, position: Number(digits) };
    const isAhead = ahead.position > head.life.head && !ledger.hasTags;
    if (isAhead && lastEventId === head.life.idOf(ahead.position)) this.#ahead = ahead;
    this.#begins = this.#at
      ? [this.#at.position]
      : epoch === head.life.epoch
      ? [Number(digits)]
      : [];
    if (lastEventId === undefined && subscription.replay) this.#replays(subscription.replay);
  }

  /** It begins with the newest held events of those that are addressed to it. */
  #replays(replay: number): void {
    const { head: { life, position: head } } = this.#subscription;
    const held = life.between(0, head).filter((sent) =>
      !sent.transient && this.#isAddressed(life, sent) === true &&
      !this.#isSuperseded(life, sent, head)
    );
    const first = held.slice(-replay)[0];
    if (!first) return;
    this.#at = { life, position: life.before(first.position) };
    this.lag();
  }

  /** It lags, or may: superseded events may be left out from now on. */
  lag(): void {
    this.#lags = true;
    this.#completeFrom = Infinity;
  }

  /** Takes bytes of the stream, which may end anywhere. Throws what is wrong with them. */
  take(bytes: Uint8Array, whole: boolean): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    let events = 0;
    for (let end = this.#text.indexOf("\n\n"); end !== -1; end = this.#text.indexOf("\n\n")) {
      const block = parseBlock(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 2);
      if (block.event !== undefined) events++;
      this.#accept(block);
    }
    if (!whole) return;
    if (this.#text !== "") this.#fault(`a chunk ends in the middle of ${quote(this.#text)}`);
    if (bytes.length > this.#limit && events > 1) {
      this.#fault(`a chunk of ${events} events has ${bytes.length} bytes, over ${this.#limit}`);
    }
  }

  /** What it still has to get, of all that was sent or of what was sent before a place; empty when it has everything. */
  missing(before?: Place): string[] {
    const { life } = before ?? this.#ledger;
    const at = this.#place;
    if (at?.life !== life) return ["a reset"];
    const upTo = before?.position ?? life.head;
    return this.#required(at, upTo).map((sent) => this.#describe(sent));
  }

  /** The log holds everything that it still has to get. */
  isHeld(): boolean {
    const { life } = this.#ledger;
    return this.#at?.life === life && life.start() <= this.#at.position;
  }

  /** Where it is; `undefined` while it is owed a reset. */
  get #place(): Place | undefined {
    const ahead = this.#ahead;
    return this.#at ?? (ahead && ahead.position <= ahead.life.head ? ahead : undefined);
  }

  #accept(block: Block): void {
    if (!this.#opened) {
      this.#opened = true;
      if (!block.retry || block.event) this.#fault(`no preamble, but ${quote(block)}`);
      if (this.#subscription.lastEventId === undefined && !this.#lags) {
        this.#completeFrom = this.#ledger.life.head;
      }
    }
    if (block.event === "streamside:reset") this.#reset(block);
    else if (block.event !== undefined) this.#event(block);
    else if (block.id !== undefined) this.#pass(block.id);
    if (block.id !== undefined) this.lastEventId = block.id;
  }

  #reset({ id }: Block): void {
    const place = this.#ledger.place(id ?? "");
    if (!place) return this.#fault(`a reset with the id ${id}`);
    if (this.#at?.life === place.life) {
      if (place.life.start() <= this.#at.position) {
        this.#fault(`a reset at ${this.#at.position}, though the log holds all after it`);
      }
      // A hub that was behind its reader goes on from where it is itself.
      const isAhead = this.#at.position > this.#subscription.head.position;
      if (place.position < this.#at.position && !isAhead) this.#fault(`a reset back to ${id}`);
    }
    const { head } = this.#subscription;
    if (place.life === head.life) {
      this.#liveFrom = Math.min(this.#liveFrom, place.position);
      // Of a reader that was ahead of its hub, the hub knows nothing but what came since.
      const known = this.#begins.filter((begin) => begin <= place.position);
      this.#begins = [...known, Math.min(place.position, head.position)];
    } else if (!this.#hasBegun()) this.#begins.push(head.position);
    this.#at = place;
    this.lag();
    this.resets++;
  }

  /**
   * What it subscribed to where it begins was known: its hub knew what was joined and left since, and it was given
   * something from there on, or has been reset before.
   */
  #hasBegun(): boolean {
    const { head, unknown = 0 } = this.#subscription;
    if (!this.#begins.some((begin) => begin >= unknown) || !this.#at) return false;
    return this.#at.life !== head.life || !this.#begins.includes(this.#at.position);
  }

  /** It goes to those who are live, and so not to who comes after it was sent. */
  #transient({ event, data }: Block): void {
    const at = this.#place;
    const isThis = (sent: Sent) => sent.transient && sent.event === event && sent.data === data;
    // It may be read when the log has begun anew since it was sent.
    const life = this.#ledger.lives.find(({ sent }) => sent.some(isThis));
    const sent = life?.sent.find(isThis);
    if (!at || !life || !sent) return this.#fault(`${quote({ event, data })} without an id`);
    const { head } = this.#subscription;
    if (this.#isAddressed(life, sent) === false) {
      this.#fault(`got ${this.#describe(sent)} of somebody else`);
    }
    if (life === head.life && sent.position <= this.#liveFrom) {
      this.#fault(`got ${this.#describe(sent)}, which is transient, afterwards`);
    }
    this.#moveTo({ life, position: sent.position }, sent.position - 1);
    this.events++;
  }

  #event({ id, event, data }: Block): void {
    if (id === undefined) return this.#transient({ event, data });
    const place = this.#ledger.place(id ?? "");
    const sent = place?.life.at(place.position);
    if (sent?.transient) this.#fault(`${this.#describe(sent)} is transient, and has an id`);
    if (!place || !sent) return this.#fault(`an event with the id ${id}`);
    if (sent.event !== event || sent.data !== data) {
      this.#fault(`${id} is ${quote({ event, data })}, not ${this.#describe(sent)}`);
    }
    if (this.#isAddressed(place.life, sent) === false) {
      this.#fault(`got ${this.#describe(sent)} of somebody else`);
    }
    this.#moveTo(place, place.position - 1);
    this.events++;
  }

  /** An id without an event: all that is before it is done with. */
  #pass(id: string): void {
    const place = this.#ledger.place(id);
    // A stream that is owed a reset may begin with the id that it was asked to go on from.
    if (!this.#at && id === this.#subscription.lastEventId) return;
    if (!place) return this.#fault(`an id ${id} that stands for nothing`);
    this.#moveTo(place, place.position);
  }

  /** Goes on to a place. Nothing after the present one and up to `upTo` may be left out. */
  #moveTo(place: Place, upTo: number): void {
    const at = this.#place;
    if (!at) return this.#fault(`${place.position} before the reset that is due`);
    if (place.life !== at.life) this.#fault(`another epoch without a reset`);
    const isBack = place.position < at.position ||
      (place.position === at.position && upTo < at.position);
    if (isBack) this.#fault(`${place.position} again, after ${at.position}`);
    const [first, ...more] = this.#required(at, upTo);
    if (first) {
      this.#fault(
        `${this.#describe(first)} and ${more.length} more are missing before ${place.position}`,
      );
    }
    this.#at = place;
  }

  #required({ life, position }: Place, upTo: number): Sent[] {
    return life.between(position, upTo).filter((sent) =>
      this.#isAddressed(life, sent) === true && this.#isToCome(life, sent) &&
      (sent.position > this.#completeFrom || !this.#isSuperseded(life, sent))
    );
  }

  /** What is transient has to come to who keeps up; what is replayed, if its hub holds it. */
  #isToCome(life: Life, { position, transient }: Sent): boolean {
    if (transient) return position > this.#completeFrom;
    const { head, replay = 0, windowStart = 0, lastEventId } = this.#subscription;
    const isReplayed = life === head.life && position <= head.position &&
      lastEventId === undefined && replay > 0;
    return !isReplayed || position > windowStart;
  }

  /** Whether it has to get something; `undefined` if it may. */
  #isAddressed(life: Life, { to, position }: Sent): boolean | undefined {
    const { session } = this.#subscription;
    switch (to.kind) {
      case "all":
        return !to.except.has(session);
      case "session":
        return to.name === session;
      case "channel":
        return !to.except?.has(session) && this.#hears(to.name, life, position);
      default:
        return false;
    }
  }

  /** The channels of some that it subscribes to now, and those that it may. */
  subscribed(channels: readonly string[]): { must: string[]; may: string[] } {
    const { life } = this.#ledger;
    const hears = (channel: string) => this.#hears(channel, life, life.head);
    return {
      must: channels.filter((channel) => hears(channel) === true),
      may: channels.filter((channel) => hears(channel) !== false),
    };
  }

  /** Whether it subscribes to a channel at a position; `undefined` if it may. */
  #hears(channel: string, life: Life, position: number): boolean | undefined {
    const { head, lastEventId, replay = 0, channels } = this.#subscription;
    if (
      life === head.life && lastEventId === undefined && replay > 0 && position <= head.position
    ) {
      // A replay goes by the channels of now.
      const since = this.#changes(channel, life, this.#subscription.requestedAt, head.position);
      const last = since.at(-1);
      return last ? last.kind === "join" : channels.has(channel);
    }
    if (life === head.life) return this.#agreed((begin) => this.#heard(channel, begin, position));
    const { told } = head.life;
    const atEnd = this.#agreed((begin) =>
      this.#heard(channel, begin, told[this.#subscription.hub]!)
    );
    const lives = this.#ledger.lives.slice(head.life.number + 1, life.number + 1);
    return lives.reduce<boolean | undefined>((before, each) => {
      const upTo = each === life ? position : each.told[this.#subscription.hub]!;
      const last = this.#changes(channel, each, 0, upTo).at(-1);
      return last === undefined ? before : last.kind === "join";
    }, atEnd);
  }

  #agreed(hears: (begin: number) => boolean | undefined): boolean | undefined {
    const { position } = this.#subscription.head;
    const [first, ...others] = this.#begins.length > 0
      ? this.#begins.map(hears)
      : [hears(position)];
    return others.every((other) => other === first) ? first : undefined;
  }

  /** Whether a stream that began at a position subscribes to a channel at another, in the life in which it was opened. */
  #heard(channel: string, begin: number, position: number): boolean | undefined {
    const { channels, head, requestedAt, unknown = 0 } = this.#subscription;
    const last = this.#changes(channel, head.life, begin, position).at(-1);
    if (last) return last.kind === "join";
    const [next] = this.#changes(channel, head.life, Math.max(begin, position), head.position);
    if (next) {
      const wasIn = next.kind === "leave";
      const known = this.#changes(channel, head.life, unknown, begin).at(-1);
      if (known) return known.kind === "join";
      // One that its hub may know of, or not.
      const earlier = this.#changes(channel, head.life, 0, begin).at(-1);
      return earlier && (earlier.kind === "join") !== wasIn ? undefined : wasIn;
    }
    const meanwhile = this.#changes(channel, head.life, requestedAt, begin).at(-1);
    return meanwhile ? meanwhile.kind === "join" : channels.has(channel);
  }

  /** The joins and leaves of its session to a channel after a position, up to and with another. */
  #changes(channel: string, life: Life, after: number, upTo: number): Target[] {
    if (upTo <= after) return [];
    return life.between(after, upTo).map(({ to }) => to).filter((to) =>
      (to.kind === "join" || to.kind === "leave") && to.channel === channel &&
      to.name === this.#subscription.session
    );
  }

  /** By one that it gets: not after the disconnect that ends it. */
  #isSuperseded(life: Life, sent: Sent, upTo: number = this.#end(life)): boolean {
    if (sent.key === undefined) return false;
    return life.between(sent.position, upTo).some((newer) =>
      !newer.transient && newer.key === sent.key && addressOf(newer.to) === addressOf(sent.to) &&
      this.#isAddressed(life, newer) !== false
    );
  }

  /** Where the first disconnect since it was opened ends it. */
  #end(life: Life): number {
    const { session, head } = this.#subscription;
    const first = life.between(head.life === life ? head.position : 0)
      .find(({ to }) => to.kind === "disconnect" && to.name === session);
    return first?.position ?? Infinity;
  }

  #describe({ position, to, key }: Sent): string {
    const except = "except" in to ? [...to.except ?? []].map((name) => ` -${name}`).join("") : "";
    return `${position} (to ${addressOf(to)}${except}${key === undefined ? "" : `, key ${key}`})`;
  }

  #fault(what: string): void {
    const { session, channels, lastEventId } = this.#subscription;
    throw new Error(
      `a reader of ${session} and [${[...channels]}], from ${lastEventId}, at ` +
        `${this.#at?.position}: ${what}`,
    );
  }
}

function addressOf(to: Target): string {
  return to.kind === "all" ? "everyone" : `${to.kind} ${to.name}`;
}

function quote(value: unknown): string {
  return JSON.stringify(value).slice(0, 200);
}
