/**
 * The engines that logs are on, for tests that are the same on all of them.
 *
 * @module
 */
import { NATS, startNats } from "../nats.ts";
import { REDIS, startRedis } from "../redis.ts";

/** What a test does with an engine: end it at once, start it with its data, end it for good. */
export interface Engine {
  readonly url: string;
  kill(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

/** Each engine: its programs, the variable that has its address, and how it is started. */
export const ENGINES: Record<string, [readonly string[], string, () => Promise<Engine>]> = {
  Redis: [REDIS, "REDIS_URL", () => startRedis("--appendonly", "yes", "--appendfsync", "always")],
  NATS: [[NATS], "NATS_URL", () => startNats()],
};
