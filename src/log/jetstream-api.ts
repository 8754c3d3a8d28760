/**
 * What a log needs of JetStream, as NATS's servers speak it: requests in JSON on `$JS.API`, messages with headers, and a
 * consumer that pushes. It takes a connection by what it can do, and imports no package.
 *
 * @module
 */

/**
 * A connection to NATS, by what the log uses of it: one of `@nats-io/transport-node`, `@nats-io/transport-deno`, or
 * `wsconnect` of `@nats-io/nats-core`, from 3.0 on.
 */
export interface NatsConnection {
  /** Sends a message. */
  publish(subject: string, payload?: Uint8Array | string, options?: object): void;
  /** Listens to a subject. */
  subscribe(subject: string, options?: object): { unsubscribe(): void };
  /** Sends a message, and resolves to the answer. */
  request(subject: string, payload?: Uint8Array | string, options?: object): Promise<object>;
  /** Resolves when the server has got everything that was sent so far. */
  flush(): Promise<void>;
  /** What happens to the connection. */
  status(): AsyncIterable<object>;
  /** Whether it has ended for good. */
  isClosed(): boolean;
}

/** A message as the connection gives it. */
interface NatsMessage {
  readonly data: Uint8Array;
  readonly reply?: string;
  readonly headers?: { get(name: string): string; readonly code: number };
}

/** A message of the stream. */
export interface StreamMessage {
  readonly subject: string;
  readonly seq: number;
  /** When the server took it, in ms since the epoch. */
  readonly time: number;
  /** The log's own header: the epoch and the tag. Empty where somebody else published it. */
  readonly mark: string;
  readonly data: Uint8Array;
}

/** What a stream is, as far as a log cares. */
export interface StreamConfig {
  readonly name: string;
  readonly subjects?: readonly string[];
  readonly retention?: string;
  readonly storage?: string;
  readonly discard?: string;
  readonly max_msgs?: number;
  readonly max_bytes?: number;
  /** Nanoseconds; 0 is for ever. */
  readonly max_age?: number;
  readonly max_msgs_per_subject?: number;
  readonly max_msg_size?: number;
  readonly num_replicas?: number;
  readonly duplicate_window?: number;
  readonly no_ack?: boolean;
  readonly sealed?: boolean;
  readonly mirror?: unknown;
  readonly sources?: readonly unknown[];
}

/** A stream, and what it holds. */
export interface StreamInfo {
  readonly config: StreamConfig;
  readonly created: string;
  readonly state: {
    readonly messages: number;
    readonly first_seq: number;
    readonly last_seq: number;
  };
}

/** What a publish was answered with. */
export interface PublishAnswer {
  readonly seq: number;
  readonly duplicate?: boolean;
}

/** What JetStream answers instead of what was asked for. */
export class JetStreamRefusal extends Error {
  override readonly name = "JetStreamRefusal";
  /** Its number: `err_code`. 503 where nobody answers, 0 where no answer came. */
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Nobody listens on the subject: no JetStream, no such stream, or no leader at the moment. */
export const NO_RESPONDERS = 503;
/** No answer came in time, or the connection broke. */
export const NO_ANSWER = 0;
/** Codes of JetStream's answers. */
export const STREAM_NOT_FOUND = 10059;
export const STREAM_EXISTS = 10058;
export const MESSAGE_NOT_FOUND = 10037;
export const WRONG_LAST_SEQUENCE = 10071;

/** The header with the epoch and the tag of a message. */
const MARK = "Streamside";
/** How many ms pass until a server deletes a consumer that nobody listens to. */
const FORGOTTEN = 5_000;
/** About how many bytes of messages are read at a time. */
const READ_BYTES = 1024 * 1024;
const NS = 1_000_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** JetStream, over one connection. */
export class JetStream {
  readonly #connection: NatsConnection;
  readonly #timeout: number;
  readonly #inbox: string;
  readonly #acks: { unsubscribe(): void };
  /** What waits for the answer to a publish, by the last part of its reply subject. */
  readonly #waiting = new Map<string, (message: NatsMessage | Error) => void>();
  #next = 0;

  /** `timeout`: how long an answer may take, in ms. */
  constructor(connection: NatsConnection, timeout: number) {
    this.#connection = connection;
    this.#timeout = timeout;
    this.#inbox = this.#newInbox();
    this.#acks = connection.subscribe(`${this.#inbox}.*`, {
      callback: (error: unknown, message: NatsMessage & { subject: string }) => {
        if (error) return this.interrupt(error as Error);
        const token = message.subject.slice(this.#inbox.length + 1);
        this.#waiting.get(token)?.(message);
      },
    });
  }

  /** What waits for answers to what it published gets none. */
  interrupt(error: Error): void {
    for (const settle of this.#waiting.values()) settle(error);
  }

  /** Listens to nothing any more. */
  close(): void {
    this.#acks.unsubscribe();
    this.interrupt(new JetStreamRefusal(NO_ANSWER, "the log was closed"));
  }

  /** Asks the API. */
  async ask<T>(what: string, body: object = {}): Promise<T> {
    const options = { timeout: this.#timeout };
    try {
      const answer = await this.#connection.request(
        `$JS.API.${what}`,
        JSON.stringify(body),
        options,
      );
      return parse<T>((answer as NatsMessage).data);
    } catch (error) {
      throw refusalOf(error);
    }
  }

  /**
   * Publishes messages in this order, and resolves to the answers when all are there: what was refused has an error in
   * its place. `headers`: lines of `Name: value`.
   */
  publish(
    messages: readonly { subject: string; headers: string; payload: string }[],
    timeout: number = this.#timeout,
  ): Promise<(PublishAnswer | Error)[]> {
    return new Promise((resolve, reject) => {
      const answers: (PublishAnswer | Error)[] = [];
      const tokens: string[] = [];
      let left = messages.length;
      const timer = setTimeout(
        () => done(new JetStreamRefusal(NO_ANSWER, `JetStream has not answered for ${timeout} ms`)),
        timeout,
      );
      const done = (error?: unknown) => {
        clearTimeout(timer);
        for (const token of tokens) this.#waiting.delete(token);
        if (error === undefined) resolve(answers);
        else reject(refusalOf(error));
      };
      messages.forEach(({ subject, headers, payload }, i) => {
        const token = (this.#next++).toString(36);
        const answered = (answer: PublishAnswer | Error) => {
          this.#waiting.delete(token);
          answers[i] = answer;
          if (--left === 0) done();
        };
        tokens.push(token);
        this.#waiting.set(token, (message) => {
          if (message instanceof Error) return done(message);
          answered(answerOf(message, subject));
        });
        const text = encoder.encode(`NATS/1.0\r\n${headers}\r\n\r\n`);
        const reply = `${this.#inbox}.${token}`;
        try {
          this.#connection.publish(subject, payload, { reply, headers: { encode: () => text } });
        } catch (error) {
          answered(refusalOf(error) as Error);
        }
      });
    });
  }

  /** A message by its sequence, or the newest of a subject; `undefined` if there is none. The stream's leader answers. */
  async message(
    stream: string,
    which: { seq: number } | { last_by_subj: string },
  ): Promise<StreamMessage | undefined> {
    try {
      const { message } = await this.ask<{
        message: { subject: string; seq: number; hdrs?: string; data?: string; time: string };
      }>(`STREAM.MSG.GET.${stream}`, which);
      const { subject, seq, hdrs = "", data = "", time } = message;
      const [, mark = ""] = new RegExp(`^${MARK}: *(.*?)\\r$`, "m").exec(atob(hdrs)) ?? [];
      const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
      return { subject, seq, time: Date.parse(time), mark, data: bytes };
    } catch (error) {
      if (error instanceof JetStreamRefusal && error.code === MESSAGE_NOT_FOUND) return undefined;
      throw error;
    }
  }

  /** The messages from a sequence on, at most so many, fewer if they are large, and whether there are no more. */
  async read(
    stream: string,
    from: number,
    count: number,
  ): Promise<{ found: StreamMessage[]; isAll: boolean }> {
    const consumer = await this.ask<{ name: string; num_pending: number }>(
      `CONSUMER.CREATE.${stream}`,
      { stream_name: stream, config: consumerOf(from) },
    );
    try {
      const batch = Math.min(count, consumer.num_pending);
      if (batch <= 0) return { found: [], isAll: true };
      const found = await this.#fetch(stream, consumer.name, { batch, max_bytes: READ_BYTES });
      // One that is larger comes alone. Two are needed, since the first is the one to read after.
      while (found.length < Math.min(2, batch)) {
        const more = await this.#fetch(stream, consumer.name, { batch: 1 });
        if (more.length === 0) break;
        found.push(...more);
      }
      return { found, isAll: found.length >= consumer.num_pending };
    } finally {
      this.#forget(stream, consumer.name);
    }
  }

  #fetch(stream: string, consumer: string, request: object): Promise<StreamMessage[]> {
    const { batch } = request as { batch: number };
    return new Promise((resolve, reject) => {
      const found: StreamMessage[] = [];
      const done = (error?: unknown) => {
        clearTimeout(timer);
        subscription.unsubscribe();
        if (error === undefined) resolve(found);
        else reject(refusalOf(error));
      };
      const inbox = this.#newInbox();
      const timer = setTimeout(
        () =>
          done(
            new JetStreamRefusal(NO_ANSWER, `JetStream has not answered for ${this.#timeout} ms`),
          ),
        this.#timeout,
      );
      const subscription = this.#connection.subscribe(inbox, {
        callback: (error: unknown, message: NatsMessage & { subject: string }) => {
          if (error) return done(error);
          // It says why there are no more of them.
          if (message.headers && message.headers.code >= 400) return done();
          const { place } = placeOf(message);
          if (place === undefined) return;
          found.push({ ...place, ...contentOf(message) });
          if (found.length === batch) done();
        },
      });
      const body = JSON.stringify({ ...request, no_wait: true });
      this.#connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, body, {
        reply: inbox,
      });
    });
  }

  /**
   * Follows a stream from a sequence on, until it rejects. `told` gets what came in one go, `idle` is called at each
   * heartbeat, each `heartbeat` ms. What was lost on the way ends it, and so does silence.
   */
  async follow(
    stream: string,
    from: number,
    heartbeat: number,
    told: (messages: StreamMessage[]) => void,
    idle: () => void,
    signal: AbortSignal,
  ): Promise<never> {
    const inbox = this.#newInbox();
    const silence = 3 * heartbeat + 500;
    let consumer: string | undefined;
    let delivered = 0;
    let waiting: StreamMessage[] = [];
    let end!: (error: unknown) => void;
    const ended = new Promise<never>((_, reject) => end = reject);
    ended.catch(() => {});
    let heard = performance.now();
    const timer = setInterval(() => {
      if (performance.now() - heard < silence) return;
      end(new JetStreamRefusal(NO_ANSWER, `JetStream has not been heard of for ${silence} ms`));
    }, silence / 4);
    const flush = () => {
      const messages = waiting;
      waiting = [];
      if (signal.aborted) return;
      try {
        told(messages);
      } catch (error) {
        end(error);
      }
    };
    const status = (message: NatsMessage) => {
      const { headers, reply } = message;
      if (headers!.code !== 100) {
        return end(new JetStreamRefusal(NO_ANSWER, "the consumer of the log was deleted"));
      }
      // It waits for an answer, to see how fast it may send.
      const stalled = headers!.get("Nats-Consumer-Stalled");
      const answer = reply || stalled;
      if (answer) this.#connection.publish(answer);
      if (reply) return;
      const last = headers!.get("Nats-Last-Consumer");
      if (last !== "" && Number(last) > delivered) return end(lostOnTheWay());
      if (waiting.length === 0) idle();
    };
    const stop = () => end(signal.reason);
    signal.addEventListener("abort", stop);
    const subscription = this.#connection.subscribe(inbox, {
      callback: (error: unknown, message: NatsMessage & { subject: string }) => {
        if (signal.aborted) return;
        if (error) return end(error);
        heard = performance.now();
        if (message.headers?.code) return status(message);
        const { place, delivery } = placeOf(message);
        if (place === undefined) return;
        if (delivery !== delivered + 1) return end(lostOnTheWay());
        delivered = delivery;
        // What came in one piece from the socket is told in one piece.
        if (waiting.length === 0) queueMicrotask(flush);
        waiting.push({ ...place, ...contentOf(message) });
      },
    });
    try {
      const config = {
        ...consumerOf(from),
        deliver_subject: inbox,
        flow_control: true,
        idle_heartbeat: heartbeat * NS,
      };
      const body = { stream_name: stream, config };
      consumer = (await this.ask<{ name: string }>(`CONSUMER.CREATE.${stream}`, body)).name;
      return await ended;
    } catch (error) {
      throw refusalOf(error);
    } finally {
      signal.removeEventListener("abort", stop);
      clearInterval(timer);
      end(undefined);
      if (!this.#connection.isClosed()) {
        subscription.unsubscribe();
        if (consumer !== undefined) this.#forget(stream, consumer);
      }
    }
  }

  /** Deletes a consumer. If that does not arrive, the server does it by itself. */
  #forget(stream: string, consumer: string): void {
    if (this.#connection.isClosed()) return;
    this.#connection.publish(`$JS.API.CONSUMER.DELETE.${stream}.${consumer}`);
  }

  #newInbox(): string {
    const { options } = this.#connection as { options?: { inboxPrefix?: string } };
    return `${options?.inboxPrefix ?? "_INBOX"}.${crypto.randomUUID().replaceAll("-", "")}`;
  }
}

function consumerOf(from: number): object {
  return {
    deliver_policy: "by_start_sequence",
    opt_start_seq: from,
    ack_policy: "none",
    replay_policy: "instant",
    max_deliver: 1,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: FORGOTTEN * NS,
  };
}

/** Where a message stands, by its reply subject: `$JS.ACK.stream.consumer.tries.seq.delivery.time.pending`. */
function placeOf(message: NatsMessage): {
  place?: { seq: number; time: number };
  delivery?: number;
} {
  const parts = message.reply?.split(".") ?? [];
  if (parts[0] !== "$JS" || parts[1] !== "ACK") return {};
  // Later servers put the domain and the account in between.
  const at = parts.length > 9 ? 7 : 5;
  const time = Math.floor(Number(parts[at + 2]) / NS);
  return { place: { seq: Number(parts[at]), time }, delivery: Number(parts[at + 1]) };
}

function contentOf(
  message: NatsMessage & { readonly subject: string },
): Pick<StreamMessage, "subject" | "mark" | "data"> {
  const { subject, headers, data } = message;
  return { subject, mark: headers?.get(MARK) ?? "", data };
}

/** The header line that carries the mark of a message. */
export function markLine(mark: string): string {
  return `${MARK}: ${mark}`;
}

function parse<T>(data: Uint8Array): T {
  const answer = JSON.parse(decoder.decode(data)) as {
    error?: { err_code?: number; code: number; description?: string };
  };
  if (answer.error) {
    const { err_code, code, description = "an error without a description" } = answer.error;
    throw new JetStreamRefusal(err_code ?? code, description);
  }
  return answer as T;
}

function answerOf(message: NatsMessage, subject: string): PublishAnswer | Error {
  try {
    if (message.headers?.code === NO_RESPONDERS) return noResponders(subject);
    return parse<PublishAnswer>(message.data);
  } catch (error) {
    return error as Error;
  }
}

function noResponders(subject: string): JetStreamRefusal {
  return new JetStreamRefusal(NO_RESPONDERS, `nobody answers on ${subject}`);
}

function lostOnTheWay(): JetStreamRefusal {
  return new JetStreamRefusal(NO_ANSWER, "a message was lost on its way");
}

/** What a connection throws, told apart by name, since it may come from another copy of its package. */
function refusalOf(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof JetStreamRefusal) return error;
  // A request wraps it.
  if ((error.cause as Error | undefined)?.name === "PermissionViolationError") return error.cause;
  const names = [error.name, (error.cause as Error | undefined)?.name];
  if (names.some((name) => name?.startsWith("NoResponders"))) {
    return new JetStreamRefusal(NO_RESPONDERS, error.message);
  }
  if (names.includes("TimeoutError")) return new JetStreamRefusal(NO_ANSWER, error.message);
  return error;
}
