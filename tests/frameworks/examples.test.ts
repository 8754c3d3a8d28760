/**
 * The examples in `examples/frameworks`, each as it stands, in a process of its own: the same of every framework, on
 * every runtime.
 *
 * @module
 */
import { after, before, describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Server, start, stop } from "../examples/server.ts";
import { EventReader, textOf, within } from "../server-helpers.ts";

const frameworks = {
  "express": "Express",
  "fastify": "Fastify",
  "koa": "Koa",
  "hono": "Hono",
  "h3-v1": "h3 v1",
  "h3-v2": "h3 v2",
};

for (const [file, name] of Object.entries(frameworks)) {
  describe(`${name}: examples/frameworks/${file}.ts`, () => {
    let server: Server;
    const ask = (path: string, init: RequestInit = {}, session = "ada") =>
      within(
        fetch(`${server.url}${path}`, {
          ...init,
          headers: {
            "X-Session-Id": session,
            ...(init.body ? { "Content-Type": "application/json" } : {}),
          },
        }),
        `the answer to ${path}`,
      );
    const post = (path: string, body: string) => ask(path, { method: "POST", body });
    const sessions = async () => await (await ask("/sessions")).json() as string[];

    before(async () => server = await start(`frameworks/${file}`, {}));

    after(async () => {
      assertEquals(await stop(server), 0);
    });

    test("the framework's own user gets in, and nobody else", async () => {
      const response = await within(fetch(`${server.url}/events/subscribe`), "an answer");
      assertEquals(response.headers.get("Content-Type"), "application/problem+json");
      assertEquals([response.status, (await response.json()).code], [401, "not-authenticated"]);
    });

    test("a stream: what other routes send, what clients send, and nobody left when it has gone", async () => {
      const response = await ask("/events/subscribe");
      assertEquals([response.status, response.headers.get("Content-Type")], [
        200,
        "text/event-stream",
      ]);
      const reader = new EventReader(response);
      await reader.block();
      assertEquals(await sessions(), ["ada"]);
      const greeted = await post("/greet/ada", "{}");
      assertEquals([greeted.status, (await greeted.json()).connections], [200, 1]);
      assertEquals((await reader.event()).data, JSON.stringify({ from: name }));
      const message = JSON.stringify({ session: "ada", event: "greeting", data: "x".repeat(3000) });
      const sent = await post("/events/send", message);
      assertEquals([sent.status, (await sent.json()).connections], [202, 1]);
      assertEquals((await reader.event()).data!.length, 3000);
      await reader.cancel();
      await within(
        (async () => {
          while ((await sessions()).length > 0) await new Promise((wake) => setTimeout(wake, 5));
        })(),
        "the hub to forget the reader",
      );
    });

    test("what is refused, and what there is not", async () => {
      const unknown = await ask("/events/nothing");
      assertEquals([unknown.status, JSON.parse(await textOf(unknown)).code], [404, "not-found"]);
      const method = await ask("/events/subscribe", { method: "DELETE" });
      assertEquals([method.status, method.headers.get("Allow")], [405, "GET, HEAD, OPTIONS"]);
      await method.body?.cancel();
      const large = await post("/events/send", JSON.stringify("x".repeat(2_000_000)));
      assertEquals(large.status, 413);
      await large.body?.cancel();
    });

    test("HEAD is answered, and opens no connection", async () => {
      const head = await ask("/events/subscribe", { method: "HEAD" });
      assertEquals([head.status, head.headers.get("Content-Type")], [200, "text/event-stream"]);
      assertEquals(await sessions(), []);
    });
  });
}
