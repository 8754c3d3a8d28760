/**
 * A server on a file, for `sqlite-processes.test.ts`: it sends numbers to everyone, and writes down which the log has
 * acknowledged. It starts with `FIRST`, once `CLIENTS` are there, and ends with `LAST`.
 *
 * @module
 */
import { openSync, writeSync } from "node:fs";
import process from "node:process";
import { createHandler, createHub } from "../../mod.ts";
import { sqliteLog } from "../../src/log/sqlite.ts";
import { authenticate, quietLogger, serve } from "../server-helpers.ts";
import { openDatabase } from "../sqlite.ts";

const { FILE, ACKNOWLEDGED, FIRST, LAST, CLIENTS, RATE } = process.env as Record<string, string>;
const hub = createHub({ log: sqliteLog(openDatabase(FILE!)), logger: quietLogger, retry: 50 });
const handler = createHandler(hub, { authenticate });
const acknowledged = openSync(ACKNOWLEDGED!, "a");
const server = await serve(handler);
console.log(server.url);

let began: number | undefined;
let number = Number(FIRST);
const sending = setInterval(() => {
  if (hub.stats().connections < Number(CLIENTS)) return;
  began ??= performance.now();
  const due = Number(FIRST) + (performance.now() - began) * Number(RATE) / 1000;
  for (; number < due && number <= Number(LAST); number++) {
    const sent = number;
    hub.broadcast("n", sent).then(() => writeSync(acknowledged, `${sent}\n`), () => {});
  }
  if (number > Number(LAST)) clearInterval(sending);
}, 2);
