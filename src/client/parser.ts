/**
 * From the bytes of a stream to its events (WHATWG HTML 9.2.6), in bounded memory, whatever the server sends.
 *
 * @module
 */

/** What a parser calls. */
export interface StreamHandlers {
  /** An event. Its type is `message` if the stream names none. */
  onEvent(type: string, data: string): void;
  /** The id of a block of lines, before the block's event if it has one. */
  onId?: (id: string) => void;
  /** How long the stream asks the client to wait before it reconnects, in milliseconds. */
  onRetry?: (delay: number) => void;
  /** A comment, without its colon. */
  onComment?: ((comment: string) => void) | undefined;
}

/** After how many pieces they are joined. */
const PIECES = 128;

/**
 * Text that comes in pieces. An engine keeps at least 32 bytes for each concatenation, and keeps a whole chunk for a
 * piece that was cut out of it: an endless stream of short lines took thirty times its length. So the latest pieces are
 * turned into flat text from time to time, which takes only its characters.
 */
class Text {
  #flat = "";
  #recent = "";
  #pieces = 0;
  length = 0;

  /** Adds a piece that is not empty. */
  add(piece: string): void {
    this.#recent += piece;
    this.length += piece.length;
    if (++this.#pieces < PIECES) return;
    // Joining two strings copies them. A single string would not be copied.
    this.#flat += [this.#recent[0], this.#recent.slice(1)].join("");
    this.#recent = "";
    this.#pieces = 0;
  }

  /** The whole text. The next piece begins another one. */
  take(): string {
    const text = this.#flat + this.#recent;
    this.#flat = this.#recent = "";
    this.#pieces = this.length = 0;
    return text;
  }
}

const LF = 10;
const CR = 13;
const SPACE = 32;
const COLON = 58;
// The first letters of the fields.
const D = 100;
const E = 101;
const I = 105;
const R = 114;
const BYTE_ORDER_MARK = 0xfeff;

/** A line's value, if its field has this name. */
function valueOf(name: string, text: string, start: number, end: number): string | undefined {
  const colon = start + name.length;
  if (!text.startsWith(name, start)) return undefined;
  if (colon === end) return "";
  if (text.charCodeAt(colon) !== COLON) return undefined;
  return text.slice(text.charCodeAt(colon + 1) === SPACE ? colon + 2 : colon + 1, end);
}

/**
 * Makes a function that takes a stream's chunks, in order. It throws if the event or line that is incomplete at the end
 * of a chunk has more than `maxEventBytes` characters.
 */
export function createParser(
  { onEvent, onId, onRetry, onComment }: StreamHandlers,
  maxEventBytes: number = 2 ** 24,
): (chunk: Uint8Array) => void {
  // Otherwise it would remove a byte order mark from each chunk that it decodes as a whole.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let begun = false;
  /** Whether the last chunk ended with CR. An LF at the beginning of the next chunk belongs to it. */
  let afterCR = false;
  /** The incomplete line. */
  const line = new Text();
  /** The incomplete event. Most events have one line of data; further lines are in `more`. */
  let type = "";
  let id: string | undefined;
  let data: string | undefined;
  const more = new Text();

  function dispatch(): void {
    const event = type || "message";
    const whole = more.length ? data + more.take() : data;
    const given = id;
    type = "";
    id = data = undefined;
    if (given !== undefined) onId?.(given);
    if (whole !== undefined) onEvent(event, whole);
  }

  function parseLine(text: string, start: number, end: number): void {
    if (start === end) return dispatch();
    let value: string | undefined;
    switch (text.charCodeAt(start)) {
      case D:
        value = valueOf("data", text, start, end);
        if (data === undefined) data = value;
        else if (value !== undefined) more.add("\n" + value);
        return;
      case E:
        type = valueOf("event", text, start, end) ?? type;
        return;
      case I:
        value = valueOf("id", text, start, end);
        if (value !== undefined && !value.includes("\0")) id = value;
        return;
      case R:
        value = valueOf("retry", text, start, end);
        if (value && /^[0-9]+$/.test(value)) onRetry?.(Number(value));
        return;
      case COLON:
        onComment?.(valueOf("", text, start, end)!);
    }
  }

  return (chunk) => {
    // Streaming is slow in Node's decoder, and only a chunk that may end inside of a character needs it.
    const text = decoder.decode(chunk, { stream: !(chunk.at(-1)! < 128) });
    if (!text) return;
    let start =
      afterCR && text.charCodeAt(0) === LF || !begun && text.charCodeAt(0) === BYTE_ORDER_MARK
        ? 1
        : 0;
    begun = true;
    afterCR = text.charCodeAt(text.length - 1) === CR;
    let lf = text.indexOf("\n", start);
    let cr = text.indexOf("\r", start);
    while (lf >= 0 || cr >= 0) {
      const end = cr >= 0 && (cr < lf || lf < 0) ? cr : lf;
      if (line.length > 0) {
        if (end > start) line.add(text.slice(start, end));
        const whole = line.take();
        parseLine(whole, 0, whole.length);
      } else parseLine(text, start, end);
      start = end + 1;
      if (end === cr) {
        if (lf === start) start++;
        cr = text.indexOf("\r", start);
      } else if (text.charCodeAt(start) === LF) {
        // Mostly an empty line comes next.
        dispatch();
        start++;
      }
      if (lf < start && lf >= 0) lf = text.indexOf("\n", start);
    }
    if (start < text.length) line.add(text.slice(start));
    const size = line.length + type.length + (id ?? "").length + (data ?? "").length + more.length;
    if (size > maxEventBytes) {
      throw new Error(`An event has more than ${maxEventBytes} characters (maxEventBytes)`);
    }
  };
}
