/**
 * A small real application on Streamside, as one function from Request to Response: it runs wherever those do.
 * `examples/node.ts`, `deno.ts` and `bun.ts` are a few lines that give it a port.
 *
 * Five stories, each with another kind of event: a *sync* that copies a directory and tells the session that asked how
 * far it is; a *lock* on a document that all other sessions are told of; a *background task* that tells its outcome
 * later; an *outside change*, a watched directory whose changed files everyone is told of; and an *answer* that is
 * written word by word, and read from its beginning whenever somebody comes. Beside them goes a
 * *pulse* of numbered events to everyone, by which the page counts whether it missed any.
 *
 * The lines between `#region` and `#endregion` are shown on the page.
 *
 * @module
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { createHandler, createHub, sessionFromRequest, type StreamsideError } from "../../mod.ts";
import { count } from "./count.ts";
import type { Events } from "./events.ts";
import { openHistory } from "./history.ts";
import { asset, isOwn, Problem, readObject, text, wholeNumber } from "./http.ts";
import { loadPage } from "./page.ts";
import { maxPerSecond, Pulse } from "./pulse.ts";
import { type Session, Sessions } from "./sessions.ts";
import { reporter, sync } from "./sync.ts";
import { watchDirectory } from "./watch.ts";
import { Writer } from "./writer.ts";

/** Options of {@link createApp}. */
export interface AppOptions {
  /** The directory that a sync copies and tasks read. Default: `SOURCE`, or `node_modules`. */
  source?: string;
  /** The directory whose changes everyone is told of. Default: `WATCH`, or a new temporary one. */
  watch?: string;
  /**
   * The directory of what outlives the process: the key of the sessions, and what was sent. Nobody else may be able to read it. Default:
   * `DATA`, or one of the user's in the temporary directory.
   */
  data?: string;
  /** How long a login lasts, in ms. Default: `SESSION_LIFETIME`, or eight hours. */
  sessionLifetime?: number;
}

/** The application. */
export interface App {
  /** Answers a request. */
  fetch(request: Request): Promise<Response>;
  /** Ends all that runs and drains the streams, spread over `within` ms; then nothing of it is left. */
  close(options: { within: number }): Promise<void>;
}

const documents = ["Budget", "Contract", "Roadmap"];
const syncBounds = { files: 10_000, bytes: 256 * 2 ** 20, fileBytes: 16 * 2 ** 20 };
/** How many syncs, and how many tasks, may run at a time. */
const maxRunning = 8;
const maxSessions = 1000;

/** Starts the application: builds its page, and watches its directory. */
export async function createApp(options: AppOptions = {}): Promise<App> {
  const source = resolve(options.source ?? process.env.SOURCE ?? "node_modules");
  const lifetime = options.sessionLifetime ?? Number(process.env.SESSION_LIFETIME ?? 8 * 3_600_000);
  // A timer of more than 2³¹ ms would end at once.
  if (!(lifetime > 0 && lifetime < 2 ** 31)) {
    throw new RangeError(`A session's lifetime is above 0 and below 2^31 ms, not ${lifetime}.`);
  }
  const temporary = await mkdtemp(join(tmpdir(), "streamside-app-"));
  const watched = resolve(options.watch ?? process.env.WATCH ?? join(temporary, "watched"));
  await mkdir(watched, { recursive: true });
  const directory = options.data ?? process.env.DATA ??
    join(tmpdir(), `streamside-demo-${userInfo().uid}`);
  const [page, writer] = await Promise.all([loadPage(), Writer.open()]);

  const sessions = await Sessions.open({ directory, lifetime, max: maxSessions, onEnd });

  // Pages try again soon: the one who has restarted the server looks at them.
  const history = await openHistory(directory);
  const hub = createHub<Events>({ retry: 1000, log: history.log });
  const pulse = new Pulse(hub, history.last, (error) => {
    if (!closing) console.error(error);
  });
  const locks = new Map<string, Session>();
  const syncs = new Map<Session, AbortController>();
  const tasks = new Set<string>();
  const running = new Set<Promise<void>>();
  let closing = false;
  let rateChange = 0;
  /** Whether there is an answer, written or being written. */
  let answered = false;

  const sse = createHandler(hub, {
    basePath: "/api/v1/sse",
    authenticate(request) {
      const session = sessions.get(sessionFromRequest(request));
      if (!session) return null;
      // Everybody may read the answer.
      const channels = (name: string) => name === "answer";
      return { session: session.id, expires: session.expires, channels };
    },
  });

  // #region watch
  const stopWatching = watchDirectory(watched, (change) => {
    // Of one file, a page that lags needs the newest only.
    const key = `file ${change.fileId}`;
    inBackground(() => hub.broadcast("fileChanged", change, { key }));
    // #endregion
  }, (error) => console.error("watching", watched, "failed:", error));

  /** Does what nobody waits for; what goes wrong in it is logged, unless the application is closing anyway. */
  function inBackground(work: () => Promise<unknown>): void {
    if (closing) return;
    const promise = work().then(() => {}, (error) => {
      if (!closing) console.error(error);
    }).finally(() => running.delete(promise));
    running.add(promise);
  }

  function sessionOf(request: Request): Session {
    const session = sessions.get(sessionFromRequest(request));
    if (!session) throw new Problem(401, "Log in first: there is no such session.");
    return session;
  }

  /** Who asks, and what. The session is looked up again once the body is here: it may have ended meanwhile. */
  async function read(
    request: Request,
  ): Promise<{ session: Session; body: Record<string, unknown> }> {
    sessionOf(request);
    const body = await readObject(request);
    return { session: sessionOf(request), body };
  }

  function onEnd(session: Session): void {
    for (const [document, holder] of locks) if (holder === session) unlock(document, session);
    inBackground(() => hub.disconnect(session.id));
    // A sync that still runs is aborted by the session's signal, and removes its copy itself.
    if (!syncs.has(session)) inBackground(() => removeCopy(session));
  }

  /** What a page shows, and the cursor from which on the hub tells it all that changes. */
  function state(session: Session): Record<string, unknown> {
    // #region resume
    const cursor = hub.cursor(); // before the state is read: nothing falls between the two
    const shown = {
      documents: documents.map((document) => {
        const holder = locks.get(document);
        return { document, lockedBy: holder?.name ?? null, mine: holder === session };
      }),
      // #endregion
      syncing: syncs.has(session),
      answered,
      perSecond: pulse.perSecond,
      started: pulse.started,
    };
    const { id, token, name, expires } = session;
    const notes = join(watched, "notes.txt");
    return { cursor, id, token, name, expires, ...shown, maxPerSecond, source, notes };
  }

  async function lock(document: string, session: Session): Promise<void> {
    // #region lock
    locks.set(document, session);
    const told = { document, by: session.name };
    await hub.broadcast("documentLocked", told, { except: session.id });
    await hub.send(session.id, "ownLock", { document, locked: true });
    // #endregion
  }

  function unlock(document: string, session: Session): void {
    locks.delete(document);
    inBackground(async () => {
      await hub.broadcast("documentUnlocked", { document }, { except: session.id });
      await hub.send(session.id, "ownLock", { document, locked: false });
    });
  }

  function copyOf(session: Session): string {
    return join(temporary, "copies", session.id);
  }

  function removeCopy(session: Session): Promise<void> {
    return rm(copyOf(session), { recursive: true, force: true });
  }

  async function runSync(session: Session, signal: AbortSignal): Promise<void> {
    const target = copyOf(session);
    const say = (message: string, key?: string) =>
      hub.send(session.id, "syncMessage", message, { key });
    try {
      const report = reporter();
      let shown = -1;
      await say(`Looking for files in ${source}`);
      // #region sync
      for await (const step of sync(source, target, syncBounds, signal)) {
        const { message, percent } = report(step);
        if (message) await say(message, step.type);
        if (percent === shown) continue;
        shown = percent;
        // A page that lags needs the newest of these, not each one: hence the key.
        await hub.send(session.id, "syncProgress", percent, { key: "progress" });
      }
      // #endregion
      await hub.send(session.id, "syncProgress", 100, { key: "progress" });
      await say(`${report.summary()} hashed and copied to ${target}`);
    } catch (error) {
      if (closing || session.signal.aborted) return; // nobody is there to be told
      if (!signal.aborted) console.error("sync failed:", error);
      await say(signal.aborted ? "Cancelled" : `Failed: ${(error as Error).message}`);
    } finally {
      syncs.delete(session);
      if (session.signal.aborted) await removeCopy(session);
    }
  }

  async function runTask(session: Session, taskId: string, file: string): Promise<void> {
    try {
      // #region task
      const counts = await count(source, file, session.signal);
      await hub.send(session.id, "taskCompleted", { taskId, file, ...counts });
      // #endregion
    } catch (error) {
      if (closing || session.signal.aborted) return;
      await hub.send(session.id, "taskFailed", { taskId, file, error: (error as Error).message });
    } finally {
      tasks.delete(taskId);
    }
  }

  const routes: Record<string, Record<string, (request: Request) => Response | Promise<Response>>> =
    {
      "/": { GET: () => asset("text/html", page.html) },
      "/page.js": { GET: () => asset("text/javascript", page.script) },
      "/style.css": { GET: () => asset("text/css", page.style) },
      "/api/v1/session": {
        GET: (request) => json(200, state(sessionOf(request))),
      },
      "/api/v1/login": {
        async POST(request) {
          const name = text(await readObject(request), "name", 40);
          return json(200, state(sessions.begin(name)));
        },
      },
      "/api/v1/logout": {
        async POST(request) {
          await sessions.end(sessionOf(request));
          return new Response(null, { status: 204 });
        },
      },
      "/api/v1/sync": {
        POST(request) {
          const session = sessionOf(request);
          if (syncs.has(session)) throw new Problem(409, "Your sync is running already.");
          if (syncs.size >= maxRunning) throw new Problem(429, "Too many syncs are running.");
          const cancel = new AbortController();
          syncs.set(session, cancel);
          const signal = AbortSignal.any([cancel.signal, session.signal]);
          inBackground(() => runSync(session, signal));
          return json(202, { source });
        },
        DELETE(request) {
          const cancel = syncs.get(sessionOf(request));
          if (!cancel) throw new Problem(409, "No sync of yours is running.");
          cancel.abort();
          return new Response(null, { status: 204 });
        },
      },
      "/api/v1/answer": {
        async POST(request) {
          const { name } = sessionOf(request);
          try {
            // #region answer
            // It is written whether anybody reads it or not, and kept for whoever comes later.
            await hub.run("answer", (signal) => writer.write(signal));
            await hub.broadcast("answerBegun", { by: name });
            // #endregion
          } catch (error) {
            if ((error as StreamsideError).code !== "already-running") throw error;
            throw new Problem(409, "An answer is being written already.");
          }
          answered = true;
          return new Response(null, { status: 204 });
        },
        async DELETE(request) {
          sessionOf(request);
          await hub.stopRun("answer");
          return new Response(null, { status: 204 });
        },
      },
      "/api/v1/rate": {
        async POST(request) {
          const { session, body } = await read(request);
          const perSecond = wholeNumber(body, "perSecond", maxPerSecond);
          pulse.perSecond = perSecond;
          const change = rateChange = Math.max(rateChange + 1, Date.now());
          const detail = { perSecond, by: session.name, change };
          await hub.broadcast("rateChanged", detail, { key: "rate" });
          return json(200, { change });
        },
      },
      "/api/v1/lock": {
        async POST(request) {
          const { session, body } = await read(request);
          const document = documentIn(body);
          const holder = locks.get(document);
          if (holder && holder !== session) {
            throw new Problem(409, `${holder.name} has locked ${document}.`);
          }
          if (!holder) await lock(document, session);
          return json(200, { document });
        },
        async DELETE(request) {
          const { session, body } = await read(request);
          const document = documentIn(body);
          if (locks.get(document) !== session) {
            throw new Problem(409, `You have not locked ${document}.`);
          }
          unlock(document, session);
          return json(200, { document });
        },
      },
      "/api/v1/task": {
        async POST(request) {
          const { session, body } = await read(request);
          const file = text(body, "file", 1024);
          if (tasks.size >= maxRunning) throw new Problem(429, "Too many tasks are running.");
          const taskId = crypto.randomUUID();
          tasks.add(taskId);
          // #region task
          inBackground(() => runTask(session, taskId, file)); // nobody waits for it
          return json(202, { taskId });
          // #endregion
        },
      },
    };

  async function answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/api/v1/sse/")) return await sse(request);
    const route = Object.hasOwn(routes, pathname) ? routes[pathname]! : undefined;
    if (!route) throw new Problem(404, "There is nothing here.");
    const method = request.method === "HEAD" ? "GET" : request.method;
    const handle = Object.hasOwn(route, method) ? route[method]! : undefined;
    if (!handle) {
      const allow = Object.keys(route).join(", ").replace("GET", "GET, HEAD");
      throw new Problem(405, `Use ${allow}.`, { allow });
    }
    if (method !== "GET" && !isOwn(request)) {
      throw new Problem(403, "A page of another origin may not do that.");
    }
    if (closing) throw new Problem(503, "The server is going away.", { "retry-after": "2" });
    return await handle(request);
  }

  return {
    async fetch(request) {
      try {
        return await answer(request);
      } catch (error) {
        if (error instanceof Problem) return error.toResponse();
        console.error(error);
        return new Problem(500, "The server failed; its log says why.").toResponse();
      }
    },
    async close({ within }) {
      closing = true;
      stopWatching();
      await hub.close({ within });
      pulse.stop();
      sessions.forgetAll();
      await Promise.all(running);
      history.close();
      await rm(temporary, { recursive: true, force: true });
    },
  };
}

function documentIn(object: Record<string, unknown>): string {
  const document = text(object, "document", 40);
  if (!documents.includes(document)) throw new Problem(404, "There is no such document.");
  return document;
}

function json(status: number, value: unknown): Response {
  return Response.json(value, { status, headers: { "cache-control": "no-store" } });
}
