/**
 * Who is online, by JetStream.
 *
 * A stream of its own, beside that of the log, holds what the servers have said in the last two minutes, in one order and
 * with the times of NATS. A server says everything anew each minute, so that the stream has all of it, and speaks every
 * few seconds. Who asks for all there is reads the stream from its beginning; who asks for what is new reads from where
 * it stopped.
 *
 * It is a stream rather than bare messages, since a stream loses nothing between two servers, and still has who left with
 * a server that is gone. And it is one stream rather than a key for each session, since what changes in a second is one
 * message, whoever changes.
 *
 * Who asks says so in the stream first: by the time that NATS gives this, leases are over or not.
 *
 * @module
 */

import { newTag } from "./appends.ts";
import {
  type JetStream,
  JetStreamRefusal,
  markLine,
  NO_RESPONDERS,
  STREAM_EXISTS,
  STREAM_NOT_FOUND,
  type StreamMessage,
} from "./jetstream-api.ts";
import {
  PRESENCE_MEMORY,
  type PresenceAnswer,
  type PresenceLog,
  type PresenceUpdate,
  type SessionPresence,
} from "./presence-log.ts";

/** For how long what was said is held, in ms. */
const HELD = 120_000;
/** How often a server says everything anew, in ms. */
const WHOLE_EVERY = HELD / 2;
/** About how many characters of sessions one message has. A server takes a megabyte, unless it is told otherwise. */
const MESSAGE = 128 * 1024;
/** How many messages are read at a time. */
const PAGE = 1_000;
/** Up to so many are asked for one by one: a consumer costs a cluster more. */
const FEW = 32;
const NS = 1_000_000;

/** What the presence needs of its log. */
export interface JetStreamPresenceOptions {
  readonly js: JetStream;
  /** The name of the log's stream. */
  readonly stream: string;
  readonly replicas: number | undefined;
  /** Rejects if there is no connection. */
  reachable(): Promise<void>;
  /** What an error is to be told as. */
  explain(error: unknown): unknown;
}

/** A message: a part of what a server says. */
interface Part extends PresenceUpdate {
  /** For how long the server counts as there from now on, in ms. */
  readonly lease: number;
  /** Another part follows. */
  readonly goesOn?: boolean;
}

/** Where a reader of the stream has stopped. */
interface Cursor {
  readonly seq: number;
  readonly mark: string;
  /** When the lease of each server that is there ends, in ms since the epoch by NATS's clock. */
  readonly leases: ReadonlyMap<string, number>;
  /** What servers have begun to say, and not ended yet. */
  readonly begun: ReadonlyMap<string, PresenceUpdate>;
}

/** The presence of a {@link jetStreamLog}. */
export class JetStreamPresence implements PresenceLog {
  readonly #options: JetStreamPresenceOptions;
  readonly #stream: string;
  readonly #subject: string;
  /** The servers of this process: until when they are there, and when they have to say everything again. */
  readonly #own = new Map<string, { lease: number; whole: number }>();
  #isOpen = false;

  /** The stream is made when it is needed. */
  constructor(options: JetStreamPresenceOptions) {
    this.#options = options;
    this.#stream = `${options.stream}-presence`;
    this.#subject = `${options.stream}.presence`;
  }

  async exchange(update: PresenceUpdate, lease: number, since?: unknown): Promise<PresenceAnswer> {
    try {
      await this.#options.reachable();
      if (!this.#isOpen) await this.#open();
      const { server } = update;
      const isKnown = update.isWhole || update.gone !== undefined || this.#isKnown(server);
      let seq = 0;
      if (isKnown) seq = await this.#say(update, lease);
      if (since === undefined) return { isKnown, isAnew: false, updates: [], left: [] };
      if (!isKnown) seq = await this.#publish([{ server, isWhole: false, sessions: [], lease: 0 }]);
      return { isKnown, ...await this.#hear(since as Cursor | null, seq) };
    } catch (error) {
      // It may have been deleted.
      const code = error instanceof JetStreamRefusal ? error.code : undefined;
      if (code === NO_RESPONDERS || code === STREAM_NOT_FOUND) this.#isOpen = false;
      throw this.#options.explain(error);
    }
  }

  async #open(): Promise<void> {
    const { js, replicas = 1 } = this.#options;
    const config = {
      name: this.#stream,
      subjects: [this.#subject],
      retention: "limits",
      storage: "file",
      discard: "old",
      max_age: HELD * NS,
      duplicate_window: HELD * NS,
      num_replicas: replicas,
    };
    try {
      await js.ask(`STREAM.CREATE.${this.#stream}`, config);
    } catch (error) {
      // With another shape it serves as well, as long as it has the subject.
      if (!(error instanceof JetStreamRefusal) || error.code !== STREAM_EXISTS) throw error;
    }
    // What was said before may not be in there.
    this.#own.clear();
    this.#isOpen = true;
  }

  /** A server that was not heard of for too long, or is due, has to say everything. */
  #isKnown(server: string): boolean {
    const own = this.#own.get(server);
    return own !== undefined && performance.now() < Math.min(own.lease, own.whole);
  }

  async #say(update: PresenceUpdate, lease: number): Promise<number> {
    const { server, isWhole, gone } = update;
    const began = performance.now();
    const seq = await this.#publish(partsOf(update, lease));
    if (gone !== undefined) this.#own.delete(server);
    else {
      const whole = isWhole ? began + WHOLE_EVERY : this.#own.get(server)?.whole ?? began;
      // Others count from when NATS took it, which was later.
      this.#own.set(server, { lease: began + lease, whole });
    }
    return seq;
  }

  /** Resolves to the sequence of the last message. */
  async #publish(parts: readonly Part[]): Promise<number> {
    const answers = await this.#options.js.publish(parts.map((part) => ({
      subject: this.#subject,
      headers: markLine(newTag()),
      payload: JSON.stringify(part),
    })));
    let seq = 0;
    for (const answer of answers) {
      if (answer instanceof Error) throw answer;
      seq = Math.max(seq, answer.seq);
    }
    return seq;
  }

  async #hear(since: Cursor | null, upTo: number): Promise<Omit<PresenceAnswer, "isKnown">> {
    const news = since === null ? undefined : await this.#readAfter(since, upTo);
    const reading = new Reading(news === undefined ? undefined : since!);
    for (const message of news ?? await this.#read(1)) reading.take(message);
    return reading.answer();
  }

  /** What comes after a place; `undefined` if that is not there any more, or is another one. */
  async #readAfter({ seq, mark }: Cursor, upTo: number): Promise<StreamMessage[] | undefined> {
    if (upTo <= seq) return undefined;
    const { js } = this.#options;
    let messages: (StreamMessage | undefined)[];
    if (upTo - seq > FEW) messages = await this.#read(seq);
    else {
      const all = Array.from({ length: upTo - seq + 1 }, (_, i) => seq + i);
      messages = await Promise.all(all.map((seq) => js.message(this.#stream, { seq })));
    }
    const [first, ...others] = messages;
    if (first?.seq !== seq || first.mark !== mark) return undefined;
    return others.filter((message) => message !== undefined);
  }

  async #read(from: number): Promise<StreamMessage[]> {
    const messages: StreamMessage[] = [];
    for (let next = from;;) {
      const { found, isAll } = await this.#options.js.read(this.#stream, next, PAGE);
      messages.push(...found);
      if (isAll || found.length === 0) return messages;
      next = found.at(-1)!.seq + 1;
    }
  }
}

/** What was said, as it is read. */
class Reading {
  readonly #isAnew: boolean;
  readonly #leases: Map<string, number>;
  readonly #begun: Map<string, PresenceUpdate>;
  readonly #said: { readonly update: PresenceUpdate; readonly time: number }[] = [];
  #seq = 0;
  #mark = "";
  /** The newest time. */
  #now = 0;

  /** Goes on, or begins where nobody is there. */
  constructor(cursor?: Cursor) {
    this.#isAnew = cursor === undefined;
    this.#leases = new Map(cursor?.leases);
    this.#begun = new Map(cursor?.begun);
    if (cursor) {
      this.#seq = cursor.seq;
      this.#mark = cursor.mark;
    }
  }

  take(message: StreamMessage): void {
    const { seq, mark, time } = message;
    this.#seq = seq;
    this.#mark = mark;
    this.#now = Math.max(this.#now, time);
    const part = partOf(message);
    if (part === undefined) return;
    const { server, isWhole, sessions, gone, lease, goesOn } = part;
    // What a server says whole begins again, if it was not ended.
    const before = isWhole ? undefined : this.#begun.get(server);
    const update = before === undefined
      ? { server, isWhole, sessions, gone }
      : { ...before, sessions: [...before.sessions, ...sessions], gone };
    if (goesOn) this.#begun.set(server, update);
    else {
      this.#begun.delete(server);
      const isNews = update.isWhole || gone !== undefined || update.sessions.length > 0;
      if (isNews) this.#said.push({ update, time });
    }
    if (gone !== undefined) this.#leases.delete(server);
    else if (lease > 0) this.#leases.set(server, time + lease);
  }

  answer(): Omit<PresenceAnswer, "isKnown"> {
    for (const [server, end] of this.#leases) {
      if (end >= this.#now) continue;
      this.#leases.delete(server);
      this.#begun.delete(server);
      this.#said.push({
        update: { server, isWhole: false, sessions: [], gone: "lost" },
        time: this.#now,
      });
    }
    const cursor: Cursor = {
      seq: this.#seq,
      mark: this.#mark,
      leases: this.#leases,
      begun: this.#begun,
    };
    return this.#isAnew
      ? { cursor, isAnew: true, ...this.#all() }
      : { cursor, isAnew: false, updates: this.#said.map(({ update }) => update), left: [] };
  }

  /** Who is there in the end. */
  #all(): { updates: PresenceUpdate[]; left: string[] } {
    const servers = new Map<string, Map<string, SessionPresence>>();
    const left: string[] = [];
    for (const { update: { server, isWhole, sessions, gone }, time } of this.#said) {
      if (gone !== undefined) servers.delete(server);
      else if (isWhole) servers.set(server, new Map());
      // Of a server whose whole is too old to be held there is another one to come.
      const known = servers.get(server);
      for (const presence of sessions) {
        const { session, channels } = presence;
        if (channels !== undefined) known?.set(session, presence);
        else {
          known?.delete(session);
          if (time > this.#now - PRESENCE_MEMORY) left.push(session);
        }
      }
    }
    const updates = Array.from(servers, ([server, sessions]) => ({
      server,
      isWhole: true,
      sessions: [...sessions.values()],
    }));
    return { updates, left };
  }
}

/** What a server says, in messages that are not too large. Only what is whole has to be heard at once. */
function partsOf({ server, isWhole, sessions, gone }: PresenceUpdate, lease: number): Part[] {
  const batches: SessionPresence[][] = [[]];
  let size = 0;
  for (const presence of sessions) {
    const { session, channels = [] } = presence;
    const own = channels.reduce((sum, channel) => sum + channel.length + 4, session.length + 40);
    if (size > 0 && size + own > MESSAGE) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1)!.push(presence);
    size += own;
  }
  const last = batches.length - 1;
  return batches.map((batch, i) => ({
    server,
    isWhole: isWhole && i === 0,
    sessions: batch,
    lease,
    ...i === last ? { gone } : { goesOn: isWhole },
  }));
}

/** What a message says; `undefined` if somebody else has published it. */
function partOf({ data }: StreamMessage): Part | undefined {
  try {
    const part = JSON.parse(decoder.decode(data));
    const isPart = typeof part?.server === "string" && Array.isArray(part.sessions) &&
      typeof part.lease === "number";
    return isPart ? part : undefined;
  } catch {
    return undefined;
  }
}

const decoder = new TextDecoder();
