/**
 * From the bytes of a stream to its events (WHATWG HTML 9.2.6): eventsource-parser, and a bound on what it may come to
 * hold of an event that never ends.
 *
 * @module
 */
import { createParser as createTextParser, type EventSourceParser } from "eventsource-parser";

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

/** What a line of data takes at the most besides its characters, in bytes: engines join strings by two small objects. */
const LINE_BYTES = 64;
/** What any event may take, however short `maxEventBytes` is. */
const LEAST_BYTES = 2 ** 20;

/**
 * Makes a function that takes a stream's chunks, in order. It throws if the event or line that is incomplete at the end
 * of a chunk has more than `maxEventBytes` characters, or would take more than four times as many bytes to hold.
 *
 * The parser counts the characters of data alone. A line of data without any takes 32 bytes all the same, and a short
 * piece of a chunk keeps the whole chunk: without a bound on these, 16 Mi characters took 570 MB.
 */
export function createParser(
  { onEvent, ...handlers }: StreamHandlers,
  maxEventBytes: number = 2 ** 24,
): (chunk: Uint8Array) => void {
  const parser = createTextParser(
    {
      ...handlers,
      maxBufferSize: maxEventBytes,
      onEvent: ({ event, data }) => onEvent(event ?? "message", data),
    } as Parameters<typeof createTextParser>[0],
  );
  // The parser takes the byte order mark away.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** The characters of the incomplete line. */
  let line = 0;
  /** What the incomplete event may take, in bytes, and whether it has data: else nothing of it is held. */
  let held = 0;
  let hasData = false;
  /** The end of the chunk before. */
  let before = "";

  return (chunk) => {
    // Streaming is slow in Node's decoder, and only a chunk that may end inside of a character needs it.
    const text = decoder.decode(chunk, { stream: !(chunk.at(-1)! < 128) });
    parser.feed(text);
    // Mostly a chunk ends with an event.
    const isWhole = text.endsWith("\n\n");
    const blank = isWhole ? text.length : blankLineEnd(before + text) - before.length;
    if (blank > 0) {
      held = 0;
      hasData = false;
    }
    if (isWhole) line = 0;
    else {
      const rest = text.slice(Math.max(0, blank));
      const ends = rest.match(/\r\n?|\n/g)?.length ?? 0;
      line = ends > 0 ? rest.length - lineEnd(rest) : line + rest.length;
      hasData ||= (before + rest).includes("data");
      if (hasData) held += 2 * rest.length + LINE_BYTES * ends;
    }
    before = text.slice(-3);
    if (
      line > maxEventBytes || held > 4 * maxEventBytes + LEAST_BYTES || isTerminated(parser)
    ) {
      throw new Error(`An event has more than ${maxEventBytes} characters (maxEventBytes)`);
    }
  };
}

/** Where a text's last blank line ends; 0 without one. */
function blankLineEnd(text: string): number {
  return Math.max(...["\n\n", "\r\r", "\n\r"].map((ends) => text.lastIndexOf(ends))) + 2;
}

/** Where a text's last line end is over. */
function lineEnd(text: string): number {
  return Math.max(text.lastIndexOf("\n"), text.lastIndexOf("\r")) + 1;
}

/** Whether a parser had too much to hold: from then on it takes nothing. Its `onError` costs a stack for each odd line. */
function isTerminated(parser: EventSourceParser): boolean {
  try {
    parser.feed("");
    return false;
  } catch {
    return true;
  }
}
