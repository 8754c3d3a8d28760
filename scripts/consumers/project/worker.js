// A worker: its hub is in a Durable Object, and its client hears what that hub sends.
import { createHandler, createHub, eventStream, sessionFromRequest } from "streamside";
import { createClient } from "streamside/client";
import { collect } from "streamside/testing";

export class Room {
  constructor() {
    this.hub = createHub();
    this.handler = createHandler(this.hub, {
      authenticate: (request) => ({ session: sessionFromRequest(request) }),
    });
  }

  async fetch(request) {
    const { hostname, pathname } = new URL(request.url);
    if (hostname === "elsewhere") {
      return eventStream([{ event: "header", data: String(sessionFromRequest(request)) }]);
    }
    if (pathname === "/moved") {
      return new Response(null, { status: 307, headers: { Location: "http://elsewhere/" } });
    }
    if (pathname === "/say") return Response.json(await this.hub.send("ada", "said", "received"));
    return await this.handler(request);
  }
}

export default {
  async fetch(_request, { ROOM }) {
    const room = ROOM.get(ROOM.idFromName("room"));
    const listener = (path) =>
      createClient(`http://room${path}`, {
        headers: { "X-Session-Id": "ada" },
        fetch: (url, init) => room.fetch(url, init),
      });
    const client = listener("/api/v1/sse/subscribe");
    const heard = collect(client, "said");
    client.on("open", () => room.fetch("http://room/say"));
    client.connect();
    const [{ data }] = await heard;
    client.close();

    const moved = listener("/moved");
    const seen = collect(moved, "header");
    moved.connect();
    const [{ data: header }] = await seen;
    moved.close();
    return Response.json({ data, header });
  },
};
