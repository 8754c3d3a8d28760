/**
 * Which pages may use the handler: an allow-list of origins (Fetch Standard, 3.2, "HTTP CORS protocol").
 *
 * @module
 */

import { quote } from "../errors.ts";
import { invalid } from "../validate.ts";
import type { Answer } from "./answer.ts";

/** Whose pages may use a handler, and what they may send. */
export interface CorsOptions {
  /** The origins, as for the short form of {@link HandlerOptions.cors}. */
  readonly origins: readonly string[];
  /**
   * Names of request headers that pages may send, such as `"X-CSRF-Token"`, beside `Authorization`, `Content-Type`,
   * `Last-Event-ID` and `X-Session-Id`. Default: none.
   */
  readonly headers?: readonly string[];
}

/** A handler's allow-list, checked. */
export interface Cors {
  readonly origins: readonly string[];
  /** What a preflight says of the headers that may come. */
  readonly allowHeaders: string;
}

const HEADERS = ["Authorization", "Content-Type", "Last-Event-ID", "X-Session-Id"];

/**
 * The allow-list of a handler's option.
 *
 * @throws {StreamsideError} `invalid-argument` for an invalid header name, and for an invalid origin, which would never
 *   match or match too much
 */
export function corsOf(option: readonly string[] | CorsOptions): Cors {
  const isLong = typeof option === "object" && option !== null && !Array.isArray(option);
  const { origins, headers = [] } = isLong
    ? option as CorsOptions
    : { origins: option as string[] };
  checkEach(
    isLong ? "cors.origins" : "cors",
    origins,
    isOrigin,
    'of origins as browsers send them, such as "https://app.example", or "*" for all',
  );
  // With credentials "*" is a name like any other, and without it still leaves out Authorization (Fetch Standard,
  // "CORS-preflight fetch").
  checkEach(
    "cors.headers",
    headers,
    isHeaderName,
    'of names of headers, such as "X-CSRF-Token"; name each, since "*" does not go with credentials',
  );
  return { origins: [...origins], allowHeaders: [...HEADERS, ...headers].join(", ") };
}

function checkEach(
  name: string,
  values: readonly string[],
  isValid: (value: unknown) => boolean,
  what: string,
): void {
  if (Array.isArray(values) && values.every(isValid)) return;
  const wrong = Array.isArray(values) ? values.find((value) => !isValid(value)) : values;
  throw invalid(`${name} must be an array ${what}; got ${quote(wrong)}.`);
}

/** A token (RFC 9110, 5.6.2). */
function isHeaderName(value: unknown): boolean {
  return typeof value === "string" && value !== "*" && /^[!#$%&'*+.^_`|~\w-]+$/.test(value);
}

/** "null" cannot be let in: it is the origin of every sandboxed page, whoever made it. */
function isOrigin(value: unknown): boolean {
  if (value === "*") return true;
  if (typeof value !== "string" || value.includes("*")) return false;
  if (/^https?:/.test(value)) return URL.canParse(value) && new URL(value).origin === value;
  // To a URL, origins of other schemes ("capacitor://localhost") are opaque.
  return /^[a-z][a-z\d+.-]*:\/\/[^\s/?#]+$/.test(value);
}

/** The headers that an answer needs because of the request's `Origin`. */
export function crossOriginHeaders(
  request: Request,
  { origins: allowed }: Cors,
): Record<string, string> {
  if (allowed.length === 0) return {};
  // A cache must not give the answer made for one origin to a page of another.
  const headers: Record<string, string> = { Vary: "Origin" };
  const origin = request.headers.get("Origin");
  if (origin === null || !(allowed.includes(origin) || allowed.includes("*"))) return headers;
  if (allowed.includes(origin)) {
    headers["Access-Control-Allow-Origin"] = origin;
    headers["Access-Control-Allow-Credentials"] = "true";
  } else headers["Access-Control-Allow-Origin"] = "*";
  headers["Access-Control-Expose-Headers"] = "Retry-After, Streamside-End";
  return headers;
}

/** The answer to OPTIONS: the methods of the path, and for a preflight from an allowed origin, that it may come. */
export function preflight(request: Request, cors: Cors, allow: string): Answer {
  const { origins: allowed, allowHeaders } = cors;
  const headers: Record<string, string> = { Allow: allow };
  const origin = request.headers.get("Origin");
  if (origin !== null && (allowed.includes(origin) || allowed.includes("*"))) {
    headers["Access-Control-Allow-Methods"] = allow;
    headers["Access-Control-Allow-Headers"] = allowHeaders;
    headers["Access-Control-Max-Age"] = "86400";
  }
  return { status: 204, headers, body: null };
}

/**
 * Whether a POST may come from the page that sent it. A browser says where a request comes from, and a page cannot lie
 * about it. Without either header, the request is not from a page of another origin.
 */
export function isAllowedOrigin(request: Request, url: URL, { origins: allowed }: Cors): boolean {
  const origin = request.headers.get("Origin");
  if (
    origin !== null && (allowed.includes(origin) || (allowed.includes("*") && origin !== "null"))
  ) return true;
  const site = request.headers.get("Sec-Fetch-Site");
  if (site !== null) return site === "same-origin" || site === "none";
  // Behind a proxy that ends TLS the schemes differ, so the hosts are compared.
  return origin === null || hostOf(origin) === url.host;
}

function hostOf(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}
