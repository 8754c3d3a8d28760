/**
 * A program with a listener that throws, for `listeners.test.ts`: with the argument `caught`, it catches what is not
 * caught elsewhere.
 *
 * @module
 */
import process from "node:process";
import { createClient } from "../../src/client/mod.ts";

if (process.argv.includes("caught")) {
  if ("reportError" in globalThis && typeof globalThis.addEventListener === "function") {
    globalThis.addEventListener("error", (event) => {
      event.preventDefault();
      console.log("caught", event.error.message);
    });
  }
  if (!("Deno" in globalThis)) {
    process.on("uncaughtException", (error) => console.log("caught", error.message));
  }
}

let push!: (text: string) => void;
const body = new ReadableStream<Uint8Array>({
  start(controller) {
    push = (text) => controller.enqueue(new TextEncoder().encode(text));
  },
});
const client = createClient("http://localhost/", {
  fetch: () => new Response(body, { headers: { "Content-Type": "text/event-stream" } }),
});
client.addEventListener("message", () => {
  throw new Error("of the listener");
});
client.addEventListener("message", (event) => {
  console.log("heard", event.data);
  if (event.data === "2") setTimeout(() => process.exit(0));
  else setTimeout(() => push("data: 2\n\n"), 10);
});
client.connect();
push("data: 1\n\n");
