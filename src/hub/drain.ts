/**
 * Draining: the streams of a closing hub end one after the other.
 *
 * @module
 */

import { encode } from "../event-format.ts";
import type { Connection, EndReason } from "./connection.ts";
import type { Delivery } from "./delivery.ts";
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
export async function drain(delivery: Delivery, options: DrainOptions): Promise<void> {
  const { within, retry, abandon } = options;
  const { connections } = delivery.registry;
  const started = performance.now();
  const total = connections.size;
  for (let gone = 0; delivery.places > 0;) {
    await delivery.settled(delivery.head);
    const elapsed = performance.now() - started;
    if (elapsed >= within + LINGER) {
      for (const connection of delivery.leaving.keys()) abandon(connection, "closed");
    }
    const due = elapsed >= within ? total : Math.floor((total * elapsed) / within);
    for (const connection of connections) {
      if (gone >= due) break;
      gone++;
      delivery.end(connection, "closed", farewell(retry));
    }
    // Some leave by themselves meanwhile, so `due` may be more than are left.
    if (delivery.places > 0) {
      const left = within - elapsed;
      await sleep(left > 0 ? Math.min(DRAIN_STEP, left) : connections.size > 0 ? 1 : 10);
    }
  }
}

/** Each client gets its own time to come back. If all came at once, they would overload the next server. */
function farewell(retry: number): Chunk {
  const spread = Math.round(retry * (0.5 + Math.random()));
  return new Chunk(encode(`retry: ${spread}\n\n`), 0);
}
