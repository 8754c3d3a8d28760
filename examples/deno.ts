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

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.addSignalListener(signal, stop);
}

async function stop(): Promise<void> {
  for (const signal of ["SIGTERM", "SIGINT"] as const) Deno.removeSignalListener(signal, stop);
  await app.close({ within: 2000 });
  await server.shutdown();
}
