/**
 * h3 v1 asks a Node handler for its promise, and answers by itself, or goes to its next route, when that settles.
 *
 * @module
 */
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import {
  createApp,
  defineEventHandler,
  fromNodeMiddleware,
  toNodeListener as toH3Listener,
} from "h3-v1";
import { toNodeListener } from "../../src/node/mod.ts";
import {
  authenticate,
  listen,
  type ServiceOptions,
  textOf,
  withService,
} from "../server-helpers.ts";

/** `fromNodeMiddleware` is `fromNodeHandler` of functions with and without `next`. */
const serve: ServiceOptions["serve"] = (handler) => {
  const app = createApp();
  app.use("/api/v1/sse", fromNodeMiddleware(toNodeListener(handler)));
  app.use(defineEventHandler(() => "the next route"));
  return listen(createServer(toH3Listener(app)));
};

describe("h3 v1, fromNodeMiddleware", () => {
  test("an authenticate that takes its time is waited for, and no other route answers", () =>
    withService({
      serve,
      handler: {
        authenticate: async (request) => {
          await new Promise((resolve) => setTimeout(resolve, 5));
          return authenticate(request);
        },
        authorize: () => true,
      },
    }, async (service) => {
      const refused = await service.get(null);
      assertEquals([refused.status, JSON.parse(await textOf(refused)).code], [
        401,
        "not-authenticated",
      ]);
      const reader = await service.subscribe("ada");
      const sent = await service.post("/send", { session: "ada", event: "e", data: "hello" });
      assertEquals([sent.status, (await sent.json()).connections], [202, 1]);
      assertEquals((await reader.event()).data, "hello");
      const other = await fetch(`${service.server.url}/other`);
      assertEquals(await other.text(), "the next route");
    }));
});
