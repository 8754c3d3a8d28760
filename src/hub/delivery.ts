/**
 * Delivery: the window, the connections, and how entries get from one to the other.
 *
 * A fan-out hands everything since the last one to all live connections. A connection that lags reads the window from
 * its own cursor whenever its sink has room. Both are the same read, so they give the same events in the same order.
 *
 * @module
 */

import { encode, formatEvent, RESERVED_PREFIX, RESET } from "../event-format.ts";
import { channelAddress, EVERYONE, isSession, nameOf } from "../log/address.ts";
import { formatCursor } from "../log/cursor.ts";
import type { EncodedEntry } from "../log/entry.ts";
import type { HistoryOptions } from "../log/history.ts";
import type { LogPosition } from "../log/record.ts";
import type { EntrySource } from "../log/source.ts";
import { type Change, changed, changeOf, Changes, unchanged } from "./changes.ts";
import { Connection, type ConnectionStart } from "./connection.ts";
import { Disconnects } from "./disconnects.ts";
import { readNewest } from "./fill.ts";
import { LogPages } from "./log-pages.ts";
import { Places, type PlacesObserver } from "./places.ts";
import { joinChunks, type ReadRange, select } from "./read.ts";
import type { Group } from "./registry.ts";
import { Shared } from "./shared.ts";
import { Chunk } from "./sink.ts";
import { farewell } from "./drain.ts";
import { sleep, Turns } from "./turns.ts";
import { LogWindow } from "./window.ts";

/** An instruction to all hubs of a log: end the connections of the session that it is addressed to. */
export const DISCONNECT: string = `${RESERVED_PREFIX}disconnect`;

/**
 * The longest wait between two fan-outs, in ms for each connection: about what a write takes. Events that share a
 * fan-out share its cost for each connection, but not its cost for each byte. So waiting longer for the bytes gains
 * nothing: it could at most fill half of the time.
 */
const MAX_WAIT_EACH = 0.012;
/**
 * The longest wait of all, in ms. With 60, 5 000 clients that came back at once had caught up as soon, and the p99 of
 * all others was 130 ms in place of 105.
 */
const MAX_WAIT = 40;
/**
 * Readers that catch up from different positions meet at multiples of this number, and share bytes from there. For 900
 * readers that halved the cost of an event, and made it independent of the size of the history.
 */
const BLOCK = 256;

/** What delivery needs from the hub. */
export interface DeliveryOptions {
  readonly log: EntrySource;
  readonly history: HistoryOptions;
  readonly maxBufferedBytes: number;
  readonly retry: number;
  /** The fields of a heartbeat, but for its id. */
  readonly heartbeat: string;
}

/** The connections of a process and what they have got. */
export class Delivery extends Places {
  readonly #options: DeliveryOptions;
  #epoch = "";
  #window: LogWindow;
  #disconnects = new Disconnects(0);
  #changes = new Changes(0);
  /** The last position that a fan-out covered, or is covering. */
  #flushed = 0;
  /** Every live connection has everything addressed to it up to here. */
  #settled = 0;
  #beatDue = false;
  #running = false;
  /** The earliest time of the next fan-out, by `performance.now()`. */
  #notBefore = 0;
  readonly #turns = new Turns();
  /** Those of finding the recipients, which cost much less. */
  readonly #walk = new Turns();
  readonly #pages: LogPages;
  #waiting: { position: number; resolve: () => void }[] = [];
  /** The last preamble, which readers that come together share. */
  #lastPreamble: { id: string; chunk: Chunk } | undefined;
  /** While the window is filled with what the log held when it was opened: resolves when that is done. */
  #filling: Promise<void> | undefined;

  /** Delivery of what a log holds. Nothing is delivered before {@link Delivery.open}. */
  constructor(options: DeliveryOptions, observer: PlacesObserver) {
    super(observer);
    this.#options = options;
    this.#pages = new LogPages(options.log);
    this.#window = new LogWindow(options.history, { position: 0 });
  }

  /** Where the log stands, as a cursor; `undefined` before the log is open. */
  get cursor(): string | undefined {
    return this.#epoch === "" ? undefined : this.idAt(this.#window.head);
  }

  /** The id of a position that the window covers. */
  idAt(position: number): string {
    return formatCursor(this.#epoch, { position, tag: this.#window.tagAt(position) });
  }

  /** The life of the log that cursors belong to; empty before it is open. */
  get epoch(): string {
    return this.#epoch;
  }

  /** The newest position. */
  get head(): number {
    return this.#window.head;
  }

  /** What the window holds: events and bytes. */
  get held(): { events: number; bytes: number } {
    return { events: this.#window.size, bytes: this.#window.bytes };
  }

  /**
   * Begins at the head of a log, which holds everything after `start`. With another epoch, the log started over, and
   * everyone gets a reset. With the same epoch it goes on. If what comes in between is lost, every connection ends: an
   * instruction may be lost too, and clients that come back are looked at anew.
   */
  open(epoch: string, head: LogPosition, start: LogPosition): void {
    const isSame = this.#epoch === epoch;
    if (isSame && head.position === this.#window.head) return;
    for (const entry of this.#window.entries(this.#settled, this.#window.head)) {
      this.#dismiss(entry);
    }
    for (const connection of this.registry.connections) {
      this.#skipChanges(connection, this.#window.head);
    }
    this.#epoch = epoch;
    this.#pages.clear();
    this.#window = new LogWindow(this.#options.history, head);
    this.#disconnects = new Disconnects(head.position);
    this.#changes = new Changes(head.position);
    this.#flushed = head.position;
    this.#settled = head.position;
    this.#lastPreamble = undefined;
    for (const connection of this.registry.connections) {
      connection.openedAt = head.position;
      if (connection.endsAt < Infinity) this.end(connection, "disconnect");
      else if (isSame) this.end(connection, "log", farewell(this.#options.retry));
      else {
        connection.lose();
        this.#reset(connection);
      }
    }
    this.stopWaiting();
    this.#filling = head.position > start.position ? this.#fill(head, start) : undefined;
  }

  /** Fills the window with the newest of what the log holds: else each client that resumes would ask the log. */
  async #fill(head: LogPosition, start: LogPosition): Promise<void> {
    const window = this.#window;
    try {
      const { log, history } = this.#options;
      const newest = await readNewest(log, head, start, history);
      if (window !== this.#window) return;
      // What the window has forgotten meanwhile would be missing in between.
      if (newest !== undefined && window.start === head.position) {
        window.fill(newest.start, newest.entries);
        this.#changes.fill(
          newest.start.position,
          newest.entries.flatMap((entry) => changeOf(entry) ?? []),
        );
      }
    } catch (error) {
      if (window !== this.#window) return;
      this.observer.failed("filling the window from the log", error);
    }
    this.#filling = undefined;
    this.prune();
  }

  /** Takes the next entries of the log. */
  append(entries: readonly EncodedEntry[]): void {
    for (const entry of entries) {
      this.#window.add(entry);
      if (entry.instruction === undefined) continue;
      const change = changeOf(entry);
      if (change) this.#changes.add(change, this.#window.start);
      if (entry.instruction.event !== DISCONNECT) continue;
      this.#disconnects.add(nameOf(entry.to), entry.position);
    }
    this.#start();
  }

  /**
   * Whether a session was disconnected after a position, as far as the log has told. `undefined` if that is too long
   * ago to know.
   */
  isDisconnectedAfter(session: string, position: number): boolean | undefined {
    return this.#disconnects.isAfter(session, position);
  }

  /** Whether it is known which sessions have joined and left channels since a position. */
  knowsChangesAfter(position: number): boolean {
    return position >= this.#changes.start;
  }

  /** Sends a heartbeat to every live connection that gets nothing else. */
  beat(): void {
    this.#window.release();
    this.#pages.clear();
    this.#beatDue = true;
    this.#start();
  }

  /** Resolves when every live connection has everything addressed to it up to a position. */
  settled(position: number): Promise<void> {
    if (this.#settled >= position) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ position, resolve }));
  }

  flushed(): Promise<void> {
    return this.settled(this.head);
  }

  /** Resolves all {@link Delivery.settled}: what they wait for will not come. */
  stopWaiting(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  /** Forgets history that is too old. */
  prune(): void {
    this.#window.prune(this.#settled);
  }

  /**
   * Adds a connection. It was granted its channels at `since`, a position that {@link Delivery.knowsChangesAfter}, or
   * just now.
   */
  add(start: ConnectionStart, since: number = this.head): Connection {
    this.prune();
    const { head } = this.#window;
    const { session, channels, named } = start;
    const group = this.registry.group(
      changed(channels, this.#changes.between(session, since, head)),
    );
    const isAnother = start.position != null && this.#isAnother(start.position);
    const { replay = 0 } = start;
    const begun = isAnother
      ? { ...start, position: null }
      : start.position === undefined && replay > 0
      ? { ...start, position: this.#placeBeforeNewest(session, group, replay, head) }
      : start;
    const connection = new Connection(this, begun, group, head);
    this.registry.add(connection);
    this.watch(connection);
    if (start.position === undefined) {
      if (replay > 0) connection.replayedTo = head;
      if (replay > 0 && this.#filling !== undefined) {
        void this.#replayWhenFilled(connection, replay);
      }
    } else if (connection.cursor < head) connection.rewind = { from: head, named };
    if (!connection.isLost) this.#rewind(connection);
    // The cursor may come from a server that is ahead of this one. The log itself knows the position.
    if (connection.cursor > head) void this.#readLog(connection);
    return connection;
  }

  /** The place after which the newest events for a reader begin, up to a position. */
  #placeBeforeNewest(
    session: string,
    group: Group,
    count: number,
    upTo: number,
  ): LogPosition | undefined {
    return this.#window.placeBeforeNewest(session, group, count, upTo);
  }

  /** A hub that has just begun holds little until its window is filled. */
  async #replayWhenFilled(connection: Connection, count: number): Promise<void> {
    connection.askLog();
    const window = this.#window;
    await this.#filling;
    if (connection.ended || window !== this.#window) return;
    const { session, group, replayedTo } = connection;
    const place = this.#placeBeforeNewest(session, group, count, replayedTo);
    connection.cursor = place?.position ?? replayedTo;
    connection.place = place;
    connection.lag();
    this.catchUp(connection);
  }

  /** Whether the entry at a place is another one, as far as the window knows; else the log is asked. */
  #isAnother({ position, tag }: LogPosition): boolean {
    const window = this.#window;
    // A log that gives tags gives one with each position but 0.
    if (tag === undefined && position > 0 && window.tagAt(window.head) !== undefined) return true;
    return position >= window.start && position <= window.head && tag !== window.tagAt(position);
  }

  /** The first bytes of a stream: how long to wait before reconnecting, and where it goes on from. */
  protected preamble(connection: Connection): Chunk {
    const { cursor, lagging, isLost, isAwaiting, place, replayedTo } = connection;
    // Nor has it an id before it is known which events it begins with.
    if (isLost || (isAwaiting && cursor === replayedTo)) {
      return new Chunk(encode(`retry: ${this.#options.retry}\n\n`), 0);
    }
    // Not the position of a fan-out under way, which may not have reached this connection yet.
    const position = lagging ? cursor : Math.max(cursor, this.#settled);
    const id = place?.position === position
      ? formatCursor(this.#epoch, place)
      : this.idAt(position);
    if (this.#lastPreamble?.id !== id) {
      const text = `retry: ${this.#options.retry}\nid: ${id}\n\n`;
      this.#lastPreamble = { id, chunk: new Chunk(encode(text), 0) };
    }
    return this.#lastPreamble.chunk;
  }

  protected emptied(): void {
    this.#window.release();
  }

  /** Starts fan-outs unless they run. Everything sent in one turn of the event loop leaves together. */
  #start(): void {
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => this.#run());
  }

  async #run(): Promise<void> {
    while (this.#flushed < this.#window.head || this.#beatDue) {
      const wait = this.#notBefore - performance.now();
      if (wait > 0) await sleep(wait);
      const started = performance.now();
      this.#turns.begin();
      try {
        await this.#fanOut();
      } catch (error) {
        this.observer.failed("a fan-out", error);
      }
      // Its cost is known only when the event loop has come round: `enqueue` returns before anything is written.
      await this.#turns.next();
      const ended = performance.now();
      // Also if nothing new is there yet: with 6 000 connections and an event every 100 ms, fan-outs took 85 % of the
      // core from clients that were still connecting.
      const longest = Math.min(MAX_WAIT, this.registry.connections.size * MAX_WAIT_EACH);
      this.#notBefore = ended + Math.min(ended - started, longest);
    }
    this.#running = false;
  }

  async #fanOut(): Promise<void> {
    const window = this.#window;
    const news = { from: this.#settled, to: window.head };
    const { channels, everyone, alone, leaving, changes } = this.#recipients(news);
    const addresses = Array.from(channels, channelAddress);
    if (everyone) addresses.push(EVERYONE);
    const { maxBufferedBytes: limit } = this.#options;
    const range: ReadRange = { ...news, limit, live: true, addresses };
    const heartbeat = this.#beatDue ? this.#heartbeat(range.to) : undefined;
    this.#flushed = range.to;
    this.#beatDue = false;
    for (const change of changes) this.#applyEarly(change);
    const turns = this.#turns;
    // Sets and maps are gone through while others work in between, and what is added meanwhile is gone through as well.
    // It is safe: a connection that opened, caught up or changed its group meanwhile lags, or has its cursor at the end
    // of this range.
    const base = new Shared(everyone ? [EVERYONE] : []);
    const shared = new Map<Group, Shared>();
    const walk = this.#walk;
    walk.begin();
    for (const name of channels) {
      const channel = this.registry.channels.get(name);
      for (const group of channel?.groups ?? []) {
        shared.set(group, (shared.get(group) ?? base).and(channel!.address));
        if (walk.isOver() && await this.#isVoidAfterPause(window, walk)) return;
      }
    }
    turns.begin();
    const groups = everyone || heartbeat ? this.registry.groups : shared.keys();
    for (const group of groups) {
      const { chunk, position } = (shared.get(group) ?? base).read(window, range);
      for (const connection of group.connections) {
        if (connection.lagging) continue;
        if (connection.cursor > range.from || alone?.has(connection)) {
          this.#deliverAlone(connection, range, heartbeat);
        } else if (chunk !== undefined) this.#deliver(connection, range, chunk, position);
        else if (heartbeat && connection.ready) this.write(connection, heartbeat);
        if (turns.isOver() && await this.#isVoidAfterPause(window, turns)) return;
      }
    }
    for (const connection of alone ?? []) {
      this.#deliverAlone(connection, range, undefined);
      if (turns.isOver() && await this.#isVoidAfterPause(window, turns)) return;
    }
    for (const connection of leaving) if (!connection.lagging) this.end(connection, "disconnect");
    this.#settled = range.to;
    window.prune(this.#settled);
    this.#waiting = this.#waiting.filter(({ position, resolve }) => {
      if (position > this.#settled) return true;
      resolve();
      return false;
    });
  }

  /** Lets others work. Whether the log started over meanwhile: everyone has been reset then. */
  async #isVoidAfterPause(window: LogWindow, turns: Turns): Promise<boolean> {
    await turns.next();
    return window !== this.#window;
  }

  /** The recipients of a range: those of channels, and connections that get events of their own. */
  #recipients({ from, to }: { from: number; to: number }): {
    channels: Set<string>;
    everyone: boolean;
    alone: Set<Connection> | undefined;
    leaving: Connection[];
    changes: Change[];
  } {
    let everyone = false;
    const leaving: Connection[] = [];
    const changes: Change[] = [];
    // Each name once: there may be as many events as the history holds, and each to as many as there are connections.
    const sessions = new Set<string>();
    const channels = new Set<string>();
    for (const entry of this.#window.entries(from, to)) {
      if (entry.instruction !== undefined) {
        for (const connection of this.#dismiss(entry)) leaving.push(connection);
        const change = changeOf(entry);
        if (change === undefined) continue;
        changes.push(change);
        sessions.add(change.session);
        continue;
      }
      for (const session of entry.except ?? []) sessions.add(session);
      if (entry.to === EVERYONE) everyone = true;
      else (isSession(entry.to) ? sessions : channels).add(nameOf(entry.to));
    }
    let alone = leaving.length > 0 ? new Set(leaving) : undefined;
    for (const session of sessions) {
      for (const connection of this.registry.sessions.get(session) ?? []) {
        (alone ??= new Set()).add(connection);
      }
    }
    return { channels, everyone, alone, leaving, changes };
  }

  /** Gives a connection what is its own, up to each join or leave with the channels that it has by then. */
  #deliverAlone(connection: Connection, range: ReadRange, heartbeat: Chunk | undefined): void {
    const end = Math.min(range.to, connection.endsAt);
    let from = Math.max(connection.cursor, range.from);
    if (connection.lagging || connection.ended || from >= end) return;
    const chunks: Chunk[] = [];
    let bytes = 0;
    while (from < end) {
      const { session, group } = connection;
      const change = this.#changes.next(session, from);
      const to = Math.min(end, change?.position ?? end);
      const own = { ...range, from, to };
      const { chunk, position } = this.#window.read(session, group, own, false);
      if (chunk !== undefined) {
        if (!connection.ready) return this.#fallBehind(connection, from);
        if (bytes > 0 && bytes + chunk.bytes.length > range.limit) break;
        chunks.push(chunk);
        bytes += chunk.bytes.length;
      }
      from = connection.cursor = position;
      this.#apply(connection, change);
      if (position < to) break;
    }
    if (chunks.length > 0) this.write(connection, joinChunks(chunks));
    else if (heartbeat && connection.ready && from === range.to) this.write(connection, heartbeat);
    if (from < end) this.#goOn(connection);
  }

  #deliver(connection: Connection, range: ReadRange, chunk: Chunk, position: number): void {
    if (!connection.ready) {
      return this.#fallBehind(connection, Math.max(connection.cursor, range.from));
    }
    connection.cursor = position;
    this.write(connection, chunk);
    if (position < range.to) this.#goOn(connection);
  }

  /** There is no room for what comes after a position. */
  #fallBehind(connection: Connection, position: number): void {
    connection.cursor = position;
    connection.lag();
    if (connection.isUnread) this.#keepPlace(connection);
    // A stream that nobody has begun to read does not lag: its reader is on the way.
    else this.observer.lagged(connection);
  }

  /** It is more than fits in one chunk: the rest follows as the sink takes it. */
  #goOn(connection: Connection): void {
    if (connection.ended) return;
    connection.lag();
    this.catchUp(connection);
  }

  /** Its stream will begin with an id of where it stands, which the window may have forgotten by then. */
  #keepPlace(connection: Connection): void {
    const { cursor: position } = connection;
    connection.place = { position, tag: this.#window.tagAt(position) };
  }

  /** Gives a lagging connection what its sink has room for. */
  protected catchUp(connection: Connection): void {
    while (connection.ready && connection.lagging && !connection.isAwaiting) {
      if (connection.isLost) {
        this.#reset(connection);
        continue;
      }
      if (connection.cursor >= connection.endsAt) break;
      if (connection.cursor < this.#window.start) return void this.#readLog(connection);
      this.#rewind(connection);
      const { place } = connection;
      connection.place = undefined;
      // The window may have been filled since it was opened.
      if (place?.position === connection.cursor && this.#isAnother(place)) {
        this.#lose(connection);
        continue;
      }
      // Not beyond the last fan-out: a disconnect may be there, before the event that supersedes another. One that came
      // before a first visit does not count for that.
      const to = Math.min(Math.max(this.#flushed, connection.replayedTo), connection.endsAt);
      if (connection.cursor < to) {
        const { session, group, cursor: from } = connection;
        const { maxBufferedBytes: limit } = this.#options;
        const change = this.#changes.next(session, Math.max(from, connection.replayedTo));
        const range = { from, to: Math.min(to, change?.position ?? to), limit, block: BLOCK };
        const { chunk, position } = this.#window.read(session, group, range, true);
        connection.cursor = position;
        this.#apply(connection, change);
        if (chunk) this.write(connection, chunk);
      }
      if (connection.cursor >= to) connection.catchUp(connection.cursor);
    }
    if (connection.cursor >= connection.endsAt) this.end(connection, "disconnect");
  }

  /** Catches up from the log itself, where the window does not reach back far enough. */
  async #readLog(connection: Connection): Promise<void> {
    connection.askLog();
    const epoch = this.#epoch;
    try {
      if (this.#filling !== undefined && connection.cursor < this.#window.start) {
        await this.#filling;
        if (connection.ended || epoch !== this.#epoch) return;
        if (connection.cursor >= this.#window.start) {
          connection.lag();
          return this.catchUp(connection);
        }
      }
      const { head } = this.#window;
      const { cursor: position, place } = connection;
      const after = place?.position === position ? place : { position };
      const isHeld = await this.#rewindFromLog(connection, after);
      if (connection.ended || epoch !== this.#epoch) return;
      const entries = isHeld ? await this.#pages.read(after, head, this.#window.start) : null;
      // If the log started over meanwhile, the answer is void: a reset takes its place.
      if (connection.ended || epoch !== this.#epoch) return;
      connection.lag();
      if (entries === null) this.#lose(connection);
      // A stream that nobody has begun to read asks again when it has room.
      else if (connection.ready && connection.cursor < this.#window.start) {
        this.#deliverFromLog(connection, entries, head);
      }
      this.catchUp(connection);
    } catch (error) {
      this.observer.failed("reading the log", error);
      // The client comes back with the same cursor: late, but nothing is lost.
      if (epoch === this.#epoch) this.end(connection, "log");
    }
  }

  /** `head`: the window's head when the log was asked. Later entries are not in the answer, or only in part. */
  #deliverFromLog(connection: Connection, entries: readonly EncodedEntry[], head: number): void {
    const { session, group } = connection;
    const change = entries.map(changeOf).find((change) =>
      change?.session === session && change.position > connection.replayedTo
    );
    const start = Math.min(this.#window.start, connection.endsAt);
    const end = Math.min(start, change?.position ?? start);
    const before = entries.filter((entry) => entry.position <= end);
    const newest = before.at(-1)?.position ?? Math.max(connection.cursor, Math.min(end, head));
    const range = {
      to: before.length < entries.length ? end : newest,
      limit: this.#options.maxBufferedBytes,
    };
    // After a later disconnect or change it may not get the event that supersedes another.
    const next = this.#changes.next(
      session,
      Math.max(range.to, this.#changes.start, connection.replayedTo),
    );
    const upTo = this.knowsChangesAfter(range.to)
      ? Math.min(this.#flushed, connection.endsAt, change?.position ?? next?.position ?? Infinity)
      : range.to;
    const { chunk, position } = select(before, session, group, range, upTo);
    connection.cursor = position;
    this.#apply(connection, change);
    if (chunk) this.write(connection, chunk);
  }

  /** Tells a connection that it has lost events, and goes on from here. Waits until its sink has room. */
  #reset(connection: Connection): void {
    if (!connection.ready) return;
    const id = this.idAt(this.#flushed);
    connection.catchUp(this.#flushed);
    this.#rewind(connection);
    this.write(connection, new Chunk(encode(formatEvent(RESET, "{}", id)), 0));
    this.observer.reset(connection);
  }

  /** What comes after the cursor of a connection is not to be had any more. */
  #lose(connection: Connection): void {
    this.#skipChanges(connection, this.#flushed);
    connection.lose();
  }

  /** A change counts for a connection that has come to it. */
  #apply(connection: Connection, change: Change | undefined): void {
    if (change === undefined || connection.ended || connection.cursor !== change.position) return;
    this.#change(connection, [change]);
  }

  #change(connection: Connection, changes: readonly Change[]): void {
    const [change] = changes;
    if (change === undefined) return;
    const { registry } = this;
    if (changes.length > 1) {
      const channels = changed(connection.group.names, changes);
      registry.move(connection, registry.group(channels));
    } else if (change.joins) registry.join(connection, change.channel);
    else registry.leave(connection, change.channel);
    this.observer.moved(connection);
  }

  /**
   * A change that this server hears of now counts at once for those of its session that come from a server that was
   * ahead, and for those that are owed a reset.
   */
  #applyEarly(change: Change): void {
    const { session, position } = change;
    for (const connection of this.registry.sessions.get(session) ?? []) {
      if (connection.openedAt >= position) continue;
      if (connection.isLost || connection.cursor >= position) this.#change(connection, [change]);
    }
  }

  /** A connection gets nothing of what comes before `upTo`: what counts there is what it subscribes to then. */
  #skipChanges(connection: Connection, upTo: number): void {
    const { session, rewind, openedAt, lagging, isLost } = connection;
    const cursor = Math.max(connection.cursor, connection.replayedTo);
    connection.replayedTo = 0;
    // Up to here, changes were applied to those that are not behind. One that is ahead of this server stands beyond it.
    const applied = Math.max(openedAt, this.#settled);
    const got = lagging ? cursor : Math.max(cursor, this.#settled);
    const from = rewind?.from ?? (isLost ? applied : Math.min(got, applied));
    connection.rewind = undefined;
    if (from > upTo) {
      connection.rewind = rewind ?? { from, named: undefined };
      return;
    }
    if (this.knowsChangesAfter(from)) {
      this.#change(connection, this.#changes.between(session, from, upTo));
    } else this.end(connection, "log", farewell(this.#options.retry));
  }

  /**
   * A connection that resumes subscribes at its cursor to what it subscribed to then, if it is known what was changed
   * since. `older`: what was changed between its cursor and `known`.
   */
  #rewind(
    connection: Connection,
    known: number = connection.cursor,
    older: readonly Change[] = [],
  ): void {
    const { session, group, cursor, rewind } = connection;
    if (rewind === undefined || !this.knowsChangesAfter(known)) return;
    connection.rewind = undefined;
    const changes = [...older, ...this.#changes.between(session, known, rewind.from)];
    if (changes.length === 0) return;
    const earlier = this.#changes.between(session, 0, cursor);
    const channels = unchanged(group.names, changes, earlier, rewind.named);
    this.move(connection, this.registry.group(channels));
  }

  /** As {@link Delivery.#rewind}, with what only the log knows. Resolves to whether the log holds it. */
  async #rewindFromLog(connection: Connection, after: LogPosition): Promise<boolean> {
    const { rewind } = connection;
    const older: Change[] = [];
    let place = after;
    while (rewind !== undefined && !this.knowsChangesAfter(place.position)) {
      const entries = await this.#pages.read(place, this.head, this.#window.start);
      if (entries === null) return false;
      // It has ended meanwhile, or the log has started over.
      if (connection.ended || connection.rewind !== rewind) return true;
      for (const entry of entries) {
        const change = changeOf(entry);
        if (change?.session !== connection.session) continue;
        if (change.position <= rewind.from) older.push(change);
      }
      place = { position: entries.at(-1)?.position ?? this.#changes.start };
    }
    this.#rewind(connection, place.position, older);
    return true;
  }

  /** It keeps proxies and clients from giving up. The id keeps an idle client's position in the history. */
  #heartbeat(position: number): Chunk {
    const { heartbeat } = this.#options;
    return new Chunk(encode(`${heartbeat}id: ${this.idAt(position)}\n\n`), 0);
  }

  /** The connections that an instruction ends: those opened before it. They get nothing sent after it. */
  #dismiss(entry: EncodedEntry): Connection[] {
    if (entry.instruction?.event !== DISCONNECT) return [];
    const found = [...this.registry.sessions.get(nameOf(entry.to)) ?? []]
      .filter((connection) => connection.openedAt < entry.position);
    for (const connection of found) {
      connection.endsAt = Math.min(connection.endsAt, entry.position);
    }
    return found;
  }
}
