/**
 * Arguments that change after the call: what was sent, to whom, and what is allowed stays what it was when it was said.
 *
 * @module
 */
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { createHandler, type Log, type LogRecord, memoryLog } from "../../mod.ts";
import { EventReader, withHub } from "../server-helpers.ts";

/** A log that looks at a record only when the one before it is done with, as one that writes to a socket does. */
function lateLog(): Log {
  const log = memoryLog();
  return {
    follow: (follower) => log.follow(follower),
    read: (after, limit) => log.read(after, limit),
    append: async (record) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return await log.append(JSON.parse(JSON.stringify(record)) as LogRecord);
    },
  };
}

test("send, publish and broadcast keep to what they were called with", () =>
  withHub({ log: lateLog() }, async (hub) => {
    const channels = new Set(["news"]);
    const readers = Object.fromEntries(
      ["ada", "bob"].map((name) => [name, new EventReader(hub.subscribe(name, { channels }))]),
    );
    channels.clear();
    for (const reader of Object.values(readers)) await reader.block();

    const except = ["bob"];
    const data = { text: "not for bob" };
    const options = { except, key: "k" };
    const sent = hub.broadcast("secret", data, options);
    except.length = 0;
    options.except = [];
    data.text = "changed";
    assertEquals((await sent).connections, 1);

    const more = { text: "for both" };
    const published = hub.publish("news", "e", more);
    more.text = "changed";
    assertEquals((await published).connections, 2);

    assertEquals(await readers.ada!.data(2), ['{"text":"not for bob"}', '{"text":"for both"}']);
    assertEquals(await readers.bob!.data(1), ['{"text":"for both"}']);
    for (const reader of Object.values(readers)) await reader.cancel();
  }));

test("a handler's allow-list of origins is the one that was checked", () =>
  withHub({}, async (hub) => {
    const cors = ["https://app.example"];
    const handler = createHandler(hub, { authenticate: () => null, cors });
    cors.push("https://other.example");
    for (const [origin, allowed] of [[cors[0]!, cors[0]!], [cors[1]!, null]] as const) {
      const request = new Request("http://localhost/api/v1/sse/subscribe", {
        headers: { Origin: origin },
      });
      const { headers } = await handler(request);
      assertEquals(headers.get("Access-Control-Allow-Origin"), allowed);
    }
  }));
