/**
 * The handler over real sockets: its routes, their statuses and headers, and who is let in.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  createHandler,
  createHub,
  type HandlerOptions,
  type Log,
  type LogFollower,
  type Message,
  sessionFromRequest,
  StreamsideError,
} from "../../mod.ts";
import {
  authenticate,
  EventReader,
  problem,
  refusedForNow,
  serve,
  type Service,
  textOf,
  withHub,
  withService,
} from "../server-helpers.ts";

/** Runs requests against a handler whose hub has one reader, who in the end has seen only what was sent to it. */
function undisturbed(
  handler: Partial<HandlerOptions>,
  run: (service: Service) => Promise<void>,
): Promise<void> {
  return withService({ handler }, async (service) => {
    const witness = await service.subscribe("witness");
    await service.hub.send("witness", "before", 1);
    await run(service);
    await service.hub.send("witness", "after", 2);
    assertEquals((await witness.events(2)).map(({ event }) => event), ["before", "after"]);
  });
}

const authorize = () => true;

describe("subscribe", () => {
  test("200 with the headers of a stream that no proxy holds back, at once", () =>
    withService({}, async (service) => {
      const reader = await service.subscribe("ada");
      const { headers } = reader.response!;
      assertEquals(headers.get("content-type"), "text/event-stream");
      assertEquals(headers.get("cache-control"), "no-cache, no-transform");
      assertEquals(headers.get("x-accel-buffering"), "no");
      assertEquals(headers.get("x-content-type-options"), "nosniff");
      assertEquals(headers.get("content-encoding"), null);
      assertEquals(headers.get("access-control-allow-origin"), null);
    }));

  test("its first block: how long to wait before reconnecting, and the position it begins at", () =>
    withService({ hub: { retry: 1234 } }, async (service) => {
      const response = await service.get("ada");
      const reader = new EventReader(response);
      assertEquals(await reader.block(), { retry: "1234", id: service.hub.cursor() });
      await reader.cancel();
    }));

  test("401 without a session, in the header or the query", () =>
    undisturbed({}, async (service) => {
      const answer = await service.get(null);
      assert(answer.headers.get("www-authenticate"), "RFC 9110, 15.5.2: a 401 names a scheme");
      await problem(answer, 401, "not-authenticated");
      await problem(service.get(null, "?sessionId="), 401, "not-authenticated");
      const inQuery = await service.get(null, "?sessionId=ada");
      assertEquals(inQuery.status, 200);
      assertEquals(service.hub.sessions(), ["witness", "ada"]);
      await inQuery.body!.cancel();
    }));

  test("403 for a channel that is not granted, which is named escaped; none of the others is joined", () =>
    undisturbed({}, async (service) => {
      for (const query of ["?channel=secret", "?channel=news&channel=secret", "?channel="]) {
        await problem(service.get("ada", query), 403, "channel-not-granted");
      }
      const { detail } = await problem(
        service.get("ada", "?channel=%0d%0aevent:%20forged%0a%0a"),
        403,
        "channel-not-granted",
      );
      assert(!/[\r\n]/.test(detail), detail);
      assertEquals(service.hub.stats().connections, 1);
    }));

  test("an identity without channels subscribes to none", () =>
    undisturbed(
      { authenticate: (request) => ({ session: sessionFromRequest(request)! }) },
      async (service) => {
        const reader = await service.subscribe("ada");
        await service.hub.publish("news", "n", 1);
        await service.hub.send("ada", "own", 2);
        assertEquals((await reader.event()).event, "own");
        await problem(service.get("ada", "?channel=news"), 403, "channel-not-granted");
      },
    ));

  test("channels by function: what is named and allowed, and nothing unless it is named", async () => {
    const asked: string[] = [];
    const channels = (channel: string) => {
      asked.push(channel);
      return channel.startsWith("room-");
    };
    const authenticate = (request: Request) => {
      const session = sessionFromRequest(request);
      return session === null ? null : { session, channels };
    };
    await withService({ handler: { authenticate } }, async (service) => {
      const rooms = await service.subscribe("ada", "?channel=room-1&channel=room-200");
      const none = await service.subscribe("grace");
      for (const query of ["?channel=news", "?channel=room-1&channel=news", "?channel="]) {
        await problem(service.get("ada", query), 403, "channel-not-granted");
      }
      await problem(service.get("ada", `?channel=${"x".repeat(1025)}`), 403, "channel-not-granted");
      await problem(service.get("ada", "?channel=a%0ab"), 403, "channel-not-granted");
      assert(asked.every((channel) => /^(room-\d+|news)$/.test(channel)), asked.join());
      asked.length = 0;
      const many = Array.from({ length: 101 }, (_, i) => `channel=room-${i}`).join("&");
      await problem(service.get("ada", `?${many}`), 400, "too-many-channels");
      assertEquals(asked, [], "not asked for each of what is refused anyway");
      for (const channel of ["room-1", "news", "room-200", "room-3"]) {
        await service.hub.publish(channel, "p", channel);
      }
      await service.hub.broadcast("mark", "");
      assertEquals(await rooms.data(3), ["room-1", "room-200", ""]);
      assertEquals(await none.data(1), [""]);
      const run = await service.hub.run("room-7", [{ event: "token", data: "a" }]);
      await service.hub.run("news", [{ event: "token", data: "b" }]);
      await run.done;
      const get = (path: string) =>
        fetch(`${service.base}/runs/${path}`, { headers: { "X-Session-Id": "ada" } });
      assertStringIncludes(await (await get("room-7")).text(), "event: token\ndata: a\n");
      await problem(get("news"), 403, "channel-not-granted");
    });
  });

  test("channels by a function that does not say true or false: 500, logged, and nobody is let in", async () => {
    const faults: [unknown, () => unknown][] = [
      ["boom", () => {
        throw new Error("boom");
      }],
      ["a promise", () => Promise.resolve(true)],
      ["a promise", () => Promise.reject(new Error("late"))],
      ["number", () => 1],
      ["undefined", () => undefined],
      ["yes", () => "yes"],
    ];
    for (const [text, channels] of faults) {
      const authenticate = () => ({ session: "ada", channels: channels as () => boolean });
      await withService({ handler: { authenticate } }, async (service) => {
        await service.hub.run("news", []);
        const refused = await refusedForNow(service.get("ada", "?channel=news"));
        assertEquals([refused.status, refused.code], [500, "internal-error"]);
        const run = await fetch(`${service.base}/runs/news`);
        assertStringIncludes(await run.text(), "internal-error");
        const errors = service.log.filter(([level]) => level === "error");
        assertEquals(errors.length, 2);
        for (const [, line] of errors) {
          assertStringIncludes(line, "`channels`");
          assertStringIncludes(line, String(text));
        }
        await (await service.subscribe("ada")).cancel();
        assertEquals(service.hub.stats().connects, 1, "the one that named no channel");
      });
    }
  });

  test("a list of more channels than a request may subscribe to: whoever names some is let in", () => {
    const channels = Array.from({ length: 101 }, (_, i) => `room-${i}`);
    return withService(
      { handler: { authenticate: () => ({ session: "ada", channels }) } },
      async (service) => {
        await problem(service.get("ada"), 400, "too-many-channels");
        const reader = await service.subscribe("ada", "?channel=room-100&channel=room-0");
        await service.hub.publish("room-100", "p", 1);
        assertEquals(await reader.data(1), ["1"]);
      },
    );
  });

  test("replay: at most what the handler allows; 400 for what is not a whole number", async () => {
    for (const replay of [2, 0]) {
      await withService({ handler: { replay } }, async (service) => {
        for (let i = 0; i < 5; i++) await service.hub.send("ada", "e", i);
        const reader = await service.subscribe("ada", "?replay=4");
        await service.hub.send("ada", "e", "live");
        assertEquals(await reader.data(replay + 1), [...["3", "4"].slice(2 - replay), "live"]);
        for (const value of ["", "-1", "1.5", "1e3", "all", "0x10", "9".repeat(40)]) {
          const { detail } = await problem(
            service.get("ada", `?replay=${value}`),
            400,
            "invalid-query",
          );
          assertStringIncludes(detail, "replay");
        }
      });
    }
    for (const replay of [-1, NaN, "2", null]) {
      const hub = createHub();
      assertThrows(
        () => createHandler(hub, { authenticate: () => null, replay: replay as number }),
        StreamsideError,
        "replay",
      );
      await hub.close();
    }
  });

  test("204 when `enabled` is false, whoever asks; the other routes go on", () =>
    withService({ handler: { enabled: false, authorize } }, async (service) => {
      for (const session of ["ada", null]) {
        const response = await service.get(session);
        assertEquals([response.status, await textOf(response)], [204, ""]);
        // RFC 9110, 15.3.5: it could be kept, and keep clients away for longer.
        assertEquals(response.headers.get("cache-control"), "no-store");
      }
      const sent = await service.post("/send", { all: true, event: "e", data: 1 });
      assertEquals(sent.status, 202);
      await textOf(sent);
      assertEquals(service.hub.stats().connects, 0);
    }));

  test("HEAD is GET without the stream: also its refusals", () =>
    withService({}, async (service) => {
      const head = (session: string) =>
        fetch(`${service.base}/subscribe?sessionId=${session}`, { method: "HEAD" });
      assertEquals((await head("ada")).status, 200);
      assertEquals((await head("ada")).headers.get("content-type"), "text/event-stream");
      assertEquals((await head("")).status, 401);
      const closing = service.hub.close({ within: 50 });
      const refused = await head("ada");
      assertEquals([refused.status, await refused.text()], [200, ""]);
      assertEquals(refused.headers.get("content-type"), "text/event-stream");
      assertMatch(refused.headers.get("retry-after")!, /^([2-9]|10)$/);
      await closing;
      assertEquals(service.hub.stats().connects, 0);
    }));
});

describe("send", () => {
  test("202 with the id and the connections; to a session, a channel, everyone but some", () =>
    withService({ handler: { authorize } }, async (service) => {
      const ada = await service.subscribe("ada", "?channel=news");
      const grace = await service.subscribe("grace", "?channel=sport");
      const send = async (message: Partial<Message>) => {
        const response = await service.post("/send", { event: "e", ...message });
        assertEquals(response.status, 202);
        assertEquals(response.headers.get("content-type"), "application/json");
        return await response.json();
      };
      const first = await send({ session: "ada", data: { a: [1] } });
      assertEquals(first, { id: service.hub.cursor(), connections: 1 });
      assertEquals((await send({ channel: "sport", data: "s" })).connections, 1);
      assertEquals((await send({ all: true, data: null, except: "ada" })).connections, 1);
      assertEquals((await send({ all: true, data: false, except: ["grace"] })).connections, 1);
      assertEquals((await send({ all: true, data: "", key: "k" })).connections, 2);
      assertEquals((await send({ session: "nobody", data: 1 })).connections, 0);
      assertEquals(await ada.event(), { event: "e", data: '{"a":[1]}', id: first.id });
      assertEquals(await ada.data(2), ["false", ""]);
      assertEquals(await grace.data(3), ["s", "null", ""]);
    }));

  test("`except` with a channel; the same `idempotencyKey` again: the first one's id, and one event", () =>
    withService({ handler: { authorize } }, async (service) => {
      const ada = await service.subscribe("ada");
      const grace = await service.subscribe("grace");
      const send = async (message: Partial<Message>) => {
        const response = await service.post("/send", { event: "e", ...message });
        assertEquals(response.status, 202);
        return await response.json();
      };
      assertEquals((await send({ channel: "news", data: 1, except: ["ada"] })).connections, 1);
      for (const to of [{ session: "ada" }, { channel: "news" }, { all: true }] as const) {
        const message = { ...to, data: 2, idempotencyKey: Object.keys(to)[0]! };
        assertEquals((await send(message)).id, (await send({ ...message, data: 3 })).id);
      }
      await send({ all: true, data: 4, transient: true });
      await send({ all: true, data: 5, transient: false });
      assertEquals(await ada.data(5), ["2", "2", "2", "4", "5"]);
      assertEquals(await grace.data(5), ["1", "2", "2", "4", "5"]);
      const held = await service.subscribe(
        "ada",
        `?lastEventId=${(await send({ channel: "none", data: 6 })).id}`,
      );
      await send({ all: true, data: 7 });
      assertEquals(await held.data(1), ["7"]);
      assertEquals(service.hub.stats().historyEvents, 7, "not the transient one");
    }));

  test("403 without `authorize`, and where it does not say true; it is asked with identity and message", () => {
    const asked: unknown[] = [];
    return undisturbed({}, async (service) => {
      await problem(
        service.post("/send", { session: "witness", event: "e", data: 1 }),
        403,
        "not-authorized",
      );
      for (const answer of [false, undefined, "yes", 1, Promise.resolve(false)]) {
        const handler = createHandler(service.hub, {
          authenticate,
          authorize: (identity, message) => {
            asked.push([identity.session, message]);
            return answer as boolean;
          },
        });
        const server = await serve(handler);
        try {
          await problem(
            fetch(`${server.url}/api/v1/sse/send`, {
              method: "POST",
              headers: { "Content-Type": "application/json", "X-Session-Id": "ada" },
              body: JSON.stringify({ session: "witness", event: "e", data: { a: 1 } }),
            }),
            403,
            "not-authorized",
          );
        } finally {
          await server.close();
        }
      }
      assertEquals(asked.length, 5);
      assertEquals(asked[0], ["ada", { session: "witness", event: "e", data: { a: 1 } }]);
    });
  });

  test("401 without a session, before the body is looked at", () =>
    undisturbed({ authorize }, async (service) => {
      await problem(service.post("/send", "{", {}, ""), 401, "not-authenticated");
    }));

  test("415 for another content type, none, or a compressed body", () =>
    undisturbed({ authorize }, async (service) => {
      const message = JSON.stringify({ session: "witness", event: "e", data: 1 });
      for (
        const type of [
          "text/plain",
          "application/x-www-form-urlencoded",
          "multipart/form-data; boundary=x",
          "application/jsonx",
          "application/problem+json",
          "text/json",
        ]
      ) {
        await problem(
          service.post("/send", message, { "Content-Type": type }),
          415,
          "unsupported-media-type",
        );
      }
      const response = await fetch(`${service.base}/send`, {
        method: "POST",
        headers: { "X-Session-Id": "ada" },
        body: new TextEncoder().encode(message),
      });
      await problem(response, 415, "unsupported-media-type");
      for (const coding of ["gzip", "br", "GZIP", "deflate, gzip"]) {
        await problem(
          service.post("/send", message, { "Content-Encoding": coding }),
          415,
          "unsupported-media-type",
        );
      }
      for (const type of ["application/json; charset=utf-8", "APPLICATION/JSON ;x=y"]) {
        const sent = await service.post("/send", { session: "nobody", event: "e", data: 1 }, {
          "Content-Type": type,
          "Content-Encoding": "identity",
        });
        assertEquals(sent.status, 202);
        await textOf(sent);
      }
    }));

  test("400 for malformed JSON says what the runtime says of it, quoted and cut", () =>
    undisturbed({ authorize }, async (service) => {
      const long = "secret".repeat(10_000);
      for (
        const body of [
          "",
          "{",
          '{"a":1,}',
          '{"a" 1}',
          "{'a':1}",
          "[1 2]",
          '{\n  "session": "ada",\n  "event": e\n}',
          '"a\nb"',
          '"\\x"',
          "nul",
          "1 1",
          "[".repeat(50),
          "NaN",
          "\u0007\u001b[31m\r\n",
          long,
          `{"a":${long}}`,
          `{"a":"${long}`,
        ]
      ) {
        const { detail } = await problem(service.post("/send", body), 400, "malformed-json");
        const [, reason] = /^The body is not valid JSON: (".+")\.$/.exec(detail) ?? [];
        assert(reason !== undefined, detail);
        assert(JSON.parse(reason).length <= 161, detail);
        // deno-lint-ignore no-control-regex
        assert(!/[\0-\x1f]/.test(detail), JSON.stringify(detail));
      }
    }));

  test("a byte order mark is no part of the JSON (RFC 8259, 8.1)", () =>
    withService({ handler: { authorize } }, async (service) => {
      const body = '\ufeff{"session":"nobody","event":"e","data":1}';
      const response = await service.post("/send", new TextEncoder().encode(body));
      assertEquals([response.status, (await response.json()).connections], [202, 0]);
    }));

  test("400 for a body that is not UTF-8", () =>
    undisturbed({ authorize }, async (service) => {
      const bytes = new TextEncoder().encode('{"session":"witness","event":"e","data":"x"}');
      bytes[bytes.length - 3] = 0xff;
      await problem(service.post("/send", bytes), 400, "malformed-json");
      await problem(
        service.post("/send", bytes.slice(0, -2).fill(0xe2, -1)),
        400,
        "malformed-json",
      );
    }));

  test("400 for what is no message, and says what is wrong", () =>
    undisturbed({ authorize }, async (service) => {
      const e = { event: "e", data: 1 };
      for (
        const [body, code = "invalid-message"] of [
          [null],
          [1],
          ["text"],
          [[e]],
          [{}],
          [e],
          [{ ...e, session: "ada", channel: "news" }],
          [{ ...e, session: "ada", all: true }],
          [{ ...e, all: false }],
          [{ ...e, all: 1 }],
          [{ ...e, session: 7 }],
          [{ ...e, session: null }],
          [{ ...e, channel: ["news"] }],
          [{ ...e, session: "ada", except: "grace" }],
          [{ ...e, all: true, except: 7 }],
          [{ ...e, all: true, except: ["ada", 7] }],
          [{ ...e, all: true, key: 7 }],
          [{ ...e, channel: "news", except: 7 }],
          [{ ...e, all: true, idempotencyKey: 7 }],
          [{ ...e, all: true, transient: 1 }],
          [{ all: true, data: 1 }],
          [{ all: true, data: 1, event: 7 }],
          [{ all: true, event: "e" }],
          [{ ...e, session: "" }, "invalid-argument"],
          [{ ...e, session: "a\nb" }, "invalid-argument"],
          [{ ...e, session: "x".repeat(2000) }, "invalid-argument"],
          [{ ...e, all: true, except: [""] }, "invalid-argument"],
          [{ ...e, all: true, key: "" }, "invalid-argument"],
          [{ ...e, all: true, idempotencyKey: "" }, "invalid-argument"],
          [{ all: true, data: 1, event: "" }, "invalid-event"],
          [{ all: true, data: 1, event: "a\r\nid: 7" }, "invalid-event"],
          [{ all: true, data: 1, event: "streamside:reset" }, "invalid-event"],
          [{ all: true, data: 1, event: "reset" }, "invalid-event"],
          [{ all: true, data: 1, event: "close" }, "invalid-event"],
          [{ all: true, data: 1, event: "error" }, "invalid-event"],
          [{ all: true, data: 1, event: "open" }, "invalid-event"],
          [{ all: true, data: 1, event: "reconnecting" }, "invalid-event"],
        ] as [unknown, string?][]
      ) {
        await problem(service.post("/send", JSON.stringify(body)), 400, code);
      }
    }));

  test("members that a message does not have change nothing", () =>
    withService({ handler: { authorize } }, async (service) => {
      const reader = await service.subscribe("ada");
      const body =
        '{"__proto__":{"all":true},"constructor":1,"id":"forged","retry":1,"session":"ada","event":"e","data":1}';
      const response = await service.post("/send", body);
      assertEquals(response.status, 202);
      const { id } = await response.json();
      assertEquals(await reader.event(), { event: "e", data: "1", id });
    }));

  test("what is deep, and what is long, is either taken or refused", () =>
    undisturbed({ authorize }, async (service) => {
      const deep = "[".repeat(100_000);
      await problem(service.post("/send", deep), 400, "malformed-json");
      for (
        const data of [
          deep + "]".repeat(100_000),
          `"${"\\n".repeat(100_000)}"`,
          `"${"\\u00e9".repeat(80_000)}"`,
          "9".repeat(300_000),
        ]
      ) {
        const body = `{"session":"nobody","event":"e","data":${data}}`;
        const response = await service.post("/send", body);
        assert([202, 400].includes(response.status), String(response.status));
        await textOf(response);
        // The same, broken at its end.
        await problem(service.post("/send", `${body.slice(0, -1)} x`), 400, "malformed-json");
      }
    }));
});

describe("test echo", () => {
  const echo = { testEndpoints: true };

  test("each string back as a `test` event to the caller's session", () =>
    withService({ handler: echo }, async (service) => {
      const ada = await service.subscribe("ada");
      const other = await service.subscribe("grace");
      const response = await service.post("/test/echo", ["a", "b\nc", ""], {}, "ada");
      assertEquals(response.status, 200);
      assertEquals(await response.json(), { status: "ok", messages_sent: 3 });
      const events = await ada.events(3);
      assertEquals(events.map(({ event, data }) => [event, data]), [
        ["test", "a"],
        ["test", "b\nc"],
        ["test", ""],
      ]);
      await service.hub.broadcast("e", "end");
      assertEquals((await other.event()).data, "end");
      assertEquals(await (await service.post("/test/echo", [])).json(), {
        status: "ok",
        messages_sent: 0,
      });
    }));

  test("refuses what it cannot take; is not there unless it is asked for", () =>
    undisturbed(echo, async (service) => {
      for (const body of ['"a"', "{}", "[1]", "null", '["a",["b"]]']) {
        await problem(service.post("/test/echo", body), 400, "invalid-message");
      }
      await problem(service.post("/test/echo", ["a"], {}, ""), 401, "not-authenticated");
      await withService({}, async (without) => {
        await problem(without.post("/test/echo", ["a"]), 404, "not-found");
      });
    }));
});

describe("methods and paths", () => {
  test("405 with Allow; 404; OPTIONS", () =>
    undisturbed(
      { authorize, testEndpoints: true, authorizeMetrics: () => true },
      async (service) => {
        for (
          const [path, allow, methods] of [
            ["/subscribe", "GET, HEAD, OPTIONS", ["POST", "PUT", "DELETE", "PATCH"]],
            ["/health", "GET, HEAD, OPTIONS", ["POST", "DELETE"]],
            ["/metrics", "GET, HEAD, OPTIONS", ["POST"]],
            ["/send", "POST, OPTIONS", ["GET", "PUT", "DELETE", "PATCH"]],
            ["/test/echo", "POST, OPTIONS", ["GET", "PUT"]],
          ] as const
        ) {
          for (const method of methods) {
            const response = await fetch(`${service.base}${path}`, { method });
            assertEquals(response.headers.get("allow"), allow, `${method} ${path}`);
            await problem(response, 405, "method-not-allowed");
          }
          const options = await fetch(`${service.base}${path}`, { method: "OPTIONS" });
          assertEquals([options.status, options.headers.get("allow")], [204, allow]);
          await textOf(options);
        }
        for (
          const path of [
            "",
            "/",
            "/subscribe/",
            "//subscribe",
            "/Subscribe",
            "/subscribe/x",
            "/constructor",
            "/__proto__",
          ]
        ) {
          await problem(fetch(`${service.base}${path}`), 404, "not-found");
        }
        await problem(fetch(`${service.server.url}/subscribe`), 404, "not-found");
        await problem(fetch(`${service.server.url}/api/v1/sseX/subscribe`), 404, "not-found");
      },
    ));

  test("404 names the base path that was expected, and the path that came, escaped and cut", async () => {
    for (
      const [basePath, expected] of [[undefined, "/api/v1/sse"], ["/a b/", "/a%20b"], ["", "/"]]
    ) {
      await withService(
        { handler: basePath === undefined ? {} : { basePath } },
        async (service) => {
          for (const path of ["/", "/nothing", `/${"x".repeat(5_000)}`, "/%22%0a%1b"]) {
            const { detail } = await problem(
              fetch(`${service.server.url}${path}`),
              404,
              "not-found",
            );
            assertStringIncludes(detail, `basePath ${JSON.stringify(expected)}`);
            assertStringIncludes(detail, path.slice(0, 20));
            assert(detail.length < 200, detail);
          }
        },
      );
    }
    await withService({}, async (service) => {
      const { detail } = await problem(fetch(`${service.base}/nothing`), 404, "not-found");
      assertStringIncludes(detail, '"/api/v1/sse/nothing"');
      assertStringIncludes(detail, 'basePath "/api/v1/sse"');
    });
  });

  test("another base path, with and without a slash at its end, and none", async () => {
    for (const basePath of ["/events", "/events/", "/événements", "/a b/%25", "", "/"]) {
      await withService({ handler: { basePath } }, async (service) => {
        const under = basePath.replace(/\/$/, "");
        const response = await fetch(`${service.server.url}${under}/subscribe?sessionId=ada`);
        assertEquals(response.status, 200, basePath);
        await response.body!.cancel();
        await problem(service.get("ada"), 404, "not-found");
      });
    }
  });

  test("handler.subscribe and handler.send alone, for a router of one's own", () =>
    withHub({}, async (hub) => {
      const handler = createHandler(hub, { authenticate, authorize });
      const server = await serve((request) => {
        const { pathname } = new URL(request.url);
        if (pathname === "/stream") return handler.subscribe(request);
        if (pathname === "/tell") return handler.send(request);
        return new Response("other");
      });
      try {
        const reader = new EventReader(await fetch(`${server.url}/stream?sessionId=ada`));
        await reader.block();
        const sent = await fetch(`${server.url}/tell`, {
          method: "POST",
          headers: { "Content-Type": "application/json", "X-Session-Id": "ada" },
          body: '{"all":true,"event":"e","data":1}',
        });
        assertEquals([sent.status, (await sent.json()).connections], [202, 1]);
        assertEquals((await reader.event()).data, "1");
        await problem(fetch(`${server.url}/tell`), 405, "method-not-allowed");
        await reader.cancel();
      } finally {
        await hub.close();
        await server.close();
      }
    }));

  test("createHandler without `authenticate` throws: there is no open default", () =>
    withHub({}, (hub) => {
      for (const options of [undefined, {}, { authenticate: true }]) {
        const error = assertThrows(
          () => createHandler(hub, options as unknown as HandlerOptions),
          StreamsideError,
        );
        assertEquals(error.code, "invalid-argument");
      }
    }));

  test("an option that is none throws at once, and says which: it would never match, or never limit", () =>
    withHub({}, (hub) => {
      for (
        const [name, values] of Object.entries({
          // As a string it would let in every origin that is a part of it.
          cors: [
            "https://app.example",
            7,
            {},
            ["null"],
            [undefined],
            ["app.example"],
            [
              "https://app.example/",
            ],
            ["https://app.example:443"],
            ["https://App.example"],
            ["https://*.example"],
            [
              "https://app.example",
              "",
            ],
            { headers: ["X-CSRF-Token"] },
            { origins: "https://app.example" },
            { origins: ["app.example"] },
            ...["X-CSRF-Token", ["*"], [""], ["a b"], ["a:"], ["a\r\nSet-Cookie"], ["é"], [7]].map((
              headers,
            ) => ({ origins: ["https://app.example"], headers })),
          ],
          basePath: ["api/sse", "https://app.example/sse", "/sse?a", "/sse#a", 7],
          maxBodyBytes: [NaN, 0, -1, "1000"],
          bodyTimeout: [NaN, 0, "1000"],
          maxQueryLength: [NaN, 0, "1000"],
          authTimeout: [NaN, 0, -1, "1000"],
          unavailable: [true, "503", 503],
        })
      ) {
        for (const value of values) {
          const options = { authenticate, [name]: value } as unknown as HandlerOptions;
          const what = `${name}: ${JSON.stringify(value)}`;
          const error = assertThrows(() => createHandler(hub, options), StreamsideError);
          assertEquals(error.code, "invalid-argument", what);
          assertStringIncludes(error.message, name, what);
        }
      }
      for (const notHub of [undefined, null, "hub", {}]) {
        const error = assertThrows(
          () => createHandler(notHub as unknown as typeof hub, { authenticate }),
          StreamsideError,
        );
        assertEquals(error.code, "invalid-argument");
      }
      createHandler(hub, {
        authenticate,
        cors: ["*", "http://localhost:5173", "capacitor://localhost", "chrome-extension://abcdef"],
        maxBodyBytes: Infinity,
      });
    }));

  test("sessionFromRequest: the header, then the query, else null", () => {
    const from = (query: string, header?: string) =>
      sessionFromRequest(
        new Request(`http://localhost/${query}`, {
          headers: header === undefined ? {} : { "X-Session-Id": header },
        }),
      );
    assertEquals(from("?sessionId=a", "b"), "b");
    assertEquals(from("?sessionId=a"), "a");
    assertEquals(from("?sessionId=a", ""), "a");
    assertEquals(from("?sessionId=", ""), null);
    assertEquals(from(""), null);
    // What no session can be called is none.
    assertEquals(from("?sessionId=a%0Ab"), null);
    assertEquals(from("?sessionId=%00"), null);
    assertEquals(from("", "x".repeat(1025)), null);
    assertEquals(from("", "x".repeat(1024)), "x".repeat(1024));
  });
});

describe("other origins", () => {
  const app = "https://app.example";
  const message = { session: "nobody", event: "e", data: 1 };

  test("an origin on the list: CORS headers with credentials on answers and refusals; others: none", () =>
    withService({ handler: { authorize, cors: [app] } }, async (service) => {
      const ask = async (origin: string, session: string | null) => {
        const response = await service.get(session, "", { Origin: origin });
        await response.body!.cancel();
        return response.headers;
      };
      for (const session of ["ada", null]) {
        const headers = await ask(app, session);
        assertEquals(headers.get("access-control-allow-origin"), app);
        assertEquals(headers.get("access-control-allow-credentials"), "true");
        assertStringIncludes(headers.get("vary")!, "Origin");
        for (
          const foreign of [
            "https://evil.example",
            `${app}.evil.example`,
            "null",
            "http://app.example",
          ]
        ) {
          const refused = await ask(foreign, session);
          assertEquals(refused.get("access-control-allow-origin"), null);
          assertEquals(refused.get("access-control-allow-credentials"), null);
          assertStringIncludes(refused.get("vary")!, "Origin");
        }
      }
      const plain = await service.get("ada");
      assertStringIncludes(plain.headers.get("vary")!, "Origin");
      await plain.body!.cancel();
    }));

  test("preflight: methods and the headers that clients send, for an origin on the list only", () =>
    withService({ handler: { authorize, cors: [app] } }, async (service) => {
      const preflight = async (path: string, origin: string, method: string) => {
        const response = await fetch(`${service.base}${path}`, {
          method: "OPTIONS",
          headers: {
            Origin: origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type,x-session-id,last-event-id",
          },
        });
        await textOf(response);
        assertEquals(response.status, 204);
        assertStringIncludes(response.headers.get("vary")!, "Origin");
        return response.headers;
      };
      for (const [path, method] of [["/subscribe", "GET"], ["/send", "POST"]] as const) {
        const headers = await preflight(path, app, method);
        assertEquals(headers.get("access-control-allow-origin"), app);
        assertEquals(headers.get("access-control-allow-credentials"), "true");
        assertStringIncludes(headers.get("access-control-allow-methods")!, method);
        for (const name of ["Authorization", "Content-Type", "Last-Event-ID", "X-Session-Id"]) {
          assertStringIncludes(headers.get("access-control-allow-headers")!, name);
        }
        const refused = await preflight(path, "https://evil.example", method);
        assertEquals(refused.get("access-control-allow-origin"), null);
        assertEquals(refused.get("access-control-allow-methods"), null);
      }
    }));

  test("`{ origins, headers }`: more headers that a page may send, in the preflight", () =>
    withService({
      handler: { authorize, cors: { origins: [app], headers: ["X-CSRF-Token", "traceparent"] } },
    }, async (service) => {
      const preflight = async (origin: string) => {
        const response = await fetch(`${service.base}/send`, {
          method: "OPTIONS",
          headers: {
            Origin: origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-csrf-token",
          },
        });
        await textOf(response);
        return response.headers.get("access-control-allow-headers");
      };
      assertEquals(
        await preflight(app),
        "Authorization, Content-Type, Last-Event-ID, X-Session-Id, X-CSRF-Token, traceparent",
      );
      assertEquals(await preflight("https://evil.example"), null);
      const headers = { Origin: app, "X-CSRF-Token": "t" };
      const response = await service.post("/send", message, headers);
      assertEquals([response.status, response.headers.get("access-control-allow-origin")], [
        202,
        app,
      ]);
      await textOf(response);
    }));

  test('"*": every origin, never with credentials', () =>
    withService({ handler: { authorize, cors: ["*"] } }, async (service) => {
      const response = await service.get("ada", "", { Origin: "https://any.example" });
      assertEquals(response.headers.get("access-control-allow-origin"), "*");
      assertEquals(response.headers.get("access-control-allow-credentials"), null);
      await response.body!.cancel();
    }));

  test("without a list no answer has a CORS header", () =>
    withService({}, async (service) => {
      const response = await service.get("ada", "", { Origin: app });
      for (const [name] of response.headers) assert(!name.startsWith("access-control"), name);
      await response.body!.cancel();
    }));

  test("POST from a page of another origin is refused, from its own or one on the list it is taken", () =>
    undisturbed({ authorize, cors: [app] }, async (service) => {
      const own = service.server.url;
      const cases: [headers: Record<string, string>, status: number][] = [
        [{}, 202],
        [{ Origin: own }, 202],
        [{ Origin: app }, 202],
        [{ Origin: "https://evil.example" }, 403],
        [{ Origin: "null" }, 403],
        [{ Origin: "not a url" }, 403],
        [{ Origin: own.replace("127.0.0.1", "127.0.0.2") }, 403],
        [{ Origin: own.replace(/\d+$/, "1") }, 403],
        [{ "Sec-Fetch-Site": "same-origin" }, 202],
        [{ "Sec-Fetch-Site": "none" }, 202],
        [{ "Sec-Fetch-Site": "cross-site" }, 403],
        [{ "Sec-Fetch-Site": "same-site" }, 403],
        [{ "Sec-Fetch-Site": "nonsense" }, 403],
        [{ Origin: "https://evil.example", "Sec-Fetch-Site": "cross-site" }, 403],
        [{ Origin: app, "Sec-Fetch-Site": "cross-site" }, 202],
      ];
      for (const [headers, status] of cases) {
        const response = await service.post("/send", message, headers);
        assertEquals(response.status, status, JSON.stringify(headers));
        if (status === 403) await problem(response, 403, "origin-not-allowed");
        else await textOf(response);
      }
    }));
});

describe("authenticate and authorize", () => {
  const secret = "postgres://user:password@db refused";
  const ways: Record<string, () => never | Promise<never>> = {
    throws: () => {
      throw new Error(secret);
    },
    rejects: () => Promise.reject(new Error(secret)),
  };

  for (const [name, fail] of Object.entries(ways)) {
    test(`one that ${name}: 500 without detail, and logged`, async () => {
      const body = { session: "nobody", event: "e", data: 1 };
      await withService({ handler: { authenticate: fail } }, async (service) => {
        const { detail } = await problem(service.post("/send", body), 500, "internal-error");
        const refused = await refusedForNow(service.get("ada"));
        assertEquals(refused, { status: 500, code: "internal-error", detail, id: undefined });
        assert(!detail.includes("password"));
        const errors = service.log.filter(([level]) => level === "error");
        assertEquals(errors.length, 2);
        assertStringIncludes(errors[0]![1], "authenticate");
        assertStringIncludes(errors[0]![1], secret);
      });
      await withService(
        { handler: { authorize: fail, authorizeMetrics: fail } },
        async (service) => {
          await problem(service.post("/send", body), 500, "internal-error");
          await problem(fetch(`${service.base}/metrics`), 500, "internal-error");
          assertEquals(service.log.filter(([level]) => level === "error").length, 2);
          assertEquals(service.hub.stats().events, 0);
        },
      );
    });
  }

  test("a callback that never answers: 503 after authTimeout, and logged", async () => {
    const never = () => new Promise<never>(() => {});
    const body = { session: "nobody", event: "e", data: 1 };
    const authenticate = (request: Request) =>
      sessionFromRequest(request) === "quick" ? Promise.resolve({ session: "quick" }) : never();
    await withService({ handler: { authenticate, authTimeout: 50 } }, async (service) => {
      await (await service.subscribe("quick")).cancel();
      const { status, code } = await refusedForNow(service.get("ada"));
      assertEquals([status, code], [503, "unavailable"]);
      // One line: the time of the one that answered has come too by now, and nobody is told of it.
      const errors = service.log.filter(([level]) => level === "error");
      assertEquals(errors.length, 1);
      assertStringIncludes(errors[0]![1], "authenticate");
      assertEquals(service.hub.stats().connects, 1);
    });
    await withService({ handler: { authorize: never, authTimeout: 50 } }, async (service) => {
      await problem(service.post("/send", body), 503, "unavailable");
      assertEquals(service.hub.stats().events, 0);
    });
  });

  test("a callback that answers too late changes nothing any more", async () => {
    let answer = (_: { session: string } | null) => {};
    const late = () => new Promise<{ session: string } | null>((resolve) => answer = resolve);
    await withService({ handler: { authenticate: late, authTimeout: 30 } }, async (service) => {
      await refusedForNow(service.get("ada"));
      answer({ session: "ada" });
      await (await fetch(`${service.base}/health`)).text();
      assertEquals(service.hub.stats().connects, 0);
    });
  });

  test("an invalid identity is the application's mistake: 500, not the client's", async () => {
    for (const identity of [{}, { session: 7 }, { session: "" }, "ada"]) {
      const authenticate = () => identity as unknown as { session: string };
      await withService({ handler: { authenticate } }, async (service) => {
        assertEquals((await refusedForNow(service.get("ada"))).code, "internal-error");
        assertEquals(service.log.filter(([level]) => level === "error").length, 1);
      });
    }
    for (const nobody of [null, undefined, false, ""]) {
      const authenticate = () => nobody as unknown as null;
      await withService({ handler: { authenticate } }, async (service) => {
        await problem(service.get("ada"), 401, "not-authenticated");
      });
    }
  });

  test("an identity that no stream could be opened with: 500, logged without the session, on every route", async () => {
    const session = "secret-session-0123456789";
    const faults: Record<string, unknown>[] = [
      { session: `${session}\n` },
      { session: `${session}\0` },
      { session: session.repeat(100) },
      { session, channels: "news" },
      { session, channels: 7 },
      { session, channels: {} },
      { session, channels: ["news", 7] },
      { session, channels: ["a\nb"] },
      { session, channels: [""] },
      { session, expires: "2999-01-01" },
      { session, expires: "soon" },
      { session, expires: NaN },
      { session, expires: new Date(NaN) },
      { session, expires: null },
      { session, expires: {} },
      { session, expires: true },
    ];
    for (const identity of faults) {
      const authenticate = () => identity as unknown as { session: string };
      await withService({ handler: { authenticate, authorize } }, async (service) => {
        const body = { session: "nobody", event: "e", data: 1 };
        const { detail } = await problem(service.post("/send", body), 500, "internal-error");
        const refused = await refusedForNow(service.get("ada"));
        assertEquals(refused, { status: 500, code: "internal-error", detail, id: undefined });
        assert(!detail.includes("secret"));
        const errors = service.log.filter(([level]) => level === "error");
        assertEquals(errors.length, 2, JSON.stringify(identity));
        for (const [, text] of service.log) {
          assertStringIncludes(text, "authenticate");
          assert(!text.includes("secret"), text);
        }
        assertEquals([service.hub.stats().connects, service.hub.stats().events], [0, 0]);
      });
    }
  });

  test("an identity that has expired is nobody's: 401 on every route", async () => {
    for (const expires of [Date.now() - 1, new Date(0), -Infinity]) {
      const authenticate = () => ({ session: "ada", expires });
      await withService({ handler: { authenticate, authorize } }, async (service) => {
        const body = { session: "nobody", event: "e", data: 1 };
        await problem(service.get("ada"), 401, "not-authenticated");
        await problem(service.post("/send", body), 401, "not-authenticated");
        const head = await fetch(`${service.base}/subscribe`, { method: "HEAD" });
        assertEquals(head.status, 401);
        assertEquals(service.hub.stats().connects, 0);
      });
    }
  });

  test("a callback that fails when it is too late is logged, and is no unhandled rejection", async () => {
    let fail = (_: Error) => {};
    const late = () => new Promise<never>((_, reject) => fail = reject);
    await withService({ handler: { authenticate: late, authTimeout: 30 } }, async (service) => {
      await refusedForNow(service.get("ada"));
      fail(new Error("too late"));
      await (await fetch(`${service.base}/health`)).text();
      const errors = service.log.filter(([level]) => level === "error");
      assertEquals(errors.length, 2);
      assertStringIncludes(errors[1]![1], "too late");
    });
  });

  test("a time to wait that no timer could take is no time at all", () =>
    withService({
      handler: {
        authTimeout: Infinity,
        bodyTimeout: Infinity,
        authenticate: async () => {
          await new Promise((resolve) => setTimeout(resolve, 20));
          return { session: "ada" };
        },
        authorize,
      },
    }, async (service) => {
      await (await service.subscribe("ada")).cancel();
      const sent = await service.post("/send", { session: "nobody", event: "e", data: 1 });
      assertEquals([sent.status, (await sent.json()).connections], [202, 0]);
    }));

  test("asynchronous ones are waited for, also those that are thenables and no promises", () =>
    withService({
      handler: {
        authenticate: (request) =>
          ({
            then: (resolve: (identity: unknown) => void) =>
              resolve({ session: sessionFromRequest(request) }),
          }) as unknown as Promise<{ session: string }>,
        authorize: async (identity) => await Promise.resolve(identity.session === "ada"),
      },
    }, async (service) => {
      const reader = await service.subscribe("ada");
      const body = { session: "ada", event: "e", data: 1 };
      await problem(service.post("/send", body, {}, "grace"), 403, "not-authorized");
      const sent = await service.post("/send", body, {}, "ada");
      assertEquals(sent.status, 202);
      await textOf(sent);
      assertEquals((await reader.event()).data, "1");
    }));

  test("they get a Request with all that one has", async () => {
    const seen: unknown[] = [];
    await withService({
      handler: {
        authenticate: (request) => {
          const copy = request.clone();
          seen.push(
            request.method,
            new URL(request.url).searchParams.get("q"),
            request.headers.get("Authorization"),
            request instanceof Request,
            copy.headers.get("cookie"),
            request.signal.aborted,
          );
          return { session: "ada" };
        },
      },
    }, async (service) => {
      const response = await fetch(`${service.base}/subscribe?q=a%20b`, {
        headers: { Authorization: "Bearer x", Cookie: "a=b" },
      });
      assertEquals(response.status, 200);
      await response.body!.cancel();
      assertEquals(seen, ["GET", "a b", "Bearer x", true, "a=b", false]);
    });
  });
});

describe("health", () => {
  test("health: 200, and 503 once the hub is closing", () =>
    withService({}, async (service) => {
      const health = async () => {
        const response = await fetch(`${service.base}/health`);
        return [response.status, (await response.json()).status];
      };
      assertEquals(await health(), [200, "ok"]);
      const closing = service.hub.close({ within: 50 });
      assertEquals(await health(), [503, "draining"]);
      await closing;
      assertEquals((await health())[0], 503);
    }));

  test("health: 503 until the log is reached, since no subscriber is taken before", () => {
    let follower!: LogFollower;
    const log: Log = {
      follow: (given) => {
        follower = given;
        return () => {};
      },
      append: () => Promise.resolve({ position: 1 }),
      read: () => Promise.resolve([]),
    };
    return withService({ hub: { log } }, async (service) => {
      const health = async () => {
        const response = await fetch(`${service.base}/health`);
        return [response.status, (await response.json()).status];
      };
      assertEquals(await health(), [503, "log-unavailable"]);
      assertEquals((await refusedForNow(service.get("ada"))).code, "log-unavailable");
      follower.opened("epoch", { position: 0 }, { position: 0 });
      assertEquals(await health(), [200, "ok"]);
      await (await service.subscribe("ada")).cancel();
    });
  });
});
