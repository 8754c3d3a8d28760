/**
 * Hono's `streamSSE` on `@hono/node-server`: one stream each, and a loop over them.
 *
 * @module
 */

import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
import { drive, PORT } from "./driver.ts";

const streams = new Set<SSEStreamingApi>();
let id = 0;

const app = new Hono();
app.get("/subscribe", (context) =>
  streamSSE(context, async (stream) => {
    streams.add(stream);
    await new Promise<void>((resolve) => stream.onAbort(resolve));
    streams.delete(stream);
  }));

serve({ fetch: app.fetch, port: PORT, hostname: "127.0.0.1" }, () =>
  drive({
    connections: () => streams.size,
    broadcast: (data) => {
      const event = { event: "tick", data, id: `00000000000000000000-${++id}` };
      for (const stream of streams) void stream.writeSSE(event);
    },
  }));
