/**
 * Which sessions were disconnected lately: for requests that came in before, and would open a connection after it.
 *
 * @module
 */

/**
 * How many sessions are remembered. A request that was at `authenticate` while more than these were disconnected is
 * asked to come again: nobody can tell whether its own was one of them.
 */
const MOST = 1_000;

/** The last disconnect of each session, as far back as {@link MOST} of them go. */
export class Disconnects {
  /** Where each session was disconnected, the one that was so longest ago first. */
  readonly #positions = new Map<string, number>();
  /** Every disconnect after this position is known. */
  #start: number;

  /** None before `head`, where a life of the log begins. */
  constructor(head: number) {
    this.#start = head;
  }

  /** A session is disconnected at a position of the log, the newest of all. */
  add(session: string, position: number): void {
    this.#positions.delete(session);
    this.#positions.set(session, position);
    if (this.#positions.size <= MOST) return;
    const [oldest, forgotten] = this.#positions.entries().next().value!;
    this.#positions.delete(oldest);
    this.#start = forgotten;
  }

  /** Whether a session was disconnected after a position; `undefined` where that is too long ago to know. */
  isAfter(session: string, position: number): boolean | undefined {
    if ((this.#positions.get(session) ?? -1) > position) return true;
    return position >= this.#start ? false : undefined;
  }
}
