/**
 * Who is online, over three servers of which one is killed: whoever is back elsewhere has not been away, and all others are
 * told to be offline, once, on each server that is left.
 *
 * @module
 */
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createClient } from "../../src/client/mod.ts";
import { type Server, start } from "../examples/server.ts";
import { NATS, startNats } from "../nats.ts";
import { skipWithout } from "../programs.ts";
import { REDIS, startRedis } from "../redis.ts";

/** Each engine: its programs, the variable that has its address, and how it is started. */
const ENGINES: Record<
  string,
  [readonly string[], string, () => Promise<{ url: string; close(): Promise<void> }>]
> = {
  Redis: [REDIS, "REDIS_URL", () => startRedis()],
  NATS: [[NATS], "NATS_URL", () => startNats()],
};

interface Presence {
  readonly sessions: string[];
  readonly told: string[];
}

async function ask(server: Server): Promise<Presence> {
  return await (await fetch(`${server.url}/presence`)).json() as Presence;
}

/** Asks a server until it answers what it should. */
async function until(
  server: Server,
  isReached: (presence: Presence) => boolean,
  what: string,
): Promise<Presence> {
  const end = Date.now() + 60_000;
  for (;;) {
    const presence = await ask(server);
    if (isReached(presence)) return presence;
    assert(Date.now() < end, `waited a minute for ${what}: ${JSON.stringify(presence)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

for (const [name, [programs, variable, startEngine]] of Object.entries(ENGINES)) {
  test(
    `three servers on one ${name}, of which one is killed: who is back elsewhere has not been away, all others are offline`,
    { skip: skipWithout(...programs) },
    async () => {
      const engine = await startEngine();
      const servers: Server[] = [];
      const clients: { close(): void }[] = [];
      const connect = (session: string, server: () => Server, reconnects = true) => {
        const client = createClient("http://any/api/v1/sse/subscribe", {
          headers: { "X-Session-Id": session },
          fetch: (url, init) => fetch(server().url + new URL(url).pathname, init),
          reconnect: { delay: 50, maxAttempts: reconnects ? Infinity : 0 },
        });
        client.addEventListener("error", () => {});
        clients.push(client);
        client.connect();
        return client;
      };
      const everywhere = async (wanted: string[]) => {
        for (const server of servers) {
          const isReached = ({ sessions }: Presence) => String(sessions) === String(wanted);
          await until(server, isReached, `${wanted} to be online`);
        }
      };
      try {
        const begin = () => start("../tests/log/presence-server", { [variable]: engine.url });
        servers.push(...await Promise.all([begin(), begin(), begin()]));
        const any = () => servers.at(-1)!;
        connect("ada", any);
        connect("grace", any, false);
        const mary = connect("mary", () => servers[0]!);
        connect("mary", any, false);
        await everywhere(["ada", "grace", "mary"]);
        const victim = servers.pop()!;
        victim.process.kill("SIGKILL");
        await victim.ended;
        await everywhere(["ada", "mary"]);
        const wanted = ["offline grace", "online ada", "online grace", "online mary"];
        for (const server of servers) {
          const isReached = ({ told }: Presence) => told.includes("offline grace");
          const { told } = await until(server, isReached, "grace to be offline");
          assertEquals(told.sort(), wanted, "who came and went");
        }
        mary.close();
        await everywhere(["ada"]);
      } finally {
        for (const client of clients) client.close();
        for (const server of servers) {
          server.process.kill("SIGKILL");
          await server.ended;
        }
        await engine.close();
      }
    },
  );
}
