/**
 * A hook for React 19. See docs/hooks.md.
 *
 * @module
 */
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { type CheckedEvents, type Client, createClient } from "../../src/client/mod.ts";
import { connect, connecting, type Connection, listen, type Listeners } from "./connection.ts";

/**
 * Listens to a stream while the component is mounted. Another `url` is another connection; other listeners are not.
 *
 * @param url where the stream is
 * @param listeners by the names of events; they see the values of the newest render
 * @param make makes the client. Default: `createClient`
 * @returns the state of the connection
 */
export function useStream<Events extends CheckedEvents<Events>>(
  url: string,
  listeners: Listeners<Events>,
  make: (url: string) => Client<Events> = createClient<Events>,
): Connection {
  const [connection, setConnection] = useState(connecting);
  // Kept for the next mount: StrictMode mounts twice, and Activity as often as it shows. The client resumes where it was.
  const held = useRef<{ url: string; client: Client<Events> }>(null);
  // In the commit: a listener sees what the page shows.
  useLayoutEffect(() => {
    if (held.current?.url !== url) held.current = { url, client: make(url) };
    return listen(held.current.client, listeners);
  });
  useEffect(() => connect(held.current!.client, setConnection), [url]);
  return connection;
}
