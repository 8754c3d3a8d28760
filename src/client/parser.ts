/**
 * From the bytes of a stream to its events (WHATWG HTML 9.2.6): eventsource-parser, and a bound on what it may come to
 * hold of an event that never ends.
 *
 * @module
 */
import { createParser as createTextParser } from "eventsource-parser";

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

/** What a line of data takes besides its characters, in bytes: engines join strings by small objects, two for a line. */
const LINE_BYTES = 64;
/** What any event may take, in bytes, however small `maxEventBytes` is. */
const LEAST_BYTES = 2 ** 21;

/**
 * Makes a function that takes a stream's chunks, in order. It throws if an event or a line has more than
 * `maxEventBytes` characters, or may take more than four times as many bytes to hold.
 *
 * The parser counts the characters of data alone. But a line of data without any takes 32 bytes, and a short piece of a
 * chunk keeps the whole chunk: without a bound on these, 16 Mi characters took 570 MB.
 */
export function createParser(
  { onEvent, onId, ...handlers }: StreamHandlers,
  maxEventBytes: number = 2 ** 24,
): (chunk: Uint8Array) => void {
  /** What came since the last event may take, in bytes. */
  let held = 0;
  /** The end of the last chunk. */
  let before = "";
  const parser = createTextParser(
    {
      ...handlers,
      maxBufferSize: maxEventBytes,
      onId: (id) => {
        held = 0;
        onId?.(id);
      },
      onEvent: ({ event = "message", data }) => {
        held = 0;
        onEvent(event, data);
      },
    } as Parameters<typeof createTextParser>[0],
  );
  // The parser takes the byte order mark away.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  return (chunk) => {
    // Streaming is slow in Node's decoder, and only a chunk that may end inside of a character needs it.
    const text = decoder.decode(chunk, { stream: !(chunk.at(-1)! < 128) });
    // Lines of any other kind are forgotten at once. A chunk may end within the word.
    const hasData = (before + text).includes("data");
    before = text.slice(-3);
    // Characters outside Latin-1 take two bytes.
    if (hasData) held += 2 * text.length;
    parser.feed(text);
    // After an event nothing is held: what is left behind it in a chunk is less than a chunk.
    if (hasData && held > 0) held += LINE_BYTES * text.split(/[\r\n]/).length;
    try {
      // A parser that had too much to hold takes nothing more. To be told by its `onError` costs a stack for each odd line.
      if (held <= 4 * maxEventBytes + LEAST_BYTES) return parser.feed("");
    } catch { /* Said below. */ }
    throw new Error(`An event has more than ${maxEventBytes} characters (maxEventBytes)`);
  };
}
