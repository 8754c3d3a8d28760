/**
 * The example of an event store for MCP: by itself, and under the SDK's own server and client.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { describe, test } from "node:test";
import process from "node:process";
import { assertEquals, assertRejects } from "@std/assert";
import { mcpEventStores } from "../../examples/mcp-event-store.ts";
import { memoryLog } from "../../mod.ts";
import { listen, within } from "../server-helpers.ts";

const SDK = new URL(
  "../../examples/mcp/node_modules/@modelcontextprotocol/sdk/dist/esm/",
  import.meta.url,
);
const skip = existsSync(SDK) || process.env.CI === "true"
  ? false
  : "npm ci --prefix examples/mcp installs @modelcontextprotocol/sdk";

/** What the test uses of what the SDK gives a tool. */
interface ToolExtra {
  _meta: { progressToken: number };
  sendNotification(notification: object): Promise<void>;
}

describe("examples/mcp-event-store.ts", () => {
  test("an id replays its own stream of its own session, and nothing else", async () => {
    const stores = mcpEventStores<{ n: number }>(memoryLog());
    const [ada, bob] = [stores("ada"), stores("bob")];
    const first = await ada.storeEvent("a", { n: 1 });
    const other = await bob.storeEvent("a", { n: 2 });
    await ada.storeEvent("b", { n: 3 });
    const last = await ada.storeEvent("a", { n: 4 });

    const got: [string, number][] = [];
    const send = (id: string, { n }: { n: number }) => Promise.resolve(void got.push([id, n]));
    assertEquals(await ada.replayEventsAfter(first, { send }), "a");
    assertEquals(got, [[last, 4]]);
    assertEquals(await ada.getStreamIdForEventId(first), "a");
    for (const id of [other, "", "1", "x", `${first}x`, first.replace(/^1/, "9")]) {
      assertEquals(await ada.getStreamIdForEventId(id), undefined);
      await assertRejects(() => ada.replayEventsAfter(id, { send }), Error, "no event has the id");
    }
    assertEquals(got.length, 1);
  });

  test("the SDK's client, cut in the middle of a tool call, gets the rest and the result", {
    skip,
  }, async () => {
    const load = (path: string) => import(new URL(path, SDK).href);
    const { McpServer } = await load("server/mcp.js");
    const { StreamableHTTPServerTransport } = await load("server/streamableHttp.js");
    const { Client } = await load("client/index.js");
    const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");

    let call: ServerResponse | undefined;
    let resumes = 0;
    const seen = new Set<number>();
    let hear: () => void;
    const heard = new Promise<void>((resolve) => hear = resolve);
    const mcp = new McpServer({ name: "test", version: "1.0.0" });
    mcp.registerTool("count", {}, async (extra: ToolExtra) => {
      for (let progress = 1; progress <= 4; progress++) {
        await extra.sendNotification({
          method: "notifications/progress",
          params: { progressToken: extra._meta.progressToken, progress },
        });
        if (progress !== 2) continue;
        // The client has to have something of the answer before it is cut.
        await within(heard, "the progress at the client");
        const closed = new Promise((resolve) => call!.once("close", resolve));
        call!.destroy();
        await closed;
      }
      return { content: [{ type: "text", text: "done" }] };
    });
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => "ada",
      eventStore: mcpEventStores(memoryLog())("ada"),
      retryInterval: 10,
    });
    await mcp.connect(transport);
    const server = await listen(createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const message = body ? JSON.parse(body) : undefined;
      if (message?.method === "tools/call") call = response;
      if (request.headers["last-event-id"]) resumes++;
      await transport.handleRequest(request, response, message);
    }));
    const client = new Client({ name: "test", version: "1.0.0" });
    try {
      await client.connect(new StreamableHTTPClientTransport(new URL(server.url)));
      const result = await within(
        client.callTool({ name: "count" }, undefined, {
          onprogress: ({ progress }: { progress: number }) => {
            seen.add(progress);
            if (progress === 2) hear();
          },
        }),
        "the result of the tool",
      ) as { content: unknown };
      assertEquals(result.content, [{ type: "text", text: "done" }]);
      assertEquals([...seen], [1, 2, 3, 4]);
      assertEquals(resumes, 1);
    } finally {
      await client.close();
      await mcp.close();
      await server.close();
    }
  });
});
