/**
 * The application on Deno: `deno run -A examples/deno.ts`.
 *
 * @module
 */
import { createApp } from "./app/app.ts";

const app = await createApp();
const server = Deno.serve({
  port: Number(Deno.env.get("PORT") ?? 8080),
  onListen: ({ port }) => console.log(`Streamside is on http://localhost:${port}`),
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
