/**
 * A sink that writes to a response of node:http or node:http2, whatever is beneath it.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { Chunk, Sink, SinkOwner } from "../hub/sink.ts";
import { untaken } from "./outgoing.ts";
import type { Stalls } from "./stalls.ts";

/** A sink that is a response of node:http or node:http2. */
export class ResponseSink implements NodeSink {
  owner: SinkOwner | undefined;
  readonly outgoing: ServerResponse;
  readonly #stalls: Stalls | undefined;
  #written = 0;

  /**
   * A sink that tells `owner`. `stalls` watches a reader that has not taken everything when the connection has ended.
   */
  constructor(owner: SinkOwner, outgoing: ServerResponse, stalls: Stalls | undefined) {
    this.owner = owner;
    this.outgoing = outgoing;
    this.#stalls = stalls;
  }

  write(chunk: Chunk): boolean {
    // Somebody else has ended it: writing now would be an error that nobody handles. "close" follows.
    if (this.outgoing.writableEnded) return false;
    this.#written += chunk.bytes.length;
    return this.outgoing.write(chunk.bytes);
  }

  end(last?: Chunk): void {
    this.forget();
    if (this.outgoing.writableEnded) return;
    this.outgoing.end(last?.bytes);
    this.#stalls?.watchEnd(this.outgoing);
  }

  abort(): void {
    this.forget();
    this.outgoing.destroy();
  }

  taken(): number {
    return this.#written - untaken(this.outgoing);
  }

  /** From now on, the connection is told nothing. */
  forget(): void {
    this.owner = undefined;
  }
}

/** Where a response or a socket keeps its sink, so that one listener function serves all connections. */
export const SINK: unique symbol = Symbol("streamside.sink");

/** An emitter with a sink. */
export interface WithSink {
  [SINK]?: NodeSink | undefined;
}

/** A sink of node:http. */
export interface NodeSink extends Sink {
  /** The connection, as long as it is told anything. */
  readonly owner: SinkOwner | undefined;
  /** From now on, the connection is told nothing. */
  forget(): void;
}
