/**
 * A composable for Vue 3.3 and later. See docs/hooks.md.
 *
 * @module
 */
import { type MaybeRefOrGetter, onMounted, type ShallowRef, shallowRef, toValue, watch } from "vue";
import { type CheckedEvents, type Client, createClient } from "../../src/client/mod.ts";
import { connect, connecting, type Connection, listen, type Listeners } from "./connection.ts";

/**
 * Listens to a stream while the component is mounted. Another `url` is another connection.
 *
 * @param url where the stream is: a string, a ref, or a function such as `() => props.url`
 * @param listeners by the names of events
 * @param make makes the client. Default: `createClient`
 * @returns the state of the connection
 */
export function useStream<Events extends CheckedEvents<Events>>(
  url: MaybeRefOrGetter<string>,
  listeners: Listeners<Events>,
  make: (url: string) => Client<Events> = createClient<Events>,
): Readonly<ShallowRef<Connection>> {
  const connection = shallowRef(connecting);
  // Not before, since a server that renders mounts nothing, and would never unmount.
  onMounted(() =>
    watch(() => toValue(url), (url, _before, onCleanup) => {
      const client = make(url);
      onCleanup(listen(client, listeners));
      onCleanup(connect(client, (now) => connection.value = now));
    }, { immediate: true })
  );
  return connection;
}
