/**
 * How a reader of a random history reads: the way from a stream to it, which may stall, take a chunk now and then, and
 * break at any byte. What the reader should have got is no matter of this.
 *
 * @module
 */
import type { VirtualTime } from "./delivery-time.ts";

/** What becomes of what is read. */
export interface Receiver {
  /** Bytes have come: whole chunks, or the beginning of the one in which the connection breaks. */
  took(bytes: Uint8Array, isWhole: boolean): void;
  /** It asks for nothing more from now on. */
  rests(): void;
  /** The stream has ended. It was not asked for anything for so many ms before. */
  ended(rested: number): void;
  /** Something went wrong that should not. */
  failed(error: unknown): void;
}

/** One connection, from its stream to its end or break. */
export class Transport {
  readonly #time: VirtualTime;
  readonly #receiver: Receiver;
  #stream: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #mode: "read" | "sip" | "rest" = "rest";
  /** It has asked for a chunk that has not come. */
  #asks = false;
  /** When it last had what it asked for, in ms. */
  #restsSince: number;
  /** How long it had asked for nothing when it asked last, in ms. */
  #rested = 0;
  /** How many bytes may come before the connection breaks. */
  #cutAfter = Infinity;

  constructor(stream: ReadableStream<Uint8Array>, receiver: Receiver, time: VirtualTime) {
    this.#stream = stream.getReader();
    this.#receiver = receiver;
    this.#time = time;
    this.#restsSince = time.now;
  }

  get isOpen(): boolean {
    return this.#stream !== undefined;
  }

  read(): void {
    this.#mode = "read";
    this.#pump();
  }

  /** Takes one more chunk. */
  sip(): void {
    this.#mode = "sip";
    this.#pump();
  }

  stall(): void {
    this.#mode = "rest";
  }

  /** The connection breaks when so many bytes more have come. */
  cut(bytes: number): void {
    this.#cutAfter = bytes;
  }

  /** The connection breaks now. */
  break(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    // A stream that failed has nothing to cancel any more.
    stream?.cancel().catch(() => {});
  }

  #pump(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#asks || this.#mode === "rest") return;
    this.#asks = true;
    this.#rested = this.#time.now - this.#restsSince;
    stream.read().then(({ done, value }) => {
      // What comes after the connection was given up is nobody's any more.
      if (!this.isOpen) return;
      this.#asks = false;
      if (done) this.#end();
      else this.#take(value);
    }).catch((error: unknown) => {
      if (this.isOpen) this.#receiver.failed(error);
    });
  }

  #end(): void {
    this.#stream = undefined;
    this.#receiver.ended(this.#rested);
  }

  #take(bytes: Uint8Array): void {
    const isCut = bytes.length > this.#cutAfter;
    const taken = isCut ? bytes.subarray(0, this.#cutAfter) : bytes;
    this.#cutAfter -= taken.length;
    this.#restsSince = this.#time.now;
    this.#receiver.took(taken, !isCut);
    if (isCut) return this.break();
    if (this.#mode === "sip") this.#mode = "rest";
    if (this.#mode === "rest") this.#receiver.rests();
    this.#pump();
  }
}
