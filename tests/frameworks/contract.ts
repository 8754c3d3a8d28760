/**
 * What every framework's example must do, in one description: `examples.test.ts` and the tests of the frameworks that
 * are built first say how theirs is started.
 *
 * Each example has, beside the handler, `GET /sessions` (who is connected) and `POST /greet/:name` (which sends a
 * `greeting`).
 *
 * @module
 */
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Server, startWith, stop, within } from "../examples/server.ts";
import { type Block, EventReader, runtime, textOf } from "../server-helpers.ts";

/** An example, and in what it may differ from the others. */
export interface Example {
  /** Starts it. */
  readonly start: () => Promise<Server>;
  /** Removes what starting it has left behind. */
  readonly clean?: () => Promise<void>;
  /** What its greetings say that they are from. */
  readonly from: string;
  /** The handler's `basePath`: "/events" by default. */
  readonly base?: string;
  /** How to be somebody there: the headers of a request. `X-Session-Id` by default. */
  readonly login?: (url: string, name: string) => Promise<Record<string, string>>;
  /** What its page says, if it has one. */
  readonly page?: string;
  /** How its process ends after SIGTERM: with exit code 0 by default. */
  readonly ends?: number | string;
  /** How to ask it: the global `fetch` by default. */
  readonly fetch?: typeof fetch;
  /**
   * What a client does in a process of its own: reads `count` streams of `url` with `headers`, until it is killed. With
   * the global `fetch` by default.
   */
  readonly reads?: string;
  /** False where what serves the framework leaves the body of a refused POST in the connection, which then stalls. */
  readonly refusesBodies?: boolean;
  /** Why it is not tested, if it is not. */
  readonly skip?: string | false;
}

/** How many clients are killed at once. */
const CLIENTS = 5;

/** Tests an example in a process of its own. */
export function describeExample(name: string, example: Example): void {
  const { from, base = "/events", ends = 0, skip = false } = example;
  const login = example.login ??
    ((_url: string, name: string) => Promise.resolve({ "X-Session-Id": name }));

  describe(name, () => {
    let server: Server | undefined;
    let ada: Record<string, string> = {};

    const ask = (path: string, init: RequestInit = {}, user = ada) =>
      within(
        (example.fetch ?? fetch)(`${server!.url}${path}`, {
          ...init,
          headers: {
            ...user,
            ...(init.body ? { "Content-Type": "application/json" } : {}),
            ...init.headers,
          },
        }),
        `the answer to ${path}`,
      );
    const post = (path: string, body: string) => ask(path, { method: "POST", body });
    const sessions = async () => await (await ask("/sessions")).json() as string[];
    const greet = async (): Promise<number> => {
      const answer = await post("/greet/ada", "{}");
      assert(answer.ok, `POST /greet/ada is answered with ${answer.status}`);
      return (await answer.json()).connections;
    };
    const subscribe = async (headers: Record<string, string> = {}): Promise<EventReader> => {
      const response = await ask(`${base}/subscribe`, { headers });
      assertEquals([response.status, response.headers.get("Content-Type")], [
        200,
        "text/event-stream",
      ]);
      assertEquals(response.headers.get("Content-Encoding"), null);
      return new EventReader(response);
    };
    const forgotten = (what: string) =>
      within(
        (async () => {
          while ((await sessions()).length > 0) await new Promise((wake) => setTimeout(wake, 5));
        })(),
        what,
      );

    before(async () => {
      if (skip) return;
      server = await example.start();
      ada = await login(server.url, "ada");
    });

    after(async () => {
      server?.process.kill("SIGKILL");
      await example.clean?.();
    });

    test("the framework's own user gets in, and nobody else", { skip }, async () => {
      const response = await ask(`${base}/subscribe`, {}, {});
      assertEquals(response.headers.get("Content-Type"), "application/problem+json");
      assertEquals([response.status, (await response.json()).code], [401, "not-authenticated"]);
    });

    test(
      "headers at once, what other routes send, what clients send, and nobody left when the reader has gone",
      {
        skip,
      },
      async () => {
        const reader = await subscribe();
        await reader.block();
        assertEquals(await sessions(), ["ada"]);
        assertEquals(await greet(), 1);
        const greeting = await reader.event();
        assertEquals([greeting.event, greeting.data], ["greeting", JSON.stringify({ from })]);
        const message = JSON.stringify({
          session: "ada",
          event: "greeting",
          data: "x".repeat(3000),
        });
        const sent = await post(`${base}/send`, message);
        assertEquals([sent.status, (await sent.json()).connections], [202, 1]);
        assertEquals((await reader.event()).data!.length, 3000);
        await reader.cancel();
        await forgotten("the hub to forget the reader");
      },
    );

    test("Last-Event-ID resumes with what was missed, and nothing else", { skip }, async () => {
      const reader = await subscribe();
      await greet();
      const seen = await reader.event();
      await reader.cancel();
      await forgotten("the hub to forget the reader");
      const missed = JSON.stringify({ session: "ada", event: "missed", data: "while away" });
      const sent = await post(`${base}/send`, missed);
      assertEquals((await sent.json()).connections, 0);
      const resumed = await subscribe({ "Last-Event-ID": seen.id! });
      const { event, data } = await resumed.event();
      assertEquals([event, data], ["missed", "while away"]);
      await resumed.cancel();
      await forgotten("the hub to forget the reader");
    });

    test("what is refused, and what there is not", { skip }, async () => {
      const unknown = await ask(`${base}/nothing`);
      assertEquals([unknown.status, JSON.parse(await textOf(unknown)).code], [404, "not-found"]);
      const method = await ask(`${base}/subscribe`, { method: "DELETE" });
      assertEquals([method.status, method.headers.get("Allow")], [405, "GET, HEAD, OPTIONS"]);
      await method.body?.cancel();
      if (example.refusesBodies === false) return;
      const large = await post(`${base}/send`, JSON.stringify("x".repeat(2_000_000)));
      assertEquals(large.status, 413);
      await large.body?.cancel();
    });

    test("HEAD is answered, and opens no connection", { skip }, async () => {
      const head = await ask(`${base}/subscribe`, { method: "HEAD" });
      assertEquals([head.status, head.headers.get("Content-Type")], [200, "text/event-stream"]);
      assertEquals(await sessions(), []);
    });

    test("clients that are killed leave nothing behind", { skip }, async () => {
      const clients = await startClients(`${server!.url}${base}/subscribe`, ada, example.reads);
      assertEquals(await greet(), CLIENTS);
      clients.process.kill("SIGKILL");
      await forgotten("the hub to forget the clients that were killed");
    });

    if (example.page !== undefined) {
      test("the page is there", { skip }, async () => {
        const response = await ask("/");
        assertEquals(response.status, 200);
        assert((await response.text()).includes(example.page!));
      });
    }

    // The last one: it ends the server.
    test(
      "SIGTERM ends the streams, whose readers are told when to come back, and then the process",
      {
        skip,
      },
      async () => {
        const readers = [await subscribe(), await subscribe()];
        for (const reader of readers) await reader.block();
        const ended = stop(server!);
        for (const reader of readers) {
          const left = await within(reader.rest(), "the stream to end");
          assert(isFarewell(left.at(-1)), `a stream ends with ${JSON.stringify(left)}`);
        }
        assertEquals(await ended, ends);
      },
    );
  });
}

/** The last of a stream that is drained: a time of its own to come back after, around the hub's `retry`. */
function isFarewell(block: Block | undefined): boolean {
  const { retry, ...rest } = block ?? {};
  return Object.keys(rest).length === 0 && Number(retry) >= 1000 && Number(retry) <= 3000;
}

const READS = `
  globalThis.readers = await Promise.all(Array.from({ length: count }, async () => {
    const reader = (await fetch(url, { headers })).body.getReader();
    await reader.read();
    return reader;
  }));`;

/** Opens streams in a process of its own: what it holds open when it is killed, the system closes. */
async function startClients(
  url: string,
  headers: Record<string, string>,
  reads: string = READS,
): Promise<Server> {
  const script = `
    const [url, headers, count] = ${JSON.stringify([url, headers, CLIENTS])};
    ${reads}
    console.log("reading " + url);
    setInterval(() => {}, 1000);`;
  const run = {
    node: ["--input-type=module", "--eval"],
    deno: ["eval"],
    bun: ["--eval"],
  }[runtime];
  return await startWith([process.execPath, ...run, script], {});
}
