/**
 * Three servers on one Redis or one NATS, which are killed one after the other while clients come back to whichever is there: each
 * client has every event that was acknowledged and addressed to it, once, in the order of the log.
 *
 * `CLUSTER_SECONDS`, `CLUSTER_CLIENTS` and `CLUSTER_RATE` say for how long, with how many clients and events/s.
 *
 * @module
 */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Client, createClient } from "../../src/client/mod.ts";
import { cases } from "../campaign.ts";
import { type Server, start } from "../examples/server.ts";
import { skipWithout } from "../programs.ts";
import { until } from "../server-helpers.ts";
import { ENGINES } from "./engines.ts";

const SECONDS = cases("CLUSTER_SECONDS", 5, 20);
const CLIENTS = cases("CLUSTER_CLIENTS", 30, 100);
const RATE = cases("CLUSTER_RATE", 100, 200);
/** How often a server is killed, in ms. */
const KILL = Math.min(5_000, SECONDS * 250);

interface Sent {
  readonly number: number;
  readonly to: { session: string } | { channel: string } | { all: true };
  readonly id: string;
}

/** A client and the numbers and ids that it heard. */
interface Listener {
  readonly session: string;
  readonly client: Client;
  readonly heard: { number: number; id: string }[];
  resets: number;
}

/** The position that an id stands for. */
const positionOf = (id: string) => Number(id.split("-")[1]);

for (const [name, [programs, variable, startEngine]] of Object.entries(ENGINES)) {
  test(
    `three servers on one ${name}, killed one after the other, and ${name} in between: all is heard once, in order`,
    { skip: skipWithout(...programs) },
    async () => {
      const engine = await startEngine();
      const servers: Server[] = [];
      const listeners: Listener[] = [];
      const any = () => servers[Math.floor(Math.random() * servers.length)]!;
      const startServer = async () => {
        servers.push(await start("../tests/log/cluster-server", { [variable]: engine.url }));
      };
      /** As a load balancer does: each request to one that is there. */
      const balanced = (url: string, init: RequestInit) =>
        fetch(any().url + new URL(url).pathname + new URL(url).search, init);
      const post = async (body: object): Promise<string | undefined> => {
        try {
          const response = await balanced("http://any/api/v1/sse/send", {
            method: "POST",
            headers: { "Content-Type": "application/json", "X-Session-Id": "sender" },
            body: JSON.stringify(body),
          });
          if (response.status !== 202) return void await response.body?.cancel();
          return (await response.json() as { id: string }).id;
        } catch {
          return undefined; // Its server was killed: it may be in the log or not.
        }
      };
      try {
        await Promise.all([startServer(), startServer(), startServer()]);
        for (let i = 0; i < CLIENTS; i++) listeners.push(listen(`client-${i}`, balanced));
        await until(
          () => listeners.every(({ client }) => client.readyState === 1),
          "all to connect",
        );

        const sent: Sent[] = [];
        const unknown: number[] = [];
        const sending: Promise<void>[] = [];
        let number = 0;
        const send = async () => {
          const mine = number++;
          const i = mine % CLIENTS;
          const to: Sent["to"] = mine % 10 === 0
            ? { all: true }
            : mine % 3 === 0
            ? { channel: `channel-${i % 10}` }
            : { session: `client-${i}` };
          const id = await post({ ...to, event: "n", data: mine });
          if (id === undefined) unknown.push(mine);
          else sent.push({ number: mine, to, id });
        };
        const began = performance.now();
        let killed = 0;
        let isRestarted = false;
        // Where the machine is busy and servers take long to start, it goes on until enough have been killed.
        const isOver = (elapsed: number) =>
          elapsed > SECONDS * 1000 && killed >= 3 || elapsed > SECONDS * 10_000;
        for (let elapsed = 0; !isOver(elapsed); elapsed = performance.now() - began) {
          while (number < elapsed * RATE / 1000) sending.push(send());
          if (elapsed > (killed + 1) * KILL && servers.length > 1) {
            killed++;
            const [victim] = servers.splice(0, 1);
            victim!.process.kill("SIGKILL");
            await victim!.ended;
            sending.push(startServer());
          }
          if (!isRestarted && elapsed > SECONDS * 600) {
            isRestarted = true;
            await engine.kill();
            await engine.start();
          }
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        await Promise.all(sending);
        let last: string | undefined;
        while (last === undefined) last = await post({ all: true, event: "n", data: number });
        await until(
          () => listeners.every(({ heard }) => heard.at(-1)?.number === number),
          () =>
            `the last event: ${
              listeners.filter(({ heard }) => heard.at(-1)?.number !== number).map(({ session }) =>
                session
              )
            }`,
        );

        assert(killed >= 3, `${killed} servers were killed`);
        // The others were at a server when it was killed, more of them while Redis was away.
        assert(sent.length > number / 5, `${unknown.length} of ${number} were not acknowledged`);
        for (const { session, heard, resets } of listeners) {
          assertEquals(resets, 0, `${session} got a reset`);
          const positions = heard.map(({ id }) => positionOf(id));
          assert(
            positions.every((position, i) => i === 0 || position > positions[i - 1]!),
            `${session} heard something twice, or out of order`,
          );
          const due = sent.filter(({ to }) =>
            "all" in to ||
            ("session" in to ? to.session === session : to.channel.at(-1) === session.at(-1))
          );
          const ids = new Map(heard.map(({ number, id }) => [number, id]));
          const missing = due.filter(({ number, id }) => ids.get(number) !== id);
          assertEquals(missing, [], `${session} misses events`);
          const allowed = new Set([...due.map(({ number }) => number), ...unknown, number]);
          assertEquals(
            heard.filter(({ number }) => !allowed.has(number)),
            [],
            `${session} hears others`,
          );
        }
      } finally {
        for (const { client } of listeners) client.close();
        for (const server of servers) server.process.kill("SIGKILL");
        await Promise.all(servers.map(({ ended }) => ended));
        await engine.close();
      }
    },
  );
}

function listen(
  session: string,
  fetch: (url: string, init: RequestInit) => Promise<Response>,
): Listener {
  const client = createClient(`http://any/api/v1/sse/subscribe?sessionId=${session}`, {
    fetch,
    reconnect: { maxAttempts: Infinity, delay: 50, maxDelay: 500 },
  });
  const listener: Listener = { session, client, heard: [], resets: 0 };
  client.addEventListener("n", (event) => {
    listener.heard.push({ number: event.json() as number, id: event.lastEventId });
  });
  client.addEventListener("reset", () => listener.resets++);
  client.connect();
  return listener;
}
