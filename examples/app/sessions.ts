/**
 * Who is logged in. A session is a signed token that its page holds, so that it outlives the server's process: the
 * server keeps the key, and which sessions were ended before their time. What it knows of the others in memory is
 * bounded.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { appendFile, lstat, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { Problem } from "./http.ts";

/** One login. */
export interface Session {
  /** What the hub addresses. It proves nothing. */
  readonly id: string;
  /** What other sessions see. */
  readonly name: string;
  /** When it ends by itself, in milliseconds since 1970. */
  readonly expires: number;
  /** Unforgeable: whoever holds it is this session. */
  readonly token: string;
  /** Aborts when it ends, by logout or by itself. */
  readonly signal: AbortSignal;
}

/** What a token says. */
type Claims = Pick<Session, "id" | "name" | "expires">;

/** Options of {@link Sessions}. */
export interface SessionsOptions {
  /** Where the key and the list of ended sessions are. */
  directory: string;
  /** How long a session lasts, in ms. */
  lifetime: number;
  /** How many sessions there may be at a time. */
  max: number;
  /** Called once for each session that ends. */
  onEnd: (session: Session) => void;
}

/** The sessions. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #key: Uint8Array;
  /** When the sessions that were ended by logout would have ended by themselves: until then their tokens are refused. */
  readonly #ended: Map<string, number>;
  /** The sessions that this process has met. */
  readonly #met = new Map<string, { session: Session; forget: () => void }>();

  private constructor(options: SessionsOptions, key: Uint8Array, ended: Map<string, number>) {
    this.#options = options;
    this.#key = key;
    this.#ended = ended;
  }

  /** Reads the key, which is made at the first start, and which sessions have ended. */
  static async open(options: SessionsOptions): Promise<Sessions> {
    await makePrivate(options.directory);
    const key = await readKey(join(options.directory, "key"));
    const path = join(options.directory, "ended");
    const lines = (await readIfAny(path))?.toString("utf8").split("\n") ?? [];
    const ended = new Map(
      lines.map((line) => line.split(" "))
        .map(([id, expires]) => [id!, Number(expires)] as const)
        .filter(([, expires]) => expires > Date.now()),
    );
    await writeFile(path, [...ended].map(([id, expires]) => `${id} ${expires}\n`).join(""));
    return new Sessions(options, key, ended);
  }

  /** Begins a session. */
  begin(name: string): Session {
    const id = crypto.randomUUID();
    const claims = { id, name, expires: Date.now() + this.#options.lifetime };
    const text = Buffer.from(JSON.stringify(claims)).toString("base64url");
    return this.#meet(claims, `${text}.${this.#sign(text)}`);
  }

  /** The session whose token this is, if it has not ended; it may have begun in another life of the server. */
  get(token: string | null | undefined): Session | undefined {
    const claims = this.#read(token ?? "");
    if (!claims || claims.expires <= Date.now() || this.#ended.has(claims.id)) return undefined;
    return this.#met.get(claims.id)?.session ?? this.#meet(claims, token!);
  }

  /** Ends a session. */
  async end({ id, expires }: Session): Promise<void> {
    this.#ended.set(id, expires);
    this.#met.get(id)?.forget();
    await appendFile(join(this.#options.directory, "ended"), `${id} ${expires}\n`);
  }

  /** Forgets every session; with its token each may come back. */
  forgetAll(): void {
    for (const { forget } of this.#met.values()) forget();
  }

  #meet(claims: Claims, token: string): Session {
    if (this.#met.size >= this.#options.max) {
      throw new Problem(503, "Too many sessions. Try again later.", { "retry-after": "60" });
    }
    const over = new AbortController();
    const session = { ...claims, token, signal: over.signal };
    const forget = () => {
      clearTimeout(timer);
      this.#met.delete(claims.id);
      over.abort();
      this.#options.onEnd(session);
    };
    const timer = setTimeout(forget, claims.expires - Date.now());
    this.#met.set(claims.id, { session, forget });
    return session;
  }

  #sign(text: string): string {
    return createHmac("sha256", this.#key).update(text).digest("base64url");
  }

  #read(token: string): Claims | undefined {
    const [text, signature] = token.split(".");
    if (!text || !signature) return undefined;
    const [given, right] = [Buffer.from(signature), Buffer.from(this.#sign(text))];
    if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
    return JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  }
}

/** Makes a directory that nobody else can read, or makes sure that the one which is there is so. */
async function makePrivate(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { mode, uid } = await lstat(directory);
  const own = process.getuid === undefined || uid === process.getuid();
  // Windows has no such modes; there the temporary directory is the user's own.
  if (process.platform === "win32" || (own && (mode & 0o077) === 0)) return;
  throw new Error(
    `${directory} can be used by others: the key of the sessions must not be in there. ` +
      "Set DATA to a directory of your own, with mode 700.",
  );
}

async function readKey(path: string): Promise<Uint8Array> {
  const known = await readIfAny(path);
  if (known?.length === 32) return known;
  if (known) throw new Error(`${path} has to hold 32 bytes. Remove it for a new one.`);
  const key = randomBytes(32);
  await writeFile(path, key, { mode: 0o600, flag: "wx" });
  return key;
}

async function readIfAny(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
