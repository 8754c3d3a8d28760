/**
 * For tests of applications: wait for events, talk to a handler without a network, and test a log of one's own.
 *
 * @example
 * ```ts
 * import { createHandler, createHub } from "streamside";
 * import { collect, createTestClient } from "streamside/testing";
 *
 * const hub = createHub();
 * const handler = createHandler(hub, { authenticate: () => ({ session: "a" }) });
 * // From the cursor on, so that it does not matter that the client is still connecting.
 * const client = createTestClient(handler, { lastEventId: hub.cursor() });
 * client.connect();
 * const events = collect(client, "syncProgress", 2);
 * await hub.send("a", "syncProgress", 50);
 * await hub.send("a", "syncProgress", 100);
 * (await events).map((event) => event.json()); // [50, 100]
 * client.close();
 * ```
 *
 * @module
 */
import {
  type CheckedEvents,
  type Client,
  type ClientOptions,
  createClient,
  type StreamEvent,
} from "./client/mod.ts";

export { type LogTestOptions, type OpenedLog, testLog } from "./test-log.ts";

/** The options of {@link createTestClient}. */
export interface TestClientOptions extends Omit<ClientOptions, "fetch"> {
  /** What to subscribe to, a path with its query or a whole URL. Default `/api/v1/sse/subscribe`. */
  url?: string | URL;
}

/**
 * Makes a client that calls a handler directly: no port, no network, no address. It is `createClient` with a `fetch`
 * that calls the handler. It connects when `connect()` is called.
 *
 * @example
 * ```ts
 * const client = createTestClient<Events>(handler, { headers: { "X-Session-Id": "session-1" } });
 * client.connect();
 * ```
 *
 * @param handler what answers the client's requests, such as `createHandler` gives
 * @param options the client's, and the `url` to subscribe to
 * @throws a `DOMException` named `SyntaxError` for a URL that cannot be resolved
 */
// deno-lint-ignore no-explicit-any
export function createTestClient<Events extends CheckedEvents<Events> = Record<string, any>>(
  handler: (request: Request) => Response | Promise<Response>,
  { url = "/api/v1/sse/subscribe", ...options }: TestClientOptions = {},
): Client<Events> {
  return createClient<Events>(new URL(url, "http://localhost"), {
    ...options,
    fetch: (url, init) => handler(new Request(url, init)),
  });
}

/** The options of {@link collect}. */
export interface CollectOptions {
  /** How long to wait, in milliseconds. Default 5000. */
  timeout?: number;
}

/**
 * Resolves with the next `count` events of a type, in order. Start it before the events are sent.
 *
 * Rejects if they do not come in time, or if the client closes before. The error has the events that had come.
 *
 * @example
 * ```ts
 * const [event] = await collect(client, "taskCompleted");
 * ```
 *
 * @param client the client to listen on
 * @param type the events' type
 * @param count how many, default 1
 */
export function collect<Events, Type extends keyof Events & string>(
  client: Client<Events>,
  type: Type,
  count: number = 1,
  { timeout = 5000 }: CollectOptions = {},
): Promise<StreamEvent<Events[Type], Type>[]> {
  return new Promise((resolve, reject) => {
    const events: StreamEvent<Events[Type], Type>[] = [];
    const done = new AbortController();
    const settle = (why?: string) => {
      done.abort();
      clearTimeout(timer);
      if (!why) return resolve(events);
      const got = JSON.stringify(events.map(({ data }) => data));
      reject(new Error(`${events.length} of ${count} "${type}" events ${why}: ${got}`));
    };
    const timer = setTimeout(() => settle(`came within ${timeout} ms`), timeout);
    const { signal } = done;
    client.addEventListener(type as string, (event) => {
      events.push(event as unknown as StreamEvent<Events[Type], Type>);
      if (events.length == count) settle();
    }, { signal });
    client.addEventListener("close", ({ reason }) => {
      settle(`had come when the client closed (${reason})`);
    }, { signal });
    if (count < 1) settle();
  });
}
