/**
 * Who is connected: the connections of a process by session, by channel, and by what they subscribe to.
 *
 * There may be as many groups as connections, each with a hundred channels. So a group holds its channels as the numbers
 * that these have here, in a string, which is also what it is found by; and a channel holds its groups in an array, in
 * which those that are gone stay until they are half of it. Both sides of a subscription take some 14 bytes together.
 *
 * A connection that joins or leaves one channel goes to a neighbour of its group. Nothing changes for the other channels
 * where it takes its group along, because it is alone there, or where both groups have others, too.
 *
 * @module
 */

import { type Address, channelAddress, EVERYONE, isSession, nameOf } from "../log/address.ts";
import type { Connection } from "./connection.ts";
import type { Audience } from "./read.ts";

/** From so many groups on, those that are gone are looked for. */
const MANY = 16;

/** Who subscribes to a channel. */
export class Channel {
  /** Its name. */
  readonly name: string;
  /** Its address. */
  readonly address: Address;
  /** What it is called in the groups' strings. No other channel of now has it. */
  readonly number: number;
  /** How many connections subscribe to it: each send says so. */
  connections = 0;
  #groups: Group[] = [];
  /** How many of the groups are gone: they have no connections any more. */
  #gone = 0;
  /** Those of the groups that have left, and have connections. */
  #left: Set<Group> | undefined;

  /** A channel that nobody subscribes to yet. */
  constructor(name: string, number: number) {
    this.name = name;
    this.address = channelAddress(name);
    this.number = number;
  }

  /** The groups that subscribe to it, and perhaps some that have no connections any more. */
  get groups(): readonly Group[] {
    if (this.#left !== undefined) this.#clean();
    return this.#groups;
  }

  /** No group subscribes to it any more. */
  get isEmpty(): boolean {
    return this.#away === this.#groups.length;
  }

  /** Adds a group. */
  add(group: Group): void {
    if (!this.#left?.delete(group)) this.#groups.push(group);
  }

  /** One of its groups, which has connections, subscribes to it no more. */
  leave(group: Group): void {
    this.#left ??= new Set();
    this.#left.add(group);
    this.#cleanWhenDue();
  }

  /** One of its groups has no connections any more. */
  forget(): void {
    this.#gone++;
    this.#cleanWhenDue();
  }

  get #away(): number {
    return this.#gone + (this.#left?.size ?? 0);
  }

  #cleanWhenDue(): void {
    if (this.#groups.length >= MANY && this.#away * 2 >= this.#groups.length) this.#clean();
  }

  #clean(): void {
    const left = this.#left;
    this.#groups = this.#groups.filter((group) => group.connections.size > 0 && !left?.has(group));
    this.#gone = 0;
    this.#left = undefined;
  }
}

/** The channels of a registry. */
export interface ChannelTable {
  /** By their names. */
  readonly channels: ReadonlyMap<string, Channel>;
  /** By their numbers. */
  readonly table: readonly (Channel | undefined)[];
}

/** A group of connections that subscribe to the same channels. */
export class Group implements Audience {
  /** The numbers of its channels, from the lowest to the highest, each as two UTF-16 units. */
  key: string;
  /** Who they are. */
  readonly connections: Set<Connection> = new Set();
  readonly #registry: ChannelTable;

  /** A group of nobody yet, whose channels a registry has. */
  constructor(key: string, registry: ChannelTable) {
    this.key = key;
    this.#registry = registry;
  }

  /** Its channels. */
  get channels(): Channel[] {
    const { key } = this;
    const { table } = this.#registry;
    const channels: Channel[] = [];
    for (let i = 0; i < key.length; i += 2) channels.push(table[numberAt(key, i)]!);
    return channels;
  }

  get size(): number {
    return this.key.length / 2 + 1;
  }

  hears(address: Address): boolean {
    if (address === EVERYONE) return true;
    if (isSession(address)) return false;
    const channel = this.#registry.channels.get(nameOf(address));
    return channel !== undefined && has(this.key, channel.number);
  }

  /** The names of its channels. */
  get names(): Set<string> {
    return new Set(this.channels.map(({ name }) => name));
  }

  get addresses(): Address[] {
    const addresses = [EVERYONE];
    for (const { address } of this.channels) addresses.push(address);
    return addresses;
  }
}

/** The open connections of a process. */
export class Registry implements ChannelTable {
  /** Every connection. */
  readonly connections: Set<Connection> = new Set();
  /** The connections of each session. */
  readonly sessions: Map<string, Set<Connection>> = new Map();
  /** Each channel that somebody subscribes to. */
  readonly channels: Map<string, Channel> = new Map();
  readonly #groups = new Map<string, Group>();
  /** The channels by their numbers. */
  readonly table: (Channel | undefined)[] = [];
  /** The numbers that are free. */
  readonly #numbers: number[] = [];

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

  /** A connection subscribes to one channel more. */
  join(connection: Connection, name: string): void {
    const { key } = connection.group;
    const channel = this.#channel(name);
    if (has(key, channel.number)) return;
    const index = indexOf(key, channel.number);
    const longer = key.slice(0, index) + format(channel.number) + key.slice(index);
    this.#shift(connection, longer, channel, true);
  }

  /** A connection subscribes to one channel less. */
  leave(connection: Connection, name: string): void {
    const { key } = connection.group;
    const channel = this.channels.get(name);
    if (channel === undefined || !has(key, channel.number)) return;
    const index = indexOf(key, channel.number);
    const shorter = key.slice(0, index) + key.slice(index + 2);
    this.#shift(connection, shorter, channel, false);
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
    const channel = this.channels.get(name);
    if (channel === undefined) return 0;
    let count = channel.connections;
    for (const session of new Set(except)) {
      for (const { group } of this.sessions.get(session) ?? []) {
        if (has(group.key, channel.number)) count--;
      }
    }
    return count;
  }

  /** The group of all who subscribe to these channels, to which somebody is added now. */
  group(channels: Iterable<string>): Group {
    const numbers = Array.from(new Set(channels), (name) => this.#channel(name).number);
    return this.#find(numbers.sort((one, other) => one - other).map(format).join(""));
  }

  #find(key: string): Group {
    return this.#groups.get(key) ?? this.#create(key);
  }

  #create(key: string): Group {
    const group = new Group(key, this);
    this.#groups.set(key, group);
    for (const channel of group.channels) channel.add(group);
    return group;
  }

  #channel(name: string): Channel {
    let channel = this.channels.get(name);
    if (channel !== undefined) return channel;
    channel = new Channel(name, this.#numbers.pop() ?? this.table.length);
    this.table[channel.number] = channel;
    this.channels.set(name, channel);
    return channel;
  }

  /** A connection goes to the group of `key`, which has one channel more or less than its own. */
  #shift(connection: Connection, key: string, channel: Channel, joins: boolean): void {
    const { group } = connection;
    let next = this.#groups.get(key);
    channel.connections += joins ? 1 : -1;
    if (next === undefined && group.connections.size === 1) {
      this.#groups.delete(group.key);
      group.key = key;
      this.#groups.set(key, group);
      if (joins) channel.add(group);
      else channel.leave(group);
      if (channel.isEmpty) this.#free(channel);
      return;
    }
    next ??= this.#create(key);
    next.connections.add(connection);
    connection.group = next;
    group.connections.delete(connection);
    if (group.connections.size === 0) this.#drop(group);
  }

  #enter(connection: Connection, group: Group): void {
    group.connections.add(connection);
    for (const channel of group.channels) channel.connections++;
  }

  #leave(connection: Connection, group: Group): void {
    group.connections.delete(connection);
    for (const channel of group.channels) channel.connections--;
    if (group.connections.size === 0) this.#drop(group);
  }

  /** A group has no connections any more. */
  #drop(group: Group): void {
    this.#groups.delete(group.key);
    for (const channel of group.channels) {
      channel.forget();
      if (channel.isEmpty) this.#free(channel);
    }
  }

  /** Nobody subscribes to a channel any more. */
  #free(channel: Channel): void {
    this.channels.delete(channel.name);
    this.table[channel.number] = undefined;
    this.#numbers.push(channel.number);
  }
}

function format(number: number): string {
  return String.fromCharCode(number >>> 16, number & 0xffff);
}

function numberAt(key: string, index: number): number {
  return (key.charCodeAt(index) << 16 | key.charCodeAt(index + 1)) >>> 0;
}

/** Where in a group's string a number stands, or would stand. */
function indexOf(key: string, number: number): number {
  let low = 0;
  let high = key.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numberAt(key, middle * 2) < number) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}

function has(key: string, number: number): boolean {
  const index = indexOf(key, number);
  return index < key.length && numberAt(key, index) === number;
}
