/**
 * An answer of the handler, before an entry point puts it into its runtime's own form: a `Response`, or what node:http
 * writes.
 *
 * @module
 */

import { EVENT_STREAM_HEADERS } from "./event-stream.ts";
import { type SinkOwner, streamOf } from "../hub/sink.ts";

/** An answer to a request. */
export interface Answer {
  /** The HTTP status. */
  readonly status: number;
  /** The headers, by name. */
  readonly headers: Record<string, string>;
  /** The body: text, a connection that waits for its sink, or none. */
  readonly body: string | SinkOwner | null;
}

/** A JSON answer. */
export function jsonAnswer(status: number, body: unknown): Answer {
  const headers = { "Content-Type": "application/json", ...PRIVATE };
  return { status, headers, body: JSON.stringify(body) };
}

/** The headers of what is for this client only, and is no page. */
export const PRIVATE: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
};

/** The answer to a subscribe request. */
export function streamAnswer(connection: SinkOwner | null): Answer {
  return { status: 200, headers: { ...EVENT_STREAM_HEADERS }, body: connection };
}

/** An answer as a `Response`. */
export function toResponse({ status, headers, body }: Answer): Response {
  const isStream = typeof body === "object" && body !== null;
  return new Response(isStream ? streamOf(body) : body, { status, headers });
}
