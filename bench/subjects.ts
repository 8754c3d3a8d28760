/**
 * Who is measured.
 *
 * @module
 */

import { nchan, type ServerKind } from "./process.ts";

/** A server and its name in a table. */
export interface Subject extends ServerKind {
  readonly name: string;
}

export const OURS: Subject = { name: "**Streamside**, Node", file: "streamside" };
export const ON_BUN: Subject = { name: "**Streamside**, Bun", file: "streamside", runtime: "bun" };
export const ON_DENO: Subject = {
  name: "**Streamside**, Deno",
  file: "streamside",
  runtime: "deno",
};
export const ON_BUN_NODE: Subject = {
  ...ON_BUN,
  name: "**Streamside**, Bun's node:http",
  env: { LISTENER: "node" },
};
export const ON_DENO_NODE: Subject = {
  ...ON_DENO,
  name: "**Streamside**, Deno's node:http",
  env: { LISTENER: "node" },
};
export const LOOP: Subject = { name: "`res.write` loop", file: "loop" };
export const SOCKET: Subject = { name: "straight socket loop", file: "socket" };
export const BETTER_SSE: Subject = { name: "better-sse", file: "better-sse" };
export const TRANSMIT: Subject = { name: "@boringnode/transmit", file: "transmit" };
export const HONO: Subject = { name: "Hono `streamSSE`", file: "hono" };
/** `undefined` where it is not installed. */
export const NCHAN: Subject | undefined = nchan === undefined
  ? undefined
  : { name: "nginx with nchan", file: "nchan", env: { NCHAN: nchan } };
