/**
 * The connections of a process, from their opening until their readers have left: how they are written to, how they
 * end, and which readers are looked at.
 *
 * What they are given is for others to say: {@link Delivery} gives them the hub's log.
 *
 * @module
 */

import type { Connection, ConnectionOwner, EndReason } from "./connection.ts";
import { type Group, Registry } from "./registry.ts";
import type { Chunk } from "./sink.ts";

/** Who is told what happens to connections. */
export interface PlacesObserver {
  /** A connection began to lag. */
  lagged(connection: Connection): void;
  /** A connection was told that it has lost events. */
  reset(connection: Connection): void;
  /** A connection ended: it gets no more events. */
  ended(connection: Connection, reason: EndReason): void;
  /** A connection subscribes to other channels than before. */
  moved(connection: Connection): void;
  /** The place of an ended connection is free: its reader has taken the rest, or was given up. */
  left(): void;
  /** Something failed, and there is no caller to tell. */
  failed(what: string, error: unknown): void;
}

/** Connections and the places that they take. */
export abstract class Places implements ConnectionOwner {
  /** Who is connected. */
  readonly registry: Registry = new Registry();
  /** Connections that are closing, each with its last bytes. */
  readonly closing: Map<Connection, Chunk | undefined> = new Map();
  /**
   * Connections whose readers had no room after a write, or have not begun to read. Whoever looks at them takes those
   * out that have room again.
   */
  readonly watched: Set<Connection> = new Set();
  /** How many events were handed to sinks. */
  deliveries = 0;
  /** How many bytes were handed to sinks. */
  bytes = 0;
  /** Who is told. */
  protected readonly observer: PlacesObserver;

  /** No connections yet. */
  constructor(observer: PlacesObserver) {
    this.observer = observer;
  }

  /** How many connections take a place: the open ones, and ended ones whose readers hold on to them. */
  get places(): number {
    return this.registry.connections.size + this.closing.size;
  }

  /** How many connections lag. */
  get lagging(): number {
    let lagging = 0;
    for (const connection of this.registry.connections) if (connection.lagging) lagging++;
    return lagging;
  }

  /** Sends a heartbeat to every live connection that gets nothing else. */
  abstract beat(): void;

  /** Forgets history that is too old. */
  abstract prune(): void;

  /** Resolves when every live connection has everything that has come so far. */
  abstract flushed(): Promise<void>;

  /** The first bytes of a stream: how long to wait before reconnecting, and where it goes on from. */
  protected abstract preamble(connection: Connection): Chunk;

  /** Gives a lagging connection what its sink has room for. */
  protected abstract catchUp(connection: Connection): void;

  /** The last connection has ended. */
  protected abstract emptied(): void;

  /** Ends a connection: its stream ends after `last`, or at once when the reader takes nothing. */
  end(connection: Connection, reason: EndReason, last?: Chunk): void {
    if (connection.ended) return;
    const takesNothing = !connection.isUnread && !connection.ready;
    // A replaced connection no longer counts against its session, so slow ones could pile up. It is cut; its client
    // asks again for what it missed.
    const isCut = reason === "stalled" || (reason === "replaced" && takesNothing);
    // What the reader has not taken yet goes first.
    if (takesNothing && !isCut) {
      this.closing.set(connection, last);
      this.#remove(connection, reason, "later");
      return;
    }
    this.#remove(connection, reason, "at once");
    if (isCut) connection.sink?.abort();
    else connection.sink?.end(last);
  }

  /** Lets go of a closing connection whose reader takes nothing: it must not keep its place for ever. */
  abandon(connection: Connection): void {
    if (!connection.isClosing) return;
    this.#leave(connection);
    connection.sink?.abort();
  }

  gone(connection: Connection): void {
    if (connection.isClosing) this.#leave(connection);
    else if (!connection.ended) this.#remove(connection, "client", "at once");
  }

  drained(connection: Connection): void {
    if (connection.isClosing) {
      const last = this.closing.get(connection);
      this.#leave(connection);
      connection.sink?.end(last);
    }
    if (connection.ended) return;
    const isNew = connection.isUnread;
    connection.makeReady();
    if (isNew) this.write(connection, this.preamble(connection));
    if (connection.lagging) this.catchUp(connection);
  }

  /** Puts a connection among those whose readers are looked at. */
  protected watch(connection: Connection): void {
    if (connection.isWatched || connection.ended) return;
    connection.isWatched = true;
    this.watched.add(connection);
  }

  /** Puts a connection into another group. */
  protected move(connection: Connection, group: Group): void {
    if (group === connection.group) return;
    this.registry.move(connection, group);
    this.observer.moved(connection);
  }

  /** Takes a connection out of {@link Places.watched}. */
  unwatch(connection: Connection): void {
    connection.isWatched = false;
    this.watched.delete(connection);
  }

  /** A connection ends: nothing more is addressed to it. */
  #remove(connection: Connection, reason: EndReason, how: "at once" | "later"): void {
    connection.close(how);
    this.registry.remove(connection);
    if (this.registry.connections.size === 0) this.emptied();
    this.observer.ended(connection, reason);
    if (how === "at once") this.#leave(connection);
  }

  /** The reader of an ended connection has nothing more to take. */
  #leave(connection: Connection): void {
    connection.close("at once");
    this.closing.delete(connection);
    this.unwatch(connection);
    this.observer.left();
  }

  /** Hands a connection, whose sink has room, a chunk. */
  protected write(connection: Connection, chunk: Chunk): void {
    this.deliveries += chunk.events;
    this.bytes += chunk.bytes.length;
    try {
      if (!connection.write(chunk)) this.watch(connection);
    } catch (error) {
      // A middleware may have wrapped the response in anything. If that fails, this connection ends, and no other.
      this.observer.failed("writing to a connection", error);
      if (!connection.ended) this.#remove(connection, "client", "at once");
      connection.sink!.abort();
    }
  }
}
