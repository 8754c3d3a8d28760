/**
 * A store for Svelte 4 and later. See docs/hooks.md.
 *
 * @module
 */
import { type Readable, readable } from "svelte/store";
import { type CheckedEvents, type Client, createClient } from "../../src/client/mod.ts";
import { connect, connecting, type Connection, listen, type Listeners } from "./connection.ts";

/**
 * A store with the state of a connection. It is connected while somebody subscribes to it.
 *
 * @param url where the stream is
 * @param listeners by the names of events
 * @param make makes the client. Default: `createClient`
 */
export function stream<Events extends CheckedEvents<Events>>(
  url: string,
  listeners: Listeners<Events>,
  make: (url: string) => Client<Events> = createClient<Events>,
): Readable<Connection> {
  // Kept for the next subscriber: the client resumes where it was.
  let client: Client<Events> | undefined;
  return readable(connecting, (set) => {
    if (typeof document === "undefined") return; // a server that renders subscribes, too
    client ??= make(url);
    const stops = [listen(client, listeners), connect(client, set)];
    return () => stops.forEach((stop) => stop());
  });
}
