/**
 * An engine as a network log has one, in memory: it can be away, be trimmed, and lose what it acknowledged. Its entries
 * have tags, and gaps between them.
 *
 * @module
 */
import {
  type HistoryOptions,
  type Log,
  type LogEntry,
  type LogFollower,
  type LogPosition,
  type LogRecord,
  StreamsideError,
} from "../../mod.ts";

const GAP = 3;
let drawn = 0;
const draw = (): string => `t${(++drawn * 7919 + Math.floor(Math.random() * 1e9)).toString(36)}`;
const placeOf = ({ position, tag }: LogPosition): LogPosition =>
  tag === undefined ? { position } : { position, tag };

/** What stands behind several logs, each of which is a server's. */
export class TaggedEngine {
  epoch: string = draw();
  entries: LogEntry[] = [];
  start: LogPosition = { position: 0 };
  isAway = false;
  /** How often it was read. */
  reads = 0;
  readonly #bounds: HistoryOptions;
  readonly #keys = new Map<string, LogPosition>();
  readonly #logs = new Set<TaggedLog>();

  constructor(bounds: HistoryOptions = {}) {
    this.#bounds = bounds;
  }

  get head(): LogPosition {
    return this.entries.at(-1) ?? this.start;
  }

  /** A server's log. */
  connect(): Log {
    const log = new TaggedLog(this, () => this.#logs.delete(log));
    this.#logs.add(log);
    return log;
  }

  append(record: LogRecord): LogPosition {
    const { idempotencyKey = "" } = record;
    const first = this.#keys.get(idempotencyKey);
    if (first) return first;
    const place = { position: this.head.position + GAP, tag: draw() };
    this.entries.push({ ...place, time: Date.now(), record: JSON.parse(JSON.stringify(record)) });
    if (idempotencyKey !== "") this.#keys.set(idempotencyKey, place);
    this.trim();
    this.tell();
    return place;
  }

  /** The entry at a place, or the last that was trimmed, is what it was. */
  holds({ position, tag }: LogPosition): boolean {
    const at = position === this.start.position
      ? this.start
      : this.entries.find((entry) => entry.position === position);
    return at?.tag === tag;
  }

  trim(): void {
    const { events = Infinity, bytes = Infinity, age = Infinity } = this.#bounds;
    const size = () => this.entries.reduce((sum, { record }) => sum + record.data.length + 200, 0);
    const isOver = () =>
      this.entries.length > events || size() > bytes || this.entries[0]!.time < Date.now() - age;
    while (this.entries.length > 0 && isOver()) this.start = placeOf(this.entries.shift()!);
  }

  tell(): void {
    if (this.isAway) return;
    for (const log of this.#logs) log.tell();
  }

  interrupt(): Promise<() => void> {
    this.isAway = true;
    for (const log of this.#logs) log.failed();
    return Promise.resolve(() => {
      this.isAway = false;
      this.tell();
    });
  }

  /** Loses its newest entries, says nothing of it, and gives their positions to others. */
  lose(count = 2): void {
    this.entries.splice(-count);
    this.append({ to: "*", event: "e", data: "after the loss" });
  }
}

interface Follower {
  readonly follower: LogFollower;
  epoch: string;
  told: LogPosition;
}

class TaggedLog implements Log {
  readonly #engine: TaggedEngine;
  readonly #forget: () => void;
  readonly #followers = new Set<Follower>();
  #isClosed = false;

  constructor(engine: TaggedEngine, forget: () => void) {
    this.#engine = engine;
    this.#forget = forget;
  }

  follow(follower: LogFollower): () => void {
    const { epoch, head, start } = this.#engine;
    const state = { follower, epoch, told: head };
    follower.opened(epoch, placeOf(head), start);
    this.#followers.add(state);
    return () => this.#followers.delete(state);
  }

  append(record: LogRecord): Promise<LogPosition> {
    return this.#ask(() => this.#engine.append(record));
  }

  read(after: LogPosition, limit: number): Promise<LogEntry[] | null> {
    return this.#ask(() => {
      const engine = this.#engine;
      engine.reads++;
      engine.trim();
      const { start, head, entries } = engine;
      const isOutside = after.position < start.position || after.position > head.position;
      if (isOutside || (after.tag !== undefined && !engine.holds(after))) return null;
      // A few at a time, as a log that bounds its answers does.
      return entries.filter(({ position }) => position > after.position)
        .slice(0, Math.min(limit, 100));
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#forget();
  }

  failed(): void {
    for (const { follower } of this.#followers) follower.failed(new Error("the engine is away"));
  }

  /** Looks what is new, as after a notification. */
  tell(): void {
    const engine = this.#engine;
    for (const state of this.#followers) {
      // The first server that notices gives it another epoch; the others find that.
      if (state.epoch === engine.epoch && this.#hasLost(state.told)) engine.epoch = draw();
      const { epoch, start, entries, head } = engine;
      const isBehind = state.told.position < start.position;
      if (state.epoch !== epoch || isBehind) {
        Object.assign(state, { epoch, told: placeOf(head) });
        state.follower.opened(epoch, placeOf(head), start);
        continue;
      }
      const news = entries.filter(({ position }) => position > state.told.position);
      if (news.length === 0) state.follower.opened(epoch, placeOf(head), start);
      else state.follower.appended(news);
      state.told = placeOf(head);
    }
  }

  #hasLost(told: LogPosition): boolean {
    const { start, head } = this.#engine;
    return told.position > head.position ||
      (told.position >= start.position && !this.#engine.holds(told));
  }

  #ask<T>(answer: () => T): Promise<T> {
    return new Promise((resolve, reject) =>
      setTimeout(() => {
        if (this.#isClosed) return reject(new StreamsideError("closed", "The log is closed."));
        if (this.#engine.isAway) {
          return reject(new StreamsideError("log-unavailable", "The engine is away."));
        }
        resolve(answer());
      })
    );
  }
}
