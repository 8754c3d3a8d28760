/** The client over real sockets, against a server whose every byte the test writes, and over streams without a network. */
import { after, before, describe, test } from "node:test";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type Client,
  type ClientErrorEvent,
  type ClientOptions,
  type CloseEvent,
  createClient,
  createSharedClient,
  type ReconnectingEvent,
  type StreamEvent,
} from "../../src/client/mod.ts";
import { feeds, freePort, next, record, serve, STREAM, until } from "./helpers.ts";
import { withPage } from "./page.ts";
import { collectGarbage } from "../garbage.ts";

const QUICK = { delay: 1, jitter: 0 };

/** Runs `body` while the clock is `time` ahead, in milliseconds. */
async function later(time: number, body: () => Promise<void> | void): Promise<void> {
  const { now } = Date;
  Date.now = () => now() + time;
  try {
    await body();
  } finally {
    Date.now = now;
  }
}

/** Runs `body` with the timers that are set meanwhile and still to come. */
async function withTimers<T>(body: (timers: Set<unknown>) => Promise<T>): Promise<T> {
  const { setTimeout, clearTimeout } = globalThis;
  const timers = new Set<unknown>();
  Object.assign(globalThis, {
    setTimeout(then: () => void, time: number) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        then();
      }, time);
      timers.add(timer);
      return timer;
    },
    clearTimeout(timer: number) {
      timers.delete(timer);
      clearTimeout(timer);
    },
  });
  try {
    return await body(timers);
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
  }
}

/** Runs `body` with what is reported as thrown by the user's code. */
async function withReports(body: (reported: string[]) => Promise<void>): Promise<void> {
  const global = globalThis as { reportError?: (error: unknown) => void };
  const before = global.reportError;
  const reported: string[] = [];
  global.reportError = (error) => reported.push((error as Error).message);
  try {
    await body(reported);
  } finally {
    if (before) global.reportError = before;
    else delete global.reportError;
  }
}

/** Runs `body` with a client that is closed afterwards, whatever happens. */
async function withClient(
  url: string,
  options: ClientOptions,
  body: (client: Client) => Promise<void> | void,
): Promise<void> {
  const client = createClient(url, options);
  try {
    await body(client);
  } finally {
    client.close();
  }
}

describe("a client and its server", () => {
  test("connects on connect(), opens, and gives each event to its listeners", async () => {
    await using server = await serve((exchange) => {
      exchange.stream('data: hello\n\nevent: tick\nid: 7\ndata: {"n":1}\n\n');
    });
    await withClient(server.url, {}, async (client) => {
      const lines = record(client, "open", "message", "tick");
      assertEquals(client.readyState, client.CLOSED);
      assertEquals(client.url, server.url);
      client.connect();
      assertEquals(client.readyState, client.CONNECTING);
      const event = await next<StreamEvent<{ n: number }>>(client, "tick");
      assertEquals(lines, ["open", "message hello", 'tick {"n":1}']);
      assertEquals(client.readyState, client.OPEN);
      assertEquals(client.lastEventId, "7");
      assertEquals(event.json().n, 1);
      assertEquals(event.lastEventId, "7");
      assertEquals(event.origin, new URL(server.url).origin);
      assertEquals(server.exchanges[0]!.request.headers.accept, "text/event-stream");
      assertEquals(server.exchanges[0]!.request.headers["last-event-id"], undefined);
    });
    await until(() => server.exchanges[0]!.gone, "the server to see the client go");
  });

  test("reconnects when the stream ends or breaks, with the last id; listeners stay", async () => {
    await using server = await serve((exchange, index) => {
      exchange.stream(`id: ${index}\ndata: ${index}\n\ndata: cut`);
      if (index == 0) exchange.response.end();
      if (index == 1) setTimeout(() => exchange.response.destroy(), 5);
    });
    await withClient(server.url, { reconnect: QUICK }, async (client) => {
      const lines = record(client, "message", "error", "reconnecting");
      client.connect();
      await until(() => lines.includes("message 2"), "the third connection's event");
      assertEquals(lines.filter((line) => line.startsWith("message")), [
        "message 0",
        "message 1",
        "message 2",
      ]);
      assertEquals(lines.slice(0, 3), ["message 0", "error", "reconnecting 1"]);
      assertEquals(server.exchanges.map(({ request }) => request.headers["last-event-id"]), [
        undefined,
        "0",
        "1",
      ]);
    });
  });

  test("an id-only block, a heartbeat, moves the position without an event", async () => {
    await using server = await serve((exchange) => exchange.stream(":\nid: 9\n\n"));
    await withClient(server.url, {}, async (client) => {
      client.connect();
      await until(() => client.lastEventId == "9", "the heartbeat's id");
    });
  });

  test("sends an id as UTF-8, and starts from the given lastEventId", async () => {
    await using server = await serve((exchange) => exchange.stream());
    await withClient(server.url, { lastEventId: "…é" }, async (client) => {
      client.connect();
      await next(client, "open");
      const sent = server.exchanges[0]!.request.headers["last-event-id"] as string;
      assertEquals(new TextDecoder().decode(Uint8Array.from(sent, (c) => c.charCodeAt(0))), "…é");
    });
  });

  test("sends method, body and headers, anew at each attempt", async () => {
    await using server = await serve(({ response }, index) => {
      if (index == 0) return response.writeHead(503).end();
      response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
      response.flushHeaders();
    });
    let token = 0;
    const options: ClientOptions = {
      method: "REPORT",
      body: "what",
      headers: async () => await Promise.resolve({ "X-Token": String(token++) }),
      reconnect: QUICK,
    };
    await withClient(server.url, options, async (client) => {
      client.connect();
      await next(client, "open");
      const [first, second] = server.exchanges;
      assertEquals(first!.request.method, "REPORT");
      assertEquals(await second!.body, "what");
      assertEquals([first, second].map((e) => e!.request.headers["x-token"]), ["0", "1"]);
    });
  });

  test("follows redirects; url stays, origin is the final one's", async () => {
    await using target = await serve((exchange) => exchange.stream("data: x\n\n"));
    for (const status of [301, 302, 303, 307, 308]) {
      await using server = await serve(({ response }) => {
        response.writeHead(status, { Location: target.url }).end();
      });
      await withClient(server.url, {}, async (client) => {
        client.connect();
        const event = await next<MessageEvent>(client, "message");
        assertEquals(event.origin, new URL(target.url).origin);
        assertEquals(client.url, server.url);
      });
    }
  });

  test("a server that was down is found when it is up", async () => {
    const port = await freePort();
    await withClient(`http://127.0.0.1:${port}/`, {
      reconnect: { delay: 5, factor: 1, maxAttempts: Infinity },
    }, async (client) => {
      client.connect();
      const failed = await next<ClientErrorEvent>(client, "error");
      assertEquals(failed.status, undefined);
      assertInstanceOf(failed.error, Error);
      await using _ = await serve((exchange) => exchange.stream("data: up\n\n"), port);
      assertEquals((await next<MessageEvent>(client, "message")).data, "up");
      client.close();
    });
  });

  test("a server that accepts and stays silent is left, before and after the headers", async () => {
    await using server = await serve((exchange, index) => {
      if (index == 1) exchange.stream();
      if (index == 2) exchange.stream("data: at last\n\n");
    });
    await withClient(server.url, { timeout: 300, reconnect: QUICK }, async (client) => {
      const errors: unknown[] = [];
      client.addEventListener("error", (event) => errors.push((event as ClientErrorEvent).error));
      client.connect();
      await next(client, "message");
      assertEquals(errors.length, 2);
      for (const error of errors) assertStringIncludes(String(error), "300 ms");
      await until(() => server.exchanges.slice(0, 2).every((e) => e.gone), "both to be dropped");
    });
  });

  test(
    "a silent server is left though garbage was collected meanwhile",
    { skip: collectGarbage ? false : "garbage cannot be collected from here" },
    async () => {
      await using server = await serve((exchange, index) => {
        if (index == 1) exchange.stream("data: at last\n\n");
      });
      await withClient(server.url, { timeout: 300, reconnect: QUICK }, async (client) => {
        const message = next(client, "message");
        client.connect();
        await until(() => server.exchanges.length == 1, "the request");
        const collecting = setInterval(collectGarbage!, 20);
        try {
          await message;
          await until(() => server.exchanges[0]!.gone, "the silent connection to be dropped");
        } finally {
          clearInterval(collecting);
        }
      });
    },
  );

  test("comments keep it alive and reach onComment", async () => {
    await using server = await serve((exchange) => {
      exchange.stream();
      let beats = 0;
      const timer = setInterval(() => {
        exchange.response.write(`: ${++beats}\n\n`);
        if (beats == 30) exchange.response.write("data: alive\n\n");
      }, 10);
      exchange.response.on("close", () => clearInterval(timer));
    });
    const comments: string[] = [];
    await withClient(server.url, {
      timeout: 200,
      reconnect: { maxAttempts: 0 },
      onComment: (comment) => comments.push(comment),
    }, async (client) => {
      const lines = record(client, "error");
      client.connect();
      await next(client, "message");
      assertEquals(lines, []);
      assertEquals(comments.slice(0, 2), ["1", "2"]);
    });
  });

  test("an endless line is an error, and the client reconnects", async () => {
    await using server = await serve((exchange, index) => {
      exchange.stream("data: ");
      if (index == 1) return void exchange.response.write("short\n\n");
      const more = () => {
        while (!exchange.gone && exchange.response.write("x".repeat(16_384)));
      };
      exchange.response.on("drain", more);
      more();
    });
    await withClient(server.url, { maxEventBytes: 100_000, reconnect: QUICK }, async (client) => {
      client.connect();
      const [error] = await Promise.all([
        next<ClientErrorEvent>(client, "error"),
        next(client, "message"),
      ]);
      assertStringIncludes(String(error.error), "100000 characters (maxEventBytes)");
      await until(() => server.exchanges[0]!.gone, "the endless stream to be dropped");
    });
  });

  test("garbage in place of HTTP is a lost connection", async () => {
    await using server = await serve((exchange, index) => {
      if (index == 1) return exchange.stream("data: sense\n\n");
      exchange.request.socket.end("\0\x01 garbage\r\n\r\n");
    });
    await withClient(server.url, { reconnect: QUICK }, async (client) => {
      client.connect();
      await Promise.all([next(client, "error"), next(client, "message")]);
    });
  });
});

describe("what ends a client, and what it waits for", () => {
  test("204 ends it, and is no error", async () => {
    await using server = await serve(({ response }) => response.writeHead(204).end());
    await withClient(server.url, { reconnect: QUICK }, async (client) => {
      const lines = record(client, "error", "close", "reconnecting");
      client.connect();
      await next(client, "close");
      assertEquals(lines, ["close ended"]);
      assertEquals(server.exchanges.length, 1);
    });
  });

  for (const status of [205, 403, 404, 410]) {
    test(`${status} stops it`, async () => {
      await using server = await serve(({ response }) => response.writeHead(status).end());
      await withClient(server.url, { reconnect: QUICK }, async (client) => {
        const lines = record(client, "error", "close", "reconnecting");
        client.connect();
        const close = await next<CloseEvent>(client, "close");
        assertEquals(close.reason, "server");
        assertEquals(lines, [`error ${status}`, "close server"]);
        assertEquals(client.readyState, client.CLOSED);
        assertEquals(server.exchanges.length, 1);
      });
    });
  }

  test("a wrong content type stops it, and the error says which", async () => {
    for (
      const type of ["text/html", "text/event-streams", "application/json; a=text/event-stream"]
    ) {
      await using server = await serve(({ response }) => {
        response.writeHead(200, { "Content-Type": type }).end("data: x\n\n");
      });
      await withClient(server.url, { reconnect: QUICK }, async (client) => {
        client.connect();
        const [error, close] = await Promise.all([
          next<ClientErrorEvent>(client, "error"),
          next<CloseEvent>(client, "close"),
        ]);
        assertStringIncludes(String(error.error), type);
        assertEquals(close.reason, "server");
      });
    }
  });

  for (const status of [408, 429, 500, 502, 503]) {
    test(`${status} is tried again`, async () => {
      await using server = await serve((exchange, index) => {
        if (index) exchange.stream();
        else exchange.response.writeHead(status).end();
      });
      await withClient(server.url, { reconnect: QUICK }, async (client) => {
        const lines = record(client, "error", "reconnecting", "open");
        client.connect();
        await next(client, "open");
        assertEquals(lines, [`error ${status}`, "reconnecting 1", "open"]);
      });
    });
  }

  test("Retry-After, in seconds or as a date, is the least wait", async () => {
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    for (
      const [value, least, most] of [["120", 120_000, 120_000], [
        date,
        3_590_000,
        3_600_000,
      ]] as const
    ) {
      await using server = await serve(({ response }) => {
        response.writeHead(503, { "Retry-After": value }).end();
      });
      await withClient(server.url, { reconnect: QUICK }, async (client) => {
        client.connect();
        const { delay } = await next<ReconnectingEvent>(client, "reconnecting");
        assert(delay >= least && delay <= most, `waits ${delay} ms for Retry-After: ${value}`);
      });
    }
  });

  test("a wait that is longer than a timer can be is no end", async () => {
    const longest = 2e9;
    for (const value of ["9".repeat(400), "Infinity", "31536000000"]) {
      await using server = await serve(({ response }) => {
        response.writeHead(503, { "Retry-After": value }).end();
      });
      await withClient(server.url, { reconnect: QUICK }, async (client) => {
        client.connect();
        assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).delay, longest);
      });
    }
    await using server = await serve((exchange) => {
      exchange.stream(`retry: ${"9".repeat(400)}\n\n`);
      exchange.response.end();
    });
    await withClient(server.url, { reconnect: QUICK }, async (client) => {
      client.connect();
      assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).delay, longest);
    });
  });

  test("a Retry-After that is past or senseless changes nothing", async () => {
    for (const value of ["0", "-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"]) {
      await using server = await serve(({ response }) => {
        response.writeHead(503, { "Retry-After": value }).end();
      });
      await withClient(server.url, { reconnect: { delay: 77, jitter: 0 } }, async (client) => {
        client.connect();
        assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).delay, 77);
      });
    }
  });

  test("a response without a body is a lost connection", async () => {
    const { fetch } = feeds();
    let calls = 0;
    await withClient("http://localhost/", {
      fetch: (url, init) => calls++ ? fetch(url, init) : new Response(null, { headers: STREAM }),
      reconnect: QUICK,
    }, async (client) => {
      const lines = record(client, "open", "error", "close");
      client.connect();
      await next(client, "error");
      await next(client, "open");
      assertEquals(lines, ["open", "error", "open"]);
    });
  });

  /** The waits of a client whose server says `retry:` and ends. */
  async function waits(retry: number, reconnect: ClientOptions["reconnect"], count: number) {
    const { fetch, all } = feeds();
    const delays: number[] = [];
    await withClient("http://localhost/", {
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        all.at(-1)!.push(`retry: ${retry}\n\n`);
        all.at(-1)!.end();
        return response;
      },
      reconnect: { jitter: 0, ...reconnect },
    }, async (client) => {
      client.addEventListener("reconnecting", (event) => delays.push(event.delay));
      client.connect();
      await until(() => delays.length >= count, `${count} reconnections`);
    });
    return delays.slice(0, count);
  }

  test("the stream's retry: is the base delay; of it and an explicit one, the longer", async () => {
    assertEquals(await waits(33, {}, 2), [33, 66]);
    assertEquals(await waits(33, { delay: 10 }, 2), [33, 66]);
    assertEquals(await waits(10, { delay: 33 }, 2), [33, 66]);
    assertEquals(await waits(10_000, { delay: 100 }, 1), [10_000]);
    assertEquals(await waits(100, { delay: 10_000 }, 1), [10_000]);
  });

  test("retry: 0 is for the first attempt; those after it have the option's patience", async () => {
    assertEquals(await waits(0, {}, 2), [1, 4000]);
    assertEquals(await waits(0, { delay: 10 }, 3), [10, 20, 40]);
  });

  test("gives up after maxAttempts, and says so", async () => {
    await using server = await serve(({ response }) => response.writeHead(500).end());
    await withClient(server.url, { reconnect: { ...QUICK, maxAttempts: 3 } }, async (client) => {
      const lines = record(client, "error", "reconnecting", "close");
      client.connect();
      await next(client, "close");
      assertEquals(lines, [
        "error 500",
        "reconnecting 1",
        "error 500",
        "reconnecting 2",
        "error 500",
        "reconnecting 3",
        "error 500",
        "close attempts",
      ]);
      assertEquals(server.exchanges.length, 4);
      client.connect();
      assertEquals(client.reconnectAttempts, 0);
      await next(client, "close");
      assertEquals(server.exchanges.length, 8);
    });
  });

  test("a server that accepts and drops is failing still: the count goes on", async () => {
    const { fetch, all } = feeds();
    await withClient("http://localhost/", {
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        all.at(-1)!.end();
        return response;
      },
      reconnect: { ...QUICK, maxAttempts: 4 },
    }, async (client) => {
      client.connect();
      await next(client, "close");
      assertEquals(all.length, 5);
    });
  });

  test("a server that answers with an event and ends is not failing: the count stays 0", async () => {
    for (
      const [text, attempts] of [
        ["data: x\n\n", [1, 1, 1]],
        ["event: streamside:reset\ndata: {}\n\n", [1, 2, 3]],
        ["event: streamside:other\ndata: {}\n\n", [1, 2, 3]],
        [": heartbeat\nid: 7\n\n", [1, 2, 3]],
      ] as const
    ) {
      const { fetch, all } = feeds();
      const told: number[] = [];
      await withClient("http://localhost/", {
        fetch: async (url, init) => {
          const response = await fetch(url, init);
          all.at(-1)!.push(text);
          all.at(-1)!.end();
          return response;
        },
        reconnect: QUICK,
      }, async (client) => {
        client.addEventListener("reconnecting", ({ attempt }) => told.push(attempt));
        client.connect();
        await until(() => told.length >= 3, "three reconnections");
        assertEquals(told.slice(0, 3), attempts as unknown as number[], text);
      });
    }
  });

  test("after an open that lasted, the count is 0 again", async () => {
    const { fetch, all } = feeds();
    let calls = 0;
    await withClient("http://localhost/", {
      fetch: (url, init) => ++calls < 3 ? Promise.reject(new Error("down")) : fetch(url, init),
      reconnect: { ...QUICK, maxAttempts: 3 },
    }, async (client) => {
      client.connect();
      await next(client, "open");
      assertEquals(client.reconnectAttempts, 2);
      await until(() => client.reconnectAttempts == 0, "the open to count as lasting");
      all[0]!.end();
      assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).attempt, 1);
    });
  });

  test("401 asks the header function once more at once, and is final the second time", async () => {
    await using server = await serve(({ response }) => response.writeHead(401).end());
    let asked = 0;
    await withClient(server.url, {
      headers: () => ({ Authorization: String(asked++) }),
      reconnect: { delay: 60_000 },
    }, async (client) => {
      const lines = record(client, "error", "close", "reconnecting");
      client.connect();
      await next(client, "close");
      assertEquals(server.exchanges.map((e) => e.request.headers.authorization), ["0", "1"]);
      assertEquals(lines, ["error 401", "close server"]);
    });
    await withClient(server.url, { headers: { Authorization: "fixed" } }, async (client) => {
      client.connect();
      await next(client, "close");
      assertEquals(server.exchanges.length, 3);
    });
  });

  test("a 401 whose second chance succeeds is no error, and the chance is given again later", async () => {
    await using server = await serve((exchange, index) => {
      if (index % 2 == 0) return exchange.response.writeHead(401).end();
      exchange.stream("data: in\n\n");
      if (index == 1) exchange.response.end();
    });
    await withClient(server.url, { headers: () => ({}), reconnect: QUICK }, async (client) => {
      const lines = record(client, "error", "message", "close");
      client.connect();
      await until(() => lines.length == 3, "two connections");
      assertEquals(lines, ["message in", "error", "message in"]);
    });
  });

  test("a header function that throws fails the attempt only", async () => {
    const { fetch, all } = feeds();
    let asked = 0;
    await withClient("http://localhost/", {
      fetch,
      headers: () => {
        if (!asked++) throw new Error("no token");
        return {};
      },
      reconnect: QUICK,
    }, async (client) => {
      client.connect();
      const [error] = await Promise.all([
        next<ClientErrorEvent>(client, "error"),
        next(client, "open"),
      ]);
      assertStringIncludes(String(error.error), "no token");
      assertEquals(all.length, 1);
    });
  });

  test("a signal closes it, in any state, and nothing opens after", async () => {
    const { fetch, all } = feeds();
    for (const moment of ["connecting", "open", "waiting"]) {
      const controller = new AbortController();
      await withClient("http://localhost/", {
        fetch,
        signal: controller.signal,
        reconnect: { delay: 60_000 },
      }, async (client) => {
        const lines = record(client, "close");
        client.connect();
        if (moment != "connecting") await next(client, "open");
        if (moment == "waiting") {
          all.at(-1)!.end();
          await next(client, "reconnecting");
        }
        controller.abort();
        assertEquals(lines, ["close aborted"]);
        client.connect();
        client.reconnect();
        assertEquals(client.readyState, client.CLOSED);
      });
    }
  });

  test("with a signal that has aborted already, connect() ends the iterators", async () => {
    await withClient("http://localhost/", { signal: AbortSignal.abort() }, async (client) => {
      const first = client.events().next();
      client.connect();
      assertEquals(await first, { done: true, value: undefined });
      assertEquals(client.readyState, client.CLOSED);
    });
  });

  test("enabled: false never connects", () => {
    const client = createClient("http://localhost/", {
      enabled: false,
      fetch: () => {
        throw new Error("fetched");
      },
    });
    client.connect();
    client.reconnect();
    assertEquals(client.readyState, client.CLOSED);
  });

  test("streamside:reset is raised as reset", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      client.connect();
      await next(client, "open");
      all[0]!.push('event: streamside:reset\nid: 5\ndata: {"why":"too old"}\n\n');
      const event = await next<StreamEvent<{ why: string }>>(client, "reset");
      assertEquals(event.json().why, "too old");
      assertEquals(client.lastEventId, "5");
    });
  });

  test("the logger hears what happens", async () => {
    const { fetch, all } = feeds();
    const heard: unknown[] = [];
    const logger = { debug: (...message: unknown[]) => heard.push(message[0]) };
    await withClient("/sse", { fetch, logger, reconnect: { delay: 60_000 } }, async (client) => {
      client.connect();
      await next(client, "open");
      all[0]!.end();
      await next(client, "reconnecting");
      client.close();
      assertEquals(heard, ["open", "error", "reconnecting", "close"]);
    });
  });

  test("a URL that cannot be resolved is a SyntaxError", () => {
    assertEquals(assertThrows(() => createClient("http://[")).name, "SyntaxError");
  });
});

describe("never two connections at once", () => {
  test("ten thousand connections leave nothing behind", async () => {
    const controller = new AbortController();
    let listeners = 0;
    /** Has `target` count the listeners that it has; the client gives each a signal that ends it. */
    const count = (target: EventTarget) => {
      const add = target.addEventListener?.bind(target);
      Object.defineProperty(target, "addEventListener", {
        value: (type: string, listener: () => void, options?: { signal?: AbortSignal }) => {
          listeners++;
          options?.signal?.addEventListener("abort", () => listeners--);
          add?.(type, listener, options);
        },
        configurable: true,
      });
    };
    const before = Object.getOwnPropertyDescriptor(globalThis, "addEventListener");
    const { fetch, all } = feeds();
    await withClient("http://localhost/", {
      fetch,
      signal: controller.signal,
      reconnect: { ...QUICK, maxDelay: 1, maxAttempts: Infinity },
    }, async (client) => {
      count(controller.signal);
      count(globalThis as unknown as EventTarget);
      try {
        client.connect();
        await next(client, "open");
        for (let i = 1; i < 10_000; i++) {
          const opened = next(client, "open");
          // By calls, and by lost connections, which wait.
          if (i % 20) client.reconnect();
          else all.at(-1)!.end();
          await opened;
          all.shift();
        }
        assert(listeners < 8, `${listeners} listeners are left`);
        controller.abort();
        // All who wait for the user's signal share the one listener that it has.
        assertEquals(listeners, 1);
      } finally {
        if (before) Object.defineProperty(globalThis, "addEventListener", before);
        else delete (globalThis as { addEventListener?: unknown }).addEventListener;
      }
    });
  });

  test("whatever the order of calls, in one turn, one request is sent", async () => {
    const { fetch, all } = feeds();
    let asked = 0;
    const headers = () => ({ "X-Asked": String(asked++) });
    await withClient("/sse", { fetch, headers }, async (client) => {
      client.connect();
      client.connect();
      client.reconnect();
      client.close();
      client.close();
      client.connect();
      client.reconnect();
      await next(client, "open");
      assertEquals([all.length, asked], [1, 1]);
      client.connect();
      assertEquals(client.readyState, client.OPEN);
    });
    assert(all[0]!.cancelled, "close() cancels the body");
  });

  test("reconnect() drops the stream for another; what the old one still says is not heard", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      const lines = record(client, "message", "error", "close");
      client.connect();
      await next(client, "open");
      all[0]!.push("id: 1\ndata: one\n\n");
      await next(client, "message");
      client.reconnect();
      assert(all[0]!.cancelled, "the old body is cancelled");
      await next(client, "open");
      all[1]!.push("data: two\n\n");
      await next(client, "message");
      assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "1");
      assertEquals(lines, ["message one", "message two"]);
    });
  });

  test("a response that comes after its attempt was left is cancelled", async () => {
    const { fetch, all } = feeds();
    const answers: (() => void)[] = [];
    await withClient("/sse", {
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        await new Promise<void>((resolve) => answers.push(resolve));
        return response;
      },
    }, async (client) => {
      client.connect();
      await until(() => answers.length == 1, "the first request");
      client.reconnect();
      await until(() => answers.length == 2, "the second request");
      answers[0]!();
      await until(() => all[0]!.cancelled, "the late response to be cancelled");
      assertEquals(client.readyState, client.CONNECTING);
      answers[1]!();
      await next(client, "open");
      assertEquals(all[1]!.cancelled, false);
    });
  });

  test("close() or reconnect() in a listener: nothing more of the old chunk is heard", async () => {
    const { fetch, all } = feeds();
    const comments: string[] = [];
    const onComment = (comment: string) => comments.push(comment);
    await withClient("/sse", { fetch, onComment }, async (client) => {
      const lines = record(client, "message", "close");
      client.addEventListener("stop", () => client.close());
      client.addEventListener("again", () => client.reconnect());
      client.connect();
      await next(client, "open");
      all[0]!.push("id: 1\nevent: again\ndata:\n\nid: 2\ndata: lost\n\n");
      await next(client, "open");
      assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "1");
      all[1]!.push(
        "id: 2\ndata: found\n\n: on time\nid: 3\nevent: stop\ndata:\n\n: late\nid: 4\ndata: late\n\n",
      );
      await next(client, "close");
      assertEquals(lines, ["message found", "close closed"]);
      assertEquals(comments, ["on time"]);
      assertEquals(client.lastEventId, "3");
      assert(all[1]!.cancelled);
    });
  });

  test("close() and reconnect() in the listeners of the client's own events", async () => {
    for (const type of ["open", "error", "reconnecting", "close"]) {
      for (const call of ["close", "reconnect", "connect"] as const) {
        let open = 0;
        let most = 0;
        const { fetch, all } = feeds();
        await withClient("/sse", {
          reconnect: { delay: 1, maxAttempts: 2 },
          fetch: async (url, init) => {
            most = Math.max(most, ++open);
            init.signal!.addEventListener("abort", () => open--);
            const response = await fetch(url, init);
            if (all.length < 6) all.at(-1)!.end();
            return response;
          },
        }, async (client) => {
          client.addEventListener(type, () => client[call](), { once: true });
          client.connect();
          await until(
            () => client.readyState == client.CLOSED || all.length == 6,
            `${call}() in ${type} to settle`,
          );
        });
        assert(most <= 1, `${call}() in ${type} led to ${most} requests at once`);
        assertEquals(open, 0, `${call}() in ${type} left a request`);
      }
    }
  });

  test("close() is told once, and only where there was something to close", async () => {
    const { fetch } = feeds();
    const client = createClient("/sse", { fetch });
    const lines = record(client, "close");
    client.close();
    client.connect();
    client.close();
    client.close();
    await client.events().next();
    assertEquals(lines, ["close closed"]);
  });

  test("close() before connect() ends the iterators that wait", async () => {
    const client = createClient("http://localhost/");
    const first = client.events().next();
    client.close();
    assertEquals(await first, { done: true, value: undefined });
  });

  test("a handler of error that closes takes nothing from a close that follows anyway", async () => {
    for (const [status, reason] of [[403, "server"], [500, "attempts"]] as const) {
      await withClient("http://localhost/", {
        fetch: () => new Response(null, { status }),
        reconnect: { maxAttempts: 0 },
      }, async (client) => {
        const lines = record(client, "error", "close");
        client.onerror = () => client.close();
        const first = client.events().next();
        client.connect();
        assertEquals(await first, { done: true, value: undefined });
        assertEquals(lines, [`error ${status}`, `close ${reason}`]);
      });
    }
  });

  test("calls from what hears the request abort leave one state, and its end is told once", async () => {
    for (const call of ["close", "reconnect"] as const) {
      const { fetch, all } = feeds();
      let hear = () => {};
      let asked = 0;
      await withClient("http://localhost/", {
        fetch: (url, init) => {
          init.signal!.addEventListener("abort", () => hear());
          return fetch(url, init);
        },
        headers: () => ({ "X-Asked": String(asked++) }),
      }, async (client) => {
        const lines = record(client, "close", "error", "reconnecting");
        client.connect();
        await next(client, "open");
        hear = () => {
          hear = () => {};
          client.close();
        };
        const timers = await withTimers(async (timers) => {
          client[call]();
          assertEquals(client.readyState, client.CLOSED);
          await client.events().next();
          return timers.size;
        });
        assertEquals(timers, 0);
        assertEquals(lines, ["close closed"]);
        assertEquals([all.length, asked], [1, 1]);
        assert(all[0]!.cancelled);
      });
    }
  });

  test("a listener that closes during error hears no reconnecting", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      const lines = record(client, "reconnecting", "close");
      client.onerror = () => client.close();
      client.connect();
      await next(client, "open");
      all[0]!.fail(new Error("broken"));
      await next(client, "close");
      assertEquals(lines, ["close closed"]);
    });
  });

  test("random calls, random ends: at most one request is open, and the last word counts", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      let state = seed;
      const random = (n: number) => (state = (state * 48_271) % 2_147_483_647) % n;
      let open = 0;
      let most = 0;
      const { fetch, all } = feeds();
      const client = createClient("/sse", {
        headers: async () => {
          for (let i = random(4); i; i--) await null;
          return {};
        },
        reconnect: { delay: 0, jitter: 0, maxAttempts: Infinity },
        fetch: async (url, init) => {
          most = Math.max(most, ++open);
          init.signal!.addEventListener("abort", () => open--);
          for (let i = random(4); i; i--) await null;
          if (!random(3)) throw new Error("refused");
          return await fetch(url, init);
        },
      });
      for (let step = 0; step < 60; step++) {
        const call = random(6);
        if (call == 0) client.close();
        else if (call == 1) client.connect();
        else if (call == 2) client.reconnect();
        else if (call == 3 && all.length && !all.at(-1)!.cancelled) {
          try {
            all.at(-1)!.end();
          } catch { /* ended before */ }
        } else if (call == 4) await null;
        else await new Promise((resolve) => setTimeout(resolve, random(3)));
      }
      client.close();
      assert(most <= 1, `seed ${seed}: ${most} at once`);
      assertEquals(open, 0, `seed ${seed}: left open`);
      assertEquals(client.readyState, client.CLOSED);
    }
  });
});

describe("wake", () => {
  test("while it waits, online, pageshow or a page that becomes visible make it try at once", async () => {
    await withPage(async (raise) => {
      const { fetch, all } = feeds();
      await withClient(
        "http://localhost/",
        { fetch, reconnect: { delay: 60_000 } },
        async (client) => {
          client.connect();
          await next(client, "open");
          for (const type of ["online", "pageshow", "visibilitychange"]) {
            all.at(-1)!.end();
            await next(client, "reconnecting");
            const before = all.length;
            raise("visibilitychange", true);
            await new Promise((resolve) => setTimeout(resolve));
            assertEquals(all.length, before);
            const opened = next(client, "open");
            // The network matters to a page that nobody sees, too.
            raise(type, type == "online");
            await opened;
            assertEquals(all.length, before + 1);
          }
        },
      );
    });
  });

  test("while it is open or closed, they change nothing", async () => {
    await withPage(async (raise) => {
      const { fetch, all } = feeds();
      await withClient("http://localhost/", { fetch }, async (client) => {
        raise("online");
        client.connect();
        await next(client, "open");
        raise("online");
        assertEquals(client.readyState, client.OPEN);
        client.close();
        raise("online");
        assertEquals(client.readyState, client.CLOSED);
        assertEquals(all.length, 1);
      });
    });
  });

  test("a timer that fires late counts as a wake: the machine slept", async () => {
    await withClient("http://localhost/", {
      fetch: () => Promise.reject(new Error("down")),
      reconnect: { delay: 5, jitter: 0 },
    }, async (client) => {
      client.connect();
      assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).attempt, 1);
      await later(3_600_000, async () => {
        assertEquals((await next<ReconnectingEvent>(client, "reconnecting")).attempt, 1);
      });
    });
  });

  test("a connection that the machine slept through is made anew at once", async () => {
    const { fetch, all } = feeds();
    await withClient("http://localhost/", {
      fetch,
      timeout: 20,
      reconnect: { delay: 60_000 },
    }, async (client) => {
      client.connect();
      await next(client, "open");
      await later(3_600_000, () => next(client, "open").then(() => {}));
      assertEquals([all.length, all[0]!.cancelled], [2, true]);
    });
  });

  test("after giving up it starts again; not with wake: false, nor after close()", async () => {
    await withPage(async (raise) => {
      for (const wake of [true, false]) {
        let calls = 0;
        await withClient("http://localhost/", {
          fetch: () => {
            calls++;
            throw new Error("offline");
          },
          wake,
          reconnect: { ...QUICK, maxAttempts: 1 },
        }, async (client) => {
          client.connect();
          await next(client, "close");
          assertEquals(calls, 2);
          raise("online");
          assertEquals(client.readyState, wake ? client.CONNECTING : client.CLOSED);
          if (wake) await next(client, "close");
          assertEquals(calls, wake ? 4 : 2);
          client.close();
          raise("online");
          assertEquals(client.readyState, client.CLOSED);
        });
      }
    });
  });
});

describe("createSharedClient outside of browsers", () => {
  // Deno 2.9 does not send for a channel that is made right after the last of all was closed; so one stays open.
  let kept: BroadcastChannel;
  before(() => {
    kept = new BroadcastChannel("kept");
  });
  after(() => kept.close());

  /** Runs `body` in a world whose lock manager is `locks`. */
  async function withLocks(locks: unknown, body: () => Promise<void>): Promise<void> {
    const global = globalThis as { navigator?: object };
    const bare = !global.navigator;
    if (bare) Object.defineProperty(global, "navigator", { value: {}, configurable: true });
    const navigator = global.navigator as { locks?: unknown };
    Object.defineProperty(navigator, "locks", { value: locks, configurable: true });
    try {
      await body();
    } finally {
      delete navigator.locks;
      if (bare) delete global.navigator;
    }
  }

  /** A lock manager as a sandboxed frame has it, and a page whose cookies are blocked. */
  const denied = {
    asked: 0,
    async request() {
      denied.asked++;
      await new Promise((resolve) => setTimeout(resolve));
      throw new DOMException("request() is not allowed in this context", "SecurityError");
    },
  };

  test("where locks are denied, each client has a connection of its own", async () => {
    await withLocks(denied, async () => {
      denied.asked = 0;
      const { fetch, all } = feeds();
      const clients = [1, 2].map(() => createSharedClient("/denied", { fetch, name: "denied" }));
      const lines = clients.map((client) => record(client, "open", "tick", "close"));
      try {
        for (const client of clients) client.connect();
        await until(() => lines.every((each) => each.length == 1), "both to open");
        for (const feed of all) feed.push("id: a\nevent: tick\ndata: 1\n\n");
        await until(() => lines.every((each) => each.length == 2), "both to hear");
        clients[0]!.close();
        all[1]!.push("id: b\nevent: tick\ndata: 2\n\n");
        await until(() => lines[1]!.length == 3, "the other to hear on");
        assertEquals(lines, [["open", "tick 1", "close closed"], ["open", "tick 1", "tick 2"]]);
        assertEquals([denied.asked, all.length], [2, 2]);
      } finally {
        for (const client of clients) client.close();
      }
    });
  });

  test("where channels are denied, it is a client with a connection of its own", async () => {
    const { BroadcastChannel } = globalThis;
    Object.assign(globalThis, {
      BroadcastChannel: class {
        constructor() {
          throw new DOMException("The operation is insecure.", "SecurityError");
        }
      },
    });
    try {
      await withLocks({ request: () => new Promise(() => {}) }, async () => {
        const { fetch, all } = feeds();
        const client = createSharedClient("/sse", { fetch, name: "one" });
        client.connect();
        await next(client, "open");
        all[0]!.push("data: 1\n\n");
        await next(client, "message");
        client.close();
        assert(all[0]!.cancelled);
      });
    } finally {
      Object.assign(globalThis, { BroadcastChannel });
    }
  });

  test("with an aborted signal, and when it is closed before it connects, iterators end", async () => {
    await withLocks({ request: () => new Promise(() => {}) }, async () => {
      const aborted = createSharedClient("http://localhost/", { signal: AbortSignal.abort() });
      const first = aborted.events().next();
      aborted.connect();
      assertEquals(await first, { done: true, value: undefined });

      const closed = createSharedClient("http://localhost/");
      const none = closed.events().next();
      closed.close();
      assertEquals(await none, { done: true, value: undefined });
    });
  });

  test("a tab without a timeout does not ask its leader without a pause", async () => {
    await withLocks({ request: () => new Promise(() => {}) }, () => {
      const times: number[] = [];
      const { setTimeout } = globalThis;
      Object.assign(globalThis, {
        setTimeout: (then: () => void, time: number) => {
          times.push(time);
          return setTimeout(then, time);
        },
      });
      try {
        for (const timeout of [0, Infinity]) {
          const client = createSharedClient("http://localhost/", { timeout });
          client.connect();
          client.close();
        }
      } finally {
        Object.assign(globalThis, { setTimeout });
      }
      assertEquals(times, [15_000, 15_000]);
      return Promise.resolve();
    });
  });

  test("without the Web Locks API it is a client with a connection of its own", async () => {
    const { fetch, all } = feeds();
    await withLocks(undefined, async () => {
      const client = createSharedClient<{ tick: number }>("/sse", { fetch, name: "one" });
      const lines = record(client, "open", "tick", "close");
      client.connect();
      await next(client, "open");
      all[0]!.push("event: tick\ndata: 1\n\n");
      await next(client, "tick");
      client.close();
      assertEquals(lines, ["open", "tick 1", "close closed"]);
      assert(all[0]!.cancelled);
    });
  });

  const skip = !globalThis.navigator?.locks && "this runtime has no Web Locks API";
  test("with it, clients of one process share a connection", { skip }, async () => {
    const { fetch, all } = feeds();
    const [first, second] = [1, 2].map(() =>
      createSharedClient("/shared", { fetch, name: "shared" })
    );
    const [one, two] = [first!, second!].map((client) => record(client, "open", "tick", "close"));
    try {
      first!.connect();
      await next(first!, "open");
      second!.connect();
      await next(second!, "open");
      all[0]!.push("id: a\nevent: tick\ndata: 1\n\nid: b\nevent: tick\ndata: 2\n\n");
      await until(() => two!.length == 3, "both events to come to the second");
      assertEquals(one, two!);
      assertEquals(all.length, 1);
      first!.close();
      await until(() => all.length == 2, "the second to take over");
      assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "b");
      all[1]!.push("id: c\nevent: tick\ndata: 3\n\n");
      await until(() => two!.length == 4, "the next event");
      assertEquals(two, ["open", "tick 1", "tick 2", "tick 3"]);
      assertEquals(one!.at(-1), "close closed");
    } finally {
      for (const client of [first!, second!]) client.close();
    }
  });

  test("a tab that comes after the leader gave up has it try again", { skip }, async () => {
    const { fetch, all } = feeds();
    let down = true;
    const clients = [1, 2].map(() =>
      createSharedClient("/given-up", {
        name: "given up",
        fetch: (url, init) => down ? Promise.reject(new Error("down")) : fetch(url, init),
        reconnect: { maxAttempts: 0 },
      })
    );
    const [first, second] = clients;
    const lines = record(first!, "open", "close");
    try {
      first!.connect();
      await next(first!, "close");
      down = false;
      second!.connect();
      await next(second!, "open");
      await until(() => lines.length == 2, "the first to open, too");
      assertEquals(lines, ["close attempts", "open"]);
      assertEquals(all.length, 1);
    } finally {
      for (const client of clients) client.close();
    }
  });

  // Node.js has locks from version 24, but no global events.
  const deaf = skip || !globalThis.dispatchEvent && "this runtime has no global events";
  test("the network that comes back to many makes one request", { skip: deaf }, async () => {
    const { fetch, all } = feeds();
    const options = { fetch, name: "woken", reconnect: { delay: 60_000 } };
    const clients = [1, 2, 3, 4].map(() => createSharedClient("/woken", options));
    try {
      for (const client of clients) {
        client.connect();
        await next(client, "open");
      }
      const waits = clients.map((client) => next(client, "reconnecting"));
      all[0]!.end();
      await Promise.all(waits);
      const opened = clients.map((client) => next(client, "open"));
      globalThis.dispatchEvent(new Event("online"));
      await Promise.all(opened);
      // What the others asked of the leader has come to it when it does what the last of them asks now.
      const again = next(clients.at(-1)!, "open");
      clients.at(-1)!.reconnect();
      await again;
      assertEquals(all.length, 3);
    } finally {
      for (const client of clients) client.close();
    }
  });

  test("connect() in a listener of a final close begins anew, and one close is told", {
    skip,
  }, async () => {
    let calls = 0;
    const { fetch } = feeds();
    const client = createSharedClient("/anew", {
      name: "anew",
      fetch: (url, init) =>
        ++calls == 1 ? Promise.resolve(new Response(null, { status: 403 })) : fetch(url, init),
    });
    const lines = record(client, "open", "error", "close");
    client.addEventListener("close", () => client.connect(), { once: true });
    try {
      client.connect();
      await next(client, "open");
      assertEquals(lines, ["error 403", "close server", "open"]);
    } finally {
      client.close();
    }
  });
});

describe("reading", () => {
  test("once, signal and object listeners, and removal", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      const heard: string[] = [];
      const controller = new AbortController();
      const object = {
        handleEvent(this: unknown, event: Event) {
          assert(this === object);
          heard.push("object " + (event as MessageEvent).data);
        },
      };
      const removed = () => heard.push("removed");
      client.addEventListener("message", () => heard.push("once"), { once: true });
      client.addEventListener("message", () => heard.push("signal"), { signal: controller.signal });
      client.addEventListener("message", object);
      client.addEventListener("message", object);
      client.addEventListener("message", removed);
      client.addEventListener("message", null);
      client.addEventListener("message", () => heard.push("never"), {
        signal: AbortSignal.abort(),
      });
      client.removeEventListener("message", removed);
      client.removeEventListener("none", removed);
      client.connect();
      await next(client, "open");
      all[0]!.push("data: 1\n\n");
      await next(client, "message");
      controller.abort();
      all[0]!.push("data: 2\n\n");
      all[0]!.push("event: end\ndata:\n\n");
      await next(client, "end");
      assertEquals(heard, ["once", "signal", "object 1", "object 2"]);
    });
  });

  test("listeners added during an event wait for the next; removed ones are not called", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      const heard: string[] = [];
      const late = () => heard.push("late");
      const gone = () => heard.push("gone");
      client.addEventListener("message", () => {
        client.addEventListener("message", late);
        client.removeEventListener("message", gone);
      });
      client.addEventListener("message", gone);
      client.connect();
      await next(client, "open");
      all[0]!.push("data:\n\nevent: end\ndata:\n\n");
      await next(client, "end");
      assertEquals(heard, []);
      all[0]!.push("data:\n\nevent: end\ndata:\n\n");
      await next(client, "end");
      assertEquals(heard, ["late"]);
    });
  });

  test("on… handlers can be set, read and taken away", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      assertEquals([client.onopen, client.onmessage, client.onerror], [null, null, null]);
      const heard: string[] = [];
      client.onopen = () => heard.push("open");
      client.onerror = () => heard.push("error");
      client.onmessage = function (this: unknown, event) {
        assert(this === client);
        heard.push(event.data);
      };
      client.connect();
      await next(client, "open");
      all[0]!.push("data: 1\n\n");
      await next(client, "message");
      client.onmessage = null;
      all[0]!.push("data: 2\n\n");
      await next(client, "message");
      all[0]!.end();
      await next(client, "error");
      assertEquals(heard, ["open", "1", "error"]);
    });
  });

  test("a listener or handler that throws is reported and harms nothing else", async () => {
    const { fetch, all } = feeds();
    await withReports(async (reported) => {
      await withClient("/sse", { fetch }, async (client) => {
        const lines = record(client, "open");
        for (const type of ["open", "message"] as const) {
          client[`on${type}`] = () => {
            throw new Error("handler of " + type);
          };
          client.addEventListener(type, () => {
            throw new Error("listener of " + type);
          });
        }
        client.addEventListener("message", (event) => lines.push(event.data));
        client.connect();
        await next(client, "open");
        all[0]!.push("data: 1\n\ndata: 2\n\n");
        await until(() => lines.includes("2"), "the second event");
        assertEquals(lines, ["open", "1", "2"]);
        assertEquals(reported, [
          "handler of open",
          "listener of open",
          "handler of message",
          "listener of message",
          "handler of message",
          "listener of message",
        ]);
      });
    });
  });

  test("an onComment that throws is reported, and the stream goes on", async () => {
    const { fetch, all } = feeds();
    await withReports(async (reported) => {
      await withClient("/sse", {
        fetch,
        onComment: (comment) => {
          throw new Error("comment " + comment);
        },
      }, async (client) => {
        const lines = record(client, "message", "error");
        client.connect();
        await next(client, "open");
        all[0]!.push(": 1\ndata: a\n\n: 2\ndata: b\n\n");
        await until(() => lines.includes("message b"), "the second event");
        assertEquals(lines, ["message a", "message b"]);
        assertEquals(reported, ["comment 1", "comment 2"]);
      });
    });
  });

  test("events() iterates over all or one type from the call on, and ends when the client closes", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      const everything: string[] = [];
      const ticks: string[] = [];
      const loops = [
        (async () => {
          for await (const event of client.events()) everything.push(event.type + event.data);
        })(),
        (async () => {
          for await (const event of client.events("tick")) ticks.push(event.data);
        })(),
      ];
      client.connect();
      await next(client, "open");
      all[0]!.push("data: 1\n\nevent: tick\ndata: 2\n\nevent: tock\ndata: 3\n\n");
      await next(client, "tock");
      client.close();
      await Promise.all(loops);
      assertEquals(everything, ["message1", "tick2", "tock3"]);
      assertEquals(ticks, ["2"]);
      assertEquals(await client.events().next(), { done: true, value: undefined });
    });
  });

  test("events() outlasts reconnections; a loop that is left is forgotten", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch, reconnect: QUICK }, async (client) => {
      const events = client.events("message");
      client.connect();
      await next(client, "open");
      all[0]!.push("data: 1\n\n");
      assertEquals((await events.next()).value!.data, "1");
      all[0]!.end();
      await next(client, "open");
      const taken = events.next();
      all[1]!.push("data: 2\n\ndata: 3\n\ndata: 4\n\n");
      assertEquals((await taken).value!.data, "2");
      for await (const event of events) {
        assertEquals(event.data, "3");
        break;
      }
      assertEquals(await events.next(), { done: true, value: undefined });
    });
  });

  test("an event says what it is, whence it came and what it carries", async () => {
    const { fetch, all } = feeds();
    await withClient("/sse", { fetch }, async (client) => {
      client.connect();
      await next(client, "open");
      all[0]!.push("event: tick\nid: 1\ndata: [1]\n\n");
      const event = await next<StreamEvent<number[]>>(client, "tick");
      assertEquals([event.type, event.data, event.lastEventId], ["tick", "[1]", "1"]);
      assertEquals(event.origin, new URL(client.url).origin);
      assert(event.target === client);
      assertEquals(event.json(), [1]);
      all[0]!.push("event: tick\ndata: {\n\n");
      const wrong = await next<StreamEvent>(client, "tick");
      assertThrows(() => wrong.json(), SyntaxError);
    });
  });

  test("listeners get the stream's events, typed where `Events` names them", async () => {
    const { fetch, all } = feeds();
    const client = createClient<{ tick: number }>("/sse", { fetch });
    const heard: string[] = [];
    client.addEventListener("tick", (event) => heard.push(event.json().toFixed(1)));
    const other: string = "tock";
    client.addEventListener(other, (event) => heard.push(event.data));
    // @ts-expect-error a tick is a number
    client.addEventListener("tick", (event) => heard.push(String(event.json().length)));
    const opened = next(client, "open");
    client.connect();
    await opened;
    all[0]!.push("event: tick\ndata: 1\n\nevent: tock\ndata: 2\n\n");
    await next(client, "tock");
    client.close();
    assertEquals(heard, ["1.0", "undefined", "2"]);
  });

  test("dispatchEvent by the user reaches listeners", () => {
    const client = createClient("http://localhost/");
    client.addEventListener("mine", (event: Event) => event.stopImmediatePropagation(), {
      once: true,
    });
    const lines = record(client, "mine");
    client.dispatchEvent(new Event("mine"));
    assertEquals(lines, []);
    let target: EventTarget | null = null;
    client.addEventListener("mine", (event) => target = event.target);
    client.dispatchEvent(new Event("mine"));
    assertEquals(lines, ["mine"]);
    assert(target === client);
  });
});
