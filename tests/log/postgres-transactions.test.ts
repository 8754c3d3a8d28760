/**
 * `hub.within` on PostgreSQL: what is heard is exactly what was committed, in one order for all, and nobody waits for a
 * transaction that is still open; what is refused; and the functions for SQL.
 *
 * @module
 */
import process from "node:process";
import { after, describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import pg from "pg";
import { createHub, type Hub, StreamsideError } from "../../mod.ts";
import { postgresLog } from "../../src/log/postgres.ts";
import { cases } from "../campaign.ts";
import { randomOf } from "../hub/run-model.ts";
import { type PostgresServer, skip, startPostgres } from "../postgres.ts";
import { EventReader, quietLogger, until, within } from "../server-helpers.ts";

const started: Promise<PostgresServer>[] = [];
after(async () => {
  for (const server of started) await (await server).close();
});
function start(): Promise<PostgresServer> {
  const server = startPostgres();
  started.push(server);
  return server;
}
/** One for the tests that leave it alone: it takes seconds to make one. */
let shared: Promise<PostgresServer> | undefined;
const postgres = () => shared ??= start();
let schemas = 0;

/** Hubs on one log, each with a pool of its own as a server has, and a pool for transactions. */
async function withHubs(
  count: number,
  check: (hubs: Hub[], pool: pg.Pool, schema: string, server: PostgresServer) => Promise<void>,
  starting: Promise<PostgresServer> = postgres(),
): Promise<void> {
  const server = await starting;
  const schema = `transactions_${++schemas}`;
  const pools = Array.from({ length: count + 1 }, () => {
    const pool = new pg.Pool({ connectionString: server.url, max: 12 });
    // Their connections are cut on purpose, also while a transaction has them.
    return pool.on("error", () => {}).on("connect", (client) => client.on("error", () => {}));
  });
  const logs = pools.slice(1).map((pool) => postgresLog(pool, { schema }));
  const hubs = logs.map((log) => createHub({ log, logger: quietLogger }));
  try {
    await until(() => hubs.every(isOpen), "the hubs to reach their log");
    await pools[0]!.query(`create table ${schema}.facts (number int primary key)`);
    await check(hubs, pools[0]!, schema, server);
  } finally {
    for (const hub of hubs) await hub.close();
    for (const log of logs) await log.close!();
    for (const pool of pools) await pool.end();
  }
}

function isOpen(hub: Hub): boolean {
  try {
    hub.cursor();
    return true;
  } catch {
    return false;
  }
}

const listen = (hub: Hub, session: string) =>
  new EventReader(hub.subscribe(session, { channels: ["facts"] }));

/** What a reader hears, up to the event `end`. */
async function hear(reader: EventReader): Promise<string[]> {
  const heard: string[] = [];
  for (;;) {
    const { event, data } = await reader.event();
    if (event === "end") return heard;
    heard.push(data!);
  }
}

describe("hub.within on PostgreSQL", () => {
  const TRANSACTIONS = cases("POSTGRES_TRANSACTIONS", 300, 10_000);
  const READERS = cases("POSTGRES_READERS", 20, 200);

  test(
    "rows and events agree: 8 sessions, two servers, one order for all, and none waits for who is open",
    {
      skip,
    },
    () =>
      withHubs(2, async (hubs, pool, schema) => {
        const seed = Number(process.env.POSTGRES_SEED ?? Date.now() % 2 ** 32);
        const random = randomOf(seed);
        const readers = Array.from(
          { length: READERS },
          (_, i) => listen(hubs[i % 2]!, `reader-${i}`),
        );
        const heard = readers.map(hear);

        // It is open from before all others until after all of them.
        const open = await pool.connect();
        await open.query("BEGIN");
        await open.query(`insert into ${schema}.facts values (0)`);
        await hubs[0]!.within(open).publish("facts", "fact", 0);

        let number = 0;
        const run = async (session: number) => {
          while (number < TRANSACTIONS) {
            const client = await pool.connect();
            let isBroken = false;
            try {
              await client.query("BEGIN");
              for (let left = 1 + random(3); left > 0; left--) {
                const mine = ++number;
                const sends = hubs[session % 2]!.within(client);
                const insert = () =>
                  client.query(`insert into ${schema}.facts values ($1)`, [mine]);
                const order = [insert, () => sends.publish("facts", "fact", mine)];
                for (const step of random(2) ? order : order.reverse()) await step();
                if (random(10) === 0) await client.query("select pg_sleep(0.02)");
              }
              const end = random(10);
              if (end === 0) await client.query("ROLLBACK");
              else if (end === 1) await client.query("select 1 / 0"); // it fails, and is rolled back
              else if (end === 2) { // its connection is gone before it could commit
                isBroken = true;
                await pool.query("select pg_terminate_backend($1)", [
                  (client as unknown as { processID: number }).processID,
                ]);
              } else await client.query("COMMIT");
            } catch {
              await client.query("ROLLBACK").catch(() => isBroken = true);
            } finally {
              client.release(isBroken);
            }
            if (random(5) === 0) {
              const mine = ++number;
              await pool.query(`insert into ${schema}.facts values ($1)`, [mine]);
              await hubs[session % 2]!.publish("facts", "fact", mine);
            }
          }
        };
        await Promise.all(Array.from({ length: 8 }, (_, session) => run(session)));
        await hubs[1]!.broadcast("end", "");
        const all = await within(Promise.all(heard), `all to be heard (seed ${seed})`);

        const numbers = async () =>
          (await pool.query(`select number from ${schema}.facts order by 1`)).rows
            .map((row) => row.number as number);
        const facts = await numbers();
        assert(facts.length > TRANSACTIONS / 3, `${facts.length} were committed (seed ${seed})`);
        assertEquals(all[0]!.map(Number).sort((a, b) => a - b), facts, `seed ${seed}`);
        for (const one of all) assertEquals(one, all[0]!, `one order for all (seed ${seed})`);

        const late = readers.map((reader) => reader.event());
        await open.query("COMMIT");
        open.release();
        const last = await within(Promise.all(late), "what was committed last");
        assertEquals(new Set(last.map(({ data }) => data)), new Set(["0"]));
        for (const reader of readers) await reader.cancel();
      }),
  );

  test(
    "PostgreSQL is killed in the middle of transactions, and started again: rows and events agree",
    {
      skip,
    },
    () =>
      withHubs(2, async (hubs, pool, schema, server) => {
        const readers = [listen(hubs[0]!, "ada"), listen(hubs[1]!, "grace")];
        const heard = readers.map(hear);
        let number = 0;
        let isOver = false;
        const run = async (hub: Hub) => {
          while (!isOver) {
            const client = await pool.connect().catch(() => undefined);
            if (client === undefined) {
              await new Promise((resolve) => setTimeout(resolve, 20));
              continue;
            }
            const mine = ++number;
            try {
              await client.query("BEGIN");
              await client.query(`insert into ${schema}.facts values ($1)`, [mine]);
              await hub.within(client).publish("facts", "fact", mine);
              await client.query("COMMIT");
              client.release();
            } catch (error) {
              client.release(error as Error);
            }
          }
        };
        const running = [0, 1, 2, 3].map((i) => run(hubs[i % 2]!));
        for (let kill = 0; kill < cases("POSTGRES_KILLS", 1, 5); kill++) {
          const before = number;
          while (number < before + 40) await new Promise((resolve) => setTimeout(resolve, 5));
          await server.kill();
          await server.start();
        }
        const restarted = number;
        while (number < restarted + 40) await new Promise((resolve) => setTimeout(resolve, 5));
        isOver = true;
        await Promise.all(running);
        const end = async () => {
          for (;;) {
            const sent = await hubs[0]!.broadcast("end", "").then(() => true, () => false);
            if (sent) return;
          }
        };
        await within(end(), "the end to be sent");
        const all = await within(Promise.all(heard), "the end to be heard");
        const { rows } = await pool.query(`select number from ${schema}.facts order by 1`);
        const facts = rows.map((row) => String(row.number));
        for (const one of all) {
          assertEquals([...one].sort((a, b) => Number(a) - Number(b)), facts);
          assertEquals(one, all[0]!);
        }
        for (const reader of readers) await reader.cancel();
      }, start()),
  );

  test(
    "what is no open transaction is refused, and nothing is sent",
    { skip },
    () =>
      withHubs(1, async ([hub], pool) => {
        const reader = listen(hub!, "ada");
        assertEquals(
          assertThrows(() => hub!.within(pool), StreamsideError).code,
          "invalid-argument",
        );
        assertEquals(assertThrows(() => hub!.within({}), StreamsideError).code, "invalid-argument");
        const client = await pool.connect();
        const send = () => hub!.within(client).send("ada", "note", "never");
        assertEquals((await assertRejects(send, StreamsideError)).code, "invalid-argument");
        await client.query("BEGIN");
        await hub!.within(client).send("ada", "note", "first");
        await client.query("SAVEPOINT s");
        await hub!.within(client).send("ada", "note", "never");
        await client.query("ROLLBACK TO SAVEPOINT s");
        await hub!.within(client).send("ada", "note", "second");
        await client.query("COMMIT");
        assertEquals((await assertRejects(send, StreamsideError)).code, "invalid-argument");
        await client.query("BEGIN");
        await client.query("select 1 / 0").catch(() => {});
        await assertRejects(send);
        await client.query("ROLLBACK");
        client.release();
        await hub!.send("ada", "end", "");
        assertEquals(await hear(reader), ["first", "second"]);
        await reader.cancel();
      }),
  );

  test(
    "the functions for SQL refuse what the hub refuses",
    { skip },
    () =>
      withHubs(1, async ([hub], pool, schema) => {
        const reader = listen(hub!, "ada");
        const call = (text: string) => pool.query(`select ${schema}.${text}`);
        for (
          const [refused, why] of [
            [String.raw`streamside_publish('facts', E'a\nevent: forged', '1'::text)`, /CR, LF/],
            [String.raw`streamside_publish('facts', E'a\rb', '1'::text)`, /CR, LF/],
            [String.raw`streamside_publish(E'fa\ncts', 'a', '1'::text)`, /CR, LF/],
            [`streamside_send('', 'a', '1'::text)`, /1 to 1024/],
            [`streamside_send(repeat('x', 1025), 'a', '1'::text)`, /1 to 1024/],
            [`streamside_broadcast('streamside:reset', '1'::text)`, /reserved/],
            [`streamside_broadcast('error', '1'::text)`, /raises events of that name/],
            [`streamside_broadcast('', '1'::text)`, /empty/],
            [`streamside_broadcast('a', null::text)`, /null/],
            [`streamside_broadcast('a', repeat('x', 1100000))`, /max_event_bytes/],
          ] as const
        ) {
          const { message } = await call(refused).then(
            () => new Error(`${refused} was taken`),
            (error: Error) => error,
          );
          assert(why.test(message), message);
        }
        await call(`streamside_publish('facts', 'fact', E'a\\r\\nb\\nc')`);
        await hub!.send("ada", "end", "");
        assertEquals(await hear(reader), ["a\nb\nc"]);
        await reader.cancel();
      }),
  );
});
