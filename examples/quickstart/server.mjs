// server.mjs
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import process from "node:process";
import { createHandler, createHub } from "streamside";
import { toNodeListener } from "streamside/node";

const hub = createHub();
const events = createHandler(hub, {
  basePath: "/events",
  authenticate: () => ({ session: "guest" }), // yours: a cookie, a token; null is a 401
});
const files = {
  "/": [new URL("index.html", import.meta.url), "text/html"],
  "/client.js": [new URL(import.meta.resolve("streamside/client.browser")), "text/javascript"],
};
let count = 0;

async function answer(request) {
  const { pathname } = new URL(request.url);
  if (pathname.startsWith("/events/")) return await events(request);
  if (pathname === "/count" && request.method === "POST") {
    await hub.broadcast("count", ++count);
    return new Response(null, { status: 204 });
  }
  if (pathname === "/count") {
    const cursor = hub.cursor(); // before the state is read: nothing falls in between
    return Response.json({ count, cursor });
  }
  if (!Object.hasOwn(files, pathname)) return new Response("Not found", { status: 404 });
  const [file, type] = files[pathname];
  return new Response(await readFile(file), { headers: { "Content-Type": type } });
}

const server = createServer(toNodeListener(answer));
server.listen(process.env.PORT ?? 8080, "127.0.0.1", () => {
  console.log(`http://localhost:${server.address().port}`);
});
