/**
 * Where a connection's bytes go: the one thing that differs between runtimes.
 *
 * @module
 */

/**
 * Up to this size each reader of a stream gets a copy of its own: that costs less than what comes with a chunk anyway.
 * For larger ones it would cost half of the rate on `Deno.serve` and two thirds on `Bun.serve`.
 */
const COPIED_BYTES = 4 * 1024;

/** Bytes that leave together, shared by every connection that gets them. Nobody may change them. */
export class Chunk {
  /** Whole events in the event stream format: mostly a view of the log's page, so only for sinks of our own. */
  readonly bytes: Uint8Array;
  /** How many events. */
  readonly events: number;
  /** The same bytes as a sink's transport wants them, kept by the sink so that this too is done once for everybody. */
  framed: Uint8Array | undefined = undefined;
  #shared: Uint8Array | undefined = undefined;

  /** A chunk of so many events. */
  constructor(bytes: Uint8Array, events: number) {
    this.bytes = bytes;
    this.events = events;
  }

  /**
   * The bytes for somebody else's hands, in a buffer that holds nothing else: what becomes of it harms neither the log
   * nor what is handed out later. A large one is shared by all who take it, unless one is to have it `alone`.
   */
  copy(alone: boolean): Uint8Array {
    // The constructor, not `slice`: that of a `Buffer`, which a log may have pages of, is another view.
    if (alone || this.bytes.length <= COPIED_BYTES) return new Uint8Array(this.bytes);
    // Whoever took its buffer over has left it empty.
    if (!this.#shared?.length) this.#shared = new Uint8Array(this.bytes);
    return this.#shared;
  }
}

/** What a sink tells its connection. */
export interface SinkOwner {
  /** The sink; to be set before the first `drained()` only. */
  sink: Sink | undefined;
  /** The connection has ended, and wants no sink any more. */
  readonly ended: boolean;
  /** The sink can take a chunk now: at first, and after each `write` that returned false. */
  drained(): void;
  /** Nobody reads any more. No further call is made on the sink. */
  gone(): void;
}

/**
 * The writing end of one subscribe response.
 *
 * What a sink promises: it takes nothing before its first `drained()`; it holds at most what it was given while it
 * said `true`, and one chunk more; it never throws. What the caller promises: no `write` after one that returned false
 * until `drained()`, and nothing after `end` or `abort`.
 */
export interface Sink {
  /** Takes a chunk; false when it is full, and `drained()` will follow. */
  write(chunk: Chunk): boolean;
  /** Ends the response after `last` and all that was written. */
  end(last?: Chunk): void;
  /** Ends the response at once, dropping what is not sent yet: for a reader that takes nothing. */
  abort(): void;
  /** How many bytes the reader has taken so far, where the sink knows: a slow reader is not a stalled one. */
  taken?(): number;
}
