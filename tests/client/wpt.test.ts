/**
 * `EventSource` in the cases of web-platform-tests' folder `eventsource`, each under the name it has there.
 *
 * What cannot be had outside of a browser, and is not here:
 * - `eventsource-onmessage-trusted`: only a platform makes events whose `isTrusted` is true.
 * - `eventsource-cross-origin`, its preflight, and the cookies of `request-credentials`: runtimes have no origin of their own
 *   to check CORS against, and keep no cookies.
 * - `dedicated-worker/` and `shared-worker/` repeat the cases below in workers; `eventsource-close2` is about a worker's end.
 * - `eventsource-request-cancellation` is about `window.stop()`. What it asks of the source is in its test here: `close()`
 *   before the response.
 * - `eventsource-onmessage-realm`, `constructor-url-multi-window`, `constructor-document-domain` and `eventsource-bfcache`
 *   need windows and frames.
 * - `interfaces` reads the interface definition by a library of its own; its members are checked here one by one.
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { EventSource } from "../../src/client/mod.ts";
import { freePort, next, record, serve, STREAM, until } from "./helpers.ts";

/** Serves one body to each request, and ends it. */
function serveBody(body: string, type = "text/event-stream") {
  return serve(({ response }) => {
    response.writeHead(200, { "Content-Type": type }).end(body);
  });
}

/** The first `count` messages of a stream, which is then closed. */
async function messages(body: string, count: number, type?: string): Promise<MessageEvent[]> {
  await using server = await serveBody(body, type);
  const source = new EventSource(server.url);
  const got: MessageEvent[] = [];
  source.onmessage = (event) => {
    if (got.push(event) === count) source.close();
  };
  try {
    await until(() => got.length === count, `${count} messages`);
  } finally {
    source.close();
  }
  return got;
}

const datas = async (body: string, count: number, type?: string) =>
  (await messages(body, count, type)).map(({ data }) => data);

/** The source fails for good, with one plain event. */
async function fails(url: string): Promise<void> {
  const source = new EventSource(url);
  const lines = record(source, "open", "message");
  const errors: Event[] = [];
  source.addEventListener("error", (event) => errors.push(event));
  await next(source, "error");
  assertEquals(source.readyState, source.CLOSED, url);
  const { bubbles, cancelable } = errors[0]!;
  assertEquals([errors.length, bubbles, cancelable, "data" in errors[0]!], [
    1,
    false,
    false,
    false,
  ]);
  assertEquals(lines, []);
}

/** Runs with `location` and, if given, the document's base URL, as in a page. */
async function inPage(location: string, base: string | undefined, run: () => unknown) {
  const before = ["location", "document"].map((name) =>
    [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const
  );
  const define = (name: string, value: unknown) =>
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  define("location", new URL(location));
  if (base) define("document", { baseURI: base });
  try {
    await run();
  } finally {
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else Reflect.deleteProperty(globalThis, name);
    }
  }
}

/** A source on a server that answers "hello" under the id `id`, then the ids it is asked for. */
async function ids(id: string, count: number): Promise<[string, string][]> {
  await using server = await serve((exchange) => {
    const asked = exchange.request.headers["last-event-id"] as string | undefined;
    const text = asked === undefined ? "hello" : Buffer.from(asked, "latin1").toString();
    exchange.response.writeHead(200, STREAM).end(`id: ${id}\nretry: 1\ndata: ${text}\n\n`);
  });
  const source = new EventSource(server.url);
  const got: [string, string][] = [];
  source.onmessage = ({ data, lastEventId }) => {
    if (got.push([data, lastEventId]) === count) source.close();
  };
  try {
    await until(() => got.length === count, `${count} messages`);
  } finally {
    source.close();
  }
  return got;
}

/** The waits that sources set while `run` runs, which are not waited for. */
async function waits(run: () => Promise<void>): Promise<number[]> {
  const { setTimeout } = globalThis;
  const seen: number[] = [];
  Object.assign(globalThis, {
    setTimeout: (then: () => void, time?: number, ...rest: unknown[]) => {
      const shorten = time! > 2900;
      if (shorten) seen.push(Math.round(time!));
      return setTimeout(then, shorten ? 0 : time, ...rest);
    },
  });
  try {
    await run();
  } finally {
    Object.assign(globalThis, { setTimeout });
  }
  return seen;
}

/** The waits before the reconnections of a stream that ends each time; `lost` attempts do not reach the server. */
async function waitsOf(body: string, lost: number[] = []): Promise<number[]> {
  await using server = await serve(({ response }) => {
    // Node's fetch sets a timer of its own for a connection that is kept.
    response.writeHead(200, { ...STREAM, Connection: "close" }).end(body);
  });
  let attempts = 0;
  const seen = await waits(async () => {
    const source = new EventSource(server.url, {
      fetch: (url, init) => {
        if (lost.includes(attempts++)) throw new TypeError("no connection");
        return fetch(url, init);
      },
    });
    try {
      await until(() => attempts >= 5, "five attempts");
    } finally {
      source.close();
    }
  });
  return seen.slice(0, 4);
}

describe("eventsource: the interface", () => {
  test("interfaces, eventsource-prototype", async () => {
    await using server = await serve((exchange) => exchange.stream());
    const source = new EventSource(server.url);
    const { prototype } = EventSource;
    Object.assign(prototype, { returnTrue: () => true });
    try {
      assertEquals((source as unknown as { returnTrue(): boolean }).returnTrue(), true);
    } finally {
      Reflect.deleteProperty(prototype, "returnTrue");
    }
    source.close();
    assertInstanceOf(source, EventTarget);
    assertEquals(Object.getPrototypeOf(prototype), EventTarget.prototype);
    assertEquals([EventSource.name, EventSource.length], ["EventSource", 1]);
    assertEquals(Object.prototype.toString.call(source), "[object EventSource]");
    for (const name of ["readyState", "url", "withCredentials", "onopen", "onmessage", "onerror"]) {
      const { get, set, enumerable, configurable } = Object.getOwnPropertyDescriptor(
        prototype,
        name,
      )!;
      assertEquals([typeof get, enumerable, configurable], ["function", true, true], name);
      assertEquals(typeof set, /^on/.test(name) ? "function" : "undefined", name);
      assertThrows(() => get!.call({}), TypeError);
    }
    const close = Object.getOwnPropertyDescriptor(prototype, "close")!;
    assertEquals([close.value.length, close.enumerable, close.writable], [0, true, true]);
    for (const [name, value] of [["CONNECTING", 0], ["OPEN", 1], ["CLOSED", 2]] as const) {
      for (const holder of [EventSource, prototype]) {
        assertEquals(Object.getOwnPropertyDescriptor(holder, name), {
          value,
          enumerable: true,
          writable: false,
          configurable: false,
        });
      }
    }
    // Nothing that `createClient` has, and the standard has not.
    const ours = ["connect", "reconnect", "events", "on", "lastEventId", "reconnectAttempts"];
    assertEquals(ours.filter((name) => name in source), []);
    assertEquals(Object.keys(source), []);
  });

  test("handlers: null for what cannot be called, and a place among the listeners", async () => {
    await using server = await serve((exchange) => exchange.stream("data: x\n\n"));
    const source = new EventSource(server.url);
    assertEquals([source.onopen, source.onmessage, source.onerror], [null, null, null]);
    const order: string[] = [];
    source.addEventListener("message", () => order.push("before"));
    source.onmessage = () => order.push("first");
    source.addEventListener("message", () => order.push("after"));
    const replaced = () => order.push("replaced");
    source.onmessage = replaced;
    assertEquals(source.onmessage, replaced);
    source.dispatchEvent(new MessageEvent("message"));
    assertEquals(order.splice(0), ["before", "replaced", "after"]);
    for (const nothing of [null, 1, "text", undefined]) {
      source.onmessage = replaced;
      (source as { onmessage: unknown }).onmessage = nothing;
      assertEquals(source.onmessage, null);
    }
    source.dispatchEvent(new MessageEvent("message"));
    assertEquals(order.splice(0), ["before", "after"]);
    source.onmessage = replaced;
    await next(source, "message");
    source.close();
    assertEquals(order, ["before", "after", "replaced"]);
  });

  test("dedicated-worker/eventsource-constructor-no-new", () => {
    assertThrows(() => (EventSource as unknown as (url: string) => void)(""), TypeError);
    assertThrows(() => new (EventSource as unknown as new () => void)(), TypeError);
  });

  test("eventsource-constructor-url-bogus", () => {
    const error = assertThrows(() => new EventSource("http://this is invalid/"));
    assertEquals([error.constructor, error.name], [DOMException, "SyntaxError"]);
  });

  test("eventsource-constructor-empty-url, -stringify, eventsource-url, a base that is not the page's", async () => {
    await using server = await serve((exchange) => exchange.stream("data: x\n\n"));
    const open = (url: unknown) => {
      const source = new EventSource(url as string);
      source.close();
      return source.url;
    };
    await inPage(server.url + "page?a", undefined, async () => {
      assertEquals(open(""), server.url + "page?a");
      assertEquals(open("resources/message"), server.url + "resources/message");
      assertEquals(
        [1, null, undefined].map(open),
        ["1", "null", "undefined"].map((x) => server.url + x),
      );
      const source = new EventSource({ toString: () => "resources/message" } as string);
      await next(source, "open");
      source.close();
      assertEquals(server.exchanges.at(-1)!.request.url, "/resources/message");
    });
    await inPage("http://page.example/", server.url + "base/", () => {
      assertEquals(open("x"), server.url + "base/x");
    });
  });

  test("eventsource-constructor-non-same-origin: what no fetch can reach", async () => {
    for (
      const url of ["ftp://example.not/", "about:blank", "mailto:a@b.example", "javascript:void 0"]
    ) {
      await fails(url);
    }
    const source = new EventSource(`http://127.0.0.1:${await freePort()}/`);
    await next(source, "error");
    assertEquals(source.readyState, source.CONNECTING, "a network error is not for good");
    source.close();
  });

  test("eventsource-eventtarget, -onmessage, -onopen, -readyState", async () => {
    await using server = await serve((exchange) => exchange.stream("data: data\n\n"));
    const source = new EventSource(server.url);
    assertEquals(source.readyState, source.CONNECTING);
    const seen: unknown[] = [];
    source.onopen = function (event) {
      seen.push(
        this === source,
        source.readyState,
        "data" in event,
        event.bubbles,
        event.cancelable,
      );
    };
    source.onmessage = (event) => seen.push(event.data, event.origin);
    const event = await next<MessageEvent>(source, "message");
    assertInstanceOf(event, MessageEvent);
    source.close();
    const { origin } = new URL(server.url);
    assertEquals(seen, [true, 1, false, false, false, "data", origin]);
    assertEquals(source.readyState, source.CLOSED);
  });

  test("eventsource-close: opened, reconnected, and then refused for good", async () => {
    await using server = await serve(({ response }, index) => {
      if (index === 2) response.writeHead(404).end();
      else {
        const text = index ? "reconnected" : "opened";
        response.writeHead(200, STREAM).end(`retry: 2\ndata: ${text}\n\n`);
      }
    });
    const source = new EventSource(server.url);
    const seen: unknown[] = [];
    source.onmessage = ({ data }) => seen.push(data);
    source.onerror = () => seen.push(source.readyState);
    await until(() => source.readyState === source.CLOSED, "CLOSED");
    assertEquals(seen, ["opened", 0, "reconnected", 0, 2]);
    assertEquals(server.exchanges.length, 3);
  });

  test("eventsource-request-cancellation: close() before the response", async () => {
    await using server = await serve(() => {});
    const source = new EventSource(server.url);
    const lines = record(source, "open", "message", "error");
    await until(() => server.exchanges.length, "the request");
    source.close();
    await until(() => server.exchanges[0]!.gone, "the connection's end");
    assertEquals([source.readyState, lines], [source.CLOSED, []]);
  });

  test("eventsource-reconnect", async () => {
    await using server = await serve(({ response }, index) => {
      response.writeHead(200, STREAM).end(`retry: 2\ndata: ${index ? "data" : "ok"}\n\n`);
    });
    const source = new EventSource(server.url);
    const seen: unknown[] = [];
    source.onerror = () => seen.push(source.readyState);
    source.onmessage = ({ data }) => {
      seen.push(data);
      if (data === "data") source.close();
    };
    await until(() => source.readyState === source.CLOSED, "the second message");
    assertEquals(seen, ["ok", 0, "data"]);
  });
});

describe("eventsource: the request", () => {
  test("request-accept, request-cache-control: twice", async () => {
    await using server = await serve((exchange) => exchange.stream("data: x\n\n"));
    for (let i = 0; i < 2; i++) {
      const source = new EventSource(server.url);
      await next(source, "message");
      source.close();
      const { headers, method } = server.exchanges[i]!.request;
      assertEquals(
        [method, headers.accept, headers["cache-control"]],
        ["GET", "text/event-stream", "no-cache"],
      );
    }
  });

  test("request-credentials: the attribute", async () => {
    await using server = await serve((exchange) => exchange.stream());
    for (const [init, expected] of [[{ withCredentials: true }, true], [{}, false]] as const) {
      const source = new EventSource(server.url, init);
      assertEquals(source.withCredentials, expected);
      source.close();
    }
  });

  test("request-post-to-connect: a POST is an option of ours, and is sent once", async () => {
    await using server = await serveBody("data: x\n\n");
    const source = new EventSource(server.url, { method: "POST", body: "question" });
    await next(source, "error");
    assertEquals(source.readyState, source.CLOSED);
    assertEquals(await server.exchanges[0]!.body, "question");
    assertEquals(server.exchanges.length, 1);
  });

  for (const status of [301, 302, 303, 307]) {
    test(`request-redirect: ${status}`, async () => {
      await using server = await serve((exchange) => {
        if (exchange.request.url === "/") {
          exchange.response.writeHead(status, { Location: "/message" }).end();
        } else exchange.stream("data: x\n\n");
      });
      const source = new EventSource(server.url);
      const lines = record(source, "error");
      await next(source, "open");
      assertEquals([source.readyState, source.url, lines], [source.OPEN, server.url, []]);
      source.close();
    });
  }

  for (const status of [204, 205, 210, 299, 404, 410, 503]) {
    test(`request-status-error: ${status}`, async () => {
      await using server = await serve(({ response }) => response.writeHead(status, STREAM).end());
      await fails(server.url);
      assertEquals(server.exchanges.length, 1);
    });
  }
});

describe("eventsource: the format", () => {
  const cases: [name: string, body: string, expected: string[], type?: string][] = [
    [
      "event-data",
      "data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
      [
        "msg\nmsg",
        "",
        "end",
      ],
    ],
    ["format-bom", "\uFEFFdata:1\n\n\uFEFFdata:2\n\ndata:3\n\n", ["1", "3"]],
    ["format-bom-2", "\uFEFF\uFEFFdata:1\n\ndata:2\n\ndata:3\n\n", ["2", "3"]],
    [
      "format-comments",
      `data:1\r:\0\n:\r\ndata:2\n:${"x".repeat(2048)}\rdata:3\n:data:fail\r:${
        "x".repeat(2048)
      }\ndata:4\n\n`,
      ["1\n2\n3\n4"],
    ],
    // The first has no empty line after it, so that only the next answer's is heard.
    ["format-data-before-final-empty-line", "retry:1\ndata:test1\n\nid:test\ndata:test2", [
      "test1",
      "test1",
    ]],
    ["format-field-data", "data:\n\ndata\ndata\n\ndata:test\n\n", ["", "\n", "test"]],
    ["format-field-event-empty", "event: \ndata:data\n\n", ["data"]],
    [
      "format-field-parsing",
      "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
      ["\0\n 2\n1\n3\n\n4"],
    ],
    ["format-field-retry-empty", "retry\ndata:test\n\n", ["test"]],
    [
      "format-field-unknown",
      "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
      [
        "test\n\ntest",
      ],
    ],
    ["format-leading-space", "data:\ttest\rdata: \ndata:test\n\n", ["\ttest\n\ntest"]],
    ["format-mime-trailing-semicolon", "data:data\n\n", ["data"], "text/event-stream;"],
    ["format-newlines", "data:test\r\ndata\ndata:test\r\n\r", ["test\n\ntest"]],
    ["format-null-character", "data:\0\n\n\n\n", ["\0"]],
    ["format-utf-8", "data:ok…\n\n", ["ok…"], "text/event-stream;charset=windows-1252"],
  ];
  for (const [name, body, expected, type] of cases) {
    test(name, async () => assertEquals(await datas(body, expected.length, type), expected));
  }

  test("format-field-event", async () => {
    await using server = await serve((e) => e.stream("event:test\ndata:x\n\ndata:x\n\n"));
    const source = new EventSource(server.url);
    const lines = record(source, "test", "message");
    await next(source, "message");
    source.close();
    assertEquals(lines, ["test x", "message x"]);
  });

  test("format-field-id, format-field-id-2: an id that is not ASCII, again and again", async () => {
    assertEquals(await ids("…", 3), [["hello", "…"], ["…", "…"], ["…", "…"]]);
  });

  test("format-field-id-3: stays, and is cleared with a colon and without", async () => {
    const of = async (body: string, count: number) =>
      (await messages(body, count)).map(({ data, lastEventId }) => [data, lastEventId]);
    assertEquals(await of("id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata: 3\n\ndata: 4\n\n", 4), [
      ["1", "1"],
      ["2", "1"],
      ["3", "2"],
      ["4", "2"],
    ]);
    for (const id of ["id:", "id"]) {
      assertEquals(await of(`id: 1\ndata: 1\n\n${id}\ndata: 2\n\ndata: 3\n\n`, 3), [
        ["1", "1"],
        ["2", ""],
        ["3", ""],
      ]);
    }
  });

  for (const id of ["\0\0", "x\0", "\0x", "x\0x", " \0"]) {
    test(`format-field-id-null: ${JSON.stringify(id)}`, async () => {
      assertEquals(await ids(id, 2), [["hello", ""], ["hello", ""]]);
    });
  }

  test("format-field-retry: exactly as asked for, each time", async () => {
    assertEquals(await waitsOf("retry:03000\ndata:x\n\n"), [3000, 3000, 3000, 3000]);
    // Also if the response brings no event.
    assertEquals(await waitsOf("retry:03000\n\n"), [3000, 3000, 3000, 3000]);
  });

  test("format-field-retry-bogus", async () => {
    assertEquals(await waitsOf("retry:3000\nretry:1000x\ndata:x\n\n"), [3000, 3000, 3000, 3000]);
  });

  test("attempts that fail back off, until one is fine", async () => {
    const [first, second, third, fourth] = await waitsOf("retry:3000\ndata:x\n\n", [1, 2]);
    assertEquals([first, fourth], [3000, 3000]);
    assert(second! >= 6000 && third! >= 12_000, `${second}, ${third}`);
  });

  for (const type of ["text/x-bogus", "x%20bogus", "text/event-stream-x"]) {
    test(`format-mime-bogus, format-mime-valid-bogus: ${type}`, async () => {
      await using server = await serveBody("data: x\n\n", type);
      await fails(server.url);
    });
  }
});
