/**
 * One of several processes on a file, for `sqlite-processes.test.ts`: it appends `COUNT` events named `NAME`, and says
 * what the log holds once it holds `TOTAL`, as it was told.
 *
 * @module
 */
import process from "node:process";
import { sqliteLog } from "../../src/log/sqlite.ts";
import { openDatabase } from "../sqlite.ts";

const { FILE, NAME, COUNT, TOTAL } = process.env as Record<string, string>;
const database = openDatabase(FILE!);
const log = sqliteLog(database, { appendTimeout: 60_000 });
const told: string[] = [];
const epochs = new Set<string>();
let end = (_error?: unknown): void => {};
const ended = new Promise<void>((resolve, reject) => {
  end = (error) => error === undefined ? resolve() : reject(error);
});
let before = 0;
log.follow({
  opened(epoch, head) {
    epochs.add(epoch);
    before = head.position;
  },
  appended(entries) {
    for (const { record } of entries) told.push(record.data);
    if (before + told.length >= Number(TOTAL)) end();
  },
  failed: (error) => end(error),
});
const held = before === 0 ? [] : await log.read({ position: 0 }, before);
for (let i = 0; i < Number(COUNT); i++) {
  await log.append({ to: "*", event: "e", data: `${NAME} ${i}` });
  if (Math.random() < 0.3) await new Promise((resolve) => setTimeout(resolve, 1));
}
// A timer of the log's own does not keep a process alive.
const alive = setInterval(() => {}, 1_000);
if (before + told.length < Number(TOTAL)) await ended;
clearInterval(alive);
const all = [...held!.map(({ record }) => record.data), ...told];
console.log(JSON.stringify({ epochs: [...epochs], all }));
log.close!();
database.close();
