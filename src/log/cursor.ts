/**
 * Cursors: positions of a log, as clients see them.
 *
 * @module
 */

import type { LogPosition } from "./record.ts";

/** A tag is part of ids, which come back in a header. */
const TAG = /^[!-~]{1,64}$/;
/** The digits of a position, and, where the log gives tags, the tag of the entry there. */
const PLACE = /^(0|[1-9]\d{0,15})(?:-([!-~]{1,64}))?$/;

/**
 * A position written as a cursor: opaque to everyone else, safe as an SSE `id` and in a header. It is
 * `epoch-position`, or `epoch-position-tag` where the log gives tags.
 */
export function formatCursor(epoch: string, { position, tag }: LogPosition): string {
  return tag === undefined ? `${epoch}-${position}` : `${epoch}-${position}-${tag}`;
}

/** The position that a cursor stands for; `undefined` for a cursor of another epoch and for anything else. */
export function parseCursor(epoch: string, cursor: string): LogPosition | undefined {
  if (!cursor.startsWith(`${epoch}-`) || cursor.length > epoch.length + 82) return undefined;
  const [, digits, tag] = PLACE.exec(cursor.slice(epoch.length + 1)) ?? [];
  const position = Number(digits);
  return Number.isSafeInteger(position) ? { position, tag } : undefined;
}

/** Whether a value can be a tag. */
export function isTag(value: unknown): value is string {
  return typeof value === "string" && TAG.test(value);
}

/** A name for one life of a log. No two lives share a name, so a cursor of another life is recognised. */
export function newEpoch(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}
