/**
 * Who is connected: the connections of a process by session, by channel, and by what they subscribe to.
 *
 * @module
 */

import { type Address, EVERYONE, isSession, nameOf } from "../log/address.ts";
import type { Connection, Group } from "./connection.ts";
import { Audience } from "./read.ts";

/** Who subscribes to a channel. */
export interface Channel {
  /** The groups. */
  readonly groups: Set<Group>;
  /** How many connections these are: each send says so, and there may be as many groups as connections. */
  connections: number;
}

/** The open connections of a process. */
export class Registry {
  /** Every connection. */
  readonly connections: Set<Connection> = new Set();
  /** The connections of each session. */
  readonly sessions: Map<string, Set<Connection>> = new Map();
  /** Each channel that somebody subscribes to. */
  readonly channels: Map<string, Channel> = new Map();
  readonly #groups = new Map<string, Group>();

  /** All connections, grouped by what they subscribe to. */
  get groups(): Iterable<Group> {
    return this.#groups.values();
  }

  /** Adds a connection, whose group comes from {@link Registry.group}. */
  add(connection: Connection): void {
    const { session, group } = connection;
    this.connections.add(connection);
    this.#enter(connection, group);
    const ofSession = this.sessions.get(session);
    if (ofSession) ofSession.add(connection);
    else this.sessions.set(session, new Set([connection]));
  }

  /** Puts a connection into another group. */
  move(connection: Connection, group: Group): void {
    if (group === connection.group) return;
    // Before the old one is left: a channel that is in both stays.
    this.#enter(connection, group);
    this.#leave(connection, connection.group);
    connection.group = group;
  }

  /** Takes a connection out. */
  remove(connection: Connection): void {
    const { session, group } = connection;
    this.connections.delete(connection);
    const ofSession = this.sessions.get(session)!;
    ofSession.delete(connection);
    if (ofSession.size === 0) this.sessions.delete(session);
    this.#leave(connection, group);
  }

  /** How many connections an address reaches. */
  count(to: Address, except?: readonly string[]): number {
    if (to === EVERYONE) {
      let count = this.connections.size;
      for (const session of new Set(except)) count -= this.sessions.get(session)?.size ?? 0;
      return count;
    }
    const name = nameOf(to);
    if (isSession(to)) return this.sessions.get(name)?.size ?? 0;
    let count = this.channels.get(name)?.connections ?? 0;
    for (const session of new Set(except)) {
      for (const { group } of this.sessions.get(session) ?? []) {
        if (group.audience.channels.has(name)) count--;
      }
    }
    return count;
  }

  /** The group of all who subscribe to these channels. */
  group(channels: ReadonlySet<string>): Group {
    const name = JSON.stringify([...channels].sort());
    let group = this.#groups.get(name);
    if (group) return group;
    group = { name, audience: new Audience(channels), connections: new Set() };
    this.#groups.set(name, group);
    for (const name of channels) {
      const channel = this.channels.get(name);
      if (channel) channel.groups.add(group);
      else this.channels.set(name, { groups: new Set([group]), connections: 0 });
    }
    return group;
  }

  #enter(connection: Connection, group: Group): void {
    group.connections.add(connection);
    for (const name of group.audience.channels) this.channels.get(name)!.connections++;
  }

  #leave(connection: Connection, group: Group): void {
    group.connections.delete(connection);
    for (const name of group.audience.channels) this.channels.get(name)!.connections--;
    if (group.connections.size === 0) this.#removeGroup(group);
  }

  #removeGroup(group: Group): void {
    this.#groups.delete(group.name);
    for (const name of group.audience.channels) {
      const { groups } = this.channels.get(name)!;
      groups.delete(group);
      if (groups.size === 0) this.channels.delete(name);
    }
  }
}
