/**
 * eventStream: one async iterable as one response, over real sockets: its format, back-pressure, cancellation, errors.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { eventStream, type SourceEvent, StreamsideError } from "../../mod.ts";
import { createClient } from "../../src/client/mod.ts";
import {
  EventReader,
  RawClient,
  serve,
  servers,
  type TestServer,
  until,
  within,
} from "../server-helpers.ts";

/** How a stream ends. */
const END = "event: streamside:end\ndata: {}\n\n";

type Source = AsyncIterable<SourceEvent | string> | Iterable<SourceEvent | string>;

/** Gives one event, and waits for ever. */
class Waiting implements AsyncIterable<string> {
  returned = false;

  [Symbol.asyncIterator](): AsyncIterator<string> {
    let first = true;
    return {
      next: () => {
        if (!first) return new Promise(() => {});
        first = false;
        return Promise.resolve({ done: false, value: "first" });
      },
      return: () => {
        this.returned = true;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`eventStream (${name})`, () => {
    /** Serves one source, and hands the response to a test. */
    async function withStream(
      source: () => Source,
      run: (response: Response, server: TestServer) => Promise<void>,
    ): Promise<void> {
      const server = await serve(() => eventStream(source()));
      try {
        await run(await within(fetch(server.url), "the headers"), server);
      } finally {
        await server.close();
      }
    }

    test("strings are data, objects are events; JSON for what is no string", () =>
      withStream(async function* () {
        yield "one";
        yield await Promise.resolve({ event: "token", data: { n: 1 }, id: "7", retry: 100 });
        yield { data: "a\r\nb\rc" };
        yield {};
        yield { event: "done", data: null };
      }, async (response) => {
        assertEquals(response.headers.get("content-type"), "text/event-stream");
        assertEquals(response.headers.get("cache-control"), "no-cache, no-transform");
        assertEquals(response.headers.get("x-accel-buffering"), "no");
        assertEquals(await new EventReader(response).rest(), [
          { comments: [""] },
          { data: "one" },
          { event: "token", data: '{"n":1}', id: "7", retry: "100" },
          { data: "a\nb\nc" },
          { data: "" },
          { event: "done", data: "null" },
          { event: "streamside:end", data: "{}" },
        ]);
      }));

    test("the headers and each event come at once, not with the next", () => {
      let next = (_: string) => {};
      return withStream(async function* () {
        for (;;) yield await new Promise<string>((resolve) => next = resolve);
      }, async (response) => {
        const reader = new EventReader(response);
        for (const text of ["a", "b", "c"]) {
          next(text);
          assertEquals(await reader.event(), { data: text });
        }
        await reader.cancel();
        next("after the reader has gone");
      });
    });

    test("asks for the next only as fast as the reader takes, and goes on when it reads on", async () => {
      let made = 0;
      const total = 4000;
      await withStream(function* () {
        while (made < total) yield `${made++} ${"x".repeat(10_000)}`;
      }, async (response) => {
        const reader = new EventReader(response);
        await reader.event();
        // It has stopped when nothing more is made though the event loop goes round.
        let before = -1;
        for (let still = 0; still < 20; still = made === before ? still + 1 : 0) {
          before = made;
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        assert(made < total, "it stops making what nobody takes");
        const rest = await reader.rest();
        assertEquals(rest.at(-1)!.event, "streamside:end");
        assertEquals(rest.length, total);
        assertEquals(parseInt(rest.at(-2)!.data!), total - 1);
      });
    });

    test("a reader that goes away returns from the iterable: its finally runs", async () => {
      let finished = false;
      await withStream(async function* () {
        try {
          for (let i = 0;; i++) {
            yield String(i);
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        } finally {
          finished = true;
        }
      }, async (response) => {
        const reader = new EventReader(response);
        await reader.event();
        assertEquals(finished, false);
        await reader.cancel();
        await until(() => finished, "the finally");
      });
    });

    test("a reader that goes away while the iterable waits is told of by return()", async () => {
      const waiting = new Waiting();
      await withStream(() => waiting, async (response) => {
        const reader = new EventReader(response);
        assertEquals(await reader.event(), { data: "first" });
        await reader.cancel();
        await until(() => waiting.returned, "return()");
      });
    });

    test("a reader that has gone before the response is there is told of by return(), too", async () => {
      const waiting = new Waiting();
      let [asked, answer] = [() => {}, () => {}];
      const isAsked = new Promise<void>((resolve) => asked = resolve);
      const server = await serve(async () => {
        asked();
        await new Promise<void>((resolve) => answer = resolve);
        return eventStream(waiting);
      });
      try {
        const client = await RawClient.open(server.port);
        client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        await within(isAsked, "the request");
        client.destroy();
        // The server has seen it go once it has seen another one come.
        const other = await RawClient.open(server.port);
        other.write("nonsense\r\n\r\n");
        await other.waitFor(() => false);
        answer();
        await until(() => waiting.returned, "return()");
      } finally {
        await server.close();
      }
    });
  });
}

describe("what an eventStream cannot send", () => {
  /** What the reader of a stream gets before it breaks off, and what with. */
  async function broken(source: Source): Promise<{ got: string; error: Error }> {
    const reader = eventStream(source).body!.getReader();
    const decoder = new TextDecoder();
    let got = "";
    const error = await assertRejects(async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        got += decoder.decode(value, { stream: true });
      }
    });
    return { got, error };
  }

  test("a name or id that would break its line, data without JSON, a retry that is none: it breaks off with invalid-…", async () => {
    for (
      const [event, code] of [
        [{ event: "a\nb" }, "invalid-event"],
        [{ event: "a\rb" }, "invalid-event"],
        [{ event: "a\0b" }, "invalid-event"],
        [{ event: 7 }, "invalid-event"],
        [{ id: "a\n\ndata: forged" }, "invalid-event"],
        [{ id: "a\0" }, "invalid-event"],
        [{ id: 7 }, "invalid-event"],
        [{ retry: -1 }, "invalid-event"],
        [{ retry: 1.5 }, "invalid-event"],
        [{ retry: "1\ndata: forged" }, "invalid-event"],
        [{ data: 1n }, "invalid-data"],
        [{ data: () => {} }, "invalid-data"],
        [7, "invalid-event"],
        [null, "invalid-event"],
        [undefined, "invalid-event"],
        [["a"], "invalid-event"],
        [new TextEncoder().encode("bytes"), "invalid-event"],
      ] as [SourceEvent, string][]
    ) {
      let finished = false;
      const { got, error } = await broken(async function* () {
        try {
          yield "before";
          yield await Promise.resolve(event);
          yield "after";
        } finally {
          finished = true;
        }
      }());
      assertEquals(got, ":\n\ndata: before\n\n");
      assert(error instanceof StreamsideError, String(error));
      assertEquals(error.code, code);
      assertEquals(finished, true);
    }
  });

  test("an iterable that fails once more when it is returned from: the first error is the one that counts", async () => {
    const failing = async function* () {
      try {
        yield await Promise.resolve({ id: "a\nb" });
      } finally {
        // deno-lint-ignore no-unsafe-finally
        throw new Error("in its finally");
      }
    };
    const { error } = await broken(failing());
    assert(error instanceof StreamsideError, String(error));
  });

  test("promises in a plain iterable are waited for, as `for await` does", async () => {
    const events = [Promise.resolve("a"), Promise.resolve({ event: "b", data: 1 }), "c"];
    const response = eventStream(events as Iterable<string>);
    assertEquals(
      await response.text(),
      `:\n\ndata: a\n\nevent: b\ndata: 1\n\ndata: c\n\n${END}`,
    );
    const rejected = [Promise.reject(new Error("the model is gone"))] as Iterable<unknown>;
    const { error } = await broken(rejected as Iterable<string>);
    assertEquals(error.message, "the model is gone");
  });

  test("an iterable that throws: what came before is whole, and the stream breaks off, it does not end", async () => {
    const failing = async function* () {
      yield "before";
      await Promise.resolve();
      throw new Error("the model is gone");
    };
    const { got, error } = await broken(failing());
    assertEquals([got, error.message], [":\n\ndata: before\n\n", "the model is gone"]);
  });

  for (const [name, serve] of Object.entries(servers)) {
    test(`a client sees a stream that broke off as broken, not as ended (${name})`, async () => {
      const server = await serve(() =>
        eventStream(async function* () {
          yield "before";
          await new Promise((resolve) => setTimeout(resolve, 20));
          throw new Error("the model is gone");
        }())
      );
      try {
        const response = await fetch(server.url);
        await assertRejects(() => within(response.text(), "the stream to break off"));
      } finally {
        await server.close();
      }
    });
  }

  test("status and headers of one's own; those of an event stream stay", async () => {
    const response = eventStream(["a"], {
      status: 201,
      headers: { "X-Own": "1", "Content-Type": "text/html", "Cache-Control": "public" },
    });
    assertEquals(response.status, 201);
    assertEquals(response.headers.get("x-own"), "1");
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    assertEquals(response.headers.get("cache-control"), "no-cache, no-transform");
    assertEquals(await response.text(), `:\n\ndata: a\n\n${END}`);
  });
});

describe("eventStream and its reader", () => {
  test("a function gets a signal, which aborts when the reader goes while the source waits", async () => {
    for (const [, serve] of Object.entries(servers)) {
      let signal: AbortSignal | undefined;
      let ended = "";
      const server = await serve(() =>
        eventStream(async function* (given) {
          signal = given;
          try {
            yield "first";
            await new Promise((_, reject) => given.addEventListener("abort", reject));
          } finally {
            ended = "finally";
          }
        })
      );
      try {
        const response = await within(fetch(server.url), "the headers");
        const reader = response.body!.getReader();
        let text = "";
        while (!text.includes("first")) {
          text += new TextDecoder().decode((await within(reader.read(), "the event")).value);
        }
        assertEquals(signal!.aborted, false);
        await reader.cancel();
        await until(() => ended === "finally", "the source to end");
        assert(signal!.aborted);
      } finally {
        await server.close();
      }
    }
  });

  test("a function is called when the stream is read, and one that throws breaks it off", async () => {
    let calls = 0;
    const { body } = eventStream(() => {
      calls++;
      throw new Error("no model");
    });
    assertEquals(calls, 0);
    const reader = body!.getReader();
    assertEquals((await reader.read()).value?.length, 3);
    await assertRejects(() => reader.read());
    assertEquals(calls, 1);
    const gone = eventStream(() => {
      calls++;
      return [];
    });
    await gone.body!.cancel();
    assertEquals(calls, 1);
  });

  test("a signal is told of the source's own end, too, when it yields what cannot be sent", async () => {
    let signal: AbortSignal | undefined;
    const response = eventStream((given) => {
      signal = given;
      return [{ event: "two\nlines" }];
    });
    await assertRejects(() => response.text());
    assert(signal!.aborted);
  });

  test("a source that waits gets comments in between, and no more than are read", async () => {
    let give!: () => void;
    const waits = new Promise<void>((resolve) => give = resolve);
    const response = eventStream(async function* () {
      await waits;
      yield "at last";
    }, { heartbeat: 5 });
    const reader = response.body!.getReader();
    const decoder = new TextDecoder();
    const read = async () => decoder.decode((await within(reader.read(), "a chunk")).value);
    for (let i = 0; i < 5; i++) assertEquals(await read(), ":\n\n");
    // While nobody reads, comments do not pile up.
    await new Promise((resolve) => setTimeout(resolve, 60));
    give();
    let text = "";
    while (!text.includes(END)) text += await read();
    assert(/^(:\n\n){0,2}data: at last\n\n(:\n\n)?event/.test(text), text);
    assertEquals((await reader.read()).done, true);
  });

  test("a heartbeat that is no time is refused", () => {
    for (const heartbeat of [0, -1, NaN, "15"]) {
      const error = assertThrows(() => eventStream([], { heartbeat: heartbeat as number }));
      assertEquals((error as StreamsideError).code, "invalid-argument");
    }
  });

  test("its end closes a client, and end: false leaves that out", async () => {
    for (const end of [true, false]) {
      let requests = 0;
      const server = await serve(() => {
        requests++;
        return eventStream(["an answer"], { end });
      });
      const client = createClient(server.url, { reconnect: { delay: 1 } });
      const reasons: string[] = [];
      client.addEventListener("close", ({ reason }) => reasons.push(reason));
      client.connect();
      await until(() => end ? reasons.length > 0 : requests > 1, "the end, or the next request");
      client.close();
      await server.close();
      assertEquals(reasons, [end ? "ended" : "closed"]);
      if (end) assertEquals(requests, 1);
    }
  });
});
