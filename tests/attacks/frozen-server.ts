/**
 * A server for frozen.test.ts to stop and to let go on: `SERVER` says which of this runtime's, `STALL_TIMEOUT` its hub's.
 *
 * | request | what it does |
 * | --- | --- |
 * | `/fill` | sends numbered events until the reader takes no more of them; answers with the last number |
 * | `/state` | for how long the reader has taken nothing, in ms, and the hub's counters |
 *
 * @module
 */
import process from "node:process";
import { createHandler, createHub } from "../../mod.ts";
import { authenticate, quietLogger, servers } from "../server-helpers.ts";

const hub = createHub({
  logger: quietLogger,
  stallTimeout: Number(process.env.STALL_TIMEOUT),
  history: { bytes: 256 * 1024 * 1024 },
});
const handler = createHandler(hub, { authenticate });

let sent = 0;
let fullSince = 0;

async function fill(): Promise<number> {
  const data = "x".repeat(16 * 1024);
  let handed = -1;
  for (let quiet = 0; quiet < 20; quiet++) {
    for (let i = 0; i < 20; i++) await hub.broadcast("e", `${++sent} ${data}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const { bytes, lagging } = hub.stats();
    if (bytes !== handed || lagging === 0) {
      quiet = 0;
      fullSince = performance.now();
    }
    handed = bytes;
  }
  return sent;
}

const server = await servers[process.env.SERVER!]!(async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/fill") return Response.json(await fill());
  if (pathname !== "/state") return await handler(request);
  return Response.json({ fullFor: performance.now() - fullSince, ...hub.stats() });
});
console.log(`http://localhost:${server.port}`);
