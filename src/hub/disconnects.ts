/**
 * Which sessions were disconnected lately, for requests that came in before and would open a connection afterwards.
 *
 * @module
 */

/**
 * How many sessions are remembered. If more than these are disconnected while a request is at `authenticate`, the
 * request must come again: nobody can tell whether its session was one of them.
 */
const MOST = 1_000;

/** The last disconnect of each session, for the latest {@link MOST} sessions. */
export class Disconnects {
  /** Where each session was disconnected, the oldest first. */
  readonly #positions = new Map<string, number>();
  /** Every disconnect after this position is known. */
  #start: number;

  /** No disconnects, from `head` on, where a life of the log begins. */
  constructor(head: number) {
    this.#start = head;
  }

  /** A session is disconnected at the newest position of the log. */
  add(session: string, position: number): void {
    this.#positions.delete(session);
    this.#positions.set(session, position);
    if (this.#positions.size <= MOST) return;
    const [oldest, forgotten] = this.#positions.entries().next().value!;
    this.#positions.delete(oldest);
    this.#start = forgotten;
  }

  /** Whether a session was disconnected after a position; `undefined` if that is too long ago to know. */
  isAfter(session: string, position: number): boolean | undefined {
    if ((this.#positions.get(session) ?? -1) > position) return true;
    return position >= this.#start ? false : undefined;
  }
}
