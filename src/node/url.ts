/**
 * The URL of a node:http request.
 *
 * @module
 */

import type { IncomingMessage } from "node:http";

/** The URL of a request; `undefined` when its `Host` is invalid. */
export function urlOf(incoming: IncomingMessage, trustProxy: boolean): string | undefined {
  const { headers, socket } = incoming;
  const forwarded = (name: string): string | undefined =>
    trustProxy ? String(headers[name] ?? "").split(",", 1)[0]?.trim() || undefined : undefined;
  const host = forwarded("x-forwarded-host") ?? headers[":authority"] ?? headers.host ??
    "localhost";
  const encrypted = "encrypted" in socket && socket.encrypted === true;
  const scheme = forwarded("x-forwarded-proto") ?? (encrypted ? "https" : "http");
  if (!HOST.test(String(host)) || !SCHEME.test(scheme)) return undefined;
  const target = targetOf(incoming);
  // RFC 9112, 3.2.2 and 3.2.4: a target may be a whole URL, or "*".
  const url = target.startsWith("/")
    ? `${scheme}://${host}${target}`
    : target === "*"
    ? `${scheme}://${host}/`
    : target.replace(/^(https?:\/\/)[^/?#]*@/i, "$1"); // a `Request` cannot have credentials in its URL
  // Not everything that looks like a host is valid: `999.999.999.999`, or a port of 99999.
  return URL.canParse(url) ? url : undefined;
}

const HOST = /^(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d{1,5})?$/;
const SCHEME = /^https?$/;

/** The members that routers add to a request. */
interface Routed {
  /** The path that a router is mounted under, in Express. Missing in Connect and others. */
  readonly baseUrl?: unknown;
  /** The target as it came. */
  readonly originalUrl?: unknown;
}

/**
 * The target as it is now. A router removes the path that it is mounted under from `url`, and that path belongs to the
 * target. A middleware's changes stay, such as a session removed from the query.
 */
function targetOf(incoming: IncomingMessage & Routed): string {
  const { url = "/", baseUrl, originalUrl } = incoming;
  if (typeof originalUrl !== "string" || originalUrl === url) return url;
  const origin = /^https?:\/\/[^/?#]*/i.exec(url)?.[0] ?? "";
  const rest = url.slice(origin.length);
  if (typeof baseUrl === "string") {
    // Express writes "/?a" for the "?a" that is left of "/mounted?a".
    const isBare = originalUrl === origin + baseUrl + rest.slice(1);
    return isBare ? originalUrl : origin + baseUrl + rest;
  }
  return originalUrl.endsWith(rest) ? originalUrl : url;
}
