/**
 * Transactions of rows and events, for `sqlite-processes.test.ts`: some roll back, some fail, and the process is killed in
 * the middle of one.
 *
 * @module
 */
import process from "node:process";
import { createHub } from "../../mod.ts";
import { sqliteLog } from "../../src/log/sqlite.ts";
import { quietLogger } from "../server-helpers.ts";
import { openDatabase } from "../sqlite.ts";

const { FILE, FIRST } = process.env as Record<string, string>;
const database = openDatabase(FILE!);
const history = { events: 1_000_000, bytes: 2 ** 40, age: 2 ** 40 };
const hub = createHub({ log: sqliteLog(database, { history }), logger: quietLogger });
database.exec("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)");
const insert = database.prepare("INSERT INTO orders VALUES (?)");
// The address of a server is what tells that a program has started.
console.log("http://localhost:1");

for (let id = Number(FIRST);; id++) {
  database.exec("BEGIN IMMEDIATE");
  if (Math.random() < 0.5) insert.run(id);
  await hub.within(database).publish("orders", "order", id);
  if (Math.random() < 0.3) await new Promise((resolve) => setTimeout(resolve, 1));
  const rows = database.prepare("SELECT id FROM orders WHERE id = ?").all(id);
  if (rows.length === 0) insert.run(id);
  database.exec(Math.random() < 0.2 ? "ROLLBACK" : "COMMIT");
  if (Math.random() < 0.1) await new Promise((resolve) => setTimeout(resolve, 1));
}
