/** What somebody may learn who is not authenticated. */
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";

test("a full hub tells a stranger no numbers", async () => {
  for (const unavailable of ["stream", "status"] as const) {
    const hub = createHub({ maxConnections: 1 });
    const handler = createHandler(hub, { authenticate: () => null, unavailable });
    const reader = hub.subscribe("ada").getReader();
    await reader.read();
    const answer = await handler(new Request("http://localhost/api/v1/sse/subscribe"));
    const { detail, code } = JSON.parse(/\{.*\}/.exec(await answer.text())![0]);
    assertEquals(code, "too-many-connections");
    assertMatch(detail, /no room/);
    assert(!/\d/.test(detail), detail);
    await reader.cancel();
    await hub.close();
  }
});
