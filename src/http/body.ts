/**
 * A JSON body, read with a limit.
 *
 * @module
 */

import { quote } from "../errors.ts";
import { Problem } from "./answer.ts";

/** How large and how slow a body may be. */
export interface BodyLimits {
  /** Its size at most, in bytes. */
  readonly bytes: number;
  /** How long it may take to arrive, in ms. */
  readonly time: number;
}

/**
 * The JSON body of a request.
 *
 * @throws {Problem} 500 if it was read already, 415 for another type or a content coding, 413 if it is too large, 408
 *   if it takes too long, 400 if it is not UTF-8 or not JSON
 */
export async function readJson(request: Request, limits: BodyLimits): Promise<unknown> {
  const type = request.headers.get("Content-Type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new Problem(415, "unsupported-media-type", "The body must be application/json.", {
      "Accept-Post": "application/json",
    });
  }
  const coding = request.headers.get("Content-Encoding")?.trim().toLowerCase();
  if (coding && coding !== "identity") {
    throw new Problem(415, "unsupported-media-type", "The body must not be compressed.", {
      "Accept-Encoding": "identity",
    });
  }
  const text = await readText(request, limits);
  try {
    return JSON.parse(text);
  } catch (error) {
    // It may quote the body.
    const reason = quote((error as Error).message, 160);
    throw new Problem(400, "malformed-json", `The body is not valid JSON: ${reason}.`);
  }
}

async function readText(request: Request, limits: BodyLimits): Promise<string> {
  const tooLarge = () =>
    new Problem(413, "body-too-large", `The body is larger than ${limits.bytes} bytes.`);
  if (isTaken(request)) {
    throw new Problem(
      500,
      "body-already-read",
      "The body was read before the handler got the request, by a body parser for example. Mount the handler before " +
        "the parser. Or hand on what the parser made of it: `toNodeListener` takes it from `req.body` " +
        "(Koa: `ctx.req.body = ctx.request.body`), other handlers from a new Request with that body.",
    );
  }
  if (Number(request.headers.get("Content-Length")) > limits.bytes) throw tooLarge();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  let bytes = 0;
  // Leaving the loop cancels the body: if it is too large, it is not read to its end.
  for await (const chunk of chunks(request, limits.time)) {
    bytes += chunk.length;
    if (bytes > limits.bytes) throw tooLarge();
    text += decode(decoder, chunk);
  }
  return text + decode(decoder);
}

/** How much of a body flows away before a connection that closes is answered, in bytes. */
const MOST = 128 * 1024 * 1024;
/** For how long, in ms. */
const LONGEST = 10_000;

/**
 * Lets a body that nobody wants flow away, for a while, if its connection closes after the answer. A server that closes
 * while its client still writes resets the connection, and the client, or the proxy that it is, never reads the answer
 * (RFC 9112, 9.6). Deno.serve and node:http wait by themselves; Bun.serve does not.
 */
export async function letFlow(request: Request): Promise<void> {
  // A GET has none, and a router's proxy of the request may fail at a `body` that is null (itty-router's does).
  if (request.method === "GET" || request.method === "HEAD" || !closes(request)) return;
  if (request.body && !isTaken(request)) await drain(request.body.getReader());
}

/** Somebody has read the body, or is at it. */
function isTaken({ body, bodyUsed }: Request): boolean {
  return bodyUsed || body?.locked === true;
}

function closes(request: Request): boolean {
  return /^close$/i.test(request.headers.get("Connection") ?? "");
}

async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const leave = () => void reader.cancel().catch(() => {});
  const timer = setTimeout(leave, LONGEST);
  try {
    for (let bytes = 0; bytes < MOST;) {
      const { done, value } = await reader.read();
      if (done) return;
      bytes += value.length;
    }
  } catch {
    // The client has gone.
  } finally {
    clearTimeout(timer);
    leave();
  }
}

async function* chunks(request: Request, time: number): AsyncGenerator<Uint8Array, void> {
  if (!request.body) return;
  const reader = request.body.getReader();
  let isLate = false;
  let isWanted = true;
  // The answer is decided already: what happens to the rest of the body does not change it.
  const leave = () => void reader.cancel().catch(() => {});
  const timer = setTimeout(() => {
    isLate = true;
    leave();
  }, time);
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new Problem(400, "incomplete-body", "The body ended before it was complete.");
      });
      if (isLate) {
        throw new Problem(408, "body-too-slow", `The body did not arrive within ${time} ms.`, {
          // RFC 9110, 15.5.9: the server does not wait for the rest.
          Connection: "close",
        });
      }
      if (done) return;
      isWanted = false;
      yield value;
      isWanted = true;
    }
  } finally {
    clearTimeout(timer);
    // Left in the middle, since it is too large.
    if (!isWanted && closes(request)) await drain(reader);
    leave();
  }
}

function decode(decoder: TextDecoder, chunk?: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: chunk !== undefined });
  } catch {
    throw new Problem(400, "malformed-json", "The body is not UTF-8.");
  }
}
