// deno-lint-ignore-file no-explicit-any
/**
 * What the type checker knows of a client's events. Nothing here is run: see `events.ts`.
 */
import {
  type Client,
  type ClientErrorEvent,
  createClient,
  readEvents,
  type StreamEvent,
} from "../../src/client/mod.ts";
import { collect } from "../../src/testing.ts";

interface Events {
  progress: number;
  message: string;
  mood?: "good" | "bad";
  fileChanged: { fileId: string };
  anything: any;
  something: unknown;
}
declare const client: Client<Events>;
declare const loose: Client;

// json() is the data's type, whatever is wanted of it.
client.on("progress", (event) => event.json().toFixed());
client.addEventListener("fileChanged", (event) => event.json().fileId.length);
client.on("anything", (event) => event.json().of.any.kind);
client.on("reset", (event) => event.data);
client.on("something", (event) => (event.json() as Date).getTime());
loose.on("fileChanged", (event) => event.json().fileId);
loose.addEventListener("fileChanged", (event) => event.json().fileId);
client.on("progress", (event) => {
  // @ts-expect-error: Type 'number' does not satisfy the expected type 'string'
  event.json() satisfies string;
  // @ts-expect-error: Expected 0 type arguments
  event.json<string>();
});
client.on("something", (event) => {
  // @ts-expect-error: Type 'unknown' does not satisfy the expected type 'string'
  event.json() satisfies string;
});
client.addEventListener("unheardOf", (event) => {
  // @ts-expect-error: Type 'unknown' does not satisfy the expected type 'string'
  event.json() satisfies string;
});

// Data that is a string was not sent as JSON.
client.on("message", (event) => event.data.length);
// @ts-expect-error: The data of this event is a string: read event.data
client.on("message", (event) => event.json());
// @ts-expect-error: The data of this event is a string: read event.data
client.addEventListener("message", (event) => event.json());
// @ts-expect-error: The data of this event is a string: read event.data
client.on("mood", (event) => event.json());
export async function iterate(): Promise<void> {
  for await (const event of client.events("progress")) event.json().toFixed();
  // @ts-expect-error: The data of this event is a string: read event.data
  for await (const event of client.events("message")) event.json();
  for await (const event of client.events()) {
    if (event.type === "fileChanged") event.json().fileId.length;
    // @ts-expect-error: The data of this event is a string: read event.data
    if (event.type === "message") event.json();
    // @ts-expect-error: The data of this event is a string: read event.data
    event.json();
  }
  for await (const event of loose.events()) event.json().of.any.kind;
  const [message] = await collect(client, "message");
  // @ts-expect-error: The data of this event is a string: read event.data
  message!.json();
}

// The events of one response, too.
export async function answer(): Promise<void> {
  for await (const event of readEvents<Events>(await fetch("/"))) {
    if (event.type === "progress") event.json().toFixed();
    // @ts-expect-error: The data of this event is a string: read event.data
    if (event.type === "message") event.json();
  }
  for await (const event of readEvents(await fetch("/"))) event.json().of.any.kind;
  // @ts-expect-error: 'at' … JSON makes a string of a Date
  readEvents<{ at: Date }>(await fetch("/"));
}
export async function* answers<Events>(response: Response): AsyncGenerator<string> {
  for await (const event of readEvents<Events>(response)) yield event.data;
}

// on() takes the names it knows, and says them.
client.addEventListener("fileChangd", (event) => event.data);
// @ts-expect-error: '"fileChangd"' is not assignable … "close" … "fileChanged" … "progress" … "reconnecting"
client.on("fileChangd", (event: StreamEvent) => event.data);
// @ts-expect-error: '"eror"' is not assignable … "error" … "progress"
client.on("eror", () => {});
// @ts-expect-error: Type 'number' is not assignable to type 'string'
client.on("progress", (event: StreamEvent<string>) => event.data);
client.on("error", (event: ClientErrorEvent) => event.status);
client.on("error", ({ error, status }) => [error, status]);
client.on("reconnecting", ({ attempt, delay }) => attempt + delay);
client.on("close", ({ reason }) => reason === "attempts");
client.on("open", (event: Event) => event.type);
loose.on("close", ({ reason }) => reason === "attempts");
client.on("progress", async (event) => await event.json());
declare const type: "error" | "progress";
client.on(type, (event) => {
  if (event.type === "progress") (event as StreamEvent<number>).json().toFixed();
});
/** As React's `useEffect` has it. */
declare function useEffect(effect: () => void | (() => void)): void;
useEffect(() => client.on("progress", (event) => event.json()));
export const stopped: void = client.on("progress", () => 1)();
// @ts-expect-error: Property 'on' does not exist
new (await import("../../src/client/mod.ts")).EventSource("/").on("open", () => {});

// A fetch is called as every fetch is.
createClient("/", { fetch });
createClient("/", { fetch: globalThis.fetch });
createClient("/", {
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, Authorization: "Bearer 1" } }),
});
declare function handler(request: Request): Promise<Response>;
createClient("/", { fetch: (url, init) => handler(new Request(url, init)) });
createClient("/", {
  headers: new Headers(),
  body: new URLSearchParams(),
  signal: AbortSignal.abort(),
});
createClient("/", { headers: [["a", "b"]], body: new Uint8Array(1), credentials: "include" });
createClient("/", { headers: async () => await Promise.resolve({ a: "b" }), body: "text" });
// @ts-expect-error: 'ReadableStream
createClient("/", { body: new ReadableStream() });

// Generic code is not asked for more than it knows.
export function use<Events, Type extends keyof Events & string>(
  client: Client<Events>,
  type: Type,
  use: (data: Events[Type]) => void,
): () => void {
  client.addEventListener(type, (event: StreamEvent<Events[Type], Type>) => use(event.json()));
  return client.on(type, (event) => use(event.json()));
}
export function text<Events>(client: Client<Events>, type: keyof Events & string): () => void {
  return client.on(type, (event) => event.data.length);
}
export async function all<Events>(client: Client<Events>): Promise<void> {
  for await (const event of client.events()) event.data.length;
}
export function parse<Data>(event: StreamEvent<Data>): Data {
  return event.json();
}
export const wider: [StreamEvent, StreamEvent<number | null>] = [
  {} as StreamEvent<string, "message">,
  {} as StreamEvent<number, "progress">,
];
export const anyClient: Client<any> = createClient<Events>("/");
