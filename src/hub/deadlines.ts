/**
 * Connections by their deadlines: which one is due next is known without a look at the others.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/** A binary heap: each connection is due no later than the two that stand below it. */
export class Deadlines {
  readonly #heap: Connection[] = [];

  /** The next deadline, in ms since the epoch; `Infinity` without one. */
  get next(): number {
    return this.#heap[0]?.deadline ?? Infinity;
  }

  /** The connection that is due next. */
  get first(): Connection | undefined {
    return this.#heap[0];
  }

  /** Adds a connection; one that never ends needs no place. */
  add(connection: Connection): void {
    if (connection.deadline === Infinity) return;
    this.#rise(connection, this.#heap.length);
  }

  /** Takes a connection out, if it is in. */
  remove(connection: Connection): void {
    const index = connection.deadlineIndex;
    if (index < 0) return;
    connection.deadlineIndex = -1;
    const last = this.#heap.pop()!;
    if (last === connection) return;
    // The last one takes the free place, and goes up or down from there.
    this.#rise(last, index);
    this.#sink(last, last.deadlineIndex);
  }

  #rise(connection: Connection, index: number): void {
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#heap[above]!;
      if (parent.deadline <= connection.deadline) break;
      this.#put(parent, index);
      index = above;
    }
    this.#put(connection, index);
  }

  #sink(connection: Connection, index: number): void {
    for (;;) {
      let below = index * 2 + 1;
      if (below + 1 < this.#heap.length) {
        if (this.#heap[below + 1]!.deadline < this.#heap[below]!.deadline) below++;
      }
      const child = this.#heap[below];
      if (!child || child.deadline >= connection.deadline) break;
      this.#put(child, index);
      index = below;
    }
    this.#put(connection, index);
  }

  #put(connection: Connection, index: number): void {
    this.#heap[index] = connection;
    connection.deadlineIndex = index;
  }
}
