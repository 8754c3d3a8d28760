/**
 * Runs over real sockets: readers that come at any moment, break at any byte and resume, on any server.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  createHandler,
  createHub,
  type Hub,
  type HubOptions,
  type Log,
  memoryLog,
} from "../../mod.ts";
import { quietLogger, servers, type TestServer, until, within } from "../server-helpers.ts";
import { lineOf, randomOf, RunLedger, RunReader } from "./run-model.ts";

const EVENTS = 2_000;
const READERS = 50;

interface Site {
  hub: Hub;
  server: TestServer;
}

for (const [name, serve] of Object.entries(servers)) {
  describe(name, () => {
    async function withSites(
      options: readonly HubOptions[],
      run: (...sites: Site[]) => Promise<void>,
    ): Promise<void> {
      const sites: Site[] = [];
      try {
        for (const option of options) {
          const hub = createHub({ logger: quietLogger, ...option });
          const handler = createHandler(hub, {
            authenticate: () => ({ session: "reader", channels: ["answer"] }),
          });
          sites.push({ hub, server: await serve(handler) });
        }
        await run(...sites);
      } finally {
        for (const { hub } of sites) await hub.close();
        for (const { server } of sites) await server.close();
      }
    }

    const asking =
      (sites: readonly Site[], random: (below: number) => number) =>
      (lastEventId: string | undefined) => {
        const { server } = sites[random(sites.length)]!;
        const headers = new Headers(
          lastEventId === undefined ? [] : [["Last-Event-ID", lastEventId]],
        );
        return fetch(`${server.url}/api/v1/sse/runs/answer`, { headers });
      };

    const lines = Array.from({ length: EVENTS }, (_, i) => lineOf(i));

    /** Publishes all lines, a few in each turn of the event loop, so that readers come in between. */
    async function* source(ledger: { data: string[] }): AsyncGenerator<string> {
      for (const line of lines) {
        ledger.data.push(line);
        yield line;
        if (ledger.data.length % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }

    for (const hubs of [1, 2]) {
      test(`${READERS} readers have all of a run, on ${hubs} hub(s) of a log`, async () => {
        const seed = Math.floor(Math.random() * 2 ** 31);
        const random = randomOf(seed);
        const log = memoryLog();
        await withSites(Array(hubs).fill({ log }), async (...sites) => {
          const ledger = new RunLedger();
          const published: { data: string[]; end?: unknown } = { data: [] };
          const run = await sites[0]!.hub.run("answer", source(published));
          Object.assign(ledger.begin(run.cursor), published, { end: "done" });
          const readers = Array.from({ length: READERS }, async (_, i) => {
            await until(() => published.data.length >= i * EVENTS / READERS, "its moment to come");
            const reader = new RunReader(ledger, asking(sites, random));
            await reader.readToEnd(() => 1 + random(60_000));
            assertEquals([reader.count, reader.ended, reader.resets], [EVENTS, "done", 0]);
          });
          await within(Promise.all(readers), `the readers (seed ${seed})`, 120_000);
          assertEquals(await run.done, {});
          for (const { hub } of sites) {
            await until(() => hub.stats().connections === 0, "the readers to leave");
          }
        });
        await log.close?.();
      });
    }

    test("readers of a run whose server is killed get lost, and none hangs", async () => {
      const random = randomOf(Math.floor(Math.random() * 2 ** 31));
      const log = memoryLog();
      const dead = cuttable(log);
      await withSites(
        [{ log: dead.log, runTimeout: 1_000 }, { log, runTimeout: 1_000 }],
        async (one, other) => {
          const ledger = new RunLedger();
          const published = { data: [] as string[] };
          const run = await one.hub.run("answer", async function* (signal) {
            yield* source(published);
            await new Promise((resolve) => signal.addEventListener("abort", resolve));
          });
          Object.assign(ledger.begin(run.cursor), { data: published.data, end: "lost" });
          // The readers of the killed server have to go elsewhere.
          let alive: Site[] = [one, other];
          const ask = (id: string | undefined) => asking(alive, random)(id);
          const all = Array.from({ length: READERS }, () => new RunReader(ledger, ask));
          const readers = all.map((reader) => reader.readToEnd(() => 1 + random(60_000)));
          await until(() => published.data.length === EVENTS, "all events");
          await until(() => one.hub.runs()[0]?.events === EVENTS, "the log to hold them");
          dead.cut();
          alive = [other];
          // Ends its streams; the log, which is cut off, hears nothing of it.
          await one.hub.close();
          await one.server.close();
          await within(
            Promise.all(readers),
            "all",
            120_000,
          );
          for (const reader of all) assertEquals([reader.count, reader.ended], [EVENTS, "lost"]);
        },
      );
      await log.close?.();
    });
  });
}

/** A log whose runs hang from a moment on, and tell nothing any more: as for a process that is killed. */
function cuttable(log: Log): { log: Log; cut(): void } {
  let isCut = false;
  const through = <T>(call: () => Promise<T>) => isCut ? new Promise<never>(() => {}) : call();
  const runs = log.runs!;
  assert(runs);
  return {
    log: {
      follow: (follower) => log.follow(follower),
      append: (record) => log.append(record),
      read: (after, limit) => log.read(after, limit),
      runs: {
        follow: (follower) =>
          runs.follow({
            opened: () => follower.opened(),
            appended: (records) => isCut ? undefined : follower.appended(records),
            failed: (error) => follower.failed(error),
          }),
        append: (records) => through(() => runs.append(records)),
        list: (channel) => through(() => runs.list(channel)),
        read: (run, after, limit) => through(() => runs.read(run, after, limit)),
      },
    },
    cut: () => {
      isCut = true;
    },
  };
}
