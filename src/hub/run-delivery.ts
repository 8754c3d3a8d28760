/**
 * Delivery of runs: their readers, each a cursor into the history of one run, and nothing else.
 *
 * Live delivery and catching up are one operation here: a reader whose sink has room reads its run's window from its
 * cursor. Readers at the same place share the bytes.
 *
 * @module
 */

import { encode, formatEvent, RESET } from "../event-format.ts";
import { EVERYONE } from "../log/address.ts";
import { Connection, type ConnectionStart, type EndReason } from "./connection.ts";
import type { Group } from "./registry.ts";
import { farewell } from "./drain.ts";
import { type HeldRun, runEventId } from "./held-run.ts";
import { Places, type PlacesObserver } from "./places.ts";
import type { Audience } from "./read.ts";
import { Chunk } from "./sink.ts";
import { sleep, Turns } from "./turns.ts";

/** The longest wait between two fan-outs, in ms for each reader and of all: see the ones of `delivery.ts`. */
const MAX_WAIT_EACH = 0.012;
const MAX_WAIT = 40;
/** Readers that catch up meet at multiples of this number. */
const BLOCK = 256;

/** All events of a run are for whoever reads it. */
const READERS: Audience = {
  addresses: [EVERYONE],
  size: 1,
  hears: (address) => address === EVERYONE,
};

/** What the delivery of runs needs from the hub. */
export interface RunDeliveryOptions {
  readonly maxBufferedBytes: number;
  readonly retry: number;
  /** The fields of a heartbeat, but for its id. */
  readonly heartbeat: string;
  /** Fills a run's window from the log. */
  readonly fill: (run: HeldRun) => Promise<void>;
}

/** What a run's reader begins with. */
export interface RunReaderStart extends Omit<ConnectionStart, "channels" | "position"> {
  /** It goes on after this event. `undefined`: it has an id that is not of this run. */
  readonly after: number | undefined;
  /** Where the hub's log stands: a disconnect after it ends the reader. */
  readonly openedAt: number;
}

/** The readers of runs. */
export class RunDelivery extends Places {
  readonly #options: RunDeliveryOptions;
  readonly #runs = new WeakMap<Group, HeldRun>();
  /** The runs that have something new. */
  readonly #changed = new Set<HeldRun>();
  #isBeatDue = false;
  #running = false;
  #pass: Promise<void> = Promise.resolve();
  readonly #turns = new Turns();

  /** No readers yet. */
  constructor(options: RunDeliveryOptions, observer: PlacesObserver) {
    super(observer);
    this.#options = options;
  }

  /** Adds a reader of a run. */
  add(run: HeldRun, { after, openedAt, ...start }: RunReaderStart): Connection {
    const group = this.registry.group(new Set([run.id]));
    this.#runs.set(group, run);
    const channels = group.names;
    const position = after === undefined ? null : { position: after };
    const connection = new Connection(this, { ...start, channels, position }, group, openedAt);
    this.registry.add(connection);
    this.watch(connection);
    return connection;
  }

  /** A run has new events, or has ended. */
  changed(run: HeldRun): void {
    this.#changed.add(run);
    this.#start();
  }

  /** Ends what a session opened before a position of the hub's log. */
  disconnect(session: string, position: number): void {
    for (const connection of [...this.registry.sessions.get(session) ?? []]) {
      if (connection.openedAt < position) this.end(connection, "disconnect");
    }
  }

  /** Ends the readers of one run, or of all, which come back. */
  dismiss(reason: EndReason, run?: HeldRun): void {
    for (const connection of [...this.registry.connections]) {
      if (run !== undefined && this.#runOf(connection) !== run) continue;
      this.end(connection, reason, farewell(this.#options.retry));
    }
  }

  beat(): void {
    for (const group of this.registry.groups) this.#runs.get(group)?.window.release();
    this.#isBeatDue = true;
    this.#start();
  }

  /** What is held of runs is forgotten by those who keep them. */
  prune(): void {}

  flushed(): Promise<void> {
    return this.#pass;
  }

  protected emptied(): void {}

  protected preamble(connection: Connection): Chunk {
    const { id } = this.#runOf(connection);
    const place = connection.isLost ? "" : `id: ${runEventId(id, connection.cursor)}\n`;
    return new Chunk(encode(`retry: ${this.#options.retry}\n${place}\n`), 0);
  }

  protected catchUp(connection: Connection): void {
    const run = this.#runOf(connection);
    while (connection.ready && connection.lagging && !connection.isAwaiting) {
      const { window, isPartial } = run;
      if (connection.isLost || connection.cursor < window.start) {
        if (isPartial) return void this.#fill(connection, run);
        this.#reset(connection, run);
      } else if (connection.cursor < window.head) {
        const { maxBufferedBytes: limit } = this.#options;
        const range = { from: connection.cursor, to: window.head, limit, block: BLOCK };
        const { chunk, position } = window.readForAudience(READERS, range);
        connection.cursor = position;
        if (chunk) this.write(connection, chunk);
      } else if (run.end !== undefined) {
        this.deliveries += run.last.events;
        this.bytes += run.last.bytes.length;
        this.end(connection, "ended", run.last);
      } else connection.catchUp(connection.cursor);
    }
  }

  #runOf({ group }: Connection): HeldRun {
    return this.#runs.get(group)!;
  }

  /** Waits for the log to say what comes before the events of the window. */
  async #fill(connection: Connection, run: HeldRun): Promise<void> {
    const { isLost } = connection;
    connection.askLog();
    try {
      await this.#options.fill(run);
      if (connection.ended) return;
      if (isLost) connection.lose();
      else connection.lag();
      this.catchUp(connection);
    } catch (error) {
      this.observer.failed("reading a run from the log", error);
      // The client comes back with the same cursor: late, but nothing is lost.
      this.end(connection, "log", farewell(this.#options.retry));
    }
  }

  /** Tells a reader that something is missing, and goes on with the oldest event that is held. */
  #reset(connection: Connection, { id, window }: HeldRun): void {
    const text = formatEvent(RESET, "{}", runEventId(id, window.start));
    connection.catchUp(window.start);
    connection.lag();
    this.write(connection, new Chunk(encode(text), 0));
    this.observer.reset(connection);
  }

  /** Starts fan-outs unless they run. What comes in one turn of the event loop leaves together. */
  #start(): void {
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => this.#run());
  }

  /** As in {@link Delivery}, half of the core stays free for the rest of the process. */
  async #run(): Promise<void> {
    while (this.#changed.size > 0 || this.#isBeatDue) {
      const started = performance.now();
      this.#turns.begin();
      this.#pass = this.#fanOut().catch((error) => this.observer.failed("a fan-out", error));
      await this.#pass;
      // Its cost is known only when the event loop has come round: `enqueue` returns before anything is written.
      await this.#turns.next();
      const took = performance.now() - started;
      const longest = Math.min(MAX_WAIT, this.registry.connections.size * MAX_WAIT_EACH);
      const wait = Math.min(took, longest);
      // A timer takes a millisecond at least.
      if (wait >= 1) await sleep(wait);
    }
    this.#running = false;
  }

  async #fanOut(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const run of changed) {
      const group = this.registry.channels.get(run.id)?.groups
        .find(({ connections }) => connections.size > 0);
      if (group === undefined) continue;
      // What readers that caught up have shared lately. Live ones are all at one place.
      run.window.release();
      for (const connection of group.connections) {
        this.#deliver(connection);
        if (this.#turns.isOver()) await this.#turns.next();
      }
    }
    if (!this.#isBeatDue) return;
    this.#isBeatDue = false;
    for (const connection of this.registry.connections) {
      if (connection.ready && !connection.lagging) {
        this.write(connection, this.#heartbeat(connection));
      }
      if (this.#turns.isOver()) await this.#turns.next();
    }
  }

  #deliver(connection: Connection): void {
    if (connection.ended || connection.lagging) return;
    connection.lag();
    if (connection.ready) this.catchUp(connection);
    // A stream that nobody has begun to read does not lag: its reader is on the way.
    else if (!connection.isUnread) this.observer.lagged(connection);
  }

  /** It keeps proxies and clients from giving up. */
  #heartbeat(connection: Connection): Chunk {
    const id = runEventId(this.#runOf(connection).id, connection.cursor);
    return new Chunk(encode(`${this.#options.heartbeat}id: ${id}\n\n`), 0);
  }
}
