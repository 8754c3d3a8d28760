// An application in TypeScript, type-checked with the package's declarations, compiled, and run.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  createHandler,
  createHub,
  type Hub,
  sessionFromRequest,
  StreamsideError,
} from "streamside";
import { type Client, createClient } from "streamside/client";
import { createClient as createClientOfOneFile } from "streamside/client.browser";
import { toNodeListener } from "streamside/node";
import { collect, createTestClient } from "streamside/testing";

interface Events {
  progress: number;
  renamed: { from: string; to: string };
}

async function main(): Promise<void> {
  const hub: Hub<Events> = createHub<Events>({ history: { events: 100 } });
  const handler = createHandler(hub, {
    authenticate(request) {
      const session = sessionFromRequest(request);
      return session === null ? null : { session, channels: ["files"] };
    },
  });
  const server = createServer(toNodeListener(handler));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/api/v1/sse/subscribe`;

  const options = { headers: { "X-Session-Id": "ada" }, lastEventId: hub.cursor() };
  const clients: Client<Events>[] = [
    createClient<Events>(url, options),
    createClientOfOneFile<Events>(url, options),
    createTestClient<Events>(handler, options),
  ];
  const heard = clients.map((client) => {
    client.connect();
    return Promise.all([collect(client, "progress"), collect(client, "renamed")]);
  });
  await hub.send("ada", "progress", 75);
  await hub.publish("files", "renamed", { from: "a", to: "b" });
  for (const [[progress], [renamed]] of await Promise.all(heard)) {
    const percent: number | undefined = progress?.json();
    const name: string | undefined = renamed?.json().to;
    if (percent !== 75 || name !== "b") throw new Error(`received ${percent} and ${name}`);
  }
  for (const client of clients) client.close();

  // @ts-expect-error: no event has this name
  await hub.broadcast("unknown", 1);
  // @ts-expect-error: its data is a number
  await hub.send("ada", "progress", "75");
  // @ts-expect-error: no option has this name
  createHub({ heartbeats: 1000 });

  await hub.close();
  await hub.send("ada", "progress", 100).catch((error: unknown) => {
    if (!(error instanceof StreamsideError && error.code === "closed")) throw error;
  });
  server.close();
  server.closeAllConnections();
  console.log("round trip: typed");
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
