/**
 * The test echo in bad hands: one request that would keep the server busy, and take the history from everyone.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createHandler, createHub, type Log, memoryLog } from "../../mod.ts";
import { turn } from "../hub/delivery-time.ts";
import { authenticate, EventReader, problem, quietLogger, withService } from "../server-helpers.ts";

describe("one request to the test echo", () => {
  test("sends at most 1 000 messages, and of more none", () =>
    withService({ handler: { testEndpoints: true } }, async (service) => {
      const cursor = service.hub.cursor();
      const many = Array<string>(350_000).fill("");
      await problem(service.post("/test/echo", many), 400, "invalid-message");
      await problem(service.post("/test/echo", many.slice(0, 1_001)), 400, "invalid-message");
      assertEquals(service.hub.cursor(), cursor);
      const answer = await service.post("/test/echo", many.slice(0, 1_000));
      assertEquals(await answer.json(), { status: "ok", messages_sent: 1_000 });
    }));

  test("lets others work in between", async () => {
    const inner = memoryLog();
    // A log that takes a millisecond of the processor for each event.
    const log: Log = {
      follow: (follower) => inner.follow(follower),
      read: (after, limit) => inner.read(after, limit),
      append: (record) => {
        for (const began = performance.now(); performance.now() - began < 1;);
        return inner.append(record);
      },
    };
    const hub = createHub({ log, logger: quietLogger });
    const handler = createHandler(hub, { authenticate, testEndpoints: true });
    const reader = new EventReader(hub.subscribe("ada"));
    let isDone = false;
    const answer = handler(
      new Request("http://localhost/api/v1/sse/test/echo", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Session-Id": "ada" },
        body: JSON.stringify(Array(500).fill("a")),
      }),
    ).finally(() => isDone = true);
    let turns = 0;
    for (; !isDone; turns++) await turn();
    assertStringIncludes(await (await answer).text(), '"messages_sent":500');
    assert(turns > 10, `${turns} turns`);
    await reader.cancel();
    await hub.close();
  });
});
