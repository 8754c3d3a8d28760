/**
 * A client in a process of its own, for `bench/client.ts`: takes its events again and again from the addresses on the
 * command line, and says on a line how many came a second, and what each cost in ns of processor time.
 *
 * @module
 */
import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";
import { createParser } from "eventsource-parser";
import { createRequire } from "node:module";
import process from "node:process";
import { createClient, EventSource as OurEventSource } from "../src/client/mod.ts";
import { median } from "./table.ts";

/** The parser that eventsource and eventsource-client bring along. */
const { createParser: createParser3 } = createRequire(
  createRequire(import.meta.url).resolve("eventsource-client"),
)("eventsource-parser") as { createParser: typeof createParser };

/** Takes events until one says that it was the last. */
type Run = (url: string, event: (data: string) => boolean) => Promise<void>;

/** The parser alone, on the bytes of a fetch. */
const bare = (create: typeof createParser): Run => (url, event) =>
  new Promise((resolve, reject) => {
    const controller = new AbortController();
    const { signal } = controller;
    const parser = create({
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

/** A class with the interface of the standard's. */
const standard = (Source: typeof EventSource | typeof OurEventSource): Run => (url, event) =>
  new Promise((resolve, reject) => {
    const source = new Source(url);
    source.addEventListener("tick", ({ data }: { data: string }) => {
      if (!event(data)) return;
      source.close();
      resolve();
    });
    source.onerror = reject;
  });

const contenders: Record<string, Run> = {
  "eventsource-parser 4, bare": bare(createParser),
  "eventsource-parser 3, bare": bare(createParser3),
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
  "streamside EventSource": standard(OurEventSource),
  "eventsource": standard(EventSource),
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

// fetch-event-source is for browsers alone; it does not look at the page when told so, but listens to it.
const ignore = () => {};
Object.assign(globalThis, {
  window: globalThis,
  document: { addEventListener: ignore, removeEventListener: ignore },
});

const [name, ...streams] = process.argv.slice(2);
const run = contenders[name!];
if (!run) throw new Error(`one of ${Object.keys(contenders).join(", ")}; got ${name}`);
const results = [];
for (const stream of streams) {
  const [url, count] = [stream, Number(new URL(stream).searchParams.get("count"))];
  const rates: number[] = [];
  const costs: number[] = [];
  // The first two warm up.
  for (let i = 0; i < 5; i++) {
    let got = 0;
    const used = process.cpuUsage();
    const began = performance.now();
    await run(url, () => ++got == count);
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(used);
    if (got != count) throw new Error(`${name} got ${got} of ${count} events`);
    if (i < 2) continue;
    rates.push(count / seconds);
    costs.push((user + system) * 1000 / count);
  }
  results.push({ rate: median(rates), cost: median(costs) });
}
console.log(JSON.stringify(results));
process.exit();
