/**
 * The checks of `browsers.test.ts`, run by a page: each of them against the site's hub, with the platform's own classes.
 * The page reports what became of each; no driver is needed.
 *
 * @module
 */
import * as library from "../../src/client/mod.ts";

/** What became of a check: nothing, or why it failed. */
export type Report = Record<string, string | null>;

/** What the page asks of the server. */
const ask = async (what: string): Promise<string> => {
  const response = await fetch(`/do/${what}`, { method: "POST" });
  return await response.text();
};

function equal(actual: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`got ${a}, expected ${b}`);
}

/** What was heard, and a way to wait for more of it. */
class Heard {
  readonly lines: string[] = [];
  #wake = () => {};

  add(line: string): void {
    this.lines.push(line);
    this.#wake();
  }

  /** Resolves when there are so many lines. */
  async count(count: number): Promise<string[]> {
    let limit: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      limit = setTimeout(() => {
        reject(new Error(`waited 20 s for ${count} lines, having ${JSON.stringify(this.lines)}`));
      }, 20_000);
    });
    while (this.lines.length < count) {
      await Promise.race([new Promise<void>((resolve) => this.#wake = resolve), late]);
    }
    clearTimeout(limit);
    return this.lines;
  }

  /** Hears the events of these types. */
  listen(target: EventTarget, ...types: string[]): this {
    for (const type of types) {
      target.addEventListener(type, (event) => {
        const { data } = event as MessageEvent;
        this.add(data === undefined ? type : `${type} ${data}`);
      });
    }
    return this;
  }
}

const subscribe = (name: string) => `/sse/subscribe?session=a-${name}`;

/** Two documents of this origin, as two tabs are. */
async function tabs(): Promise<[Window, Window]> {
  const open = () =>
    new Promise<Window>((resolve) => {
      const frame = document.createElement("iframe");
      frame.src = "/empty";
      frame.onload = () => resolve(frame.contentWindow!);
      document.body.append(frame);
    });
  return [await open(), await open()];
}

const checks: Record<string, () => Promise<void>> = {
  "createClient: a relative URL, a header of its own, events": async () => {
    const client = library.createClient("sse/subscribe", {
      headers: () => Promise.resolve({ "X-Session-Id": "a-headers" }),
    });
    const heard = new Heard().listen(client, "open", "tick");
    client.connect();
    await heard.count(1);
    equal(client.url, new URL("/sse/subscribe", location.href).href);
    await ask("send/a-headers/one");
    equal(await heard.count(2), ["open", "tick one"]);
    client.close();
  },

  "createClient: goes on where it was after the connection broke": async () => {
    const client = library.createClient(subscribe("resume"), { reconnect: { delay: 10 } });
    const heard = new Heard().listen(client, "open", "tick");
    client.connect();
    await heard.count(1);
    await ask("send/a-resume/one");
    await heard.count(2);
    await ask("cut-and-send/a-resume/two");
    equal(await heard.count(4), ["open", "tick one", "open", "tick two"]);
    client.close();
  },

  "createClient: a cursor that nobody knows is told with a reset": async () => {
    const client = library.createClient(subscribe("reset"), { lastEventId: "of another life-7" });
    const heard = new Heard().listen(client, "reset", "tick");
    client.connect();
    await heard.count(1);
    await ask("send/a-reset/one");
    equal(await heard.count(2), ["reset {}", "tick one"]);
    client.close();
  },

  "createClient: is refused for good, and says with what status": async () => {
    const client = library.createClient("/sse/subscribe?session=nobody");
    const heard = new Heard();
    client.addEventListener("error", (event) => heard.add(`error ${event.status}`));
    client.addEventListener("close", (event) => heard.add(`close ${event.reason}`));
    client.connect();
    equal(await heard.count(2), ["error 401", "close server"]);
    equal(client.readyState, client.CLOSED);
  },

  "createClient: tries at once when the network is back": async () => {
    const client = library.createClient("/nothing-here-yet", { reconnect: { delay: 600_000 } });
    const heard = new Heard().listen(client, "reconnecting", "open");
    client.connect();
    await heard.count(1);
    await ask("appear");
    dispatchEvent(new Event("online"));
    equal(await heard.count(2), ["reconnecting", "open"]);
    client.close();
  },

  "createClient: lines, characters of several bytes, empty data": async () => {
    const client = library.createClient(subscribe("text"));
    const heard = new Heard().listen(client, "open", "tick");
    client.connect();
    await heard.count(1);
    await ask(`send/a-text/${encodeURIComponent("one\ntwo \u{1f600} ü")}`);
    await ask("send/a-text/");
    equal((await heard.count(3)).slice(1), ["tick one\ntwo \u{1f600} ü", "tick "]);
    client.close();
  },

  "createClient: an async iterator ends with the client": async () => {
    const client = library.createClient(subscribe("iterate"));
    const heard = new Heard().listen(client, "open");
    const events = client.events("tick");
    client.connect();
    await heard.count(1);
    await ask("send/a-iterate/one");
    equal((await events.next()).value.data, "one");
    client.close();
    equal((await events.next()).done, true);
  },

  "createClient: leaves when it is closed": async () => {
    const client = library.createClient(subscribe("leave"));
    const heard = new Heard().listen(client, "open", "close");
    client.connect();
    await heard.count(1);
    client.close();
    equal(await heard.count(2), ["open", "close"]);
    equal(await ask("until-gone/a-leave"), "gone");
  },

  "our EventSource: in place of the platform's": async () => {
    const source = new library.EventSource(subscribe("ours"));
    const heard = new Heard().listen(source, "open", "message");
    source.onmessage = (event) => heard.add(`${event instanceof MessageEvent} ${event.origin}`);
    await heard.count(1);
    await ask("message/a-ours/hello");
    const lines = await heard.count(3);
    equal(lines.slice(1).sort(), ["message hello", `true ${location.origin}`]);
    source.close();
  },

  "the platform's EventSource: hears the hub, and goes on where it was": async () => {
    const source = new EventSource(subscribe("native"));
    const heard = new Heard().listen(source, "open", "tick");
    await heard.count(1);
    await ask("send/a-native/one");
    await heard.count(2);
    await ask("cut-and-send/a-native/two");
    equal(await heard.count(4), ["open", "tick one", "open", "tick two"]);
    source.close();
  },

  "the platform's EventSource: is refused for good": async () => {
    const source = new EventSource("/sse/subscribe?session=nobody");
    await new Heard().listen(source, "error").count(1);
    equal(source.readyState, EventSource.CLOSED);
  },

  "createSharedClient: two documents, one connection": async () => {
    if (!navigator.locks || !globalThis.BroadcastChannel) throw new Error("no locks here");
    const heard = new Heard();
    const clients = await Promise.all((await tabs()).map(async (tab, index) => {
      const script = "/client.js";
      const { createSharedClient } = await (tab as unknown as {
        load(script: string): Promise<typeof library>;
      }).load(script);
      const client = createSharedClient(subscribe("shared"), { name: "shared" });
      client.addEventListener("open", () => heard.add(`open ${index}`));
      client.addEventListener("tick", (event) => heard.add(`tick ${event.data} ${index}`));
      client.connect();
      return client;
    }));
    await heard.count(2);
    equal(await ask("connections/a-shared"), "1");
    await ask("send/a-shared/one");
    const lines = await heard.count(4);
    equal([...lines].sort(), ["open 0", "open 1", "tick one 0", "tick one 1"]);
    for (const client of clients) client.close();
  },
};

/** Checks that wait for seconds. */
const slowChecks: Record<string, () => Promise<void>> = {
  "the platform's EventSource: refused for now, comes back and misses nothing": async () => {
    const source = new EventSource(subscribe("refused"));
    const states = new Set<number>();
    source.onerror = () => states.add(source.readyState);
    const heard = new Heard().listen(source, "tick");
    source.addEventListener("streamside:unavailable", (event) => {
      heard.add(JSON.parse(event.data).code);
    });
    await new Heard().listen(source, "open").count(1);
    await ask("send/a-refused/one");
    await heard.count(1);
    await ask("refuse-and-cut/a-refused");
    await heard.count(2);
    await ask("send/a-refused/two");
    await ask("let-in/a-refused");
    equal(await heard.count(3), ["tick one", "internal-error", "tick two"]);
    equal([...states], [EventSource.CONNECTING]);
    source.close();
  },
};

/** Runs the checks one after the other, the slow ones beside them, and reports. */
export async function runChecks(): Promise<void> {
  const report: Report = {};
  const run = async ([name, check]: [string, () => Promise<void>]) => {
    try {
      await check();
      report[name] = null;
    } catch (error) {
      report[name] = String(error);
    }
  };
  const slow = Promise.all(Object.entries(slowChecks).map(run));
  for (const check of Object.entries(checks)) await run(check);
  await slow;
  await fetch("/report", { method: "POST", body: JSON.stringify(report) });
}
