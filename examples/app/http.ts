/**
 * What the application's own routes share: whose requests are taken, reading a JSON body within bounds, answering with
 * problem details (RFC 9457), and the page's files.
 *
 * @module
 */

/** An error that is the client's business: answered as problem details, with its message as the detail. */
export class Problem extends Error {
  override readonly name = "Problem";
  /** The HTTP status of the answer. */
  readonly status: number;
  /** More headers of the answer, such as `Allow`. */
  readonly headers: Record<string, string>;

  /** A problem with its status (RFC 9110, 15) and what the client can do about it. */
  constructor(status: number, detail: string, headers: Record<string, string> = {}) {
    super(detail);
    this.status = status;
    this.headers = headers;
  }

  /** The problem as a response. */
  toResponse(): Response {
    return Response.json(
      {
        type: "about:blank",
        title: titles[this.status] ?? "Error",
        status: this.status,
        detail: this.message,
      },
      {
        status: this.status,
        headers: { ...this.headers, "content-type": "application/problem+json" },
      },
    );
  }
}

const titles: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/**
 * Whether a request may change something: unless a page of another origin sent it. A browser says where a request comes
 * from, and a page cannot lie about it; without either header it was no page.
 */
export function isOwn(request: Request): boolean {
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site === "same-origin";
  const origin = request.headers.get("origin");
  if (origin === null) return true;
  return URL.canParse(origin) && new URL(origin).host === new URL(request.url).host;
}

const maxBodyBytes = 4096;

/**
 * The members of the JSON object in a request's body.
 *
 * @throws {Problem} 415, 413 or 400, when it is not JSON, too large, or not a JSON object.
 */
export async function readObject(request: Request): Promise<Record<string, unknown>> {
  const type = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") throw new Problem(415, "Send application/json.");
  const text = await readText(request);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Problem(400, `The body is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Problem(400, "The body is not a JSON object.");
  }
  return value as Record<string, unknown>;
}

/** Reads a body piece by piece, so that one that is too large is refused before it is held. */
async function readText(request: Request): Promise<string> {
  let text = "";
  let bytes = 0;
  const decoder = new TextDecoder();
  for await (const chunk of request.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > maxBodyBytes) throw new Problem(413, `Send at most ${maxBodyBytes} bytes.`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/**
 * A text member of a JSON object, trimmed.
 *
 * @throws {Problem} 400, when it is not a text of 1 to `max` characters without control characters.
 */
export function text(object: Record<string, unknown>, member: string, max: number): string {
  const value = object[member];
  const trimmed = typeof value === "string" ? value.trim() : "";
  if (trimmed === "" || trimmed.length > max || /\p{Cc}/u.test(trimmed)) {
    throw new Problem(400, `"${member}" must be a text of 1 to ${max} characters.`);
  }
  return trimmed;
}

/**
 * A member of a JSON object that is a whole number.
 *
 * @throws {Problem} 400, when it is not one from 0 to `max`.
 */
export function wholeNumber(object: Record<string, unknown>, member: string, max: number): number {
  const value = object[member];
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max) {
    return value as number;
  }
  throw new Problem(400, `"${member}" must be a whole number from 0 to ${max}.`);
}

/** A file of the page as a response. It is looked for anew each time: the next start may have another one. */
export function asset(type: string, content: string): Response {
  return new Response(content, {
    headers: {
      "content-type": `${type}; charset=utf-8`,
      "content-security-policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache",
    },
  });
}
