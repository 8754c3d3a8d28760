/**
 * A subscribe that is refused only for now: an event stream that brings a browser's `EventSource` back, or a status.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import { toNodeListener } from "../../src/node/mod.ts";
import {
  authenticate,
  EventReader,
  quietLogger,
  RawClient,
  refusedForNow,
  serveNode,
  servers,
  textOf,
  within,
  withService,
} from "../server-helpers.ts";
import { reasons, withReason } from "./unavailable-reasons.ts";

for (const [name, reason] of Object.entries(reasons)) {
  const { status, code, isOfHub } = reason;
  describe(`refused for now: ${name}`, () => {
    test("a stream that says when to come back, why, and gives the last id back", () =>
      withReason(reason, {}, async (service, asked) => {
        const { connects } = service.hub.stats();
        const refused = await refusedForNow(service.get("ada", "", { "Last-Event-ID": "abc-7" }));
        assertEquals([refused.status, refused.code, refused.id], [status, code, "abc-7"]);
        assertEquals(asked(), isOfHub ? 0 : 1);
        assertEquals(service.hub.stats().connects, connects);
        const head = await fetch(`${service.base}/subscribe?sessionId=ada`, { method: "HEAD" });
        assertEquals(head.status, 200);
        // HEAD takes no connection, and so it is not refused one.
        if (code !== "too-many-connections-of-session") assert(head.headers.has("retry-after"));
      }));

    test('`unavailable: "status"`: the status and the problem, as any other refusal', () =>
      withReason(reason, { unavailable: "status" }, async (service, asked) => {
        const response = await service.get("ada");
        assertEquals(response.status, status);
        assertEquals(response.headers.get("content-type"), "application/problem+json");
        assertEquals(response.headers.has("retry-after"), status !== 500);
        assertEquals(JSON.parse(await textOf(response)).code, code);
        assertEquals(asked(), isOfHub ? 0 : 1);
      }));
  });
}

describe("refused for now", () => {
  const draining = reasons["the hub drains"]!;

  test("the times to wait are spread", () =>
    withReason(draining, {}, async (service) => {
      const times = new Set<string>();
      for (let i = 0; i < 20; i++) {
        const [block] = await new EventReader(await service.get("ada")).rest();
        times.add(block!.retry!);
      }
      assert(times.size > 15, [...times].join(" "));
    }));

  test("the id that is given back: the header's before the query's, never more than a line", () =>
    withReason(draining, {}, async (service) => {
      const idOf = async (query: string, headers: Record<string, string> = {}) =>
        (await refusedForNow(service.get("ada", query, headers))).id;
      assertEquals(await idOf(""), undefined);
      assertEquals(await idOf("?lastEventId="), undefined);
      assertEquals(await idOf("?lastEventId=q-1"), "q-1");
      assertEquals(await idOf("?lastEventId=q-1", { "Last-Event-ID": "h-2" }), "h-2");
      assertEquals(await idOf("?lastEventId=caf%C3%A9%20%E2%82%AC"), "café €");
      for (const end of ["%0A", "%0D", "%0D%0A", "%00"]) {
        assertEquals(await idOf(`?lastEventId=q-1${end}event:%20forged`), undefined);
      }
    }));

  for (const [name, serve] of Object.entries(servers)) {
    test(`behind ${name}: an id beyond ASCII comes back as the bytes that came`, () =>
      withReason(
        { ...draining, options: { serve } },
        {},
        async (service) => {
          const client = await RawClient.open(service.server.port);
          // As a browser sends it, and as bytes that are no UTF-8: these are taken for one character each.
          for (const [sent, given] of [["caf\xc3\xa9", "café"], ["caf\xe9", "café"]]) {
            client.write(
              `GET /api/v1/sse/subscribe HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: ada\r\n` +
                `Last-Event-ID: ${sent}\r\n\r\n`,
            );
            assertStringIncludes((await client.response()).body, `\nid: ${given}\n`);
          }
          client.destroy();
        },
      ));

    test(`behind ${name}: the connection is kept, and serves the next request`, () =>
      withReason(
        { ...draining, options: { serve } },
        {},
        async (service) => {
          const client = await RawClient.open(service.server.port);
          for (const method of ["GET", "HEAD", "GET", "GET"]) {
            client.write(
              `${method} /api/v1/sse/subscribe HTTP/1.1\r\nHost: localhost\r\nX-Session-Id: ada\r\n\r\n`,
            );
            const { status, headers, body } = await client.response(method);
            assertEquals([status, headers.get("content-type")], [200, "text/event-stream"]);
            assert(headers.has("retry-after"));
            assertEquals(body.includes("event: streamside:unavailable\n"), method === "GET");
          }
          client.write("GET /api/v1/sse/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
          assertEquals((await client.response()).status, 503);
          client.destroy();
        },
      ));
  }

  test("through a Response and node:http: the same, and the connection is kept", async () => {
    const hub = createHub({ logger: quietLogger });
    await hub.close();
    const handler = createHandler(hub, { authenticate });
    const server = await serveNode(toNodeListener(async (request) => await handler(request)));
    try {
      const client = await RawClient.open(server.port);
      for (const method of ["GET", "HEAD", "GET"]) {
        client.write(
          `${method} /api/v1/sse/subscribe HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: a-1\r\n\r\n`,
        );
        const { status, headers, body } = await client.response(method);
        assertEquals(status, 200);
        assert(headers.has("retry-after"));
        assertEquals(body.includes("\nid: a-1\nevent: streamside:unavailable\n"), method === "GET");
      }
      client.destroy();
    } finally {
      await server.close();
    }
  });

  test("a page of another origin may read Retry-After", () =>
    withReason(draining, { cors: ["https://app.example"] }, async (service) => {
      const response = await service.get("ada", "", { Origin: "https://app.example" });
      assertEquals(response.headers.get("access-control-allow-origin"), "https://app.example");
      assertEquals(
        response.headers.get("access-control-expose-headers"),
        "Retry-After, Streamside-End",
      );
      await refusedForNow(response);
    }));

  test("a request that is inside authenticate when the drain begins is refused for now, too", async () => {
    let letIn = () => {};
    let isAsked = () => {};
    const asked = new Promise<void>((resolve) => isAsked = resolve);
    await withService({
      handler: {
        authenticate: (request) => {
          isAsked();
          return new Promise((resolve) => letIn = () => resolve(authenticate(request)));
        },
      },
    }, async (service) => {
      const response = service.get("ada", "", { "Last-Event-ID": "abc-7" });
      await within(asked, "authenticate to be asked");
      await service.hub.close();
      letIn();
      const { code, id } = await refusedForNow(response);
      assertEquals([code, id, service.hub.stats().connects], ["closed", "abc-7", 0]);
    });
  });

  test("an id of another life of the log is given back, and gets its reset from the next server", async () => {
    let id: string | undefined;
    await withReason(draining, {}, async (service) => {
      ({ id } = await refusedForNow(service.get("ada", "", { "Last-Event-ID": "otherlife-7" })));
    });
    await withService({}, async (service) => {
      const reader = await service.subscribe("ada", "", { "Last-Event-ID": id! });
      assertEquals((await reader.event()).event, "streamside:reset");
    });
  });

  test("a full hub lets a session in that replaces a connection of its own", () =>
    withService({
      hub: { maxConnections: 1, maxConnectionsPerSession: 1, onSessionLimit: "close-oldest" },
    }, async (service) => {
      const oldest = await service.subscribe("ada");
      await service.subscribe("ada");
      assertEquals(await oldest.rest(), []);
      assertEquals((await refusedForNow(service.get("grace"))).code, "too-many-connections");
      assertEquals(service.hub.stats().refusedConnections, 1);
    }));

  test("what is refused for good keeps its status, and so do all other routes", () =>
    withService({ handler: { authorize: () => true } }, async (service) => {
      const statusOf = async (response: Response | Promise<Response>) => {
        const answer = await response;
        await textOf(answer);
        return answer.status;
      };
      assertEquals(await statusOf(service.get(null)), 401);
      assertEquals(await statusOf(service.get("ada", "?channel=secret")), 403);
      assertEquals(await statusOf(fetch(`${service.base}/nothing`)), 404);
      assertEquals(await statusOf(service.get("ada", `?${"x".repeat(9_000)}`)), 414);
      await service.hub.close();
      assertEquals(await statusOf(fetch(`${service.base}/health`)), 503);
      const message = { session: "ada", event: "e", data: 1 };
      assertEquals(await statusOf(service.post("/send", message)), 503);
      await withService(
        { handler: { authenticate: () => Promise.reject(new Error("down")) } },
        async (failing) => {
          assertEquals(await statusOf(failing.post("/send", message)), 500);
        },
      );
    }));
});
