// A page in TypeScript, type-checked with the DOM library, and without the types of any server.
import { createClient, createSharedClient, EventSource, readEvents } from "streamside/client";
import * as oneFile from "streamside/client.browser";
import { createHub } from "streamside";
import { collect } from "streamside/testing";

interface Events {
  progress: number;
}

const bar: HTMLProgressElement = document.querySelector("progress")!;
for (
  const client of [
    createClient<Events>("/events", { credentials: "include" }),
    createSharedClient<Events>("/events"),
    oneFile.createClient<Events>(new URL("/events", location.href)),
  ]
) {
  client.on("progress", (event) => bar.value = event.json());
  client.addEventListener("reset", () => location.reload());
  collect(client, "progress").then(([event]) => bar.value = event!.json());
  client.connect();
}
const source: globalThis.EventSource = new EventSource("/events");
source.onmessage = ({ data }: MessageEvent<string>) => document.title = data;
for await (const { data } of readEvents(await fetch("/answer"))) document.title = data;
createHub<Events>().broadcast("progress", 1);

// @ts-expect-error: no event has this name
createClient<Events>("/events").on("unknown", () => {});
export {};
