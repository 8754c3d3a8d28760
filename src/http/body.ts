/**
 * A JSON body, read with a limit. If it is malformed, the error says where, on every runtime alike.
 *
 * @module
 */

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
 * @throws {Problem} 415 for another type or a content coding, 413 if it is too large, 408 if it takes too long, 400 if
 *   it is not UTF-8 or not JSON
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
  } catch {
    const { line, column } = lineAndColumn(text, findJsonError(text));
    throw new Problem(
      400,
      "malformed-json",
      `The body is not JSON: see line ${line}, column ${column}.`,
    );
  }
}

async function readText(request: Request, limits: BodyLimits): Promise<string> {
  const tooLarge = () =>
    new Problem(413, "body-too-large", `The body is larger than ${limits.bytes} bytes.`);
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

async function* chunks(request: Request, time: number): AsyncGenerator<Uint8Array, void> {
  if (!request.body) return;
  const reader = request.body.getReader();
  let isLate = false;
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
      yield value;
    }
  } finally {
    clearTimeout(timer);
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

function lineAndColumn(text: string, index: number): { line: number; column: number } {
  const before = text.slice(0, index);
  const lineStart = before.lastIndexOf("\n") + 1;
  return { line: before.split("\n").length, column: index - lineStart + 1 };
}

const SPACE = /[ \t\n\r]*/y;
// Unrolled, so that a long string that never ends costs one pass.
// deno-lint-ignore no-control-regex
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[\da-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const NUMBER_OR_WORD = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/**
 * Where a text stops being JSON (RFC 8259), as an index; its length when it only ends too early. The messages of
 * `JSON.parse` differ by runtime, and not all of them tell. No recursion: depth is the sender's choice.
 */
export function findJsonError(text: string): number {
  const open: ("[" | "{")[] = [];
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const skipKey = (): boolean => {
    skip(SPACE);
    if (!skip(STRING)) return false;
    skip(SPACE);
    if (text[at] !== ":") return false;
    at++;
    return true;
  };
  for (;;) {
    // A value is due.
    skip(SPACE);
    const opening = text[at];
    if (opening === "[" || opening === "{") {
      at++;
      skip(SPACE);
      if (text[at] !== (opening === "[" ? "]" : "}")) {
        open.push(opening);
        if (opening === "{" && !skipKey()) return at;
        continue;
      }
      at++;
    } else if (!skip(STRING) && !skip(NUMBER_OR_WORD)) return at;
    // A value has ended; so may those around it.
    for (;;) {
      skip(SPACE);
      const inside = open.at(-1);
      if (inside === undefined) return at;
      if (text[at] === ",") {
        at++;
        if (inside === "{" && !skipKey()) return at;
        break;
      }
      if (text[at] !== (inside === "[" ? "]" : "}")) return at;
      at++;
      open.pop();
    }
  }
}
