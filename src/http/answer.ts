/**
 * An answer of the handler, before an entry point gives it its runtime's form: a `Response`, or what node:http writes.
 *
 * @module
 */

import { dataFields, isFieldValue, UNAVAILABLE } from "../event-format.ts";
import type { SinkOwner } from "../hub/sink.ts";
import { streamOf } from "../hub/stream-sink.ts";
import { EVENT_STREAM_HEADERS } from "./event-stream.ts";

/** An answer to a request. */
export interface Answer {
  /** The HTTP status. */
  readonly status: number;
  /** The headers, by name. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body: text, a connection that waits for its sink, or null. */
  readonly body: string | SinkOwner | null;
}

/** A JSON answer. */
export function jsonAnswer(status: number, body: unknown): Answer {
  const headers = { "Content-Type": "application/json", ...PRIVATE };
  return { status, headers, body: JSON.stringify(body) };
}

/** The headers of an answer that is for this client only and is no page. */
export const PRIVATE: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
};

/** The answer to a subscribe request. */
export function streamAnswer(connection: SinkOwner | null): Answer {
  return { status: 200, headers: EVENT_STREAM_HEADERS, body: connection };
}

/**
 * The header by which a client knows that the stream is complete only with `streamside:end`. A stream may end before, so
 * that its reader comes back: at a deploy, or when its login is over.
 */
const COMPLETE_WITH_END = "Streamside-End";

/** The answer to a request for a run. */
export function runAnswer(reader: SinkOwner | null): Answer {
  const headers = { ...EVENT_STREAM_HEADERS, [COMPLETE_WITH_END]: "1" };
  return { status: 200, headers, body: reader };
}

/** An answer as a `Response`. */
export function toResponse({ status, headers, body }: Answer): Response {
  const isStream = typeof body === "object" && body !== null;
  return new Response(isStream ? streamOf(body) : body, { status, headers });
}

/** An answer about a failure. Thrown inside the handler, which then answers with it. */
export class Problem extends Error {
  /** The HTTP status. */
  readonly status: number;
  /** Headers besides the content type. */
  readonly headers: Readonly<Record<string, string>>;
  /** What the failure is, for programs. */
  readonly code: string;

  /** A problem with a status, a stable code, a sentence for people, and headers. */
  constructor(
    status: number,
    code: string,
    detail: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  /** As an answer: `application/problem+json` with `type`, `title`, `status`, `detail` and `code`. */
  toAnswer(): Answer {
    return {
      status: this.status,
      headers: { "Content-Type": "application/problem+json", ...PRIVATE, ...this.headers },
      body: this.#toJson(),
    };
  }

  /** Whether the same request may be granted later. Our client comes back on these statuses, too. */
  get isForNow(): boolean {
    return this.status === 429 || this.status >= 500;
  }

  /**
   * As an event stream that ends at once, for a subscribe that is refused only for now. On any status but 200 the
   * browser's `EventSource` gives up for good (WHATWG HTML 9.2.3, "fail the connection"); after the end of a stream it
   * comes back. The last event id is given back: a stream begins without one, and its first event would take the
   * reader's away (9.2.6). `Retry-After` marks this answer before its first byte.
   */
  toStreamAnswer(lastEventId: string | null): Answer {
    const wait = Math.round(MIN_WAIT + Math.random() * (MAX_WAIT - MIN_WAIT));
    // An id that would end its line came in the query. The URL, and the id with it, is sent again as it was.
    const id = lastEventId && isFieldValue(lastEventId) ? `id: ${lastEventId}\n` : "";
    return {
      status: 200,
      headers: { ...EVENT_STREAM_HEADERS, "Retry-After": String(Math.ceil(wait / 1000)) },
      body: `retry: ${wait}\n${id}event: ${UNAVAILABLE}\n${dataFields(this.#toJson())}\n`,
    };
  }

  #toJson(): string {
    return JSON.stringify({
      type: "about:blank",
      title: TITLES[this.status],
      status: this.status,
      detail: this.message,
      code: this.code,
    });
  }
}

/** How long a refused reader is told to wait, in ms. Spread, so that not all come back at once. */
const MIN_WAIT = 2_000;
const MAX_WAIT = 10_000;

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
