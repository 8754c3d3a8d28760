/**
 * The log that servers share, where the environment names one: in Redis (`REDIS_URL`) or in NATS (`NATS_URL`). Their
 * clients are loaded only then.
 *
 * @module
 */
import process from "node:process";
import type { HistoryOptions, Log } from "../../mod.ts";

/** A connection to an engine. */
export interface Engine {
  /** What it is, for people. */
  readonly name: "Redis" | "NATS";
  /** The log of this name in it. */
  log(name: string, history?: HistoryOptions): Log;
  /** Ends the connection. Its logs are closed by those who use them, before. */
  close(): Promise<void>;
}

/**
 * Connects to the engine that the environment names.
 *
 * @returns `undefined` if it names none.
 * @throws An error that says which engine cannot be reached, and why.
 */
export async function connectEngine(): Promise<Engine | undefined> {
  const { REDIS_URL, NATS_URL } = process.env;
  if (REDIS_URL && NATS_URL) throw new Error("Set REDIS_URL or NATS_URL, not both.");
  if (REDIS_URL) return await connectRedis(REDIS_URL);
  if (NATS_URL) return await connectNats(NATS_URL);
  return undefined;
}

async function connectRedis(url: string): Promise<Engine> {
  const [{ createClient }, { redisLog }] = await Promise.all([
    import("redis"),
    import("../../src/log/redis.ts"),
  ]);
  let isReached = false;
  const client = createClient({
    url,
    socket: {
      // Once it was reached it is tried for ever; who never reaches it is told so at once.
      reconnectStrategy: (retries, cause) => isReached ? Math.min(50 * 2 ** retries, 2000) : cause,
    },
  });
  client.on("error", () => {}); // the hub says so, and node-redis would end the process
  await client.connect().catch((error) => {
    throw unreachable("Redis", "REDIS_URL", url, error);
  });
  isReached = true;
  return {
    name: "Redis",
    log: (name, history) => redisLog(client, { key: name, history }),
    close: () => Promise.resolve(client.destroy()),
  };
}

async function connectNats(url: string): Promise<Engine> {
  const [{ connect }, { jetStreamLog }] = await Promise.all([
    import("@nats-io/transport-node"),
    import("../../src/log/jetstream.ts"),
  ]);
  // Without maxReconnectAttempts: -1 the connection would end for good after some 20 s without a server.
  const connection = await connect({ servers: url, maxReconnectAttempts: -1 }).catch((error) => {
    throw unreachable("NATS", "NATS_URL", url, error);
  });
  return {
    name: "NATS",
    log: (name, history) => jetStreamLog(connection, { stream: name, history }),
    close: () => connection.close(),
  };
}

function unreachable(name: string, variable: string, url: string, error: Error): Error {
  const { host } = new URL(url); // the rest may hold a password
  const why = error.message || (error as NodeJS.ErrnoException).code;
  return new Error(`${name} cannot be reached at ${host} (${variable}): ${why}`);
}
