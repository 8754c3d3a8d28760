/**
 * Streamside on Cloudflare's workerd. Requests to a worker share nothing, so the hub lives in a Durable Object, which
 * all requests for a room reach.
 *
 * ```sh
 * npx esbuild examples/workers/room.ts --bundle --format=esm --outfile=examples/workers/dist/room.js
 * npx workerd serve examples/workers/workerd.capnp
 * curl -N 'localhost:8080/api/v1/sse/subscribe?sessionId=ada'
 * ```
 *
 * @module
 */
import { createHandler, createHub, type Handler, sessionFromRequest } from "../../mod.ts";
import { type SqliteDatabase, sqliteLog } from "../../src/log/sqlite.ts";

/** What an object is given: of it, its storage. */
interface State {
  readonly storage: { readonly sql: SqliteDatabase };
}

/** One hub, and everyone in it. Its history is in the object's storage: clients resume after the object was evicted. */
export class Room {
  readonly #handler: Handler;

  constructor({ storage }: State) {
    const hub = createHub<{ said: string }>({ log: sqliteLog(storage.sql) });
    this.#handler = createHandler(hub, {
      // A real application looks a session up that nobody can guess: see examples/app.
      authenticate(request) {
        const session = sessionFromRequest(request);
        return session === null ? null : { session };
      },
      authorize: (_identity, { event }) => event === "said",
      authorizeMetrics: () => true,
    });
  }

  /** Answers a request to the room. */
  fetch(request: Request): Promise<Response> {
    return this.#handler(request);
  }
}

interface Env {
  readonly ROOM: {
    idFromName(name: string): unknown;
    get(id: unknown): { fetch(request: Request): Promise<Response> };
  };
}

export default {
  /** Hands a request to the room that its host name stands for. */
  fetch(request: Request, { ROOM }: Env): Promise<Response> {
    return ROOM.get(ROOM.idFromName(new URL(request.url).hostname)).fetch(request);
  },
};
