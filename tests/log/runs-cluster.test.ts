/**
 * Runs on two servers, each a process, on one Redis: readers that come at any moment, break at any byte and
 * resume on the other server; a run that is stopped from the other server; a server that is killed in the middle of a run.
 *
 * `RUN_EVENTS` and `RUN_READERS` say how long a run is, and how many read it.
 *
 * @module
 */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { cases } from "../campaign.ts";
import { type Server, start } from "../examples/server.ts";
import { lineOf, randomOf, RunLedger, RunReader } from "../hub/run-model.ts";
import { skipWithout } from "../programs.ts";
import { until, within } from "../server-helpers.ts";
import { ENGINES } from "./engines.ts";

const EVENTS = cases("RUN_EVENTS", 300, 2_000);
const READERS = cases("RUN_READERS", 10, 50);
/** How long the readers may take, in ms. */
const LIMIT = 120_000;

for (const [name, [programs, variable, startEngine]] of Object.entries(ENGINES)) {
  if (name === "NATS") continue;
  test(
    `a run on two servers of one ${name}: all is read once, in order, stopped from the other, lost when its server dies`,
    { skip: skipWithout(...programs) },
    async () => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      const random = randomOf(seed);
      const engine = await startEngine();
      const servers: Server[] = [];
      const post = async (server: Server, path: string): Promise<unknown> => {
        const response = await fetch(server.url + path, { method: "POST" });
        return await within(response.json(), path);
      };
      /** Begins a run on a server. What is known of it, for its readers. */
      const begin = async (server: Server, query: string, end: "done" | "stopped" | "lost") => {
        const cursor = await post(server, `/run?events=${EVENTS}${query}`) as string;
        const ledger = new RunLedger();
        const data = Array.from({ length: EVENTS }, (_, i) => lineOf(i));
        Object.assign(ledger.begin(cursor), { data, end });
        const ask = (lastEventId: string | undefined) => {
          const { url } = servers[random(servers.length)]!;
          const headers = new Headers({ "X-Session-Id": "reader-1" });
          if (lastEventId !== undefined) headers.set("Last-Event-ID", lastEventId);
          return fetch(`${url}/api/v1/sse/runs/answer`, { headers });
        };
        return () => new RunReader(ledger, ask);
      };
      const readAll = (readers: readonly RunReader[]) =>
        within(
          Promise.all(readers.map((reader) => reader.readToEnd(() => 1 + random(10_000)))),
          `the readers (seed ${seed})`,
          LIMIT,
        );
      try {
        for (let i = 0; i < 2; i++) {
          const environment = { [variable]: engine.url, RUN_TIMEOUT: "8000" };
          servers.push(await start("../tests/log/cluster-server", environment));
        }
        const [one, other] = servers as [Server, Server];

        let reader = await begin(one, "", "done");
        const early = reader();
        const readers = [early];
        const reading = [readAll(readers)];
        for (let i = 1; i < READERS; i++) {
          await until(() => early.count >= i * EVENTS / READERS, "its moment to come");
          readers.push(reader());
          reading.push(readAll(readers.slice(-1)));
        }
        await Promise.all(reading);
        const outcomes = () => readers.map(({ count, ended, resets }) => [count, ended, resets]);
        assertEquals(outcomes(), readers.map(() => [EVENTS, "done", 0]), `seed ${seed}`);

        reader = await begin(other, "&stay", "stopped");
        readers.splice(0, Infinity, ...Array.from({ length: READERS }, reader));
        let all = readAll(readers);
        assertEquals(await post(one, "/run?events=1"), "already-running");
        await until(() => readers.every(({ count }) => count === EVENTS), "all events");
        assertEquals(await post(one, "/stop"), true);
        await all;
        assertEquals(outcomes(), readers.map(() => [EVENTS, "stopped", 0]), `seed ${seed}`);
        assertEquals(await post(other, "/stop"), false);

        reader = await begin(one, "&stay", "lost");
        readers.splice(0, Infinity, ...Array.from({ length: READERS }, reader));
        all = readAll(readers);
        await until(() => readers.every(({ count }) => count === EVENTS), "all events");
        servers.splice(0, 1);
        one.process.kill("SIGKILL");
        await one.ended;
        await all;
        assertEquals(outcomes(), readers.map(() => [EVENTS, "lost", 0]), `seed ${seed}`);
        reader = await begin(other, "", "done");
        readers.splice(0, Infinity, reader());
        await readAll(readers);
        assertEquals(outcomes(), [[EVENTS, "done", 0]], `seed ${seed}`);
        one.process.kill("SIGKILL");
      } finally {
        for (const server of servers) server.process.kill("SIGKILL");
        await Promise.all(servers.map(({ ended }) => ended));
        await engine.close();
      }
    },
  );
}
