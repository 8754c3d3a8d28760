/**
 * The URL of a node:http request.
 *
 * @module
 */

import type { IncomingMessage } from "node:http";

/** The URL of a request; `undefined` when its `Host` is none. */
export function urlOf(incoming: IncomingMessage, trustProxy: boolean): string | undefined {
  const { headers, socket } = incoming;
  const forwarded = (name: string): string | undefined =>
    trustProxy ? String(headers[name] ?? "").split(",", 1)[0]?.trim() || undefined : undefined;
  const host = forwarded("x-forwarded-host") ?? headers[":authority"] ?? headers.host ??
    "localhost";
  const encrypted = "encrypted" in socket && socket.encrypted === true;
  const scheme = forwarded("x-forwarded-proto") ?? (encrypted ? "https" : "http");
  if (!HOST.test(String(host)) || !SCHEME.test(scheme)) return undefined;
  // Express leaves out of `url` what a router is mounted under.
  const target = (incoming as { originalUrl?: string }).originalUrl ?? incoming.url ?? "/";
  // RFC 9112, 3.2.2 and 3.2.4: a target may be a whole URL, or "*".
  const url = target.startsWith("/")
    ? `${scheme}://${host}${target}`
    : target === "*"
    ? `${scheme}://${host}/`
    : target.replace(/^(https?:\/\/)[^/?#]*@/i, "$1"); // a `Request` cannot have credentials in its URL
  // What looks like a host need not be one: `999.999.999.999`, or a port of 99999.
  return URL.canParse(url) ? url : undefined;
}

const HOST = /^(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d{1,5})?$/;
const SCHEME = /^https?$/;
