/**
 * The application on Deno: `deno run -A examples/deno.ts`.
 *
 * @module
 */
import { announce, host, port } from "./app/address.ts";
import { createApp } from "./app/app.ts";

const app = await createApp();
const server = Deno.serve({
  hostname: host,
  port,
  onListen: ({ port }) => announce(port),
}, app.fetch);

// What the terminal sends to all of a group, npm passes on once more: the second of two ends nothing.
const signals = ["SIGTERM", "SIGINT"] as const;
for (const signal of signals) Deno.addSignalListener(signal, stop);

async function stop(): Promise<void> {
  await app.close({ within: 2000 });
  await server.shutdown();
  // A listener keeps Deno running.
  for (const signal of signals) Deno.removeSignalListener(signal, stop);
}
