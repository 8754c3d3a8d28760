/**
 * Where a connection's bytes go: the one thing that differs between runtimes.
 *
 * @module
 */

/**
 * Up to this size each reader of a stream gets its own copy, which costs less than the rest of handing out a chunk.
 * Copies of larger chunks would cost half of the rate on `Deno.serve` and two thirds on `Bun.serve`.
 */
const COPIED_BYTES = 4 * 1024;

/** Bytes that leave together, shared by every connection that gets them. Nobody may change them. */
export class Chunk {
  /** Whole events in the event stream format. Mostly a view of the log's page, so only for our own sinks. */
  readonly bytes: Uint8Array;
  /** How many events it holds. */
  readonly events: number;
  /** The same bytes as a sink's transport wants them, kept here so that this too is done once for everybody. */
  framed: Uint8Array | undefined = undefined;
  #shared: Uint8Array | undefined = undefined;

  /** A chunk of this many events. */
  constructor(bytes: Uint8Array, events: number) {
    this.bytes = bytes;
    this.events = events;
  }

  /**
   * The bytes to hand out, in a buffer that holds nothing else. Whatever is done to it harms neither the log nor what
   * is handed out later. A large buffer is shared by all who take it, unless a reader must have it `alone`.
   */
  copy(alone: boolean): Uint8Array {
    // The constructor and not `slice`: a log's pages may be of `Buffer`, whose `slice` gives a view.
    if (alone || this.bytes.length <= COPIED_BYTES) return new Uint8Array(this.bytes);
    // A reader that took the buffer over (transferred it) has left this view empty.
    if (!this.#shared?.length) this.#shared = new Uint8Array(this.bytes);
    return this.#shared;
  }
}

/** What a sink tells its connection. */
export interface SinkOwner {
  /** The sink. It may be set only before the first `drained()`. */
  sink: Sink | undefined;
  /** The connection has ended and needs no sink any more. */
  readonly ended: boolean;
  /** The sink can take a chunk now: at first, and after each `write` that returned false. */
  drained(): void;
  /** Nobody reads any more. The sink is not called again. */
  gone(): void;
}

/**
 * The writing end of one subscribe response.
 *
 * What a sink promises: it takes nothing before its first `drained()`. It holds at most what it was given while
 * `write` returned true, and one chunk more. It never throws.
 *
 * What the caller promises: after a `write` that returned false it waits for `drained()`. After `end` or `abort` it
 * calls nothing more.
 */
export interface Sink {
  /** Takes a chunk. False if it is full now; `drained()` will follow. */
  write(chunk: Chunk): boolean;
  /** Ends the response after `last` and all that was written. */
  end(last?: Chunk): void;
  /** Ends the response at once and drops what is not sent yet: for a reader that takes nothing. */
  abort(): void;
  /** How many bytes the reader has taken so far, where the sink knows: a slow reader is not a stalled one. */
  taken?(): number;
}
