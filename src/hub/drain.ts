/**
 * Draining: the streams of a closing hub end one after the other.
 *
 * @module
 */

import { encode } from "../event-format.ts";
import type { Connection, EndReason } from "./connection.ts";
import type { Places } from "./places.ts";
import { Chunk } from "./sink.ts";
import { sleep } from "./turns.ts";

/** How often a draining hub looks which streams are due to end, in ms. */
const DRAIN_STEP = 50;
/** How long a closing hub waits for readers that take nothing, after its time is over, in ms. */
const LINGER = 1_000;

/** What draining needs to know of the hub. */
export interface DrainOptions {
  /** Over how long the streams are ended, in ms. */
  readonly within: number;
  /** How long clients are told to wait before they reconnect, in ms. */
  readonly retry: number;
  /** Lets go of an ended connection whose reader does not take its last bytes. */
  readonly abandon: (connection: Connection, reason: EndReason) => void;
}

/** Ends all streams, spread over a time. Resolves when all are gone. */
export async function drain(places: Places, options: DrainOptions): Promise<void> {
  const { within, retry, abandon } = options;
  const { connections } = places.registry;
  const total = connections.size;
  /** How many are told to end by a time. Some leave by themselves, so it may be more than there are. */
  const dueBy = (elapsed: number) =>
    elapsed >= within ? total : Math.floor((total * elapsed) / within);
  const started = performance.now();
  for (let told = 0; places.places > 0;) {
    await places.flushed();
    const elapsed = performance.now() - started;
    if (elapsed >= within + LINGER) {
      for (const connection of places.closing.keys()) abandon(connection, "closed");
    }
    const due = dueBy(elapsed);
    for (const connection of connections) {
      if (told >= due) break;
      told++;
      places.end(connection, "closed", farewell(retry));
    }
    if (places.places > 0) {
      await sleep(elapsed < within ? Math.min(DRAIN_STEP, within - elapsed) : 10);
    }
  }
}

/** Each client gets its own time to come back. If all came at once, they would overload the next server. */
export function farewell(retry: number): Chunk {
  const spread = Math.round(retry * (0.5 + Math.random()));
  return new Chunk(encode(`retry: ${spread}\n\n`), 0);
}
