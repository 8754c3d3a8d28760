// Uses every entry point of the package as an application would, on Node, Deno and Bun.
import assert from "node:assert/strict";
import { createServer } from "node:http";

/** The entry points that are used here. */
const used = [
  ".",
  "./client",
  "./client.browser",
  "./jetstream",
  "./node",
  "./postgres",
  "./redis",
  "./sqlite",
  "./testing",
];

/** `entries`: the modules, by what they are called in `exports` of `package.json`. */
export async function roundTrip(entries) {
  for (const name of Object.keys(entries)) assert.ok(used.includes(name), `${name} is not used`);
  const { createHandler, createHub, eventStream, sessionFromRequest } = entries["."];
  const { createTestClient, collect } = entries["./testing"];
  const { toNodeListener } = entries["./node"];

  // Without an engine, they can say no.
  assert.throws(() => entries["./jetstream"].jetStreamLog({}), { code: "invalid-argument" });
  assert.throws(() => entries["./postgres"].postgresLog({}), { code: "invalid-argument" });
  assert.throws(() => entries["./redis"].redisLog({}), { code: "invalid-argument" });
  assert.throws(() => entries["./sqlite"].sqliteLog({}), { code: "invalid-argument" });

  const hub = createHub();
  const handler = createHandler(hub, {
    authenticate: (request) => {
      const session = sessionFromRequest(request);
      return session === null ? null : { session };
    },
    authorize: () => true,
  });
  const headers = { "X-Session-Id": "ada" };

  // The header that another origin got, to which the first one redirects.
  const elsewhere = await listen(
    toNodeListener((request) =>
      eventStream([{ event: "header", data: String(request.headers.get("X-Session-Id")) }])
    ),
  );
  const listener = toNodeListener(handler);
  const server = await listen((request, response) => {
    if (request.url !== "/moved") return listener(request, response);
    response.writeHead(307, { Location: elsewhere.url }).end();
  });

  const clients = ["./client", "./client.browser"].filter((name) => name in entries);
  for (const name of clients) {
    const { createClient } = entries[name];
    const client = createClient(`${server.url}/api/v1/sse/subscribe`, { headers });
    const opened = new Promise((resolve) => client.on("open", resolve));
    client.connect();
    await within(opened, `${name} to connect`);
    const heard = collect(client, "said", 2);
    const sent = await fetch(`${server.url}/api/v1/sse/send`, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify({ session: "ada", event: "said", data: { by: "request" } }),
    });
    assert.equal(sent.status, 202);
    assert.equal((await sent.json()).connections, 1);
    await hub.broadcast("said", { by: "hub" });
    assert.deepEqual((await heard).map((event) => event.json().by), ["request", "hub"]);
    client.close();

    // Headers stay with their origin: the client sees to it on these runtimes, which the file for pages is not for.
    if (name === "./client.browser") continue;
    const moved = createClient(`${server.url}/moved`, { headers });
    const seen = collect(moved, "header");
    moved.connect();
    assert.equal((await seen)[0].data, "null", `${name} handed a header to another origin`);
    moved.close();
  }

  const client = createTestClient(handler, { headers, lastEventId: hub.cursor() });
  client.connect();
  const heard = collect(client, "said");
  await hub.send("ada", "said", "directly");
  assert.equal((await heard)[0].data, "directly");
  client.close();

  await hub.close();
  await Promise.all([server.close(), elsewhere.close()]);
  console.log(`round trip: ${Object.keys(entries).join(" ")}`);
}

async function listen(listener) {
  const server = createServer(listener);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, close };
}

async function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited 20 s for ${what}`)), 20_000);
  });
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
