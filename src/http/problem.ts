/**
 * Errors as HTTP answers: problem details (RFC 9457).
 *
 * @module
 */

import { type Answer, PRIVATE } from "./answer.ts";

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
