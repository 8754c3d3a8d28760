/**
 * The application on Node: `npm start`, or `PORT=3000 npm start`.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { toNodeListener } from "../src/node/mod.ts";
import { createApp } from "./app/app.ts";

const app = await createApp();
const server = createServer(toNodeListener(app.fetch));
server.once("error", async ({ message }) => {
  console.error(`${message}. Another port: PORT=3000 npm start`);
  process.exitCode = 1;
  await app.close({ within: 0 });
});
server.listen(Number(process.env.PORT ?? 8080), () => {
  console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
});

// What the terminal sends to all of a group, npm passes on once more: the second of two ends nothing.
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, async () => {
    await app.close({ within: 2000 });
    server.close();
    setTimeout(() => server.closeAllConnections(), 1000).unref(); // those that are kept alive
  });
}
