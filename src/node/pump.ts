/**
 * A body goes out through a response.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import { isOver } from "./outgoing.ts";
import type { Stalls } from "./stalls.ts";

/**
 * Where reading can stall, bytes are written so many at a time: not every response tells how much of a write was taken
 * before all of it is, and a slow reader is not a stalled one.
 */
const PIECE = 16_384;

/**
 * Writes a body out as fast as it is taken, and cancels it when nobody takes it any more: when the client goes, somebody
 * else ends the response, or, with `stalls`, its reader takes nothing at all for too long.
 */
export async function pump(
  body: ReadableStream<Uint8Array>,
  outgoing: ServerResponse,
  stalls: Stalls | undefined,
): Promise<void> {
  const reader = body.getReader();
  // The reason why it ended is of no interest to anybody any more.
  const leave = () => void reader.cancel().catch(() => {});
  let wake: (() => void) | undefined;
  const onDrain = () => wake?.();
  const onClose = () => {
    leave();
    wake?.();
  };
  outgoing.on("drain", onDrain);
  outgoing.on("close", onClose);
  try {
    // It does not tell again that it has closed.
    if (isOver(outgoing)) return;
    outgoing.flushHeaders();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      for (const bytes of stalls ? pieces(value) : [value]) {
        if (isOver(outgoing)) return;
        if (outgoing.write(bytes) || isOver(outgoing)) continue;
        stalls?.watch(outgoing);
        await new Promise<void>((resolve) => wake = resolve);
        stalls?.forget(outgoing);
      }
    }
    if (isOver(outgoing)) return;
    outgoing.end();
    // What is left of it may find nobody who takes it.
    stalls?.watch(outgoing);
  } finally {
    outgoing.off("drain", onDrain);
    outgoing.off("close", onClose);
    leave();
  }
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array, void> {
  if (bytes.length <= PIECE) return yield bytes;
  for (let at = 0; at < bytes.length; at += PIECE) yield bytes.subarray(at, at + PIECE);
}
