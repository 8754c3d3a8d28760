/**
 * A language model's answer as a run: it is read from an API of OpenAI's shape once, and goes on whoever listens.
 *
 * ```sh
 * OPENAI_URL=http://127.0.0.1:11434/v1 MODEL=llama3.2 npx tsx examples/openai-proxy.ts
 * ```
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { createHandler, createHub } from "../mod.ts";
import { readEvents } from "../src/client/mod.ts";
import { toNodeListener } from "../src/node/mod.ts";

const { OPENAI_URL = "http://127.0.0.1:11434/v1", OPENAI_KEY = "", MODEL = "" } = process.env;

const hub = createHub<{ token: string }>();
const handler = createHandler(hub, {
  basePath: "/events",
  // The name of an answer cannot be guessed, and whoever has it may read it. A real application asks for a login, too.
  authenticate: () => ({ session: "guest", channels: (name) => name.startsWith("answer-") }),
});

/** What the API sends with each event. */
interface Chunk {
  choices: { delta: { content?: string }; finish_reason: string | null }[];
  error?: { message: string };
}

/** The tokens of an answer. It throws if the API refuses, breaks off, or ends without saying that it is done. */
async function* ask(prompt: string, signal: AbortSignal) {
  const response = await fetch(`${OPENAI_URL}/chat/completions`, {
    method: "POST",
    headers: { "Authorization": `Bearer ${OPENAI_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      model: MODEL,
      stream: true,
      messages: [{ role: "user", content: prompt }],
    }),
    signal,
  });
  for await (const event of readEvents(response, { signal })) {
    if (event.data === "[DONE]") return;
    const { choices, error } = JSON.parse(event.data) as Chunk;
    if (error) throw new Error(error.message);
    const token = choices[0]?.delta.content;
    if (token) yield { event: "token", data: token };
  }
  throw new Error("the API broke off: its [DONE] is missing");
}

const server = createServer(toNodeListener(async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith("/events/")) return await handler(request);
  if (pathname !== "/ask" || request.method !== "POST") return new Response(null, { status: 404 });
  const prompt = await request.text();
  const { channel } = await hub.run(`answer-${randomUUID()}`, (signal) => ask(prompt, signal));
  // The page follows it there, as often as it likes.
  return Response.json({ url: `/events/runs/${channel}` }, { status: 202 });
}));
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`Ask at http://localhost:${(server.address() as AddressInfo).port}/ask`);
});
