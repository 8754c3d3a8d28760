/**
 * Sinks for node:http: a connection that writes to the response, or, where that is safe, straight to its socket.
 *
 * @module
 */

import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Chunk, Sink, SinkOwner } from "./sink.ts";

/** Lets a connection write to a response whose head is set. */
export function serveConnection(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  owner: SinkOwner,
): void {
  outgoing.flushHeaders();
  const socket = directSocket(incoming, outgoing);
  const sink = socket ? new SocketSink(owner, outgoing, socket) : new ResponseSink(owner, outgoing);
  owner.sink = sink;
  // One function for all connections, and the sink where it finds it.
  (outgoing as WithSink)[SINK] = sink;
  outgoing.on("close", onClose);
  if (socket) {
    (socket as WithSink)[SINK] = sink;
    if (!socket.listeners("drain").includes(onDrain)) socket.on("drain", onDrain);
  } else outgoing.on("drain", onDrain);
  // The client may have gone while `authenticate` was at work.
  if (outgoing.destroyed || incoming.socket.destroyed) owner.gone();
  else owner.drained();
}

const SINK = Symbol("streamside.sink");

interface WithSink {
  [SINK]?: ResponseSink | SocketSink | undefined;
}

function onDrain(this: WithSink): void {
  this[SINK]?.owner?.drained();
}

function onClose(this: WithSink): void {
  this[SINK]?.owner?.gone();
  this[SINK]?.forget();
}

/**
 * The socket to write to without the response in between, which costs a third of a delivery; `undefined` unless
 * nothing but our chunks would go through the response: HTTP/1.1, chunked, on Node's own implementation, with nothing
 * of the response waiting and nobody (a compression middleware) between.
 */
function directSocket(incoming: IncomingMessage, outgoing: ServerResponse): Socket | undefined {
  const { socket } = outgoing;
  const isSafe = IS_NODE && socket !== null && outgoing instanceof ServerResponse &&
    outgoing.chunkedEncoding && incoming.httpVersion === "1.1" && outgoing.writableLength === 0 &&
    outgoing.write === ServerResponse.prototype.write &&
    outgoing.end === ServerResponse.prototype.end &&
    !outgoing.hasHeader("content-encoding");
  return isSafe ? socket : undefined;
}

// Deno and Bun have a node:http, but what is beneath it is not Node's.
const IS_NODE = !("Deno" in globalThis) && !("Bun" in globalThis);

/** A sink that is a response of node:http or node:http2. */
class ResponseSink implements Sink {
  owner: SinkOwner | undefined;
  readonly outgoing: ServerResponse;

  constructor(owner: SinkOwner, outgoing: ServerResponse) {
    this.owner = owner;
    this.outgoing = outgoing;
  }

  write(chunk: Chunk): boolean {
    return this.outgoing.write(chunk.bytes);
  }

  end(last?: Chunk): void {
    this.forget();
    this.outgoing.end(last?.bytes);
  }

  abort(): void {
    this.forget();
    this.outgoing.destroy();
  }

  /** Nothing is told to the connection from now on. */
  forget(): void {
    this.owner = undefined;
  }
}

/** A sink that is the socket of a chunked HTTP/1.1 response (RFC 9112, 7.1). */
class SocketSink implements Sink {
  owner: SinkOwner | undefined;
  readonly outgoing: ServerResponse;
  readonly socket: Socket;

  constructor(owner: SinkOwner, outgoing: ServerResponse, socket: Socket) {
    this.owner = owner;
    this.outgoing = outgoing;
    this.socket = socket;
  }

  write(chunk: Chunk): boolean {
    const { socket } = this;
    socket.write(chunk.framed ??= frame(chunk.bytes));
    // A large write is reported as too much even when the kernel has taken it all already.
    return socket.writableLength === 0 || !socket.writableNeedDrain;
  }

  end(last?: Chunk): void {
    this.forget();
    if (last) this.socket.write(frame(last.bytes));
    this.outgoing.end();
  }

  abort(): void {
    this.forget();
    this.outgoing.destroy();
  }

  taken(): number {
    const { socket } = this;
    const handle = (socket as { _handle?: { writeQueueSize?: number } | null })._handle;
    return socket.bytesWritten - (handle?.writeQueueSize ?? socket.writableLength);
  }

  /** Nothing is told to the connection from now on; the socket may serve another request. */
  forget(): void {
    this.owner = undefined;
    (this.socket as WithSink)[SINK] = undefined;
  }
}

const CRLF = "\r\n";

/** Bytes as one chunk of a chunked body: length, bytes, line end in one buffer. */
function frame(bytes: Uint8Array): Uint8Array {
  const size = bytes.length.toString(16) + CRLF;
  const framed = Buffer.allocUnsafeSlow(size.length + bytes.length + 2);
  framed.write(size, 0, "latin1");
  framed.set(bytes, size.length);
  framed.write(CRLF, framed.length - 2, "latin1");
  return framed;
}
