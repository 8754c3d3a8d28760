/**
 * What the hooks for React, Vue and Svelte share: the state of a connection as a page shows it, and listeners that are
 * typed by the map of events.
 *
 * @module
 */
import type { Client, ClientEvents, CloseReason, StreamEvent } from "../../src/client/mod.ts";

/** The state of the connection. Delays are in milliseconds. */
export type Connection =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "reconnecting"; attempt: number; delay: number }
  | { state: "closed"; reason: CloseReason };

/** Listeners by the names of events: those in `Events`, and the client's own, such as `reset`. */
export type Listeners<Events> =
  & { [Type in keyof ClientEvents]?: (event: ClientEvents[Type]) => unknown }
  & {
    [Type in Exclude<keyof Events & string, keyof ClientEvents>]?: (
      event: StreamEvent<Events[Type], Type>,
    ) => unknown;
  };

/** What a page shows before it is connected, and what a server renders. */
export const connecting: Connection = { state: "connecting" };

/** Adds the listeners; returns what removes them. */
export function listen<Events>(client: Client<Events>, listeners: Listeners<Events>): () => void {
  const life = new AbortController();
  for (const [type, listener] of Object.entries(listeners)) {
    client.addEventListener(type, listener as (event: Event) => unknown, { signal: life.signal });
  }
  return () => life.abort();
}

/** Connects, and tells each change of the state; returns what closes the connection, and tells nothing more. */
export function connect<Events>(
  client: Client<Events>,
  changed: (connection: Connection) => void,
): () => void {
  const stops = [
    client.on("open", () => changed({ state: "open" })),
    client.on(
      "reconnecting",
      ({ attempt, delay }) => changed({ state: "reconnecting", attempt, delay }),
    ),
    client.on("close", ({ reason }) => changed({ state: "closed", reason })),
  ];
  changed(connecting);
  client.connect();
  return () => {
    for (const stop of stops) stop();
    client.close();
  };
}
