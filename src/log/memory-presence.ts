/**
 * Who is online, by a log in this process's memory: the hubs on it are the servers.
 *
 * None of them can die alone, so none is ever lost, however long the process was held up. What was said is kept for as
 * long as it may be asked for.
 *
 * @module
 */

import { closed } from "./closed.ts";
import {
  PRESENCE_MEMORY,
  type PresenceAnswer,
  type PresenceLog,
  type PresenceUpdate,
} from "./presence-log.ts";

/** The presence of a {@link memoryLog}. */
export class MemoryPresence implements PresenceLog {
  /** The channels of each session of each server. */
  readonly #servers = new Map<string, Map<string, readonly string[]>>();
  /** What was said lately, the oldest first. */
  #said: { readonly update: PresenceUpdate; readonly time: number }[] = [];
  /** How many updates were said before those. */
  #forgotten = 0;
  readonly #watchers = new Set<() => void>();
  #isClosed = false;

  exchange(update: PresenceUpdate, _lease: number, since?: unknown): Promise<PresenceAnswer> {
    if (this.#isClosed) return Promise.reject(closed());
    const isKnown = update.isWhole || update.gone !== undefined || this.#servers.has(update.server);
    const isNews = update.isWhole || update.gone !== undefined || update.sessions.length > 0;
    if (isKnown && isNews) this.#take(update);
    this.#forget();
    return Promise.resolve({ isKnown, ...this.#answer(since) });
  }

  watch(changed: () => void): () => void {
    if (!this.#isClosed) this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  /** Lets go of everything. */
  close(): void {
    this.#isClosed = true;
    this.#servers.clear();
    this.#watchers.clear();
    this.#said = [];
  }

  #take(update: PresenceUpdate): void {
    const { server, isWhole, sessions, gone } = update;
    let known = this.#servers.get(server);
    if (gone !== undefined) this.#servers.delete(server);
    else if (known === undefined || isWhole) this.#servers.set(server, known = new Map());
    for (const { session, channels } of sessions) {
      if (channels === undefined) known?.delete(session);
      else known?.set(session, channels);
    }
    this.#said.push({ update, time: performance.now() });
    for (const changed of this.#watchers) changed();
  }

  #forget(): void {
    const oldest = performance.now() - PRESENCE_MEMORY;
    let count = 0;
    while (count < this.#said.length && this.#said[count]!.time < oldest) count++;
    if (count === 0) return;
    this.#said.splice(0, count);
    this.#forgotten += count;
  }

  #answer(since: unknown): Omit<PresenceAnswer, "isKnown"> {
    if (since === undefined) return { isAnew: false, updates: [], left: [] };
    const cursor = this.#forgotten + this.#said.length;
    if (typeof since === "number" && since >= this.#forgotten) {
      const updates = this.#said.slice(since - this.#forgotten).map(({ update }) => update);
      return { cursor, isAnew: false, updates, left: [] };
    }
    const updates = Array.from(this.#servers, ([server, sessions]) => ({
      server,
      isWhole: true,
      sessions: Array.from(sessions, ([session, channels]) => ({ session, channels })),
    }));
    const left = this.#said.flatMap(({ update }) =>
      update.sessions.filter(({ channels }) => channels === undefined)
        .map(({ session }) => session)
    );
    return { cursor, isAnew: true, updates, left };
  }
}
