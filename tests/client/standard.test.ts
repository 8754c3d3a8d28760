/** The stream as WHATWG HTML 9.2 has it, and the `EventSource` class that stands in for the global one. */
import { describe, test } from "node:test";
import fc from "fast-check";
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { createClient, EventSource } from "../../src/client/mod.ts";
import { feeds, next, record, serve, STREAM, until } from "./helpers.ts";

interface Dispatched {
  type: string;
  data: string;
  lastEventId: string;
}

/**
 * A straight reading of "interpreting an event stream" (9.2.6), step by step, on the whole stream at once: slow, and
 * with nothing in common with the parser.
 */
function interpret(bytes: Uint8Array): Dispatched[] {
  // "Streams must be decoded using the UTF-8 decode algorithm", which takes one byte order mark away.
  const text = new TextDecoder("utf-8").decode(bytes);
  const dispatched: Dispatched[] = [];
  let data = "";
  let eventType = "";
  let lastEventId = "";

  const processField = (field: string, value: string) => {
    if (field === "event") eventType = value;
    else if (field === "data") data += value + "\n";
    else if (field === "id" && !value.includes("\0")) lastEventId = value;
  };
  // "Lines must be separated by CRLF, LF or CR"; what follows the last of them is no line.
  const lines = text.split(/\r\n|\n|\r/);
  lines.pop();
  for (const line of lines) {
    if (line === "") {
      if (data !== "") {
        if (data.endsWith("\n")) data = data.slice(0, -1);
        dispatched.push({ type: eventType || "message", data, lastEventId });
      }
      data = "";
      eventType = "";
    } else if (line.startsWith(":")) {
      continue;
    } else if (line.includes(":")) {
      const colon = line.indexOf(":");
      let value = line.slice(colon + 1);
      if (value.startsWith(" ")) value = value.slice(1);
      processField(line.slice(0, colon), value);
    } else {
      processField(line, "");
    }
  }
  return dispatched;
}

/** What the client makes of chunks. */
async function receive(chunks: Uint8Array[]): Promise<Dispatched[]> {
  const { fetch, all } = feeds();
  const client = createClient("http://localhost/", { fetch, reconnect: { maxAttempts: 0 } });
  const got: Dispatched[] = [];
  const reading = (async () => {
    for await (const { type, data, lastEventId } of client.events()) {
      got.push({ type, data, lastEventId });
    }
  })();
  client.connect();
  await next(client, "open");
  for (const chunk of chunks) all[0]!.push(chunk);
  all[0]!.end();
  await reading;
  return got;
}

const encode = (text: string) => new TextEncoder().encode(text);

/** Cuts bytes into chunks at the given places, which are taken modulo the length. */
function cut(bytes: Uint8Array, places: number[]): Uint8Array[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) =>
    a - b
  );
  const chunks: Uint8Array[] = [];
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    chunks.push(bytes.slice(start, end));
    start = end;
  }
  return chunks;
}

const arbitraryText = fc.string({
  maxLength: 8,
  unit: fc.constantFrom(..."ab:  \0é…😀\uFEFF1".split(""), "😀", "data", "id"),
});
const arbitraryLine = fc.oneof(
  { weight: 6, arbitrary: fc.constant("") },
  {
    weight: 12,
    arbitrary: fc.tuple(
      fc.constantFrom("data", "data", "event", "id", "retry", "", "Data", " data", "datum"),
      fc.constantFrom(": ", ":", ":  ", ""),
      arbitraryText,
    ).map((parts) => parts.join("")),
  },
  { weight: 1, arbitrary: arbitraryText },
);
const arbitraryStream = fc.tuple(
  fc.constantFrom("", "", "\uFEFF", "\uFEFF\uFEFF"),
  fc.array(fc.tuple(arbitraryLine, fc.constantFrom("\n", "\n", "\r", "\r\n")), { maxLength: 40 }),
  arbitraryText,
).map(([mark, lines, rest]) => encode(mark + lines.flat().join("") + rest));

describe("the stream as the standard has it", () => {
  test("any stream in any chunking gives what a straight reading of the algorithm gives", async () => {
    await fc.assert(
      fc.asyncProperty(
        arbitraryStream,
        fc.array(fc.nat(), { maxLength: 30 }),
        async (bytes, places) => {
          assertEquals(await receive(cut(bytes, places)), interpret(bytes));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("byte by byte, too", async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryStream, async (bytes) => {
        const chunks = Array.from(bytes, (byte) => Uint8Array.of(byte));
        assertEquals(await receive(chunks), interpret(bytes));
      }),
      { numRuns: 300 },
    );
  });

  test("bytes that are no UTF-8 are replaced, and end nothing", async () => {
    const unit = fc.oneof(
      fc.constantFrom(...encode("data: x\n\nid:1\r\n")),
      fc.integer({ min: 0, max: 255 }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(unit, { maxLength: 80 }).map((list) => Uint8Array.from(list)),
        fc.array(fc.nat(), { maxLength: 20 }),
        async (bytes, places) => {
          assertEquals(await receive(cut(bytes, places)), interpret(bytes));
        },
      ),
      { numRuns: 500 },
    );
  });

  test("an event is delivered with the bare CR that ends it, not with the next chunk", async () => {
    const { fetch, all } = feeds();
    const client = createClient("http://localhost/", { fetch });
    const lines = record(client, "message");
    client.connect();
    await next(client, "open");
    for (const [i, text] of ["data: 1\r\r", "data: 2\r\n\r", "\ndata: 3\r", "\r"].entries()) {
      all[0]!.push(text);
      const heard = [1, 2, 2, 3][i]!;
      await until(() => lines.length == heard, `${heard} events`);
    }
    assertEquals(lines, ["message 1", "message 2", "message 3"]);
    client.close();
  });

  test("the last id carries over events and connections; an empty one clears it", async () => {
    const { fetch, all } = feeds();
    const client = createClient("http://localhost/", { fetch, reconnect: { delay: 1 } });
    const ids: string[] = [];
    client.addEventListener("message", (event) => ids.push(event.lastEventId));
    client.connect();
    await next(client, "open");
    all[0]!.push("data: 1\n\nid: a\ndata: 2\n\ndata: 3\n\nid: b\n\ndata: 4\n\nid: c\n");
    await until(() => ids.length == 4, "four events");
    all[0]!.end();
    await next(client, "open");
    assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "b");
    all[1]!.push("data: 5\n\nid\ndata: 6\n\n");
    await until(() => ids.length == 6, "six events");
    assertEquals(ids, ["", "a", "a", "b", "b", ""]);
    client.reconnect();
    await next(client, "open");
    assertEquals(all[2]!.request.headers.get("Last-Event-ID"), null);
    client.close();
  });

  test("retry takes ASCII digits only", async () => {
    const { fetch, all } = feeds();
    const client = createClient("http://localhost/", {
      fetch,
      reconnect: { delay: 5, jitter: 0, factor: 1 },
    });
    const delays: number[] = [];
    client.addEventListener("reconnecting", (event) => delays.push(event.delay));
    client.connect();
    for (const retry of ["12x", "-1", "1.5", "٣", "", "7"]) {
      await next(client, "open");
      all.at(-1)!.push(`retry: ${retry}\n\n`);
      const waits = next(client, "reconnecting");
      all.at(-1)!.end();
      await waits;
      client.reconnect();
    }
    client.close();
    assertEquals(delays, [5, 5, 5, 5, 5, 7]);
  });

  test("no response is taken from a cache", async () => {
    const { fetch, all } = feeds();
    const client = createClient("http://localhost/", { fetch });
    client.connect();
    await next(client, "open");
    assertEquals(all[0]!.request.cache, "no-store");
    client.close();
  });
});

describe("EventSource", () => {
  test("has the standard's surface", async () => {
    await using server = await serve((exchange) => exchange.stream("data: x\n\n"));
    const source = new EventSource(server.url + "a?b#c", { withCredentials: true });
    try {
      // It can take the place of the global one, where there is one.
      const native: globalThis.EventSource = source;
      assertEquals(native.readyState, 0);
      assertEquals(source.url, server.url + "a?b#c");
      assertEquals(source.withCredentials, true);
      assertEquals([source.CONNECTING, source.OPEN, source.CLOSED], [0, 1, 2]);
      assertEquals([EventSource.CONNECTING, EventSource.OPEN, EventSource.CLOSED], [0, 1, 2]);
      assertEquals([EventSource.name, EventSource.length], ["EventSource", 1]);
      assertInstanceOf(source, EventTarget);
      const opened = next(source, "open");
      const event = await next<MessageEvent>(source, "message");
      const open = await opened;
      assertEquals([open.bubbles, open.cancelable, "data" in open], [false, false, false]);
      assert(open.target === source);
      assertInstanceOf(event, MessageEvent);
      assertEquals([event.data, event.origin], ["x", new URL(server.url).origin]);
      assertEquals([event.bubbles, event.cancelable, event.ports.length], [false, false, 0]);
      assert(event.target === source);
      assertEquals(source.readyState, source.OPEN);
    } finally {
      source.close();
    }
    assertEquals(source.readyState, source.CLOSED);
    assertEquals(server.exchanges[0]!.request.url, "/a?b");
  });

  test("a URL that cannot be parsed is a SyntaxError", () => {
    const error = assertThrows(() => new EventSource("http://this is invalid/"));
    assertEquals([error.constructor, error.name], [DOMException, "SyntaxError"]);
  });

  test("connects at once, and never gives up on lost connections", async () => {
    const { fetch, all } = feeds();
    let calls = 0;
    const source = new EventSource("http://localhost/", {
      fetch: async (url, init) => {
        const down = ++calls > 1 && calls < 10;
        if (down) throw new TypeError("no connection");
        const response = await fetch(url, init);
        all.at(-1)!.push("retry: 1\nid: 3\ndata: x\n\n");
        if (calls == 1) all.at(-1)!.end();
        return response;
      },
    });
    const lines = record(source, "open", "message", "error", "reconnecting", "close");
    await until(() => all.length == 2 && source.readyState == source.OPEN, "the tenth attempt");
    await until(() => lines.length == 13, "all events");
    assertEquals(lines, [
      "open",
      "message x",
      ...Array<string>(9).fill("error"),
      "open",
      "message x",
    ]);
    assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "3");
    source.close();
    source.close();
    assertEquals(lines.length, 13);
  });

  test("any status but 200 and any other content type fail it: CLOSED, one error, no more", async () => {
    const answers: [number, Record<string, string>][] = [
      [204, {}],
      [205, STREAM],
      [210, STREAM],
      [404, STREAM],
      [410, STREAM],
      [500, STREAM],
      [503, { ...STREAM, "Retry-After": "0" }],
      [200, { "Content-Type": "text/plain" }],
      [200, { "Content-Type": "x bogus" }],
      [200, {}],
    ];
    for (const [status, headers] of answers) {
      await using server = await serve(({ response }) => response.writeHead(status, headers).end());
      const source = new EventSource(server.url);
      const lines = record(source, "open", "error", "close", "reconnecting");
      await next(source, "error");
      assertEquals(source.readyState, source.CLOSED);
      assertEquals(lines, [`error ${status}`], `${status} ${JSON.stringify(headers)}`);
      assertEquals(server.exchanges.length, 1);
    }
  });

  test("content types that are event streams", async () => {
    for (
      const type of [
        "text/event-stream;charset=utf-8",
        "TEXT/Event-Stream ; x=y",
        "text/event-stream;",
        "text/event-stream;x bogus",
      ]
    ) {
      await using server = await serve(({ response }) => {
        response.writeHead(200, { "Content-Type": type }).write("data: x\n\n");
      });
      const source = new EventSource(server.url);
      await next(source, "message");
      source.close();
    }
  });

  test("streamside:reset is an event like any other", async () => {
    await using server = await serve((e) => e.stream("event: streamside:reset\ndata: x\n\n"));
    const source = new EventSource(server.url);
    assertEquals((await next<MessageEvent>(source, "streamside:reset")).data, "x");
    source.close();
  });

  test("waits exactly as long as the stream asks for, whenever the response was fine", async () => {
    const { fetch, all } = feeds();
    const { setTimeout } = globalThis;
    const waits: number[] = [];
    Object.assign(globalThis, {
      setTimeout: (then: () => void, time: number, ...rest: unknown[]) => {
        // Those of the client, and not those by which tests wait.
        const short = time > 300 && time < 1000;
        if (short) waits.push(time);
        return setTimeout(then, short ? 0 : time, ...rest);
      },
    });
    try {
      const source = new EventSource("http://localhost/", {
        fetch: async (url, init) => {
          const response = await fetch(url, init);
          all.at(-1)!.push("retry: 345\n\n");
          all.at(-1)!.end();
          return response;
        },
      });
      while (all.length < 6) await next(source, "open");
      source.close();
    } finally {
      Object.assign(globalThis, { setTimeout });
    }
    assert(waits.length >= 5);
    for (const time of waits) assert(Math.abs(time - 345) < 1, String(time));
  });

  test("a URL that no fetch can reach fails for good", async () => {
    for (const url of ["mailto:ada@example.com", "javascript:void 0"]) {
      const source = new EventSource(url);
      const lines = record(source, "open", "error");
      await next(source, "error");
      assertEquals([source.readyState, lines], [source.CLOSED, ["error"]]);
    }
  });

  test("asks caches to stay out of the way", async () => {
    await using server = await serve((exchange) => exchange.stream("data: x\n\n"));
    const source = new EventSource(server.url);
    await next(source, "message");
    source.close();
    assertEquals(server.exchanges[0]!.request.headers["cache-control"], "no-cache");
  });

  test("has its members where the interface definition has them", () => {
    const { prototype } = EventSource;
    const names = ["url", "withCredentials", "readyState", "onopen", "onmessage", "onerror"];
    for (const name of names) {
      const { get, set, enumerable } = Object.getOwnPropertyDescriptor(prototype, name)!;
      assertEquals([typeof get, enumerable], ["function", true], name);
      assertEquals(typeof set, name.startsWith("on") ? "function" : "undefined", name);
    }
    assert(Object.hasOwn(prototype, "close"));
    for (const holder of [EventSource, prototype]) {
      for (const [name, value] of [["CONNECTING", 0], ["OPEN", 1], ["CLOSED", 2]] as const) {
        assertEquals(Object.getOwnPropertyDescriptor(holder, name), {
          value,
          enumerable: true,
          writable: false,
          configurable: false,
        });
      }
    }
    const { fetch } = feeds();
    const source = new EventSource("http://localhost/", { fetch });
    source.close();
    assertEquals(String(source), "[object EventSource]");
    assertEquals(Object.keys(source), []);
    assert(!("reconnect" in source));
  });

  test("onmessage keeps its place among the listeners, until it is null", async () => {
    const { fetch, all } = feeds();
    const source = new EventSource("http://localhost/", { fetch });
    const heard: string[] = [];
    source.addEventListener("message", () => heard.push("first"));
    source.onmessage = () => heard.push("never");
    source.addEventListener("message", () => heard.push("third"));
    source.onmessage = function (this: unknown) {
      assert(this === source);
      heard.push("second");
    };
    await next(source, "open");
    all[0]!.push("data: 1\n\n");
    await next(source, "message");
    source.onmessage = null;
    assertEquals(source.onmessage, null);
    source.onmessage = () => heard.push("last");
    all[0]!.push("data: 2\n\n");
    await next(source, "message");
    source.close();
    assertEquals(heard, ["first", "second", "third", "first", "third", "last"]);
  });

  test("a request that is not idempotent is not sent again", async () => {
    await using server = await serve((exchange) => {
      exchange.stream("data: x\n\n");
      exchange.response.end();
    });
    const source = new EventSource(server.url, { method: "POST" });
    const lines = record(source, "message", "error");
    await next(source, "error");
    assertEquals([source.readyState, lines], [source.CLOSED, ["message x", "error"]]);
    assertEquals(server.exchanges.length, 1);
  });
});
