/**
 * The application on Node: `npm start`, or `PORT=3000 npm start`.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { toNodeListener } from "../src/node/mod.ts";
import { announce, host, port } from "./app/address.ts";
import { createApp } from "./app/app.ts";

const app = await createApp();
const server = createServer(toNodeListener(app.fetch));
server.once("error", async ({ message }) => {
  console.error(`${message}. Set PORT for another port, HOST for another address.`);
  process.exitCode = 1;
  await app.close({ within: 0 });
});
server.listen(port, host, () => announce((server.address() as AddressInfo).port));

// What the terminal sends to all of a group, npm passes on once more: the second of two ends nothing.
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);

// npm passes a SIGTERM on to its shell, and many a shell ends by it and tells nobody: this process is an orphan then.
if (process.env.npm_lifecycle_event === "start") {
  const parent = process.ppid;
  const watching = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watching);
    stop();
  }, 200).unref();
}

async function stop(): Promise<void> {
  await app.close({ within: 2000 });
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref(); // those that are kept alive
}
