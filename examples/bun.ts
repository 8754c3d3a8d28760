/**
 * The application on Bun: `bun run examples/bun.ts`.
 *
 * @module
 */
import process from "node:process";
import { announce, host, port } from "./app/address.ts";
import { createApp } from "./app/app.ts";

const app = await createApp();
const server = Bun.serve({
  hostname: host,
  port,
  fetch: app.fetch,
  idleTimeout: 0, // Bun ends a response that says nothing for 10 s; a stream may
});
announce(server.port!);

// What the terminal sends to all of a group, npm passes on once more: the second of two ends nothing.
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, async () => {
    await app.close({ within: 2000 });
    await server.stop();
  });
}
