/**
 * The log in PostgreSQL: one order for all though transactions commit in any, what becomes of it when PostgreSQL fails,
 * and when it loses what it had acknowledged.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { after, describe, test } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import pg from "pg";
import type { HistoryOptions } from "../../mod.ts";
import { postgresLog, postgresSchema } from "../../src/log/postgres.ts";
import { testLog } from "../../src/testing.ts";
import { type PostgresServer, skip, startPostgres } from "../postgres.ts";

/** One PostgreSQL for all tests of the file: it takes seconds to make one. Each test has schemas of its own. */
let shared: Promise<PostgresServer> | undefined;
const postgres = () => shared ??= startPostgres();
after(async () => await (await shared)?.close());

let schemas = 0;
const newSchema = () => `test_${++schemas}`;

function poolOf(server: { url: string }, max = 10): pg.Pool {
  return new pg.Pool({ connectionString: server.url, max }).on("error", () => {});
}

if (!skip) {
  testLog({
    name: "postgresLog",
    test,
    timeout: 15_000,
    async open(history: HistoryOptions) {
      const server = await postgres();
      const schema = newSchema();
      const ends: (() => unknown)[] = [];
      const connect = () => {
        const pool = poolOf(server, 4);
        const log = postgresLog(pool, { schema, history });
        ends.push(() => log.close!(), () => pool.end());
        return log;
      };
      const close = async () => {
        for (const end of ends) await end();
      };
      return { log: connect(), connect, close, server, schema };
    },
    async interrupt({ server }) {
      await server.kill();
      return () => server.start();
    },
    // As a standby that has not got the newest of them.
    async lose({ server, schema }) {
      const { entries } = { entries: `${schema}.entries` };
      await server.query(
        `delete from ${entries} where position > (select max(position) - 2 from ${entries})`,
      );
    },
  });
}

describe("postgresLog", () => {
  test("the SQL of docs/postgres.md runs as it stands", { skip }, async () => {
    const page = await readFile(new URL("../../docs/postgres.md", import.meta.url), "utf8");
    const blocks = [...page.matchAll(/^```sql\n([^]*?)^```/gm)].map(([, text]) => text!);
    assert(blocks.length > 3, "the page has SQL");
    const server = await startPostgres();
    try {
      await server.query("create role app; create role billing;");
      await server.query(postgresSchema());
      // It may be run again.
      await server.query(postgresSchema());
      for (const block of blocks) await server.query(block);
      const events = await server.query("select record from streamside.outbox order by id");
      assertEquals(events.map(({ record }) => JSON.parse(record as string)), [
        { to: "#orders", event: "orderPaid", data: '{"id": 7}' },
        { to: "@ada", event: "note", data: "a string goes out as it is" },
        { to: "*", event: "maintenance", data: '{"at": "noon"}' },
        { to: "#orders", event: "orderPaid", data: '{"id": 7}', key: "order-7", except: ["ada"] },
      ]);
      await server.query(
        `set role billing; select streamside.streamside_publish('a', 'b', '1'::jsonb)`,
      );
      for (const refused of ["streamside_send('a', 'b', 'c')", "enqueue('a', 'b', 1, 'c')"]) {
        await assertRejects(
          () => server.query(`set role billing; select streamside.${refused}`),
          Error,
          "permission denied",
        );
      }
    } finally {
      await server.close();
    }
  });
});
