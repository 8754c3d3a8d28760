/**
 * Limits over real sockets: each with its answer, its counter, and nothing lost for those within it.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type HubStats, StreamsideError } from "../../mod.ts";
import {
  EventReader,
  RawClient,
  refusedForNow,
  servers,
  type Service,
  textOf,
  until,
  withHub,
  withService,
} from "../server-helpers.ts";

const authorize = () => true;

/** Checks the status and code of a problem, whichever way it is told of, and that a counter has counted it. */
async function refused(
  service: Service,
  response: Promise<Response>,
  [status, code]: [number, string],
  counter?: [keyof HubStats, number],
): Promise<void> {
  const answer = await response;
  if (status === 503 || status === 429) {
    const problem = await refusedForNow(answer);
    assertEquals([problem.status, problem.code], [status, code]);
  } else assertEquals([answer.status, JSON.parse(await textOf(answer)).code], [status, code]);
  if (counter) assertEquals(service.hub.stats()[counter[0]], counter[1], counter[0]);
}

describe("connections", () => {
  test("maxConnections: 503 for one more, until one has left", () =>
    withService({ hub: { maxConnections: 2 } }, async (service) => {
      const readers = [await service.subscribe("ada"), await service.subscribe("grace")];
      for (let i = 1; i <= 2; i++) {
        await refused(service, service.get("mary"), [503, "too-many-connections"], [
          "refusedConnections",
          i,
        ]);
      }
      await readers[0]!.cancel();
      await until(() => service.hub.stats().connections === 1, "the one that left");
      const third = await service.subscribe("mary");
      await service.hub.broadcast("e", 1);
      assertEquals(await third.data(1), ["1"]);
      assertEquals(await readers[1]!.data(1), ["1"]);
    }));

  test("maxConnectionsPerSession: 429 for one more of the session, not for another's", () =>
    withService({ hub: { maxConnectionsPerSession: 2 } }, async (service) => {
      const tabs = [await service.subscribe("ada"), await service.subscribe("ada")];
      await refused(service, service.get("ada"), [429, "too-many-connections-of-session"], [
        "refusedSessionConnections",
        1,
      ]);
      await service.subscribe("grace");
      await service.hub.send("ada", "e", 1);
      for (const tab of tabs) assertEquals(await tab.data(1), ["1"]);
      await tabs[0]!.cancel();
      await until(() => service.hub.stats().connections === 2, "the one that left");
      await service.subscribe("ada");
    }));

  test('onSessionLimit "close-oldest": the oldest ends instead, and the newest is served', () =>
    withService({
      hub: { maxConnectionsPerSession: 2, onSessionLimit: "close-oldest", maxConnections: 3 },
    }, async (service) => {
      const reasons: string[] = [];
      service.hub.on("disconnect", ({ reason }) => reasons.push(reason));
      const tabs = [await service.subscribe("ada"), await service.subscribe("ada")];
      await service.subscribe("grace");
      // A session at its limit replaces one of its own, though the server is full.
      tabs.push(await service.subscribe("ada"));
      assertEquals(await tabs[0]!.rest(), []);
      assertEquals(reasons, ["replaced"]);
      const { replaced, refusedSessionConnections, connections } = service.hub.stats();
      assertEquals([replaced, refusedSessionConnections, connections], [1, 0, 3]);
      await service.hub.send("ada", "e", 1);
      for (const tab of tabs.slice(1)) assertEquals(await tab.data(1), ["1"]);
      await refused(service, service.get("mary"), [503, "too-many-connections"]);
    }));

  test("close-oldest with a resume: what the oldest missed, the newest gets", () =>
    withService({
      hub: { maxConnectionsPerSession: 1, onSessionLimit: "close-oldest" },
    }, async (service) => {
      let reader = await service.subscribe("ada");
      let lastId = service.hub.cursor();
      const seen: string[] = [];
      for (let i = 0; i < 20; i++) {
        service.hub.send("ada", "e", i);
        service.hub.send("ada", "e", `${i}b`);
        reader = await service.subscribe("ada", "", { "Last-Event-ID": lastId });
        for (const event of await reader.events(2)) {
          seen.push(event.data!);
          lastId = event.id!;
        }
      }
      assertEquals(seen, Array.from({ length: 20 }, (_, i) => [`${i}`, `${i}b`]).flat());
      assertEquals(service.hub.stats().replaced, 20);
    }));

  test("a subscription that is refused for its arguments takes nobody's place", () =>
    withHub({ maxConnectionsPerSession: 1, onSessionLimit: "close-oldest" }, async (hub) => {
      const reader = new EventReader(hub.subscribe("ada"));
      await reader.block();
      const never = new Date("never");
      assertThrows(() => hub.subscribe("ada", { expires: never }), StreamsideError);
      await hub.send("ada", "e", 1);
      assertEquals(await reader.data(1), ["1"]);
    }));

  test("close-oldest: those whose readers take nothing do not pile up", () =>
    withHub({
      maxConnectionsPerSession: 1,
      onSessionLimit: "close-oldest",
      maxConnections: 1,
    }, async (hub) => {
      const readers: EventReader[] = [];
      for (let i = 0; i < 5; i++) {
        const reader = new EventReader(hub.subscribe("ada"));
        await reader.block();
        readers.push(reader);
      }
      for (const reader of readers.slice(0, 4)) assertEquals(await reader.rest(), []);
      assertEquals(hub.stats().replaced, 4);
    }));

  test("maxConnections counts those that were ended while their readers took nothing", () =>
    withHub({ maxConnections: 2 }, async (hub) => {
      const readers = [
        new EventReader(hub.subscribe("ada")),
        new EventReader(hub.subscribe("ada")),
      ];
      for (const reader of readers) await reader.block();
      await hub.disconnect("ada");
      assertEquals(hub.stats().connections, 0);
      assertEquals(
        assertThrows(() => hub.subscribe("grace"), StreamsideError).code,
        "too-many-connections",
      );
      assertEquals(await readers[0]!.rest(), []);
      const grace = new EventReader(hub.subscribe("grace"));
      await grace.block();
      assertThrows(() => hub.subscribe("grace"), StreamsideError);
      assertEquals(await readers[1]!.rest(), []);
      await grace.cancel();
    }));

  test("maxChannelsPerConnection: refused, the session's others are served", () =>
    withService({ hub: { maxChannelsPerConnection: 1 } }, async (service) => {
      await refused(service, service.get("ada"), [400, "too-many-channels"], [
        "refusedChannels",
        1,
      ]);
      await refused(service, service.get("ada", "?channel=news&channel=sport"), [
        400,
        "too-many-channels",
      ]);
      const reader = await service.subscribe("ada", "?channel=news&channel=news");
      await service.hub.publish("news", "e", 1);
      assertEquals(await reader.data(1), ["1"]);
    }));

  test("a refused subscription of hub.subscribe throws, and leaves nothing", () =>
    withHub({ maxConnections: 1, maxChannelsPerConnection: 1 }, async (hub) => {
      const code = (channels: string[]) =>
        assertThrows(() => hub.subscribe("ada", { channels }), StreamsideError).code;
      assertEquals(code(["a", "b"]), "too-many-channels");
      const reader = new EventReader(hub.subscribe("ada"));
      assertEquals(code([]), "too-many-connections");
      assertEquals([hub.stats().connections, hub.stats().channels], [1, 0]);
      await reader.cancel();
    }));
});

for (const [name, serve] of Object.entries(servers)) {
  describe(`sizes (${name})`, () => {
    test("maxQueryLength: 414", () =>
      withService({ serve, handler: { maxQueryLength: 100 } }, async (service) => {
        const query = (length: number) => `?lastEventId=${"x".repeat(length - 13)}`;
        await refused(service, service.get("ada", query(101)), [414, "query-too-long"], [
          "refusedQueries",
          1,
        ]);
        const response = await service.get("ada", query(100));
        assertEquals(response.status, 200);
        await response.body!.cancel();
      }));

    test("maxEventBytes through POST: 413, and the largest that fits is taken", () =>
      withService(
        { serve, hub: { maxEventBytes: 1000 }, handler: { authorize } },
        async (service) => {
          const reader = await service.subscribe("ada");
          const send = (data: string) =>
            service.post("/send", { session: "ada", event: "e", data });
          await refused(service, send("x".repeat(1001)), [413, "event-too-large"], [
            "refusedEvents",
            1,
          ]);
          await refused(service, send("世".repeat(334)), [413, "event-too-large"], [
            "refusedEvents",
            2,
          ]);
          const sent = await send("x".repeat(900));
          assertEquals(sent.status, 202);
          await textOf(sent);
          assertEquals((await reader.event()).data!.length, 900);
        },
      ));

    test("maxBodyBytes: 413 for a length that is too large, before a byte of the body", () =>
      withService({ serve, handler: { authorize, maxBodyBytes: 1000 } }, async (service) => {
        const client = await RawClient.open(service.server.port);
        try {
          client.write(
            "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: a\r\n" +
              "Content-Type: application/json\r\nContent-Length: 1001\r\n\r\n",
          );
          const { status, body } = await client.response();
          assertEquals([status, JSON.parse(body).code], [413, "body-too-large"]);
          assertEquals(service.hub.stats().refusedBodies, 1);
        } finally {
          client.destroy();
        }
      }));

    test("maxBodyBytes: 413 for a body that comes in pieces and has no length, before its end", () =>
      withService({ serve, handler: { authorize, maxBodyBytes: 1000 } }, async (service) => {
        const client = await RawClient.open(service.server.port);
        try {
          client.write(
            "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: a\r\n" +
              "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
          );
          for (let i = 0; i < 5; i++) client.write(`200\r\n${" ".repeat(512)}\r\n`);
          // There is no last chunk: who waits for the end of the body never answers.
          const { status, body } = await client.response();
          assertEquals([status, JSON.parse(body).code], [413, "body-too-large"]);
          assertEquals(service.hub.stats().refusedBodies, 1);
        } finally {
          client.destroy();
        }
      }));

    test("bodyTimeout: 408 for a body that does not come, or comes bit by bit", () =>
      withService({ serve, handler: { authorize, bodyTimeout: 100 } }, async (service) => {
        const head = "POST /api/v1/sse/send HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: a\r\n" +
          "Content-Type: application/json\r\n";
        let refusals = 0;
        for (
          const [framing, bit] of [
            ["Content-Length: 1000", " "],
            ["Transfer-Encoding: chunked", "1\r\n \r\n"],
          ]
        ) {
          const client = await RawClient.open(service.server.port);
          const slow = setInterval(() => client.write(bit!), 10);
          try {
            client.write(`${head}${framing}\r\n\r\n`);
            const { status, headers, body } = await client.response();
            assertEquals([status, JSON.parse(body).code], [408, "body-too-slow"]);
            assertStringIncludes(headers.get("connection") ?? "", "close");
            assertEquals(service.hub.stats().refusedBodies, ++refusals);
          } finally {
            clearInterval(slow);
            client.destroy();
          }
        }
        const sent = await service.post("/send", { session: "nobody", event: "e", data: 1 });
        assertEquals(sent.status, 202);
        await textOf(sent);
      }));

    test("maxBodyBytes: what fits to the byte is taken, with a length and without", () =>
      withService({ serve, handler: { authorize, maxBodyBytes: 1000 } }, async (service) => {
        const message = '{"session":"nobody","event":"e","data":""}';
        const body = message.replace('""', `"${"x".repeat(1000 - message.length)}"`);
        assertEquals(body.length, 1000);
        const pieces = new ReadableStream<Uint8Array>({
          start(controller) {
            const bytes = new TextEncoder().encode(body);
            for (let i = 0; i < bytes.length; i += 100) controller.enqueue(bytes.slice(i, i + 100));
            controller.close();
          },
        });
        for (const each of [body, pieces]) {
          const response = await service.post("/send", each);
          assertEquals(response.status, 202);
          await textOf(response);
        }
        await refused(service, service.post("/send", `${body} `), [413, "body-too-large"]);
      }));

    test("a large event reaches a reader whole, whatever the pieces", () =>
      withService(
        { serve, hub: { maxEventBytes: 4_000_000, maxBufferedBytes: 1000 } },
        async (service) => {
          const reader = await service.subscribe("ada");
          const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i} ${"é".repeat(50)}`);
          await service.hub.send("ada", "small", "before");
          await service.hub.send("ada", "large", lines.join("\n"));
          await service.hub.send("ada", "small", "after");
          const events = await reader.events(3);
          assertEquals(events[0]!.data, "before");
          assert(events[1]!.data === lines.join("\n"), "the large one, whole");
          assertEquals(events[2]!.data, "after");
        },
      ));
  });
}
