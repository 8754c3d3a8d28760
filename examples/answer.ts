/**
 * An answer that comes in pieces and outlives its page: `npx tsx examples/answer.ts`. Reload in the middle, or open a
 * second tab: all of it is there. Nothing is fetched from elsewhere; `write` stands for a language model.
 *
 * @module
 */
import { createServer } from "node:http";
import process from "node:process";
import { createHandler, createHub } from "../mod.ts";
import { toNodeListener } from "../src/node/mod.ts";

const TEXT = "Nothing is lost: what was said while you were away is said again, then it goes on. ";
const hub = createHub<{ token: string }>();
// Anybody may read the answer here. A real application grants each login the answers that it asked for.
const authenticate = () => ({ session: "guest", channels: ["answer"] });
const handler = createHandler(hub, { basePath: "/events", authenticate });

async function* write(signal: AbortSignal): AsyncGenerator<{ event: string; data: string }> {
  for (const word of TEXT.repeat(10).split(/(?<= )/)) {
    await new Promise((resolve) => setTimeout(resolve, Number(process.env.PAUSE ?? 33)));
    if (signal.aborted) return; // Stop was pressed
    yield { event: "token", data: word };
  }
}

const PAGE = `<!doctype html><meta charset="utf-8"><title>An answer</title>
<button onclick="fetch('/ask', { method: 'POST' }).then(read)">Ask</button>
<button onclick="fetch('/stop', { method: 'POST' })">Stop</button>
<p id="answer"></p><p id="state"></p>
<script>
  let source;
  function read() {
    source?.close();
    answer.textContent = state.textContent = "";
    source = new EventSource("/events/runs/answer"); // a browser's own is enough
    source.addEventListener("token", (event) => answer.append(event.data));
    source.addEventListener("streamside:reset", () => answer.textContent = "");
    source.addEventListener("streamside:end", (event) => {
      source.close();
      state.textContent = JSON.parse(event.data).error ?? "done";
    });
  }
  read(); // after a reload: what was said so far, and what comes
</script>`;

// A second click, here or in another tab, finds the answer that is under way.
const ignoreBusy = (e: Error & { code?: string }) =>
  e.code === "already-running" || Promise.reject(e);
const html = { headers: { "Content-Type": "text/html" } };
const server = createServer(toNodeListener(async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith("/events/")) return handler(request);
  if (request.method !== "POST") return new Response(PAGE, html);
  if (pathname === "/stop") await hub.stopRun("answer");
  else await hub.run("answer", write).catch(ignoreBusy);
  return new Response(null, { status: 204 });
}));
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`Ask at http://localhost:${(server.address() as { port: number }).port}`);
});
