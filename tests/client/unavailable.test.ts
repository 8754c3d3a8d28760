/**
 * Our client and a real hub that refuses only for now: an error with the status and the problem, no `open`, an attempt
 * that counts, a wait that is heeded; and nothing missed when it comes back.
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type ClientErrorEvent,
  createClient,
  type ReconnectingEvent,
} from "../../src/client/mod.ts";
import { reasons, withReason } from "../http/unavailable-reasons.ts";
import { within, withService } from "../server-helpers.ts";
import { next, record } from "./helpers.ts";

const EVENTS = ["open", "error", "reconnecting", "close", "streamside:unavailable", "tick"];

for (const [name, reason] of Object.entries(reasons)) {
  describe(`a client that is refused for now: ${name}`, () => {
    for (const unavailable of ["stream", "status"] as const) {
      test(`told by a ${unavailable}: error, and another attempt in time`, () =>
        withReason(reason, { unavailable }, async (service) => {
          const client = createClient(`${service.base}/subscribe?sessionId=ada`, {
            lastEventId: "abc-7",
            reconnect: { delay: 1 },
          });
          const lines = record(client, ...EVENTS);
          const error = next<ClientErrorEvent>(client, "error");
          const reconnecting = next<ReconnectingEvent>(client, "reconnecting");
          client.connect();
          const { status, problem } = await within(error, "the error");
          assertEquals([status, problem?.status, problem?.code], [
            reason.status,
            reason.status,
            reason.code,
          ]);
          const { attempt, delay } = await within(reconnecting, "the next attempt");
          assertEquals([attempt, client.reconnectAttempts], [1, 1]);
          if (unavailable === "stream") assert(delay >= 2_000, `waits ${delay} ms`);
          assertEquals(lines, [`error ${reason.status}`, "reconnecting 1"]);
          assertEquals([client.readyState, client.lastEventId], [0, "abc-7"]);
          client.close();
        }));
    }
  });
}

describe("a client that was refused for now", () => {
  test("comes back by itself, and gets what it missed", () =>
    withService({ hub: { maxConnections: 1 } }, async (service) => {
      const { hub, base } = service;
      const lastEventId = hub.cursor();
      const other = await service.subscribe("other");
      const client = createClient(`${base}/subscribe?sessionId=ada`, { lastEventId });
      const lines = record(client, ...EVENTS);
      client.connect();
      await within(next(client, "error"), "the refusal");
      await hub.send("ada", "tick", 1);
      await other.cancel();
      await within(next(client, "tick"), "the event");
      assertEquals(lines, ["error 503", "reconnecting 1", "open", "tick 1"]);
      client.close();
    }));

  test("gives up after maxAttempts", () =>
    withReason(reasons["the hub is closed for good"]!, {}, async (service) => {
      const client = createClient(`${service.base}/subscribe?sessionId=ada`, {
        reconnect: { maxAttempts: 0 },
      });
      const lines = record(client, ...EVENTS);
      client.connect();
      await within(next(client, "close"), "the end");
      assertEquals(lines, ["error 503", "close attempts"]);
    }));
});
