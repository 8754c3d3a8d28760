/**
 * A sink that is a `ReadableStream`: for `Response` bodies, on every runtime.
 *
 * @module
 */

import { VERSION } from "../version.ts";
import type { Chunk, Sink, SinkOwner } from "./sink.ts";

/** Where a stream that nobody has read from yet has its sink. A better sink can still replace it. */
const UNTOUCHED: unique symbol = Symbol.for(`streamside.untouched@${VERSION}`);

interface Untouched {
  [UNTOUCHED]?: StreamSink | undefined;
}

/** Stands for a first chunk that was examined. */
const SEEN = new Uint8Array(0);

/**
 * A sink that is a `ReadableStream`. It holds nothing: with a high-water mark of 0 it takes a chunk only when somebody
 * waits for one. So each `pull` is a drain, and a stalled reader costs only its cursor.
 */
export class StreamSink implements Sink {
  /** The stream to read from. */
  readonly stream: ReadableStream<Uint8Array>;
  #owner: SinkOwner | undefined;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  /** Somebody waits for a chunk. */
  #wanted = false;
  #writing = false;
  /** The first chunk handed out, until it is examined. */
  #first: Uint8Array | undefined;
  /** A reader that takes over its buffers, as a byte stream does, shares none: it would empty those of others. */
  #alone = true;

  /** A sink that tells `owner`. */
  constructor(owner: SinkOwner) {
    this.#owner = owner;
    // The sink itself is the underlying source, which saves a closure for each connection.
    this.stream = new ReadableStream<Uint8Array>(this, { highWaterMark: 0 });
    (this.stream as Untouched)[UNTOUCHED] = this;
  }

  /** Called by the stream. */
  start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = controller;
  }

  /** Called by the stream: somebody waits for a chunk. */
  pull(): void {
    (this.stream as Untouched)[UNTOUCHED] = undefined;
    this.#wanted = true;
    // If several reads are waiting, `enqueue` pulls again at once. `write` then returns true by itself.
    if (this.#writing) return;
    if (this.#first !== undefined && this.#first !== SEEN) {
      // The reader asks for more, so it has done with the first chunk what it does with every chunk.
      this.#alone = this.#first.length === 0;
      this.#first = SEEN;
    }
    this.#owner?.drained();
  }

  /** Called by the stream: the reader went away. */
  cancel(): void {
    this.#owner?.gone();
    this.#owner = undefined;
  }

  write(chunk: Chunk): boolean {
    const bytes = chunk.copy(this.#alone);
    this.#first ??= bytes;
    this.#wanted = false;
    this.#writing = true;
    this.#controller.enqueue(bytes);
    this.#writing = false;
    return this.#wanted;
  }

  end(last?: Chunk): void {
    this.#owner = undefined;
    if (last) this.#controller.enqueue(last.copy(this.#alone));
    try {
      this.#controller.close();
    } catch {
      /* The last chunk has shown that the reader is gone: Deno cancels while it is handed over. */
    }
  }

  abort(): void {
    // There is nothing to drop. An error would tell no more than an end, and Deno and Bun would print each.
    this.end();
  }

  /** Gives up the connection, so that another sink can serve it. */
  release(): SinkOwner | undefined {
    const owner = this.#owner;
    this.#owner = undefined;
    return owner;
  }
}

/** A connection as a stream. */
export function streamOf(connection: SinkOwner): ReadableStream<Uint8Array> {
  const sink = new StreamSink(connection);
  connection.sink = sink;
  if (connection.ended) sink.end();
  return sink.stream;
}

/**
 * The owner of a subscribe stream that nobody has read from yet, for another sink to serve from now on. `undefined` for
 * any other stream.
 */
export function takeOver(stream: ReadableStream<Uint8Array> | null): SinkOwner | undefined {
  const sink = (stream as Untouched | null)?.[UNTOUCHED];
  if (!sink || sink.stream.locked) return undefined;
  (stream as Untouched)[UNTOUCHED] = undefined;
  return sink.release();
}
