/**
 * The example with signed tokens, over a real server: what a token grants, what it does not, and when it ends.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { SignJWT } from "jose";
import { type App, createApp } from "../../examples/auth-jwt.ts";
import { EventSource } from "../../src/client/mod.ts";
import { EventReader, serve, until, within } from "../server-helpers.ts";

const SECRET = new TextEncoder().encode("a secret of the test, of 32 bytes or more");
const ACCOUNTS = {
  ada: { password: "analytical", subscribe: ["news", "staff"], send: ["news"] },
  grace: { password: "nanoseconds", subscribe: ["news"], send: [] },
};

/** The application behind a server, and what its clients do. */
class Site {
  readonly app: App;
  readonly url: string;
  readonly #readers: EventReader[] = [];

  constructor(app: App, url: string) {
    this.app = app;
    this.url = url;
  }

  async logIn(name: keyof typeof ACCOUNTS): Promise<{ token: string; lastEventId: string }> {
    const { password } = ACCOUNTS[name];
    const response = await this.post("/login", null, { name, password });
    assertEquals(response.status, 200);
    return await response.json();
  }

  async ticket(token: string): Promise<string> {
    const response = await this.post("/ticket", token, {});
    return (await response.json()).ticket;
  }

  get(query: string, token: string | null, lastEventId?: string): Promise<Response> {
    const headers: Record<string, string> = {};
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    if (lastEventId !== undefined) headers["Last-Event-ID"] = lastEventId;
    return within(fetch(`${this.url}/api/v1/sse/subscribe${query}`, { headers }), "a response");
  }

  /** The status of a subscribe request; a stream that it opened is left again. */
  async status(query: string, token: string | null): Promise<number> {
    const response = await this.get(query, token);
    await response.body?.cancel();
    return response.status;
  }

  async subscribe(query: string, token: string | null, lastEventId?: string): Promise<EventReader> {
    const response = await this.get(query, token, lastEventId);
    assertEquals(response.status, 200);
    const reader = new EventReader(response);
    this.#readers.push(reader);
    await reader.block();
    return reader;
  }

  post(path: string, token: string | null, body: unknown): Promise<Response> {
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    const init = { method: "POST", headers, body: JSON.stringify(body) };
    return within(fetch(this.url + path, init), `the answer to POST ${path}`);
  }

  async send(token: string | null, message: unknown, query = ""): Promise<number> {
    const response = await this.post(`/api/v1/sse/send${query}`, token, message);
    await response.body?.cancel();
    return response.status;
  }

  async release(): Promise<void> {
    await Promise.all(this.#readers.map((reader) => reader.cancel()));
  }
}

async function withSite(
  lives: { tokenLife?: number; ticketLife?: number },
  run: (site: Site) => Promise<void>,
): Promise<void> {
  const app = createApp({ secret: SECRET, accounts: ACCOUNTS, ...lives });
  const server = await serve(app.fetch);
  const site = new Site(app, server.url);
  try {
    await run(site);
  } finally {
    await site.release();
    await app.hub.close();
    await server.close();
  }
}

const headline = { channel: "news", event: "headline", data: "It works" };

describe("signed tokens", () => {
  test("a token opens the channels that it names, and no others", async () => {
    await withSite({}, async (site) => {
      const { token } = await site.logIn("grace");
      assertEquals(await site.status("?channel=staff", token), 403);
      assertEquals(await site.status("?channel=news&channel=staff", token), 403);
      const reader = await site.subscribe("", token);
      await site.app.hub.publish("staff", "secret", "for staff only");
      await site.app.hub.publish("news", "headline", "for everyone");
      assertEquals(await reader.data(1), ["for everyone"]);
    });
  });

  test("a token sends to the channels that it names, and to nothing else", async () => {
    await withSite({}, async (site) => {
      const [ada, grace] = [await site.logIn("ada"), await site.logIn("grace")];
      const reader = await site.subscribe("", grace.token);
      assertEquals(await site.send(grace.token, headline), 403);
      assertEquals(await site.send(ada.token, { ...headline, channel: "staff" }), 403);
      assertEquals(await site.send(ada.token, { all: true, event: "headline", data: "" }), 403);
      assertEquals(await site.send(ada.token, { session: "x", event: "headline", data: "" }), 403);
      assertEquals(await site.send(ada.token, headline), 202);
      assertEquals(await reader.data(1), ["It works"]);
    });
  });

  test("the name of the scheme may be written in any case (RFC 9110, 11.1)", async () => {
    await withSite({}, async (site) => {
      const { token } = await site.logIn("ada");
      for (const scheme of ["bearer", "BEARER"]) {
        const headers = { Authorization: `${scheme} ${token}` };
        const response = await fetch(`${site.url}/api/v1/sse/subscribe`, { headers });
        assertEquals(response.status, 200);
        await response.body!.cancel();
      }
    });
  });

  test("without a token, and with one that is not ours, nothing opens", async () => {
    await withSite({}, async (site) => {
      const { token } = await site.logIn("ada");
      const [head, payload, signature] = token.split(".") as [string, string, string];
      const claims = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
      const unsigned = btoa(JSON.stringify({ alg: "none" })).replaceAll("=", "");
      const more = btoa(JSON.stringify({ ...claims, sub: "root" })).replaceAll("=", "");
      const foreign = await new SignJWT(claims).setProtectedHeader({ alg: "HS256" })
        .sign(new TextEncoder().encode("another secret, that nobody here knows"));
      const wrong = [null, "x", `${head}.${payload}.`, `${unsigned}.${payload}.`];
      for (const bad of [...wrong, `${head}.${more}.${signature}`, foreign]) {
        assertEquals(await site.status("", bad), 401, `subscribe with ${bad}`);
        assertEquals(await site.send(bad, headline), 401, `send with ${bad}`);
      }
      const login = await site.post("/login", null, { name: "ada", password: "" });
      assertEquals([login.status, (await login.json()).token], [401, undefined]);
      assertEquals((await site.post("/login", null, "no object")).status, 401);
      assertEquals((await site.post("/login", null, { name: "__proto__" })).status, 401);
    });
  });

  test("a stream ends when its token does, and the token opens no other", async () => {
    await withSite({ tokenLife: 2_000 }, async (site) => {
      const { token } = await site.logIn("ada");
      const reader = await site.subscribe("", token);
      await site.app.hub.publish("news", "headline", "in time");
      assertEquals((await reader.rest()).map(({ data }) => data), ["in time"]);
      assertEquals(await site.status("", token), 401);
      assertEquals(await site.send(token, headline), 401);
      assertEquals((await site.post("/ticket", token, {})).status, 401);
    });
  });

  test("what was missed of a channel is not given to a token without that channel", async () => {
    await withSite({}, async (site) => {
      const [ada, grace] = [await site.logIn("ada"), await site.logIn("grace")];
      await site.app.hub.publish("staff", "secret", "for staff only");
      await site.app.hub.publish("news", "headline", "for everyone");
      const reader = await site.subscribe("", grace.token, ada.lastEventId);
      assertEquals(await reader.data(1), ["for everyone"]);
      const staff = await site.subscribe("", ada.token, ada.lastEventId);
      assertEquals(await staff.data(2), ["for staff only", "for everyone"]);
    });
  });
});

describe("tickets", () => {
  test("a ticket in the URL opens a stream for an EventSource that sends no headers", async () => {
    await withSite({}, async (site) => {
      const { token } = await site.logIn("ada");
      const url = `${site.url}/api/v1/sse/subscribe?ticket=${await site.ticket(token)}`;
      const source = new EventSource(url);
      try {
        const got: string[] = [];
        source.addEventListener("headline", (event) => got.push((event as MessageEvent).data));
        await until(() => source.readyState === 1, "the stream to open");
        assertEquals(await site.send(token, headline), 202);
        await until(() => got.length === 1, "the event");
        assertEquals(got, ["It works"]);
      } finally {
        source.close();
      }
    });
  });

  test("a ticket opens a stream and nothing else, and a token in the URL opens nothing", async () => {
    await withSite({}, async (site) => {
      const { token } = await site.logIn("ada");
      const ticket = await site.ticket(token);
      assertMatch(ticket, /^[\w-]+\.[\w-]+\.[\w-]+$/);
      assertEquals(await site.send(null, headline, `?ticket=${ticket}`), 401);
      assertEquals(await site.send(ticket, headline), 401);
      assertEquals((await site.post("/ticket", ticket, {})).status, 401);
      assertEquals(await site.status("", ticket), 401);
      assertEquals(await site.status(`?ticket=${token}`, null), 401);
      assertEquals(await site.status(`?ticket=${ticket}&channel=staff`, null), 200);
    });
  });

  test("a ticket ends long before its token; a stream that it opened goes on", async () => {
    await withSite({ ticketLife: 2_000 }, async (site) => {
      const { token } = await site.logIn("ada");
      const ticket = await site.ticket(token);
      const reader = await site.subscribe(`?ticket=${ticket}`, null);
      let status = 200;
      for (let i = 0; i < 100 && status === 200; i++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        status = await site.status(`?ticket=${ticket}`, null);
      }
      assertEquals(status, 401);
      await site.app.hub.publish("news", "headline", "still here");
      assertEquals(await reader.data(1), ["still here"]);
      assert(await site.status("", token) === 200, "the token is still good");
    });
  });
});
