/**
 * The example application, as a user runs it: its own entry point in a process of its own, on the runtime that runs
 * this test, driven over the socket.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import type { Events, Tick } from "../../examples/app/events.ts";
import { type Client, createClient } from "../../src/client/mod.ts";
import { type Server, start, startWith, stop, within } from "./server.ts";
import { runtime } from "../server-helpers.ts";
import { skipWithoutSqlite } from "../sqlite.ts";

interface Login {
  cursor: string;
  token: string;
  expires: number;
  documents: { document: string; lockedBy: string | null; mine: boolean }[];
}

/** A session of the application, as a page is one. */
class User {
  readonly url: string;
  readonly login: Login;
  readonly client: Client<Events>;

  constructor(url: string, login: Login) {
    this.url = url;
    this.login = login;
    this.client = createClient<Events>(`${url}/api/v1/sse/subscribe`, {
      headers: { "X-Session-Id": login.token },
      lastEventId: login.cursor,
    });
  }

  /** Logs in and listens; `connect: false` leaves the listening to the test. */
  static async logIn(server: Server, name: string, { connect = true } = {}): Promise<User> {
    const response = await post(`${server.url}/api/v1/login`, { name });
    assertEquals(response.status, 200);
    const user = new User(server.url, await response.json());
    users.push(user);
    if (connect) user.client.connect();
    return user;
  }

  async ask(method: string, path: string, body?: unknown): Promise<Response> {
    return await fetch(`${this.url}/api/v1/${path}`, {
      method,
      headers: { "X-Session-Id": this.login.token, "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
  }

  /** Asks, and expects this status. */
  async expect(status: number, method: string, path: string, body?: unknown): Promise<void> {
    const response = await this.ask(method, path, body);
    assertEquals(response.status, status, `${method} ${path}: ${await response.text()}`);
  }

  /** The events of some types from now on, as `[type, data]`, up to the first that `last` says is the last. */
  async until(
    types: (keyof Events)[],
    last: (type: string, data: string) => boolean,
  ): Promise<[string, string][]> {
    const seen: [string, string][] = [];
    const listening = new AbortController();
    const done = new Promise<void>((resolve) => {
      for (const type of types) {
        this.client.addEventListener(type, (event) => {
          seen.push([type, event.data]);
          if (!last(type, event.data)) return;
          listening.abort();
          resolve();
        }, { signal: listening.signal });
      }
    });
    await within(done, `the last of ${types.join(", ")}; so far: ${JSON.stringify(seen)}`);
    return seen;
  }
}

const users: User[] = [];

async function post(url: string, body: unknown, type = "application/json"): Promise<Response> {
  return await fetch(url, {
    method: "POST",
    headers: { "Content-Type": type },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

async function assertProblem(response: Response, status: number): Promise<void> {
  const text = await response.text();
  assertEquals(response.status, status, text);
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  const problem = JSON.parse(text);
  assertEquals(problem.status, status);
  assert(problem.title && problem.detail, text);
}

function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

describe("the example application", () => {
  let server: Server;
  let temporary: string;
  let source: string;
  let watched: string;
  /** A directory of its own for what a server keeps. */
  const data = () => join(temporary, `data-${++directories}`);
  let directories = 0;

  before(async () => {
    temporary = await mkdtemp(join(tmpdir(), "streamside-example-test-"));
    source = join(temporary, "source");
    watched = join(temporary, "watched");
    await mkdir(watched);
    for (let folder = 0; folder < 20; folder++) {
      await mkdir(join(source, `package-${folder}`, "lib"), { recursive: true });
      for (let file = 0; file < 50; file++) {
        const content = `export const value = ${folder * file};\n`.repeat(file + 1);
        await writeFile(join(source, `package-${folder}`, "lib", `file-${file}.js`), content);
      }
    }
    await writeFile(join(source, "words.txt"), "one two\nthree  four\n\tfünf");
    server = await start(runtime, { SOURCE: source, WATCH: watched, DATA: data() });
  });

  after(async () => {
    for (const user of users) user.client.close();
    const code = server ? await stop(server) : 0;
    await rm(temporary, { recursive: true, force: true });
    assertEquals(code, 0, server?.errors());
    assertEquals(server?.errors(), "");
  });

  test("serves its page, with the client in its script", async () => {
    const page = await fetch(server.url);
    assertEquals(page.status, 200);
    assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
    assertStringIncludes(page.headers.get("content-security-policy") ?? "", "default-src 'self'");
    const html = await page.text();
    assertStringIncludes(html, '<script type="module" src="/page.js">');
    assertEquals(
      html.match(/(src|href)="(https?:)?\/\//g),
      null,
      "it loads nothing from elsewhere",
    );
    // The code beside the stories is the application's own.
    const shown = html.matchAll(
      /<figcaption>\w+ <span>([^<]+)<\/span><\/figcaption><pre[^>]*>(.+?)<\/pre>/gs,
    );
    const stories = new Set<string>();
    for (const [block, file, code] of shown) {
      stories.add(/aria-label="\w+: (\w+)"/.exec(block)![1]!);
      const text = code!.replace(/<[^>]+>/g, "")
        .replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
      const own = await readFile(join("examples/app", file!), "utf8");
      for (const line of text.split("\n")) if (line !== "…") assertStringIncludes(own, line);
    }
    assertEquals([...stories].sort(), ["answer", "lock", "resume", "sync", "task", "watch"]);

    const head = await fetch(server.url, { method: "HEAD" });
    assertEquals([head.status, await head.text()], [200, ""]);

    const script = await fetch(`${server.url}/page.js`);
    assertEquals(script.headers.get("content-type"), "text/javascript; charset=utf-8");
    const source = await script.text();
    assertStringIncludes(source, "Last-Event-ID");
    assert(!/^import /m.test(source), "a browser would have to resolve an import");
    // Every element that the script looks up is on the page.
    for (const [, id] of source.matchAll(/(?:element|tell|on)\("([a-z-]+)"/g)) {
      assertStringIncludes(html, `id="${id}"`);
    }

    const style = await fetch(`${server.url}/style.css`);
    assertEquals(style.headers.get("content-type"), "text/css; charset=utf-8");
    await style.text();
  });

  test("refuses what it cannot take, with problem details", async () => {
    const login = `${server.url}/api/v1/login`;
    await assertProblem(await post(login, { name: "Ada" }, "text/plain"), 415);
    await assertProblem(await post(login, '{"name":'), 400);
    await assertProblem(await post(login, "[]"), 400);
    await assertProblem(await post(login, { name: 7 }), 400);
    await assertProblem(await post(login, { name: "   " }), 400);
    await assertProblem(await post(login, { name: "a\u0000b" }), 400);
    await assertProblem(await post(login, { name: "x".repeat(41) }), 400);
    await assertProblem(await post(login, { name: "x".repeat(10_000) }), 413);

    for (const path of ["logout", "sync", "lock", "task", "rate"]) {
      await assertProblem(await post(`${server.url}/api/v1/${path}`, {}), 401);
    }
    await assertProblem(await fetch(`${server.url}/api/v1/session?sessionId=unknown`), 401);

    await assertProblem(await fetch(`${server.url}/nowhere`), 404);
    await assertProblem(await fetch(`${server.url}/constructor`), 404);
    const wrong = await fetch(login);
    assertEquals(wrong.headers.get("allow"), "POST");
    await assertProblem(wrong, 405);
    const written = await post(server.url, {});
    assertEquals(written.headers.get("allow"), "GET, HEAD");
    await assertProblem(written, 405);

    const ada = await User.logIn(server, "Ada", { connect: false });
    // A token that is cut off, of another session's signature, or with other claims is none.
    const grace = await User.logIn(server, "Grace", { connect: false });
    const [claims, signature] = ada.login.token.split(".");
    const other = grace.login.token.split(".")[1];
    const changed = Buffer.from(claims!, "base64url").toString().replace("Ada", "Eve");
    const forged = `${Buffer.from(changed).toString("base64url")}.${signature}`;
    for (const token of [`${claims}.`, `${claims}.${other}`, forged, `.${signature}`, "."]) {
      await assertProblem(await fetch(`${server.url}/api/v1/session?sessionId=${token}`), 401);
    }
    for (const perSecond of [-1, 1.5, 5001, "10", null]) {
      await assertProblem(await ada.ask("POST", "rate", { perSecond }), 400);
    }
    await assertProblem(await ada.ask("POST", "lock", { document: "Diary" }), 404);
    await assertProblem(await ada.ask("POST", "task", { file: "" }), 400);
    await assertProblem(await ada.ask("DELETE", "sync"), 409);
    await assertProblem(await ada.ask("DELETE", "lock", { document: "Budget" }), 409);
  });

  test("takes no request that changes something from a page of another origin", async () => {
    const ada = await User.logIn(server, "Ada", { connect: false });
    const lock = (headers: Record<string, string>) =>
      fetch(`${server.url}/api/v1/lock`, {
        method: "POST",
        headers: {
          "X-Session-Id": ada.login.token,
          "Content-Type": "application/json",
          ...headers,
        },
        body: JSON.stringify({ document: "Roadmap" }),
      });
    await assertProblem(await lock({ Origin: "https://evil.example" }), 403);
    await assertProblem(await lock({ Origin: "null" }), 403);
    for (const site of ["cross-site", "same-site", "none"]) {
      await assertProblem(await lock({ Origin: server.url, "Sec-Fetch-Site": site }), 403);
    }
    const own = await lock({ Origin: server.url });
    assertEquals(own.status, 200, await own.text());
    await ada.expect(200, "DELETE", "lock", { document: "Roadmap" });
  });

  test("numbers its events; as many are sent as somebody asks for", async () => {
    const ada = await User.logIn(server, "Ada");
    const told = ada.until(["rateChanged"], () => true);
    await ada.expect(200, "POST", "rate", { perSecond: 1000 });
    const [[type, data]] = await told as [[string, string]];
    const { change, ...changed } = JSON.parse(data);
    assertEquals([type, changed], ["rateChanged", { perSecond: 1000, by: "Ada" }]);
    assert(change > 0, "which change it is");
    const ticks = (await ada.until(["tick"], (_, data) => JSON.parse(data).n > 500))
      .map(([, data]) => JSON.parse(data).n as number);
    assertEquals(ticks, ticks.map((_, index) => ticks[0]! + index));
    const [[, stats]] = await ada.until(["stats"], () => true) as [[string, string]];
    assert(JSON.parse(stats).connections >= 1, stats);
    await ada.expect(200, "POST", "rate", { perSecond: 10 });
  });

  test("subscribes as curl does: headers at once, then events; 401 without a session", async () => {
    const ada = await User.logIn(server, "Ada", { connect: false });
    const grace = await User.logIn(server, "Grace", { connect: false });
    const subscribe = `${server.url}/api/v1/sse/subscribe`;
    await assertProblem(await fetch(subscribe), 401);
    await assertProblem(await fetch(`${subscribe}?sessionId=unknown`), 401);

    const response = await within(
      fetch(`${subscribe}?sessionId=${ada.login.token}`),
      "the headers",
    );
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    const read = textReader(response);
    await grace.expect(200, "POST", "lock", { document: "Budget" });
    const text = await read((text) => /event: ?documentLocked\n[^]*?\n\n/.test(text));
    assertStringIncludes(text, '{"document":"Budget","by":"Grace"}');
    await grace.expect(200, "DELETE", "lock", { document: "Budget" });
    await read.cancel();
  });

  test("sync: hashes and copies a directory, and tells only the session that asked", async () => {
    const [ada, grace] = [await User.logIn(server, "Ada"), await User.logIn(server, "Grace")];
    const toGrace = grace.until(
      ["syncProgress", "syncMessage", "documentLocked"],
      (type) => type === "documentLocked",
    );
    const toAda = ada.until(
      ["syncProgress", "syncMessage"],
      (_, data) => /^(Done|Failed)/.test(data),
    );
    await ada.expect(202, "POST", "sync");
    await assertProblem(await ada.ask("POST", "sync"), 409);
    const seen = await toAda;

    const progress = seen.filter(([type]) => type === "syncProgress").map(([, data]) => +data);
    assert(progress.length > 5, `progress was told as it went: ${progress}`);
    assertEquals(progress, [...new Set(progress)].sort((a, b) => a - b));
    assertEquals(progress.at(-1), 100);
    const messages = seen.filter(([type]) => type === "syncMessage").map(([, data]) => data);
    assertMatch(messages[1] ?? "", /^Found 1001 files, \d\.\d MB$/);
    const done = /^Done: 1001 files, \d\.\d MB hashed and copied to (.+)$/.exec(messages.at(-1)!);
    assert(done, messages.at(-1));

    const copy = done[1]!;
    const list = (await readFile(join(copy, "SHA256SUMS"), "utf8")).trimEnd().split("\n");
    assertEquals(list.length, 1001);
    for (const line of list) {
      const [hash, path] = line.split("  ") as [string, string];
      assertEquals(sha256(await readFile(join(source, path))), hash, `the hash of ${path}`);
      assertEquals(sha256(await readFile(join(copy, path))), hash, `the copy of ${path}`);
    }

    // Events come in order: what Grace was told before this lock is all that she was told.
    await ada.expect(200, "POST", "lock", { document: "Roadmap" });
    assertEquals((await toGrace).map(([type]) => type), ["documentLocked"]);

    await ada.expect(204, "POST", "logout");
    await eventually("the copy to be removed", () => !existsSync(copy));
  });

  test("sync: is cancelled, and leaves nothing behind", async () => {
    const ada = await User.logIn(server, "Ada");
    const last = () =>
      ada.until(["syncMessage"], (_, data) => /^(Done|Failed|Cancelled)/.test(data))
        .then((seen) => seen.at(-1)![1]);
    const finished = last();
    await ada.expect(202, "POST", "sync");
    const copy = (await finished).split(" copied to ")[1]!;
    assert(existsSync(copy), copy);

    const cancelled = last();
    const copying = ada.until(["syncMessage"], (_, data) => data.startsWith("Copying"));
    await ada.expect(202, "POST", "sync");
    await copying;
    await ada.expect(204, "DELETE", "sync");
    assertEquals(await cancelled, "Cancelled");
    assert(!existsSync(copy), copy);
    await assertProblem(await ada.ask("DELETE", "sync"), 409);
  });

  test("lock: every session but the one that locked is told", async () => {
    const [ada, grace] = [await User.logIn(server, "Ada"), await User.logIn(server, "Grace")];
    const types: (keyof Events)[] = ["documentLocked", "documentUnlocked"];
    const toAda = ada.until(types, () => true);
    const toGrace = grace.until(types, (type) => type === "documentUnlocked");

    await ada.expect(200, "POST", "lock", { document: "Budget" });
    await ada.expect(200, "POST", "lock", { document: "Budget" }); // again: nothing new to tell
    const refused = await grace.ask("POST", "lock", { document: "Budget" });
    assertStringIncludes(await refused.clone().text(), "Ada has locked Budget");
    await assertProblem(refused, 409);
    const late = await User.logIn(server, "Mary", { connect: false });
    assertEquals(late.login.documents.find(({ document }) => document === "Budget"), {
      document: "Budget",
      lockedBy: "Ada",
      mine: false,
    });
    await ada.expect(200, "DELETE", "lock", { document: "Budget" });
    assertEquals(await toGrace, [
      ["documentLocked", '{"document":"Budget","by":"Ada"}'],
      ["documentUnlocked", '{"document":"Budget"}'],
    ]);

    // The first that Ada is told of is Grace's: she was told nothing of her own.
    await grace.expect(200, "POST", "lock", { document: "Contract" });
    assertEquals(await toAda, [["documentLocked", '{"document":"Contract","by":"Grace"}']]);
    await grace.expect(200, "DELETE", "lock", { document: "Contract" });
  });

  test("task: its outcome, or its error, comes later to the session that asked", async () => {
    const ada = await User.logIn(server, "Ada");
    const outcome = async (file: string) => {
      const told = ada.until(["taskCompleted", "taskFailed"], () => true);
      const response = await ada.ask("POST", "task", { file });
      assertEquals(response.status, 202);
      const { taskId } = await response.json();
      const [type, data] = (await told)[0]!;
      const { taskId: told_, ...rest } = JSON.parse(data);
      assertEquals(told_, taskId);
      return [type, rest];
    };
    assertEquals(await outcome("words.txt"), [
      "taskCompleted",
      { file: "words.txt", bytes: 26, lines: 2, words: 5 },
    ]);
    for (const file of ["none.txt", "../../../../etc/passwd", "/etc/passwd"]) {
      const told = { file, error: "There is no such file." };
      assertEquals(await outcome(file), ["taskFailed", told]);
    }
    assertEquals(await outcome("package-1"), [
      "taskFailed",
      { file: "package-1", error: "This is not a file." },
    ]);
  });

  test("outside change: everyone is told of a file that changed in the watched directory", async () => {
    const [ada, grace] = [await User.logIn(server, "Ada"), await User.logIn(server, "Grace")];
    const file = join(watched, "notes <b>.txt");
    const changed = (bytes: number | null) =>
      Promise.all([ada, grace].map((user) =>
        user.until(
          ["fileChanged"],
          (_, data) => data === JSON.stringify({ fileId: "notes <b>.txt", bytes }),
        )
      ));
    const written = changed(5);
    await writeFile(file, "hello");
    await written;
    const grown = changed(11);
    await appendFile(file, " world");
    await grown;
    const removed = changed(null);
    await rm(file);
    await removed;
  });

  test("nothing that happens between login and subscribe is missed", async () => {
    const [ada, grace] = [
      await User.logIn(server, "Ada"),
      await User.logIn(server, "Grace", { connect: false }),
    ];
    await ada.expect(200, "POST", "lock", { document: "Contract" });
    await ada.expect(200, "DELETE", "lock", { document: "Contract" });
    const told = grace.until(
      ["documentLocked", "documentUnlocked"],
      (type) => type === "documentUnlocked",
    );
    grace.client.connect();
    assertEquals((await told).map(([type]) => type), ["documentLocked", "documentUnlocked"]);
  });

  test("logout ends the session's streams, for good, and frees what it held", async () => {
    const [ada, grace] = [await User.logIn(server, "Ada"), await User.logIn(server, "Grace")];
    await within(opened(ada.client), "Ada's connection");
    const raw = await fetch(
      `${server.url}/api/v1/sse/subscribe?sessionId=${ada.login.token}`,
    );
    const closed = new Promise<void>((resolve) => {
      ada.client.addEventListener("close", () => resolve(), { once: true });
    });
    const freed = grace.until(["documentUnlocked"], () => true);
    await ada.expect(200, "POST", "lock", { document: "Budget" });

    await ada.expect(204, "POST", "logout");
    await within(raw.text(), "the raw stream to end");
    await within(closed, "the client to give up");
    assertEquals(ada.client.readyState, ada.client.CLOSED);
    assertEquals(await freed, [["documentUnlocked", '{"document":"Budget"}']]);
    await assertProblem(await ada.ask("GET", "session"), 401);
    await assertProblem(await ada.ask("POST", "logout"), 401);
  });

  test("a port that is taken: it ends, and says why", async () => {
    const taken = { SOURCE: source, PORT: new URL(server.url).port };
    await assertRejects(() => start(runtime, taken), Error, "in use");
  });

  test("SIGTERM, once or twice, drains the streams, removes what was temporary, and ends with 0; sessions outlive it", async () => {
    const directory = data();
    const folder = join(source, "package-1");
    const leaving = await start(runtime, { SOURCE: folder, DATA: directory });
    const ada = await User.logIn(leaving, "Ada", { connect: false });
    const mary = await User.logIn(leaving, "Mary", { connect: false });
    await mary.expect(204, "POST", "logout");
    const told = ada.until(["syncMessage"], (_, data) => data.startsWith("Done"));
    ada.client.connect();
    await ada.expect(202, "POST", "sync");
    const copy = (await told).at(-1)![1].split(" copied to ")[1]!;
    assert(existsSync(copy), copy);
    const raw = await Promise.all(Array.from({ length: 5 }, () =>
      fetch(
        `${leaving.url}/api/v1/sse/subscribe?sessionId=${ada.login.token}`,
      )));

    const texts = raw.map((response) => response.text());
    process.kill(leaving.process.pid!, "SIGTERM");
    await within(Promise.race(texts), "the first stream to end");
    // Once more, as npm passes on what the terminal has sent to the server already.
    const code = stop(leaving);
    await within(Promise.all(texts), "the streams to end");
    assertEquals(await code, 0, leaving.errors());
    assertEquals(leaving.errors(), "");
    assert(!existsSync(copy), copy);

    // The next one knows who Ada is, and goes on with its history, where the runtime has SQLite: without it, what she has
    // is reset. Mary has logged out for good.
    let resets = 0;
    const back = new Promise<void>((resolve) => {
      ada.client.addEventListener("reset", () => {
        resets++;
        if (skipWithoutSqlite) resolve();
      });
      if (!skipWithoutSqlite) ada.client.addEventListener("open", () => resolve(), { once: true });
    });
    const ticks: Tick[] = [];
    ada.client.addEventListener("tick", (event) => ticks.push(event.json()));
    const next = await start(runtime, {
      SOURCE: source,
      DATA: directory,
      PORT: new URL(leaving.url).port,
      SESSION_LIFETIME: "2000",
    });
    try {
      ada.client.reconnect(); // it waits for its next attempt
      await within(back, "the client to be back");
      if (!skipWithoutSqlite) {
        // Its numbers go on, too: the page sees that none is missing.
        await ada.until(["tick"], () => true);
        assertEquals(resets, 0);
        const [{ n, run }] = ticks as [Tick];
        assert(n > 1, "it has begun to count anew");
        assertEquals(
          ticks.map((tick) => [tick.n, tick.run]),
          ticks.map((_, i) => [n + i, run]),
        );
      }
      await ada.expect(200, "GET", "session");
      await assertProblem(await mary.ask("GET", "session"), 401);

      // A session that expires ends as one that logs out.
      const { login } = await User.logIn(next, "Grace", { connect: false });
      const subscribe = `${next.url}/api/v1/sse/subscribe?sessionId=${login.token}`;
      const stream = await fetch(subscribe);
      assertEquals(stream.status, 200);
      await within(stream.text(), "the stream to end");
      await assertProblem(await fetch(subscribe), 401);
      await eventually("the session to be forgotten", async () => {
        const session = `${next.url}/api/v1/session?sessionId=${login.token}`;
        return (await fetch(session)).status === 401;
      });
    } finally {
      ada.client.close();
      assertEquals(await stop(next), 0, next.errors());
    }
  });

  test("listens on this machine only, unless HOST says otherwise", async () => {
    const outside = Object.values(networkInterfaces()).flat()
      .find((address) => address && !address.internal && address.family === "IPv4");
    if (outside === undefined) return; // a machine without a network has nowhere else to listen
    await assertRejects(() => fetch(server.url.replace("127.0.0.1", outside.address)));
  });

  test("the key of the sessions is in no directory that others can use", {
    skip: process.platform === "win32",
  }, async () => {
    const directory = data();
    await mkdir(directory, { mode: 0o755 });
    await assertRejects(
      () => start(runtime, { DATA: directory }),
      Error,
      "Set DATA to a directory",
    );
  });

  test("npm start drains on a SIGTERM to npm", {
    skip: runtime !== "node" && "npm start is for Node",
  }, async () => {
    const npm = await startWith(["npm", "start"], { SOURCE: source, DATA: data() });
    const { url } = npm;
    const { token } = await (await post(`${url}/api/v1/login`, { name: "Ada" })).json();
    const stream = await fetch(`${url}/api/v1/sse/subscribe?sessionId=${token}`);
    process.kill(npm.process.pid!, "SIGTERM");
    // A drained stream ends with a wait for its client; one that is broken off would throw.
    assertMatch(await within(stream.text(), "the stream to end"), /retry: ?\d+\n\n$/);
    // The server holds npm's output open: it ends with both.
    await within(npm.ended, "npm and its server to end");
    assertEquals(npm.errors(), "");
  });
});

describe("the itty-router example", () => {
  test("answers routes of its own beside the handler's", async () => {
    const server = await start("itty-router", {});
    try {
      assertStringIncludes(await (await fetch(server.url)).text(), "itty-router");
      await assertProblem(await fetch(`${server.url}/events/subscribe?sessionId=eve`), 401);
      const response = await fetch(`${server.url}/events/subscribe?sessionId=ada`);
      assertEquals(response.status, 200);
      const read = textReader(response);
      const greeted = await post(`${server.url}/greet/ada`, {});
      assertEquals((await greeted.json()).connections, 1);
      assertStringIncludes(
        await read((text) => text.includes("\n\n") && text.includes("greeting")),
        '{"from":"itty-router"}',
      );
      await read.cancel();
      assertEquals((await post(`${server.url}/greet/eve`, {})).status, 404);
    } finally {
      assertEquals(await stop(server), 0, server.errors());
    }
  });
});

/** Reads a response's text up to where a condition holds. */
function textReader(
  response: Response,
): ((enough: (text: string) => boolean) => Promise<string>) & { cancel(): Promise<void> } {
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let text = "";
  const read = async (enough: (text: string) => boolean): Promise<string> => {
    while (!enough(text)) {
      const { done, value } = await within(reader.read(), `more than ${JSON.stringify(text)}`);
      if (done) throw new Error(`the stream ended with ${JSON.stringify(text)}`);
      text += decoder.decode(value, { stream: true });
    }
    return text;
  };
  return Object.assign(read, { cancel: () => reader.cancel() });
}

function opened(client: Client<Events>): Promise<void> {
  return new Promise((resolve) => {
    if (client.readyState === client.OPEN) resolve();
    else client.addEventListener("open", () => resolve(), { once: true });
  });
}

/** Asks again and again until a condition holds. */
async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const began = Date.now();
  while (!await holds()) {
    if (Date.now() - began > 60_000) throw new Error(`waited 60 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
