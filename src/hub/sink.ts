/**
 * Where a connection's bytes go: the one thing that differs between runtimes.
 *
 * @module
 */

/** Bytes that leave together, shared by every connection that gets them. Nobody may change them. */
export class Chunk {
  /** Whole events in the event stream format. */
  readonly bytes: Uint8Array;
  /** How many events. */
  readonly events: number;
  /** The same bytes as a sink's transport wants them, kept by the sink so that this too is done once for everybody. */
  framed: Uint8Array | undefined = undefined;

  /** A chunk of so many events. */
  constructor(bytes: Uint8Array, events: number) {
    this.bytes = bytes;
    this.events = events;
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
