// deno-lint-ignore-file no-explicit-any
/**
 * Which maps of events the type checker takes, and what it says of others. Nothing here is run: `npm run check` compiles
 * it, and `scripts/check-type-errors.ts` compares the errors with the comments.
 */
import { type CheckedEvents, createHub, type Hub } from "../../mod.ts";
import { type Client, createClient, createSharedClient } from "../../src/client/mod.ts";
import { createTestClient } from "../../src/testing.ts";

declare const handler: (request: Request) => Response;
declare const brand: unique symbol;

declare enum Color {
  Red,
  Green,
}
declare enum Word {
  Yes = "yes",
  No = "no",
}
interface Tree {
  name: string;
  children: readonly Tree[];
}
interface Nest<T> {
  value: T;
  next?: Nest<Nest<T>>;
  all: Nest<T[]>[];
}
type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Expression = number | ["plus", Expression, Expression];
declare class Money {
  readonly cents: number;
  toJSON(): { cents: number };
}
declare class Point {
  readonly x: number;
  readonly y: number;
}

interface Fine {
  number: number;
  boolean: boolean;
  null: null;
  string: string;
  optional?: string;
  optionalObject?: { id: string };
  words: "yes" | "no";
  template: `user-${string}`;
  literals: 1 | 2 | null;
  color: Color;
  word: Word;
  id: string & { readonly __brand: "Id" };
  count: number & { readonly [brand]: true };
  branded: { a: number } & { readonly [brand]: true };
  object: { a: string | number; b?: number | undefined; c: string | undefined; d?: never };
  readonlyArrays: readonly (readonly string[])[];
  tuple: readonly [name: string, age?: number];
  expression: Expression;
  record: Record<string, number[]>;
  union: { kind: "a"; text: string } | { kind: "b"; count: number } | null;
  tree: Tree;
  nest: Nest<number>;
  json: { anything: Json };
  point: Point;
  any: any;
  unknown: unknown;
  nested: { any: any[]; unknown: unknown[] };
  problem: { name: string; message: string };
  objectType: object;
}
createHub<Fine>();
createClient<Fine>("/");
createSharedClient<Fine>("/");
createTestClient<Fine>(handler);
createHub();
createClient("/");
createHub<Record<string, unknown>>();
createClient<Record<string, any>>("/");
createClient<any>("/");
createClient<unknown>("/");
createHub<any>();
export const hub: Hub<Fine> = createHub();
export const client: Client<Fine> = createClient("/");
export const loose: Client<any> = createClient<Fine>("/");

// Each of the four checks its map.
interface WithDate {
  changed: { at: Date };
}
// @ts-expect-error: 'changed.at' … JSON makes a string of a Date: declare a string
createHub<WithDate>();
// @ts-expect-error: 'changed.at' … JSON makes a string of a Date: declare a string
createClient<WithDate>("/");
// @ts-expect-error: 'changed.at' … JSON makes a string of a Date: declare a string
createSharedClient<WithDate>("/");
// @ts-expect-error: 'changed.at' … JSON makes a string of a Date: declare a string
createTestClient<WithDate>(handler);
// @ts-expect-error: JSON makes a string of a Date: declare a string
export const withDate: Client<WithDate> = createClient("/");

// What JSON changes, loses or refuses.
// @ts-expect-error: 'at' … JSON makes a string of a Date
createHub<{ at: Date }>();
// @ts-expect-error: 'at' … JSON makes a string of a Date
createHub<{ at?: Date | null }>();
// @ts-expect-error: 'all' … JSON makes {} of a Map or a Set: declare an array
createHub<{ all: Map<string, number> }>();
// @ts-expect-error: 'all.in' … JSON makes {} of a Map or a Set: declare an array
createHub<{ all: { in: ReadonlySet<number> } }>();
// @ts-expect-error: 'size' … JSON has no bigint: declare a string
createHub<{ size: bigint }>();
// @ts-expect-error: 'done.call' … JSON leaves out functions
createHub<{ done: { call?: () => void } }>();
// @ts-expect-error: 'done.then' … JSON leaves out functions
createHub<{ done: Promise<number> }>();
// @ts-expect-error: 'key' … JSON leaves out functions and symbols
createHub<{ key: symbol }>();
// @ts-expect-error: 'price' … JSON has what toJSON returns in place of this
createHub<{ price: Money }>();
// @ts-expect-error: 'link.url' … JSON has what toJSON returns in place of this
createHub<{ link: { url: URL } }>();
// @ts-expect-error: 'failed.why' … JSON makes {} of an Error
createHub<{ failed: { why: Error | null } }>();
// @ts-expect-error: 'failed.why' … JSON makes {} of an Error
createHub<{ failed: { why: TypeError } }>();
// @ts-expect-error: 'found.exec' … JSON leaves out functions
createHub<{ found: RegExp }>();
// @ts-expect-error: 'image' … JSON does not hold bytes
createHub<{ image: Uint8Array }>();
// @ts-expect-error: 'ping' … JSON has no undefined: declare null
createHub<{ ping: void }>();
// @ts-expect-error: 'ping' … JSON has no undefined: declare null
createHub<{ ping: number | undefined }>();
// @ts-expect-error: 'text' … A string is sent as it is, anything else as JSON
createHub<{ text: string | undefined }>();
// @ts-expect-error: 'list' … JSON has no undefined: declare null
createHub<{ list: (number | undefined)[] }>();
// @ts-expect-error: 'pair' … JSON makes a string of a Date
createHub<{ pair: readonly [name: string, at: Date] }>();
// @ts-expect-error: 'users' … JSON makes a string of a Date
createHub<{ users: Record<string, { since: Date }[]> }>();
// @ts-expect-error: 'changed.at' … JSON makes a string of a Date
createHub<{ changed: { at: string | Date } }>();
interface DatedTree {
  at: Date;
  children: DatedTree[];
}
// @ts-expect-error: 'tree.at' … JSON makes a string of a Date
createHub<{ tree: DatedTree }>();
interface DeepTree {
  children: { child: DeepTree; at: Date | null }[];
}
// @ts-expect-error: 'tree.children' … JSON makes a string of a Date
createHub<{ tree: DeepTree }>();

// A string or something else.
// @ts-expect-error: 'value' … A string is sent as it is, anything else as JSON
createHub<{ value: string | number }>();
// @ts-expect-error: 'value' … A string is sent as it is, anything else as JSON
createClient<{ value: "none" | { id: string } }>("/");
// @ts-expect-error: 'value' … A string is sent as it is, anything else as JSON
createHub<{ value?: string | null }>();
// @ts-expect-error: 'value' … A string is sent as it is, anything else as JSON
createHub<{ value: Word | Color }>();
// @ts-expect-error: 'value' … A string is sent as it is, anything else as JSON
createHub<{ value: Json }>();

// Generic code is not asked for more than it knows.
class Room<Events extends object> {
  readonly hub: Hub<Events> = createHub<Events>();
  readonly client: Client<Events> = createClient<Events>("/");
  readonly shared: Client<Events> = createSharedClient("/");
  readonly test: Client<Events> = createTestClient(handler);
}
new Room<WithDate>();
export function connect<Events>(url: string): Client<Events> {
  return createClient<Events>(url);
}
export function counting<Events extends Record<string, number>>(): Hub<Events> {
  return createHub<Events>();
}
export function partly<Data>(): [Hub<{ a: Data; b: { c: Data[] } }>, Client<Record<string, Data>>] {
  return [createHub(), createClient("/")];
}
export function more<Events extends object>(): Hub<Events & Fine> {
  return createHub<Events & Fine>();
}
export function asking<Events extends CheckedEvents<Events>>(url: string): Client<Events> {
  return createClient<Events>(url);
}
asking<Fine>("/");
// @ts-expect-error: JSON makes a string of a Date
asking<WithDate>("/");
export function send<Events extends object, Name extends Extract<keyof Events, string>>(
  hub: Hub<Events>,
  name: Name,
  data: Events[Name],
): Promise<unknown> {
  return hub.send("session-1", name, data);
}

// What is sent within a transaction is checked as any other send.
declare const paying: Hub<{ paid: { id: number } }>;
paying.within({}).publish("orders", "paid", { id: 7 }, { except: "ada", key: "7" });
// @ts-expect-error: not assignable to type 'number'
paying.within({}).send("ada", "paid", { id: "7" });
// @ts-expect-error: not assignable to parameter of type '"paid"'
paying.within({}).broadcast("payed", { id: 7 });
