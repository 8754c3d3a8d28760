/**
 * A sink that writes straight to the socket of a response, without the response in between, which would cost a third of
 * a delivery.
 *
 * If one of these does not hold, the sink writes to the response instead:
 *
 * - Node's own node:http and net are beneath it: Deno's and Bun's look the same and are not.
 * - The response is HTTP/1.1 and chunked, so that a chunk of ours is a chunk of the body (RFC 9112, 7.1).
 * - Nobody stands between: `write` and `end` are Node's own, and no content coding is announced (a compressor).
 * - Nothing of the response waits to go first.
 *
 * For a chunk to go to the kernel at once, past the socket's own queue, these must hold too:
 *
 * - The socket passes bytes to the kernel as they are: TCP or a pipe, and no TLS.
 * - The socket still has its handle. The number of a closed one may be another connection's by now.
 * - Nothing waits in the socket to go first.
 * - The socket has no idle timeout: only its own writes keep that from firing.
 *
 * @module
 */

import { writeSync } from "node:fs";
import { type IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Chunk, SinkOwner } from "../hub/sink.ts";
import { type NodeSink, SINK, type WithSink } from "./response-sink.ts";
import type { Stalls } from "./stalls.ts";

/** The socket to write to without the response in between; `undefined` unless the module's conditions hold. */
export function directSocket(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Socket | undefined {
  const { socket } = outgoing;
  const isSafe = IS_NODE && socket instanceof Socket && outgoing instanceof ServerResponse &&
    outgoing.chunkedEncoding && incoming.httpVersion === "1.1" &&
    outgoing.writableLength === socket.writableLength &&
    outgoing.write === ServerResponse.prototype.write &&
    outgoing.end === ServerResponse.prototype.end &&
    !outgoing.hasHeader("content-encoding");
  return isSafe ? socket : undefined;
}

// Deno and Bun have a node:http, but not on Node's internals.
const IS_NODE = !("Deno" in globalThis) && !("Bun" in globalThis);

/** A sink that is the socket of a chunked HTTP/1.1 response (RFC 9112, 7.1). */
export class SocketSink implements NodeSink {
  owner: SinkOwner | undefined;
  readonly outgoing: ServerResponse;
  readonly socket: Socket;
  /** The socket's number if it passes bytes to the kernel as they are, else -1. */
  readonly #fd: number = -1;
  /** The handle that the number belongs to. */
  readonly #handle: WithHandle["_handle"];
  readonly #stalls: Stalls | undefined;

  /**
   * A sink that tells `owner`. `stalls` watches a reader that has not taken everything when the connection has ended.
   */
  constructor(
    owner: SinkOwner,
    outgoing: ServerResponse,
    socket: Socket,
    stalls: Stalls | undefined,
  ) {
    this.#stalls = stalls;
    this.owner = owner;
    this.outgoing = outgoing;
    this.socket = socket;
    const handle = (socket as WithHandle)._handle;
    this.#handle = handle;
    if (handle && PLAIN_HANDLES.has(handle.constructor.name)) this.#fd = handle.fd ?? -1;
  }

  write(chunk: Chunk): boolean {
    const { socket } = this;
    if (!this.#isOpen()) return false;
    const isSmall = chunk.bytes.length <= SMALL_BYTES && this.#fd >= 0;
    const framed = chunk.framed ?? (isSmall ? frameInPassing(chunk) : frame(chunk.bytes));
    const written = this.#writeAtOnce(framed);
    if (written === framed.length && isSmall) return true;
    // It is shared by all that do not take it at once.
    chunk.framed ??= isSmall ? new Uint8Array(framed) : framed;
    if (written === framed.length) return true;
    socket.write(written === 0 ? chunk.framed : chunk.framed.subarray(written));
    // A large write is reported as too much, even if the kernel has taken all of it already.
    if (socket.writableLength === 0) return true;
    const { writableNeedDrain: isFull } = socket;
    // While it is corked, the head waits for the first events, which says nothing about the reader.
    if (isFull || this.#fd < 0 || socket.writableCorked > 0) return !isFull;
    // The socket has room for more, but what waits in it and one chunk would be over `maxBufferedBytes`. `drain` fires
    // only after a full buffer, so an empty write's callback tells instead.
    socket.write(NOTHING, () => this.owner?.drained());
    return false;
  }

  /**
   * Gives the kernel as many of some bytes as it takes at once, and returns their number. That saves a write request,
   * its callback and its tick: a fifth of a delivery's processor time at 100 events/s.
   */
  #writeAtOnce(bytes: Uint8Array): number {
    const { socket } = this;
    const isSame = (socket as WithHandle)._handle === this.#handle;
    if (this.#fd < 0 || !isSame || socket.writableLength > 0 || socket.timeout) return 0;
    try {
      return writeSync(this.#fd, bytes);
    } catch {
      // Full or gone: the socket's own write waits for room, or notices and closes.
      return 0;
    }
  }

  /**
   * Whether the socket still serves the response. If the client has closed its side, or somebody else has ended the
   * response, a write would be an error of the socket or part of the next response. "close" follows.
   */
  #isOpen(): boolean {
    return this.socket.writable && !this.outgoing.writableEnded;
  }

  end(last?: Chunk): void {
    this.forget();
    if (!this.#isOpen()) return;
    if (last) this.socket.write(frame(last.bytes));
    this.outgoing.end();
    this.#stalls?.watchEnd(this.outgoing);
  }

  abort(): void {
    this.forget();
    this.outgoing.destroy();
  }

  taken(): number {
    const { socket } = this;
    const queued = (socket as WithHandle)._handle?.writeQueueSize ?? socket.writableLength;
    return socket.bytesWritten - queued;
  }

  /** From now on, the connection is told nothing. The socket may serve another request. */
  forget(): void {
    this.owner = undefined;
    const socket = this.socket as WithSink;
    if (socket[SINK] === this) socket[SINK] = undefined;
  }
}

/** What is beneath a socket, as far as it is used here. */
interface WithHandle {
  _handle?: { fd?: number; writeQueueSize?: number } | null;
}

const PLAIN_HANDLES: ReadonlySet<string> = new Set(["TCP", "Pipe"]);

const NOTHING = new Uint8Array(0);
const CRLF = "\r\n";

/** Bytes as one chunk of a chunked body: length, bytes, line end in one buffer. */
function frame(bytes: Uint8Array): Uint8Array {
  const size = bytes.length.toString(16) + CRLF;
  const framed = Buffer.allocUnsafeSlow(size.length + bytes.length + 2);
  fill(framed, size, bytes);
  return framed;
}

function fill(framed: Buffer, size: string, bytes: Uint8Array): void {
  framed.write(size, 0, "latin1");
  framed.set(bytes, size.length);
  framed.write(CRLF, size.length + bytes.length, "latin1");
}

/** Up to so many bytes, a frame that the kernel takes at once is not worth a buffer of its own. */
const SMALL_BYTES = 4_096;
const passing = Buffer.allocUnsafeSlow(SMALL_BYTES + 16);
/** What is framed there now. */
let passed: { chunk: Chunk; framed: Uint8Array } | undefined;

/** A frame that holds until the next chunk is framed: of a thousand runs, each has a chunk for its two readers. */
function frameInPassing(chunk: Chunk): Uint8Array {
  if (passed?.chunk === chunk) return passed.framed;
  const { bytes } = chunk;
  const size = bytes.length.toString(16) + CRLF;
  fill(passing, size, bytes);
  const framed = passing.subarray(0, size.length + bytes.length + 2);
  passed = { chunk, framed };
  return framed;
}
