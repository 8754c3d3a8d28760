/**
 * A log in PostgreSQL: any number of servers then are one hub, and events commit together with your rows.
 *
 * @example
 * ```ts
 * import pg from "pg";
 * import { createHub } from "streamside";
 * import { postgresLog } from "streamside/postgres";
 *
 * const pool = new pg.Pool({ connectionString: "postgres://localhost/app" }).on("error", console.error);
 * const hub = createHub({ log: postgresLog(pool) });
 * ```
 *
 * @module
 */

import { backoff } from "../client/backoff.ts";
import { quote, StreamsideError } from "../errors.ts";
import { bound, delay, invalid } from "../validate.ts";
import { Appends, newTag, type PendingRecord, RETRY, sizeOf } from "./appends.ts";
import { closed } from "./closed.ts";
import { newEpoch } from "./cursor.ts";
import { boundsOf, type HistoryOptions } from "./history.ts";
import { inTime } from "./in-time.ts";
import type { Log, LogFollower } from "./log.ts";
import { SCHEMA_VERSION, schemaOf } from "./postgres-schema.ts";
import type { LogEntry, LogPosition, LogRecord } from "./record.ts";

/**
 * A pool of connections to PostgreSQL, by what it can do: `Pool` of `pg`, or anything of its shape. Its clients need
 * `query(text, values)`, which resolves to `{ rows }`, `on`, `removeListener` and `release(destroy)`.
 */
export interface PostgresPool {
  /** Resolves to a client that is given back with `release()`. */
  connect(...args: never[]): unknown;
}

/** Options of {@link postgresLog}. */
export interface PostgresLogOptions {
  /**
   * The schema that the log's tables are in: hubs with the same one are one service. 1 to 50 letters, digits and
   * underscores. Default: `"streamside"`.
   */
  readonly schema?: string;
  /**
   * How much PostgreSQL holds: `{ events, bytes, age }`. Bytes are those of the records. See {@link HistoryOptions} for
   * the defaults.
   */
  readonly history?: HistoryOptions;
  /** How long a send waits for PostgreSQL, in ms, before it rejects with `log-unavailable`. Default: 5 000. */
  readonly appendTimeout?: number;
  /**
   * How many bytes may wait for PostgreSQL in this process. Above it sends reject at once. Default: 16 777 216 (16 MiB).
   */
  readonly maxPendingBytes?: number;
  /**
   * Whether the log makes its tables and functions, and brings them up to date, if they are not there. Its role needs to
   * be allowed to. With `false`, run {@link postgresSchema} by hand. Default: true.
   */
  readonly migrate?: boolean;
  /**
   * How the log hears that there is something new: `true`, by `LISTEN` on a connection of the pool, which it keeps; a
   * pool of its own for that, where `pool` goes through PgBouncer in transaction mode; `false`, not at all: it looks
   * every `poll` ms. Default: true.
   */
  readonly listen?: boolean | PostgresPool;
  /**
   * How often the log looks by itself whether there is something new, in ms. With `LISTEN` that is a net for
   * notifications that were lost, without it the time that events take. Default: 1 000, and 50 with `listen: false`.
   */
  readonly poll?: number;
}

/** How many records go to PostgreSQL at a time, at most. */
const BATCH = 500;
/** How many entries are read at a time, at most. */
const PAGE = 1_000;
/** How long an answer may take before the connection counts as dead, in ms. */
const PATIENCE = 6_000;
/** How often the whole outbox is looked through, in ms: a net for what no snapshot tells of. */
const WHOLE = 10_000;

/** Errors that pass by themselves, by SQLSTATE: a connection, a restart or a failover, a lock, a full disk. */
const PASSING = /^(08|25006|40|53|55|57|58)/;
/** What to do about an error that does not pass. */
const ADVICE: Record<string, string> = {
  "28000": "The pool has to give a user and a password: see its options.",
  "28P01": "The pool gives a wrong user or password: see its options.",
  "3D000": "The pool names a database that does not exist: see its options.",
  "42501":
    "The log's role needs rights: docs/postgres.md lists them. Or let another role run the statements of postgresSchema().",
  "42883": "Run the statements of postgresSchema(), or leave `migrate` on.",
  "42P01": "Run the statements of postgresSchema(), or leave `migrate` on.",
  "3F000": "Run the statements of postgresSchema(), or leave `migrate` on.",
};

/**
 * A log in a schema of PostgreSQL 13 or later, on a pool of the user's own: `Pool` of `pg`, or anything of its shape.
 * The pool stays the user's: listen to its `error` events, and end it after the log. The log keeps one of its
 * connections, for `LISTEN`.
 *
 * `hub.within(client)` takes the client on which `BEGIN` was sent: anything with `query(text, values)`, whose events then
 * are heard if and only if it commits. The log knows the last 10 000 idempotency keys.
 *
 * Where PostgreSQL loses what it acknowledged (a failover to a standby that lagged, `synchronous_commit = off`, a backup),
 * clients that may have seen it get a reset; no id ever stands for another event than it did.
 *
 * @param pool the pool that everything is asked on
 * @throws {StreamsideError} `invalid-argument` for what is not a pool, and an option out of range
 * @example
 * ```ts
 * import pg from "pg";
 * import { createHub } from "streamside";
 * import { postgresLog } from "streamside/postgres";
 *
 * const pool = new pg.Pool({ connectionString: "postgres://localhost/app" }).on("error", console.error);
 * const hub = createHub({ log: postgresLog(pool, { schema: "events", history: { age: 3_600_000 } }) });
 *
 * const client = await pool.connect();
 * await client.query("BEGIN");
 * await client.query("UPDATE orders SET paid = true WHERE id = 7");
 * await hub.within(client).publish("orders", "orderPaid", { id: 7 });
 * await client.query("COMMIT");
 * client.release();
 * ```
 */
export function postgresLog(pool: PostgresPool, options: PostgresLogOptions = {}): Log {
  return new PostgresLog(pool, options);
}

/**
 * The statements that make the tables and functions of a log, to be run by hand: see
 * {@link PostgresLogOptions.migrate}. They may be run again, and change nothing then.
 *
 * @param schema the name of the schema, as in the log's options. Default: `"streamside"`
 * @throws {StreamsideError} `invalid-argument` for an invalid name
 * @example
 * ```ts
 * import { writeFile } from "node:fs/promises";
 * import { postgresSchema } from "streamside/postgres";
 *
 * await writeFile("migrations/streamside.sql", postgresSchema());
 * ```
 */
export function postgresSchema(schema = "streamside"): string {
  checkSchema(schema);
  return schemaOf(schema);
}

/** Asks PostgreSQL one thing. */
type Query = (text: string, values?: readonly unknown[]) => Promise<Row[]>;
type Row = Readonly<Record<string, unknown>>;

interface AnyPool {
  connect(): Promise<AnyClient>;
}

interface AnyClient {
  query(text: string, values?: readonly unknown[]): Promise<unknown>;
  on(type: string, listener: (detail: Notification) => void): unknown;
  removeListener(type: string, listener: unknown): unknown;
  release(destroy?: boolean): unknown;
  readonly processID?: number | null;
}

interface Notification {
  readonly channel?: string;
  /** The process of PostgreSQL that it is from. */
  readonly processId?: number;
}

/** Where the log stands. */
interface Place {
  readonly epoch: string;
  readonly head: LogPosition;
  readonly start: LogPosition;
}

/** What `append` of the schema answers. */
interface Answer {
  /** The caller was told an entry that is not there. Then nothing was done, and nothing else is said. */
  readonly lost?: true;
  /** How many rows of the outbox were moved, and whether there may be more. */
  readonly moved: number;
  readonly more: boolean;
  readonly snapshot: string;
  /** Missing, as all that follows, if there was nothing to do. */
  readonly epoch?: string;
  readonly head: number;
  readonly headTag: string | null;
  /** How many events and bytes are held. */
  readonly events: number;
  readonly bytes: number;
  /** Where the first of the batch stands: the others follow it. `null` if they do not, and `positions` and `tags` tell. */
  readonly first: number | null;
  readonly positions?: readonly number[];
  readonly tags?: readonly string[];
}

class PostgresLog implements Log {
  readonly #pool: AnyPool;
  readonly #listening: AnyPool | undefined;
  readonly #schema: string;
  readonly #isMigrating: boolean;
  readonly #poll: number;
  readonly #history: Required<HistoryOptions>;
  readonly #appends: Appends;
  readonly #followers = new Set<LogFollower>();
  /** What followers were told last; `undefined` before they were told anything. */
  #told: Place | undefined;
  /** The newest entry known. */
  #known: LogPosition | undefined;
  /** Where each batch was first tried, so that a second try can look whether the first has succeeded. */
  readonly #since = new WeakMap<readonly PendingRecord[], number>();
  /** Stands for the loop that follows the log: one that was stopped may still be on its way out. */
  #loop: object | undefined;
  #hasFailed = false;
  #isClosed = false;
  /** The tables and functions are there. */
  #isReady = false;
  #readying: Promise<void> | undefined;
  /** Everything that is visible in this snapshot has been moved out of the outbox. */
  #seen: string | undefined;
  /** When the whole outbox was looked through last. */
  #wholeAt = 0;
  #prunedAt = 0;
  /** The outbox may hold something. */
  #isOutboxDue = true;
  /** There may be new entries. */
  #isReadDue = true;
  #wake: (() => void) | undefined;
  #pruning: Promise<void> | undefined;
  /** What goes on within the transactions of these clients. */
  readonly #turns = new WeakMap<object, Promise<void>>();

  constructor(pool: PostgresPool, options: PostgresLogOptions) {
    this.#pool = poolOf(pool, "postgresLog");
    const listen = options.listen ?? true;
    if (listen !== false) {
      this.#listening = poolOf(listen === true ? pool : listen, "listen");
    }
    this.#schema = options.schema ?? "streamside";
    checkSchema(this.#schema);
    this.#isMigrating = options.migrate ?? true;
    this.#poll = delay("poll", options.poll, listen === false ? 50 : 1_000);
    this.#history = boundsOf(options.history ?? {});
    this.#appends = new Appends({
      appendTimeout: delay("appendTimeout", options.appendTimeout, 5_000),
      maxPendingBytes: bound("maxPendingBytes", options.maxPendingBytes, 16 * 1024 * 1024),
      batch: BATCH,
      write: (batch) => this.#write(batch),
      mayPass,
    }, sizeOf);
  }

  follow(follower: LogFollower): () => void {
    if (this.#isClosed) throw closed();
    this.#followers.add(follower);
    if (this.#told) follower.opened(this.#told.epoch, this.#told.head, this.#told.start);
    if (this.#loop === undefined) void this.#follow(this.#loop = {});
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#stop();
    };
  }

  append(record: LogRecord): Promise<LogPosition> {
    return this.#appends.add(record);
  }

  async read(after: LogPosition, limit: number): Promise<readonly LogEntry[] | null> {
    await this.#ready();
    const { place, tag, entries } = await this.#page(this.#query, after.position, limit);
    await this.#catchUpWith(place.epoch);
    const { start, head } = place;
    if (after.position < start.position || after.position > head.position) return null;
    const here = after.position === start.position ? start.tag : tag;
    return after.tag !== undefined && after.tag !== here ? null : entries;
  }

  within(transaction: unknown): (record: LogRecord) => Promise<void> {
    const client = transactionOf(transaction);
    // Set in the transaction for as long as it lasts, it tells this one from any other, and from none.
    const token = newTag() + newTag();
    const ask = async (text: string, ...values: unknown[]) =>
      rowsOf(await client.query(text, values))[0];
    const add = async (...values: unknown[]) => {
      const text = `select "${this.#schema}".enqueue($1, $2, $3, $4) as answer`;
      return (await ask(text, token, ...values))!.answer === true;
    };
    const mark = async () => {
      // PostgreSQL takes a savepoint in an open transaction only.
      await ask("savepoint streamside");
      await ask("release savepoint streamside");
      await ask("select set_config('streamside.transaction', $1, true)", token);
    };
    let isMarked = false;
    const append = async ({ idempotencyKey, ...record }: LogRecord) => {
      if (this.#isClosed) throw closed();
      if (!this.#isReady) await inTime("PostgreSQL", this.#ready(), PATIENCE);
      const key = idempotencyKey === undefined ? null : JSON.stringify(idempotencyKey);
      const values = [JSON.stringify(record), sizeOf(record), key];
      try {
        if (isMarked && await add(...values)) return;
        // It is another transaction than it was, or a savepoint was rolled back.
        isMarked = false;
        await mark();
        isMarked = await add(...values);
      } catch (error) {
        throw explainWithin(error);
      }
      if (!isMarked) throw noTransaction();
    };
    return (record) => this.#takeTurns(client, () => append(record));
  }

  /** One after the other: a client is asked one thing at a time. */
  #takeTurns(client: object, step: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(client);
    const turn = before === undefined ? step() : before.then(step);
    const last = turn.catch(() => {}).finally(() => {
      if (this.#turns.get(client) === last) this.#turns.delete(client);
    });
    this.#turns.set(client, last);
    return turn;
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
    this.#appends.close();
    this.#stop();
  }

  #stop(): void {
    this.#loop = undefined;
    this.#told = undefined;
    this.#wake?.();
  }

  /** Asks on any connection of the pool. */
  readonly #query: Query = async (text, values) => {
    if (this.#isClosed) throw closed();
    const client = await lend(this.#pool);
    let isBroken = true;
    try {
      const rows = await askIn(client, text, values);
      isBroken = false;
      return rows;
    } catch (error) {
      isBroken = codeOf(error) === undefined;
      throw explain(error);
    } finally {
      giveBack(client, isBroken);
    }
  };

  /** Sees to it that the tables and functions are there. */
  async #ready(): Promise<void> {
    if (this.#isReady) return;
    await (this.#readying ??= this.#prepare().finally(() => this.#readying = undefined));
  }

  async #prepare(): Promise<void> {
    const schema = this.#schema;
    const [server] = await this.#query(
      "select current_setting('server_version_num')::integer as version, current_setting('server_encoding') as encoding, " +
        "to_regclass($1) is not null as exists",
      [`"${schema}".log`],
    );
    const { version, encoding, exists } = server as {
      version: number;
      encoding: string;
      exists: boolean;
    };
    if (version < 130_000) {
      throw unusable(`PostgreSQL 13 or later is needed; this is ${version / 10_000}.`);
    }
    if (encoding !== "UTF8") {
      throw unusable(`The database's encoding must be UTF8, and is ${encoding}.`);
    }
    const [log] = exists ? await this.#query(`select version from "${schema}".log`) : [];
    const found = (log?.version ?? 0) as number;
    if (found > SCHEMA_VERSION) {
      throw unusable(
        `The schema ${schema} is of version ${found}, and this library knows ${SCHEMA_VERSION}: use a newer one.`,
      );
    }
    if (found < SCHEMA_VERSION) {
      if (!this.#isMigrating) {
        throw unusable(
          `The schema ${schema} ${
            found === 0 ? "has no log" : `is of version ${found}`
          }: run the statements of ` +
            `postgresSchema(${JSON.stringify(schema)}), or leave \`migrate\` on.`,
        );
      }
      await this.#query(schemaOf(schema));
    }
    this.#isReady = true;
  }

  async #write(batch: readonly PendingRecord[]): Promise<readonly LogPosition[]> {
    await this.#ready();
    if (!this.#since.has(batch)) {
      if (this.#known === undefined) {
        this.#known = (await this.#page(this.#query, 0, 0)).place.head;
      }
      this.#since.set(batch, this.#known.position);
    }
    const texts = [
      batch.map(({ tag }) => tag).join(" "),
      batch.map(({ bytes }) => bytes).join(" "),
      batch.map(({ record: { idempotencyKey: _, ...record } }) => JSON.stringify(record)).join(
        "\n",
      ),
      batch.map(({ record: { idempotencyKey: key } }) =>
        key === undefined ? "" : JSON.stringify(key)
      ).join("\n"),
    ];
    for (;;) {
      const answer = await this.#append(this.#query, this.#since.get(batch)!, texts);
      if (answer.lost === undefined) {
        await this.#catchUpWith(answer.epoch!);
        return placesOf(answer, batch);
      }
      // Followers have to know of another epoch before anything is answered from it.
      if (this.#told !== undefined) await this.#advance(this.#query);
    }
  }

  /** Moves what is in the outbox, and then appends a batch, if there is one. */
  async #append(query: Query, since = 0, texts = ["", "", "", ""]): Promise<Answer> {
    const now = performance.now();
    const isWhole = this.#seen === undefined || now - this.#wholeAt > WHOLE;
    const after = this.#told?.head;
    const [row] = await query(
      `select "${this.#schema}".append($1, $2, $3, $4, $5, $6, $7, $8) as answer`,
      [isWhole ? null : this.#seen, since, after?.position, after?.tag, ...texts],
    );
    const answer = JSON.parse(row!.answer as string) as Answer;
    if (answer.lost) return answer;
    if (!answer.more) {
      this.#seen = answer.snapshot;
      if (isWhole) this.#wholeAt = now;
    }
    if (answer.epoch !== undefined) this.#known = positionOf(answer.head, answer.headTag);
    const { events, bytes, age } = this.#history;
    // A twentieth more than the bounds, so that many are deleted at a time.
    const isFull = answer.events > events * 1.05 || answer.bytes > bytes * 1.05;
    const isOld = now - this.#prunedAt > Math.max(1_000, Math.min(age / 100, 60_000));
    if (isFull || isOld) this.#prune();
    return answer;
  }

  /** Trims the log. What does not work now will the next time. */
  #prune(): void {
    this.#prunedAt = performance.now();
    const values = [this.#history.events, this.#history.bytes, this.#history.age]
      .map((value) => Math.ceil(Math.min(value, Number.MAX_SAFE_INTEGER)));
    this.#pruning ??= (async () => {
      const text = `select "${this.#schema}".prune($1, $2, $3) as more`;
      while ((await this.#query(text, values))[0]!.more === true);
    })().catch(() => {}).finally(() => this.#pruning = undefined);
  }

  /** Followers have to know of another epoch before anything is answered from it. */
  async #catchUpWith(epoch: string): Promise<void> {
    if (this.#told !== undefined && this.#told.epoch !== epoch) await this.#advance(this.#query);
  }

  async #page(
    query: Query,
    after: number,
    limit: number,
  ): Promise<{ place: Place; tag: string | undefined; entries: LogEntry[] }> {
    const most = Math.min(Math.floor(limit), PAGE);
    const [first, ...rows] = await query(`select * from "${this.#schema}".read($1, $2)`, [
      after,
      most,
    ]);
    const { tag, content } = first as { tag: string | null; content: string };
    const { epoch, head, headTag, start, startTag } = JSON.parse(content);
    return {
      place: { epoch, head: positionOf(head, headTag), start: positionOf(start, startTag) },
      tag: tag ?? undefined,
      entries: rows.map(entryOf),
    };
  }

  /** Follows the log until nobody wants it any more. */
  async #follow(loop: object): Promise<void> {
    for (let attempt = 1; this.#loop === loop; attempt++) {
      let ear: Ear | undefined;
      try {
        await inTime("PostgreSQL", this.#ready(), PATIENCE);
        const query = this.#listening === undefined
          ? this.#query
          : (ear = await this.#listen(this.#listening)).query;
        // Another server may answer than before, and what was notified meanwhile nobody has heard.
        this.#seen = undefined;
        this.#isOutboxDue = this.#isReadDue = true;
        while (this.#loop === loop) {
          await this.#step(query);
          attempt = 1;
        }
      } catch (error) {
        if (this.#loop === loop) this.#fail(error);
      }
      ear?.close();
      if (this.#loop === loop) await this.#pause(backoff(attempt, RETRY));
    }
  }

  async #listen(pool: AnyPool): Promise<Ear> {
    const channels = [`${this.#schema}_outbox`, `${this.#schema}_log`] as const;
    return await Ear.open(pool, channels, (channel) => {
      if (channel !== channels[1]) this.#isOutboxDue = true;
      if (channel !== channels[0]) this.#isReadDue = true;
      this.#wake?.();
    });
  }

  /** Does what is due, or waits until something is. */
  async #step(query: Query): Promise<void> {
    if (this.#isOutboxDue) {
      this.#isOutboxDue = false;
      const { lost, moved, more } = await this.#append(query);
      if (lost || more) this.#isOutboxDue = true;
      if (lost || moved > 0) this.#isReadDue = true;
    }
    if (this.#isReadDue) {
      this.#isReadDue = false;
      if (await this.#advance(query)) this.#isReadDue = true;
    }
    if (this.#isOutboxDue || this.#isReadDue) return;
    if (!await this.#pause(this.#poll)) this.#isOutboxDue = this.#isReadDue = true;
  }

  /** Reads on from what followers were told, and tells them. Resolves to whether there may be more. */
  async #advance(query: Query): Promise<boolean> {
    const loop = this.#loop;
    while (this.#loop === loop) {
      const told = this.#told;
      const most = told === undefined ? 0 : PAGE;
      const { place, tag, entries } = await this.#page(query, told?.head.position ?? 0, most);
      // Who reads as well may have told them meanwhile.
      if (this.#loop !== loop || this.#told !== told) continue;
      const isSame = told !== undefined && place.epoch === told.epoch;
      const isHeld = isSame && told.head.position >= place.start.position;
      if (isSame && isLost(told.head, place, tag)) {
        await query(`select "${this.#schema}".renew($1, $2)`, [told.epoch, newEpoch()]);
      } else if (!isHeld) {
        // Another epoch, or what comes next was trimmed while this server was away.
        this.#open(place);
        return false;
      } else if (entries.length > 0) {
        this.#tell(told.epoch, place.start, entries);
        return entries.at(-1)!.position < place.head.position;
      } else {
        if (this.#hasFailed) this.#open({ ...told, start: place.start });
        return false;
      }
    }
    return false;
  }

  #tell(epoch: string, start: LogPosition, entries: readonly LogEntry[]): void {
    const { position, tag } = entries.at(-1)!;
    this.#known = { position, tag };
    this.#told = { epoch, head: this.#known, start };
    this.#hasFailed = false;
    for (const follower of this.#followers) follower.appended(entries);
  }

  #open(place: Place): void {
    this.#told = place;
    this.#known = place.head;
    this.#hasFailed = false;
    this.#appends.retry();
    for (const follower of this.#followers) {
      follower.opened(place.epoch, place.head, place.start);
    }
  }

  #fail(error: unknown): void {
    this.#hasFailed = true;
    for (const follower of this.#followers) follower.failed(explain(error));
  }

  /** Waits. Resolves to whether it was woken. */
  #pause(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}

/** A connection of its own that hears notifications. */
class Ear {
  readonly #client: AnyClient;
  readonly #hear: (notification: Notification) => void;
  readonly #broken: () => void;

  private constructor(client: AnyClient, heard: (channel?: string) => void) {
    this.#client = client;
    this.#hear = ({ channel, processId }) => {
      // What this connection has done itself is known.
      if (processId === undefined || processId !== client.processID) heard(channel);
    };
    // What is asked next fails.
    this.#broken = () => heard();
    client.on("notification", this.#hear);
    for (const type of ["error", "end"]) client.on(type, this.#broken);
  }

  /** Listens to channels. `heard` is told of each notification, and, with no channel, of the end of the connection. */
  static async open(
    pool: AnyPool,
    channels: readonly string[],
    heard: (channel?: string) => void,
  ): Promise<Ear> {
    const ear = new Ear(await lend(pool), heard);
    try {
      for (const channel of channels) await ear.query(`listen "${channel}"`);
      return ear;
    } catch (error) {
      ear.close();
      throw error;
    }
  }

  /** Asks on this connection. */
  readonly query: Query = async (text, values) => {
    try {
      return await askIn(this.#client, text, values);
    } catch (error) {
      throw explain(error);
    }
  };

  /** Ends the connection: nobody else is to get it, since it listens. */
  close(): void {
    this.#client.removeListener("notification", this.#hear);
    giveBack(this.#client, true);
    for (const type of ["error", "end"]) this.#client.removeListener(type, this.#broken);
  }
}

/** A client of a pool. */
async function lend(pool: AnyPool): Promise<AnyClient> {
  const connecting = pool.connect();
  const client = await inTime("The pool of PostgreSQL", connecting, PATIENCE).catch((error) => {
    // It may come yet, and then goes back.
    connecting.then((client) => client.release(), () => {});
    throw explain(error);
  });
  if (typeof Object(client).release !== "function") {
    throw unusable(
      "The pool's connect() gives no client with release(): pass a Pool, not a Client.",
    );
  }
  // Without a listener an `error` event ends the process. What fails here is told when it is waited for.
  client.on("error", ignore);
  return client;
}

function giveBack(client: AnyClient, isBroken: boolean): void {
  // One that ends tells of it later.
  if (!isBroken) client.removeListener("error", ignore);
  client.release(isBroken);
}

function ignore(): void {}

async function askIn(client: AnyClient, text: string, values?: readonly unknown[]): Promise<Row[]> {
  return rowsOf(await inTime("PostgreSQL", client.query(text, values), PATIENCE));
}

/** What a query gives: `{ rows }`, or with some libraries the rows themselves. */
function rowsOf(result: unknown): Row[] {
  return (Array.isArray(result) ? result : Object(result).rows) as Row[];
}

function poolOf(pool: unknown, what: string): AnyPool {
  const { connect } = Object(pool) as Record<string, unknown>;
  if (typeof connect === "function") return pool as AnyPool;
  throw invalid(`${what} needs a pool with connect(), such as a Pool of pg; got ${quote(pool)}.`);
}

/** What `hub.within` was given, if it can be a client with a transaction. */
function transactionOf(transaction: unknown): Pick<AnyClient, "query"> {
  const { query, totalCount } = Object(transaction) as Record<string, unknown>;
  if (typeof query !== "function") {
    throw invalid(
      `postgresLog takes as a transaction the client on which BEGIN was sent, with query(text, values); got ${
        quote(transaction)
      }.`,
    );
  }
  if (typeof totalCount === "number") {
    throw invalid(
      "This is a pool, which has no transaction: each query may go to another connection. Take a client with " +
        "pool.connect(), send BEGIN on it, and pass the client.",
    );
  }
  return transaction as AnyClient;
}

function checkSchema(schema: unknown): asserts schema is string {
  if (typeof schema === "string" && /^[A-Za-z_][A-Za-z0-9_]{0,49}$/.test(schema)) return;
  throw invalid(
    `schema must be 1 to 50 letters, digits and underscores, and not begin with a digit; got ${
      quote(schema)
    }.`,
  );
}

function isLost(told: LogPosition, { head, start }: Place, tag: string | undefined): boolean {
  const { position } = told;
  if (position > head.position) return true;
  if (position < start.position) return false;
  return told.tag !== (position === start.position ? start.tag : tag);
}

function placesOf(answer: Answer, batch: readonly PendingRecord[]): LogPosition[] {
  const { first, positions, tags } = answer;
  return batch.map(({ tag }, i) =>
    first === null ? { position: positions![i]!, tag: tags![i]! } : { position: first + i, tag }
  );
}

function entryOf({ at, tag, written, content }: Row): LogEntry {
  return {
    position: Number(at),
    tag: tag as string,
    time: Number(written),
    record: recordOf(content as string),
  };
}

/** A record. What is none costs itself alone: the hub logs that it goes to nobody. */
function recordOf(text: string): LogRecord {
  try {
    return JSON.parse(text);
  } catch {
    return { to: "", event: "", data: "" };
  }
}

function positionOf(position: number, tag: string | null): LogPosition {
  return tag === null ? { position } : { position, tag };
}

/** The SQLSTATE of an error that PostgreSQL has answered with. */
function codeOf(error: unknown): string | undefined {
  const { code } = Object(error) as Record<string, unknown>;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

function mayPass(error: unknown): boolean {
  if (error instanceof StreamsideError) return false;
  const code = codeOf(error);
  return code === undefined || PASSING.test(code);
}

function unusable(message: string): StreamsideError {
  return new StreamsideError("log-unavailable", message);
}

/** What PostgreSQL refuses, with what to do about it; anything else as it is. */
function explain(error: unknown): unknown {
  if (mayPass(error) || error instanceof StreamsideError) return error;
  const code = codeOf(error)!;
  const { message, hint } = error as { message: string; hint?: string };
  const advice = hint ?? (Object.hasOwn(ADVICE, code) ? ADVICE[code] : undefined);
  return new StreamsideError(
    "log-unavailable",
    `PostgreSQL refuses (${code}): ${message}.${advice === undefined ? "" : ` ${advice}`}`,
    { cause: error },
  );
}

/** The same within a transaction of the caller's. */
function explainWithin(error: unknown): unknown {
  const code = codeOf(error);
  if (code === "25P01") return noTransaction();
  if (code !== "25P02") return explain(error);
  return new StreamsideError(
    "invalid-argument",
    "The transaction has failed before: PostgreSQL takes nothing more in it. Send ROLLBACK, and do all of it again.",
    { cause: error },
  );
}

function noTransaction(): StreamsideError {
  return invalid(
    "No transaction is open on this client: send BEGIN on it first, and COMMIT only when the sends have resolved.",
  );
}
