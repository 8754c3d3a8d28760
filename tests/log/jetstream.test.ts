/**
 * The log on JetStream: what all servers of it see, and what happens when NATS fails, and when it loses what it had
 * acknowledged.
 *
 * @module
 */
import { test } from "node:test";
import type { HistoryOptions } from "../../mod.ts";
import { jetStreamLog } from "../../src/log/jetstream.ts";
import { testLog } from "../../src/testing.ts";
import { NATS, startNats } from "../nats.ts";
import { skipWithout } from "../programs.ts";

const skip = skipWithout(NATS);

if (!skip) {
  testLog({
    name: "jetStreamLog",
    test,
    timeout: 15_000,
    async open(history: HistoryOptions) {
      const nats = await startNats();
      const ends: (() => unknown)[] = [];
      const connect = async () => {
        const connection = await nats.connect();
        const log = jetStreamLog(connection, { history });
        ends.push(() => log.close!(), () => connection.close());
        return log;
      };
      const close = async () => {
        for (const end of ends) await end();
        await nats.close();
      };
      return { log: await connect(), connect, close, nats };
    },
    async interrupt({ nats }) {
      await nats.kill();
      return () => nats.start();
    },
    async lose({ nats }) {
      await nats.kill();
      await nats.wipe();
      await nats.start();
    },
  });
}
