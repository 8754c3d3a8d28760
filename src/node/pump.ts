/**
 * A body goes out through a response.
 *
 * @module
 */

import type { ServerResponse } from "node:http";

/** Writes a body out as fast as it is taken, and cancels it when nobody takes it any more. */
export async function pump(
  body: ReadableStream<Uint8Array>,
  outgoing: ServerResponse,
): Promise<void> {
  const reader = body.getReader();
  let wake: (() => void) | undefined;
  const onDrain = () => wake?.();
  const onClose = () => {
    // The reason why it ended is of no interest to anybody any more.
    reader.cancel().catch(() => {});
    wake?.();
  };
  outgoing.on("drain", onDrain);
  outgoing.on("close", onClose);
  outgoing.flushHeaders();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || outgoing.destroyed) break;
      if (!outgoing.write(value) && !outgoing.destroyed) {
        await new Promise<void>((resolve) => wake = resolve);
      }
    }
    outgoing.end();
  } finally {
    outgoing.off("drain", onDrain);
    outgoing.off("close", onClose);
  }
}
