/**
 * A reader of an event stream over a socket of its own, that reads only when a test lets it: no library in between
 * takes anything on its behalf.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";

/** What {@link SocketReader} asks for, and whom it tells. */
export interface SocketReaderOptions {
  readonly port: number;
  readonly path: string;
  readonly lastEventId?: string | undefined;
  /** Whether it reads from the start. Default: true. */
  readonly reads?: boolean;
  /** Gets the body as it comes, without the framing of HTTP. */
  readonly onBytes?: (bytes: Uint8Array) => void;
  /** The connection is gone. `isWhole`: the response had come to its end. */
  readonly onEnd?: (isWhole: boolean) => void;
}

/** One connection: GET, and then the chunks of the body (RFC 9112, 7.1). */
export class SocketReader {
  readonly socket: Socket;
  /** The status of the response; 0 before it is there. */
  status = 0;
  /** The header section of the response, as it came. */
  head = "";
  /** The body, decoded, unless `onBytes` takes it. */
  text = "";
  isOpen = true;
  /** The response came to its end. */
  isWhole = false;
  /** The connection breaks when so many bytes more have come. */
  cutAfter: number = Infinity;
  readonly #options: SocketReaderOptions;
  readonly #decoder = new TextDecoder();
  #pending: Buffer = Buffer.alloc(0);
  #isChunked = false;

  constructor(options: SocketReaderOptions) {
    this.#options = options;
    this.socket = connect({ port: options.port, host: "127.0.0.1" });
    if (options.reads === false) this.pause();
    const { lastEventId } = options;
    this.socket.write(
      `GET ${options.path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n` +
        `${lastEventId === undefined ? "" : `Last-Event-ID: ${lastEventId}\r\n`}\r\n`,
    );
    this.socket.on("data", (bytes: Buffer) => this.#take(bytes));
    this.socket.on("error", () => {}); // "close" follows
    this.socket.on("close", () => {
      if (!this.isOpen) return;
      this.isOpen = false;
      options.onEnd?.(this.isWhole);
    });
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Breaks the connection. Nothing more is told. */
  break(): void {
    this.isOpen = false;
    this.socket.destroy();
  }

  #take(bytes: Buffer): void {
    if (!this.isOpen) return;
    const isCut = bytes.length > this.cutAfter;
    if (isCut) bytes = bytes.subarray(0, this.cutAfter);
    this.cutAfter -= bytes.length;
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    if (this.status === 0) this.#readHead();
    if (this.status !== 0) this.#readBody();
    if (!isCut) return;
    this.break();
    this.#options.onEnd?.(false);
  }

  #readHead(): void {
    const end = this.#pending.indexOf("\r\n\r\n");
    if (end === -1) return;
    this.head = this.#pending.subarray(0, end).toString("latin1");
    this.status = Number(this.head.split(" ", 2)[1]);
    this.#isChunked = /^transfer-encoding: *chunked/im.test(this.head);
    this.#pending = this.#pending.subarray(end + 4);
  }

  /** Hands out whole chunks and parts of them, so that a break may be anywhere. */
  #readBody(): void {
    if (!this.#isChunked) {
      this.#got(this.#pending);
      this.#pending = Buffer.alloc(0);
      return;
    }
    for (;;) {
      const line = this.#pending.indexOf("\r\n");
      if (line === -1) return;
      const length = parseInt(this.#pending.subarray(0, line).toString("latin1"), 16);
      if (Number.isNaN(length)) throw new Error(`not a chunk: ${this.#pending.subarray(0, 40)}`);
      const end = line + 2 + length;
      if (this.#pending.length < end + 2) return;
      if (length > 0) this.#got(this.#pending.subarray(line + 2, end));
      this.#pending = this.#pending.subarray(end + 2);
      if (length > 0) continue;
      this.isWhole = true;
      // The response has ended; the connection would be kept for the next request.
      this.socket.end();
      return;
    }
  }

  #got(bytes: Uint8Array): void {
    if (this.#options.onBytes) this.#options.onBytes(bytes);
    else this.text += this.#decoder.decode(bytes, { stream: true });
  }
}
