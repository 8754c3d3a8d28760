/**
 * Who is logged in: a bounded number of sessions, each with an end.
 *
 * @module
 */
import { Problem } from "./http.ts";

/** One login. */
export interface Session {
  /** Unguessable: whoever knows it is this session. */
  readonly id: string;
  /** What other sessions see. */
  readonly name: string;
  /** When it ends by itself, in milliseconds since 1970. */
  readonly expires: number;
  /** Aborts when it ends, by logout or by itself. */
  readonly signal: AbortSignal;
}

/** The sessions of this process. */
export class Sessions {
  readonly #sessions = new Map<string, { session: Session; end: () => void }>();
  readonly #lifetime: number;
  readonly #max: number;

  /** At most `max` sessions at a time, of `lifetime` milliseconds each. */
  constructor(lifetime: number, max: number) {
    this.#lifetime = lifetime;
    this.#max = max;
  }

  /** Begins a session; `onEnd` is called once, when it ends. */
  begin(name: string, onEnd: (session: Session) => void): Session {
    if (this.#sessions.size >= this.#max) {
      throw new Problem(503, "Too many sessions. Try again later.", { "retry-after": "60" });
    }
    const id = crypto.randomUUID();
    const ended = new AbortController();
    const session: Session = {
      id,
      name,
      expires: Date.now() + this.#lifetime,
      signal: ended.signal,
    };
    const end = () => {
      clearTimeout(timer);
      this.#sessions.delete(id);
      ended.abort();
      onEnd(session);
    };
    const timer = setTimeout(end, this.#lifetime);
    this.#sessions.set(id, { session, end });
    return session;
  }

  /** The session with this id, if there is one now. */
  get(id: string | null | undefined): Session | undefined {
    return this.#sessions.get(id ?? "")?.session;
  }

  /** Ends a session. */
  end(session: Session): void {
    this.#sessions.get(session.id)?.end();
  }

  /** Ends every session. */
  endAll(): void {
    for (const { end } of this.#sessions.values()) end();
  }
}
