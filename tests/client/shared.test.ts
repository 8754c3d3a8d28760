/** Who shares a connection, and what a tab hears of servers that begin anew, in one process with stand-ins for a browser. */
import { describe, test } from "node:test";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { createHandler, createHub } from "../../mod.ts";
import {
  type Client,
  createClient,
  createSharedClient,
  type SharedClientOptions,
} from "../../src/client/mod.ts";
import { feeds, next, record, STREAM, until } from "./helpers.ts";
import { quietLogger } from "../server-helpers.ts";
import { Channel, withTabs } from "./tabs.ts";

const QUICK = { delay: 1, jitter: 0 };

/** Runs `body` with clients, which are closed afterwards. */
async function withClients(
  clients: Client[],
  body: (...clients: Client[]) => Promise<void>,
): Promise<void> {
  try {
    await body(...clients);
  } finally {
    for (const client of clients) client.close();
  }
}

const stream = (text: string, open?: boolean) =>
  new Response(
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        if (!open) controller.close();
      },
    }),
    { headers: STREAM },
  );

describe("who shares a connection", () => {
  const given: SharedClientOptions[] = [
    { headers: { "X-Session-Id": "ada" } },
    { headers: () => ({ "X-Session-Id": "ada" }) },
    { fetch: () => new Response() },
    { method: "REPORT" },
    { body: "ada" },
  ];
  const worlds: Record<string, Parameters<typeof withTabs>[1]> = {
    "in a browser": undefined,
    "without locks": { locks: undefined, channel: Channel },
    "without channels": { locks: {}, channel: undefined },
  };
  for (const [world, parts] of Object.entries(worlds)) {
    test(`whoever says who it is has to name the session, ${world}`, async () => {
      await withTabs((): Promise<void> => {
        for (const options of given) {
          const error = assertThrows(
            () => createSharedClient("http://localhost/sse", options),
            TypeError,
          );
          assertStringIncludes(error.message, Object.keys(options)[0]!);
          assertStringIncludes(error.message, "name the session");
          createSharedClient("http://localhost/sse", { ...options, name: "ada" });
        }
        createSharedClient("http://localhost/sse");
        return Promise.resolve();
      }, parts);
    });
  }

  test("tabs of one session with channels of their own hear each its own channel", async () => {
    const hub = createHub();
    const handler = createHandler(hub, {
      authenticate: () => ({ session: "ada", channels: ["one", "two"] }),
    });
    const tab = (channel: string) =>
      createSharedClient(`http://localhost/api/v1/sse/subscribe?channel=${channel}`, {
        name: "ada",
        fetch: (...request: unknown[]) => handler(new Request(...request as [string])),
      });
    await withTabs(async () => {
      await withClients([tab("one"), tab("two")], async (...clients) => {
        const lines = clients.map((client) => record(client, "note", "last"));
        for (const client of clients) {
          client.connect();
          await next(client, "open");
        }
        const last = clients.map((client) => next(client, "last"));
        await hub.publish("one", "note", "of one");
        await hub.publish("two", "note", "of two");
        await hub.broadcast("last", "of all");
        await Promise.all(last);
        assertEquals(lines, [["note of one", "last of all"], ["note of two", "last of all"]]);
      });
    });
    await hub.close();
  });

  test("two sessions of one URL hear each its own events", async () => {
    const hub = createHub();
    const handler = createHandler(hub, {
      authenticate: ({ headers }) => ({ session: headers.get("X-Session-Id")! }),
    });
    const tab = (session: string) =>
      createSharedClient("http://localhost/api/v1/sse/subscribe", {
        name: session,
        headers: { "X-Session-Id": session },
        fetch: (...request: unknown[]) => handler(new Request(...request as [string])),
      });
    await withTabs(async () => {
      await withClients([tab("ada"), tab("bob"), tab("bob")], async (...clients) => {
        const lines = clients.map((client) => record(client, "note"));
        for (const client of clients) {
          client.connect();
          await next(client, "open");
        }
        assertEquals(hub.stats().connections, 2);
        await hub.send("ada", "note", "for Ada");
        await hub.send("bob", "note", "for Bob");
        await until(() => lines.every((each) => each.length > 0), "all to hear");
        assertEquals(lines, [["note for Ada"], ["note for Bob"], ["note for Bob"]]);
      });
    });
    await hub.close();
  });
});

describe("servers that begin anew", () => {
  for (const make of [createClient, createSharedClient]) {
    test(`${make.name}: ids that begin at 1 again are other events`, async () => {
      let life = 0;
      const fetch = () => {
        life++;
        const text = [1, 2, 3].map((id) => `id: ${id}\ndata: ${life}.${id}\n\n`).join("");
        return stream(text, life == 3);
      };
      const tab = () => make("/lives", { name: "lives", fetch, reconnect: QUICK } as object);
      await withTabs(async () => {
        await withClients([tab(), tab()], async (first, second) => {
          const lines = [first!, second!].map((client) => record(client, "message"));
          first!.connect();
          if (make == createSharedClient) second!.connect();
          await until(() => lines[0]!.length >= 9, "three lives");
          const all = [1, 2, 3].flatMap((life) => [1, 2, 3].map((id) => `message ${life}.${id}`));
          assertEquals(lines[0], all);
          if (make == createClient) return;
          // What came before the second had heard of the leader is nothing that it missed.
          await until(() => lines[1]!.at(-1) == "message 3.3", "the other tab to hear the last");
          assertEquals(lines[1], all.slice(-lines[1]!.length));
        });
      });
    });

    test(`${make.name}: from one server to another and back, each reset is told`, async () => {
      const hubs = [1, 2].map(() => createHub({ retry: 1 }));
      const handlers = hubs.map((hub) =>
        createHandler(hub, { authenticate: () => ({ session: "s" }) })
      );
      let at = 0;
      let cut = () => {};
      const fetch = async (...request: unknown[]) => {
        const { body, headers } = await handlers[at]!(new Request(...request as [string]));
        const reader = body!.getReader();
        return new Response(
          new ReadableStream({
            start(controller) {
              cut = () => {
                controller.error(new Error("cut"));
                void reader.cancel();
              };
            },
            async pull(controller) {
              const { done, value } = await reader.read();
              if (done) controller.close();
              else controller.enqueue(value);
            },
            cancel: () => reader.cancel(),
          }),
          { headers },
        );
      };
      const tab = () =>
        make(
          "http://localhost/api/v1/sse/subscribe",
          { name: "a b a", fetch, reconnect: QUICK } as object,
        );
      await withTabs(async () => {
        await withClients([tab(), tab()], async (first, second) => {
          const tabs = make == createClient ? [first!] : [first!, second!];
          const lines = tabs.map((client) => record(client, "note", "reset"));
          const heard = (what: string) =>
            until(() => lines.every((each) => each.at(-1)?.startsWith(what)), what);
          for (const client of tabs) {
            client.connect();
            await next(client, "open");
          }
          await hubs[0]!.broadcast("note", 1);
          await heard("note 1");
          at = 1;
          cut();
          await heard("reset");
          await hubs[1]!.broadcast("note", 2);
          await heard("note 2");
          at = 0;
          cut();
          await heard("reset");
          await hubs[0]!.broadcast("note", 3);
          await heard("note 3");
          const all = ["note 1", "reset {}", "note 2", "reset {}", "note 3"];
          assertEquals(lines, tabs.map(() => all));
        });
      });
      for (const hub of hubs) await hub.close();
    });
  }
});

describe("a tab with a cursor of its own", () => {
  for (const unavailable of ["stream", "status"] as const) {
    test(`where a session may have one connection, it is told that it missed events (${unavailable})`, async () => {
      const hub = createHub({ maxConnectionsPerSession: 1, logger: quietLogger });
      const handler = createHandler(hub, {
        authenticate: () => ({ session: "s" }),
        unavailable,
      });
      const tab = (lastEventId?: string) =>
        createSharedClient("http://localhost/api/v1/sse/subscribe", {
          name: "one connection",
          fetch: (...request: unknown[]) => handler(new Request(...request as [string])),
          reconnect: { maxAttempts: Infinity },
          ...(lastEventId && { lastEventId }),
        });
      await withTabs(async () => {
        const first = tab();
        await withClients([first], async () => {
          const one = record(first, "note", "reset");
          first.connect();
          await next(first, "open");
          await hub.broadcast("note", 1);
          const second = tab(hub.cursor());
          await hub.broadcast("note", 2);
          await until(() => one.length == 2, "the first to hear both");
          await withClients([second], async () => {
            const two = record(second, "note", "reset");
            second.connect();
            await until(() => two.length > 0, "the second to be told");
            await hub.broadcast("note", 3);
            await until(() => two.length > 1, "the second to hear");
            assertEquals(one, ["note 1", "note 2", "note 3"]);
            assertEquals(two.map((line) => line.split(" ")[0]), ["reset", "note"]);
            assertEquals(two[1], "note 3");
            assertEquals(second.lastEventId, first.lastEventId);
          });
        });
      });
      await hub.close();
    });
  }

  test("it catches up by a connection of its own, and then hears along", async () => {
    const { fetch, all } = feeds();
    const tab = (lastEventId?: string) =>
      createSharedClient("/cursor", {
        name: "cursor",
        fetch,
        ...(lastEventId && { lastEventId }),
      });
    await withTabs(async () => {
      await withClients([tab(), tab("1")], async (first, second) => {
        const [one, two] = [first!, second!].map((client) => record(client, "message", "reset"));
        first!.connect();
        await next(first!, "open");
        all[0]!.push("id: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\ndata: 3\n\n");
        await until(() => one!.length == 3, "the first to hear");
        second!.connect();
        await until(() => all.length == 2, "the second to ask for what it missed");
        assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "1");
        // What the leader hears meanwhile, the second hears in its turn.
        all[0]!.push("id: 4\ndata: 4\n\n");
        all[1]!.push("id: 2\ndata: 2\n\nid: 3\ndata: 3\n\nid: 4\ndata: 4\n\n");
        await until(() => all[1]!.cancelled, "the second to hear along");
        all[0]!.push("id: 5\ndata: 5\n\n");
        await until(() => two!.length == 4, "the second to hear all");
        assert(!all[0]!.cancelled);
        assertEquals(one, [1, 2, 3, 4, 5].map((n) => `message ${n}`));
        assertEquals(two, [2, 3, 4, 5].map((n) => `message ${n}`));
      });
    });
  });
});

describe("a tab that takes over", () => {
  test("goes on from where the stream began, when no event has come yet", async () => {
    const { fetch, all } = feeds();
    const tab = () => createSharedClient("/began", { name: "began", fetch });
    await withTabs(async () => {
      await withClients([tab(), tab()], async (first, second) => {
        first!.connect();
        await next(first!, "open");
        second!.connect();
        await next(second!, "open");
        all[0]!.push("retry: 1\nid: 7\n\n");
        await until(() => second!.lastEventId == "7", "the second to hear of the beginning");
        first!.close();
        await until(() => all.length == 2, "the second to take over");
        assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "7");
      });
    });
  });

  test("what it hears again, those leave out that heard more than it had", async () => {
    const { fetch, all } = feeds();
    const tab = () => createSharedClient("/ahead", { name: "ahead", fetch });
    await withTabs(async () => {
      const [first, second, third] = [tab(), tab(), tab()];
      await withClients([first!, second!, third!], async () => {
        const channels: Channel[] = [];
        for (const client of [first!, second!, third!]) {
          client.connect();
          channels.push(Channel.last!);
          await next(client, "open");
        }
        const [, two, three] = [first!, second!, third!].map((client) => record(client, "message"));
        const events = (from: number, to: number) => {
          let text = "";
          for (let id = from; id <= to; id++) text += `id: ${id}\ndata: ${id}\n\n`;
          return text;
        };
        all[0]!.push(events(1, 2));
        await until(() => two!.length == 2 && three!.length == 2, "both to hear two");
        // The lock comes to the second before the last words of the first do.
        channels[1]!.hearing = "deaf";
        all[0]!.push(events(3, 5));
        await until(() => three!.length == 5, "the third to hear more");
        first!.close();
        channels[1]!.hearing = "hears";
        await until(() => all.length == 2, "the second to take over");
        assertEquals(all[1]!.request.headers.get("Last-Event-ID"), "2");
        all[1]!.push(events(3, 6));
        await until(() => three!.at(-1) == "message 6", "the third to hear on");
        assertEquals(two, [1, 2, 3, 4, 5, 6].map((n) => `message ${n}`));
        assertEquals(three, two);
        assertEquals(all.length, 2);
      });
    });
  });

  test("of another life of the server, they leave nothing out", async () => {
    const { fetch, all } = feeds();
    const tab = () => createSharedClient("/another", { name: "another", fetch });
    await withTabs(async () => {
      const [first, second, third] = [tab(), tab(), tab()];
      await withClients([first!, second!, third!], async () => {
        const channels: Channel[] = [];
        for (const client of [first!, second!, third!]) {
          client.connect();
          channels.push(Channel.last!);
          await next(client, "open");
        }
        const [, two, three] = [first!, second!, third!].map((client) => record(client, "message"));
        const events = (life: number, from: number, to: number) => {
          let text = "";
          for (let id = from; id <= to; id++) text += `id: ${id}\ndata: ${life}.${id}\n\n`;
          return text;
        };
        all[0]!.push(events(1, 1, 2));
        await until(() => two!.length == 2 && three!.length == 2, "both to hear two");
        channels[1]!.hearing = "deaf";
        all[0]!.push(events(1, 3, 5));
        await until(() => three!.length == 5, "the third to hear more");
        first!.close();
        channels[1]!.hearing = "hears";
        await until(() => all.length == 2, "the second to take over");
        all[1]!.push(events(2, 1, 5));
        await until(() => three!.at(-1) == "message 2.5", "the third to hear the second life");
        const second2 = [1, 2, 3, 4, 5].map((n) => `message 2.${n}`);
        assertEquals(two, ["message 1.1", "message 1.2", ...second2]);
        assertEquals(three, [1, 2, 3, 4, 5].map((n) => `message 1.${n}`).concat(second2));
      });
    });
  });
});

describe("a refusal for now", () => {
  for (const unavailable of ["stream", "status"] as const) {
    test(`every tab gets its status and problem, and counts the attempt (${unavailable})`, async () => {
      const hub = createHub({ maxConnectionsPerSession: 1, logger: quietLogger });
      const handler = createHandler(hub, { authenticate: () => ({ session: "s" }), unavailable });
      const fetch = (...request: unknown[]) => handler(new Request(...request as [string]));
      const url = "http://localhost/api/v1/sse/subscribe";
      const tab = () => createSharedClient(url, { name: "refused", fetch });
      await withTabs(async () => {
        await withClients(
          [createClient(url, { fetch }), tab(), tab()],
          async (other, ...tabs) => {
            other!.connect();
            await next(other!, "open");
            const lines = tabs.map((client) => record(client, "open", "error", "reconnecting"));
            const codes: unknown[] = [];
            for (const client of tabs) {
              client.addEventListener("error", ({ problem }) => codes.push(problem?.code));
              client.connect();
            }
            await until(() => lines.every((each) => each.length == 2), "both to be told");
            assertEquals(lines, tabs.map(() => ["error 429", "reconnecting 1"]));
            assertEquals(codes, tabs.map(() => "too-many-connections-of-session"));
            for (const client of tabs) {
              assertEquals([client.readyState, client.reconnectAttempts], [0, 1]);
            }
          },
        );
      });
      await hub.close();
    });
  }
});
