/**
 * Writes a body out through a response.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import { isOver } from "./outgoing.ts";
import type { Stalls } from "./stalls.ts";

/**
 * How many bytes are written at a time if readers can stall. Some responses do not tell how much of a write was taken
 * before all of it was, and a slow reader is not a stalled one.
 */
const PIECE = 16_384;

/**
 * Writes a body out as fast as it is taken, and does not end the response. Cancels the body when the client goes, when
 * somebody else ends the response, or, with `stalls`, when the reader takes nothing at all for too long.
 */
export async function pump(
  body: ReadableStream<Uint8Array>,
  outgoing: ServerResponse,
  stalls: Stalls | undefined,
): Promise<void> {
  const reader = body.getReader();
  // Nobody needs to know any more why it ended.
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
    // Its "close" does not come again.
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
