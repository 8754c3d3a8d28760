/**
 * Cursors: positions of a log, as clients see them.
 *
 * @module
 */

/** A position written as a cursor: opaque to everyone else, safe as an SSE `id` and in a header. */
export function formatCursor(epoch: string, position: number): string {
  return `${epoch}-${position}`;
}

/** The position that a cursor stands for; `undefined` for a cursor of another epoch and for anything else. */
export function parseCursor(epoch: string, cursor: string): number | undefined {
  if (!cursor.startsWith(`${epoch}-`) || cursor.length > epoch.length + 17) return undefined;
  const digits = cursor.slice(epoch.length + 1);
  if (!/^(0|[1-9]\d*)$/.test(digits)) return undefined;
  const position = Number(digits);
  return Number.isSafeInteger(position) ? position : undefined;
}

/** A name for one life of a log. No two lives share a name, so a cursor of another life is recognised. */
export function newEpoch(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}
