/**
 * What a map of events may hold: data that arrives as it was sent. A hub writes a string as it is and anything else as
 * JSON, and the type checker says where that would change the data.
 *
 * @module
 */

/**
 * A map of events, with a message in place of each type that JSON would change. `createHub` and `createClient` ask of
 * their `Events` to be assignable to it, so that the message stands in the type checker's error. `any`,
 * `unknown` and type parameters pass. Generic code can pass the check on to those who call it:
 *
 * @example
 * ```ts
 * import type { CheckedEvents } from "streamside/client";
 *
 * function connect<Events extends CheckedEvents<Events>>(path: string) {
 *   return createClient<Events>(`https://example.com/${path}`);
 * }
 * ```
 */
export type CheckedEvents<Events> = IsKnown<Events> extends true ? unknown extends Events ? unknown
  : { [Type in keyof Events]: EventData<Required<Events>[Type]> }
  : unknown;

/** The data of an event in such a map: a string, or what JSON holds. */
export type EventData<Data> = IsKnown<Data> extends true ? unknown extends Data ? Data
  : [Data] extends [string] ? Data
  : [Extract<Data, string>] extends [never] ? JsonData<Data>
  : "A string is sent as it is, anything else as JSON: the client cannot tell which of them it got"
  : unknown;

/** What comes out of JSON as it went in: `Data`, with a message in place of each type in it that JSON would change. */
export type JsonData<Data> = IsKnown<Data> extends true
  ? [JsonFault<Data>] extends [never] ? JsonShape<Data> : JsonFault<Data>
  : unknown;

/** What JSON does to `Data` itself, whatever is in it: a message, or `never`. */
export type JsonFault<Data> = unknown extends Data ? never
  : Data extends string | number | boolean | null ? never
  : Data extends undefined | void ? "JSON has no undefined: declare null"
  : Data extends bigint ? "JSON has no bigint: declare a string"
  : Data extends symbol | ((...args: never) => unknown) ? "JSON leaves out functions and symbols"
  : Data extends Date ? "JSON makes a string of a Date: declare a string"
  : Data extends { toJSON(...args: never): unknown }
    ? "JSON has what toJSON returns in place of this: declare that"
  : Data extends ReadonlyMap<unknown, unknown> | ReadonlySet<unknown>
    ? "JSON makes {} of a Map or a Set: declare an array"
  : [Data, keyof Error] extends [Error, keyof Data]
    ? "JSON makes {} of an Error: declare its message, a string"
  : Data extends ArrayBuffer | ArrayBufferView
    ? "JSON does not hold bytes: declare a string, and send them as base64"
  : never;

/** `Data` with {@link JsonData} for what is in it. */
export type JsonShape<Data> = unknown extends Data ? Data
  : Data extends string | number | boolean | null ? Data
  // An array of the same type, since a mapped type would be worked out at once, and a recursive one has no end.
  : Data extends readonly unknown[]
    ? number extends Data["length"] ? readonly JsonData<Data[number]>[]
    : readonly (JsonData<Exclude<Data[number], undefined>> | undefined)[]
  // An undefined member is left out, and reads as undefined again. A symbol's member is a brand, for the checker alone.
  : {
    [Name in keyof Data as Exclude<Name, symbol>]:
      | JsonData<Exclude<Data[Name], undefined>>
      | Extract<Data[Name], undefined>;
  };

/**
 * True, but for `never`. A type checker that is to say whether something fits `IsKnown<T> extends true ? A : unknown`
 * for a type parameter `T` allows for `never`, and asks for nothing: what is checked this way goes on compiling in
 * generic code.
 */
export type IsKnown<T> = [T] extends [never] ? false : true;
