/**
 * Events per second through the client, its peers from npm, and the bare parser, from one local server in one run.
 *
 * ```sh
 * npm run bench:client                 # Node.js; also: npx deno run -A bench/client.ts, npx bun bench/client.ts
 * ```
 *
 * Each takes its turn in every round, so that what disturbs the machine disturbs all; the medians are compared.
 *
 * @module
 */
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { spawn } from "node:child_process";
import { cpus } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";
import { createParser } from "eventsource-parser";
import { createClient, EventSource as OurEventSource } from "../src/client.ts";
import { median, table } from "./table.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 9);

/** Counts events, and resolves when there are enough. */
type Run = (url: string, event: (data: string) => boolean) => Promise<void>;

const bare: Run = (url, event) =>
  new Promise((resolve, reject) => {
    const controller = new AbortController();
    const { signal } = controller;
    const parser = createParser({
      onEvent({ data }) {
        if (!event(data)) return;
        controller.abort();
        resolve();
      },
    });
    const read = async () => {
      const response = await fetch(url, { signal });
      const reader = response.body!.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        parser.feed(decoder.decode(value, { stream: true }));
      }
    };
    read().catch((error) => signal.aborted || reject(error));
  });

const contenders: Record<string, Run> = {
  "eventsource-parser, bare": bare,
  "streamside createClient": (url, event) =>
    new Promise((resolve, reject) => {
      const client = createClient(url);
      client.addEventListener("tick", ({ data }) => {
        if (event(data)) client.close();
      });
      client.addEventListener("error", reject);
      client.addEventListener("close", () => resolve());
      client.connect();
    }),
  "streamside EventSource": (url, event) =>
    new Promise((resolve, reject) => {
      const source = new OurEventSource(url);
      source.addEventListener("tick", ({ data }) => {
        if (!event(data)) return;
        source.close();
        resolve();
      });
      source.onerror = reject;
    }),
  "eventsource": (url, event) =>
    new Promise((resolve, reject) => {
      const source = new EventSource(url);
      source.addEventListener("tick", ({ data }) => {
        if (!event(data)) return;
        source.close();
        resolve();
      });
      source.onerror = reject;
    }),
  "eventsource-client": (url, event) =>
    new Promise((resolve) => {
      const source = createEventSource({
        url,
        onMessage: ({ data }) => {
          if (!event(data)) return;
          source.close();
          resolve();
        },
      });
    }),
  "@microsoft/fetch-event-source": async (url, event) => {
    const controller = new AbortController();
    await fetchEventSource(url, {
      signal: controller.signal,
      openWhenHidden: true,
      onmessage: ({ data }) => void (event(data) && controller.abort()),
      onerror: (error) => {
        throw error;
      },
    });
  },
};

const scenarios = [
  { what: "150 bytes, with id and type, many a chunk", path: "typical", count: 200_000 },
  { what: "20 bytes, with type, many a chunk", path: "small", count: 400_000 },
  { what: "150 bytes, with id and type, one a write", path: "single", count: 20_000 },
];

// fetch-event-source is for browsers alone; it does not look at the page when told so, but listens to it.
const ignore = () => {};
Object.assign(globalThis, {
  window: globalThis,
  document: { addEventListener: ignore, removeEventListener: ignore },
});

const server = spawn("node", [
  "--import",
  "tsx",
  fileURLToPath(new URL("client-server.ts", import.meta.url)),
], { stdio: ["ignore", "pipe", "inherit", "ipc"] });
try {
  const port = await new Promise<string>((resolve) =>
    server.stdout!.once("data", (data) => resolve(String(data).trim()))
  );
  const { versions } = process;
  const runtime = versions.deno
    ? `Deno ${versions.deno}`
    : versions.bun
    ? `Bun ${versions.bun}`
    : `Node.js ${versions.node}`;
  console.log(`${runtime}, ${cpus()[0]?.model}, median of ${ROUNDS} rounds\n`);
  for (const { what, path, count } of scenarios) {
    const rates = await measure(`http://127.0.0.1:${port}/${path}?count=${count}`, count);
    const base = median(rates.get("eventsource-parser, bare")!);
    const rows = [...rates].map(([name, list]) => {
      return [name, median(list), (median(list) / base).toFixed(2)];
    });
    console.log(table([what, "events/s", "of the bare parser"], rows, ""));
  }
} finally {
  server.kill();
}

async function measure(url: string, count: number): Promise<Map<string, number[]>> {
  const names = Object.keys(contenders);
  const rates = new Map(names.map((name) => [name, [] as number[]]));
  // The first round warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length]!;
      let got = 0;
      const began = performance.now();
      await contenders[name]!(url, () => ++got == count);
      const seconds = (performance.now() - began) / 1000;
      if (got != count) throw new Error(`${name} got ${got} of ${count} events`);
      if (round) rates.get(name)!.push(count / seconds);
    }
  }
  return rates;
}
