/**
 * Errors as HTTP answers: problem details (RFC 9457).
 *
 * @module
 */

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

  /** As a response: `application/problem+json` with `type`, `title`, `status`, `detail` and `code`. */
  toResponse(): Response {
    const body = {
      type: "about:blank",
      title: TITLES[this.status],
      status: this.status,
      detail: this.message,
      code: this.code,
    };
    return new Response(JSON.stringify(body), {
      status: this.status,
      headers: {
        "Content-Type": "application/problem+json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        ...this.headers,
      },
    });
  }
}

/** RFC 9457, 4.2.1: with `about:blank` the title is that of the status (RFC 9110, 15). */
const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};
