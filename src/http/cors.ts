/**
 * Which pages may use the handler: an allow-list of origins (Fetch Standard, 3.2, "HTTP CORS protocol").
 *
 * @module
 */

import { quote, StreamsideError } from "../errors.ts";
import type { Answer } from "./answer.ts";

/**
 * The origins of an allow-list, each as browsers send it.
 *
 * @throws {StreamsideError} `invalid-argument` for an invalid origin, which would never match or match too much
 */
export function allowList(origins: readonly string[]): readonly string[] {
  if (Array.isArray(origins) && origins.every(isOrigin)) return [...origins];
  const wrong = Array.isArray(origins) ? origins.find((origin) => !isOrigin(origin)) : origins;
  throw new StreamsideError(
    "invalid-argument",
    'cors must be an array of origins as browsers send them, such as "https://app.example", or "*" for all; ' +
      `got ${quote(wrong)}.`,
  );
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
  allowed: readonly string[],
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
  headers["Access-Control-Expose-Headers"] = "Retry-After";
  return headers;
}

/** The answer to OPTIONS: the methods of the path, and for a preflight from an allowed origin, that it may come. */
export function preflight(request: Request, allowed: readonly string[], allow: string): Answer {
  const headers: Record<string, string> = { Allow: allow };
  const origin = request.headers.get("Origin");
  if (origin !== null && (allowed.includes(origin) || allowed.includes("*"))) {
    headers["Access-Control-Allow-Methods"] = allow;
    headers["Access-Control-Allow-Headers"] =
      "Authorization, Content-Type, Last-Event-ID, X-Session-Id";
    headers["Access-Control-Max-Age"] = "86400";
  }
  return { status: 204, headers, body: null };
}

/**
 * Whether a POST may come from the page that sent it. A browser says where a request comes from, and a page cannot lie
 * about it. Without either header, the request is not from a page of another origin.
 */
export function isAllowedOrigin(request: Request, url: URL, allowed: readonly string[]): boolean {
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
