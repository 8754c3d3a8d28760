/**
 * Who is online on all servers, as a hub has heard of it, and who goes and comes.
 *
 * A session that is connected to no server is `leaving` for a while: if it comes back meanwhile, nothing has happened.
 *
 * @module
 */

import type { PresenceAnswer, PresenceUpdate } from "../log/presence-log.ts";

/** Who is told. */
export interface PresenceObserver {
  /** A session has come, or is back after it was said to be offline. */
  online(session: string): void;
  /** A session has been gone for longer than it may. */
  offline(session: string): void;
}

/** The sessions of all servers. */
export class PresenceView {
  /** The channels of each session of each server. */
  readonly #servers = new Map<string, Map<string, readonly string[]>>();
  /** On how many servers a session is: 0 for one that is leaving. */
  readonly #sessions = new Map<string, number>();
  /** When those that are leaving are offline, by `performance.now()`. */
  readonly #leaving = new Map<string, number>();
  readonly #observer: PresenceObserver;
  readonly #grace: number;
  /** Nobody is offline before: what is known may be old. */
  #notBefore = 0;

  /** Nobody is there. `grace`: how long a session may be gone, in ms. */
  constructor(grace: number, observer: PresenceObserver) {
    this.#grace = grace;
    this.#observer = observer;
  }

  /** Whether somebody is leaving. */
  get isWaiting(): boolean {
    return this.#leaving.size > 0;
  }

  /** The sessions that are connected to any server, or those of them that subscribe to a channel. */
  list(channel?: string): string[] {
    if (channel === undefined) {
      return [...this.#sessions.keys()].filter((session) => this.#sessions.get(session)! > 0);
    }
    const found = new Set<string>();
    for (const sessions of this.#servers.values()) {
      for (const [session, channels] of sessions) {
        if (channels.includes(channel)) found.add(session);
      }
    }
    return [...found];
  }

  /** Nobody is offline for so long, in ms: who is not there yet may be on the way. */
  wait(ms: number): void {
    this.#notBefore = performance.now() + ms;
  }

  /** Takes what a log has told. Nobody is told of those who come while it is `silent`. */
  apply({ isAnew, updates, left }: PresenceAnswer, silent: boolean): void {
    const come: string[] = [];
    if (isAnew) {
      const there = new Set(updates.map(({ server }) => server));
      for (const server of [...this.#servers.keys()]) {
        if (!there.has(server)) this.#remove(server, this.#grace);
      }
      for (const session of left) {
        if (this.#sessions.has(session)) continue;
        this.#sessions.set(session, 0);
        this.#leave(session, this.#grace);
      }
    }
    for (const update of updates) this.#take(update, come);
    // Some have gone again.
    if (!silent) { for (const session of come) this.#observer.online(session); }
  }

  /** Tells of those that have been gone for long enough. */
  settle(silent: boolean): void {
    const now = performance.now();
    if (now < this.#notBefore) return;
    for (const [session, due] of this.#leaving) {
      if (due > now) continue;
      this.#leaving.delete(session);
      this.#sessions.delete(session);
      if (!silent) this.#observer.offline(session);
    }
  }

  #take({ server, isWhole, sessions, gone }: PresenceUpdate, come: string[]): void {
    // Whoever was on a server that is lost has had its lease for coming back.
    if (gone !== undefined) return this.#remove(server, gone === "lost" ? 0 : this.#grace);
    let known = this.#servers.get(server);
    if (known === undefined) this.#servers.set(server, known = new Map());
    const before = isWhole ? new Set(known.keys()) : undefined;
    for (const { session, channels } of sessions) {
      before?.delete(session);
      if (channels === undefined) {
        if (known.delete(session)) this.#leave(session, this.#grace);
        continue;
      }
      if (!known.has(session)) this.#enter(session, come);
      known.set(session, channels);
    }
    for (const session of before ?? []) {
      known.delete(session);
      this.#leave(session, this.#grace);
    }
  }

  #remove(server: string, grace: number): void {
    const sessions = this.#servers.get(server);
    this.#servers.delete(server);
    for (const session of sessions?.keys() ?? []) this.#leave(session, grace);
  }

  #enter(session: string, come: string[]): void {
    const count = this.#sessions.get(session);
    this.#sessions.set(session, (count ?? 0) + 1);
    this.#leaving.delete(session);
    if (count === undefined) come.push(session);
  }

  #leave(session: string, grace: number): void {
    const count = Math.max(0, this.#sessions.get(session)! - 1);
    this.#sessions.set(session, count);
    if (count === 0) this.#leaving.set(session, performance.now() + grace);
  }
}
