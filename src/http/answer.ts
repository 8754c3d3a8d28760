/**
 * An answer of the handler, before an entry point puts it into its runtime's own form: a `Response`, or what node:http
 * writes.
 *
 * @module
 */

import type { SinkOwner } from "../hub/sink.ts";
import { streamOf } from "../hub/stream-sink.ts";
import { EVENT_STREAM_HEADERS } from "./event-stream.ts";

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

/** An answer that tells of a failure. Thrown inside the handler, answered by it. */
export class Problem extends Error {
  /** The HTTP status. */
  readonly status: number;
  /** Headers beside the content type. */
  readonly headers: Record<string, string>;
  /** What it is about, for programs. */
  readonly code: string;

  /** A problem with a status, a stable code, a sentence for people, and headers. */
  constructor(status: number, code: string, detail: string, headers: Record<string, string> = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  /** As an answer: `application/problem+json` with `type`, `title`, `status`, `detail` and `code`. */
  toAnswer(): Answer {
    const body = {
      type: "about:blank",
      title: TITLES[this.status],
      status: this.status,
      detail: this.message,
      code: this.code,
    };
    return {
      status: this.status,
      headers: { "Content-Type": "application/problem+json", ...PRIVATE, ...this.headers },
      body: JSON.stringify(body),
    };
  }
}

/** RFC 9457, 4.2.1: with `about:blank` the title is that of the status (RFC 9110, 15). */
const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  429: "Too Many Requests",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
};
