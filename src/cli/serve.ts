/**
 * `streamside serve --dev`: a hub to try things on.
 *
 * @module
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createHandler, sessionFromRequest } from "../http/handler.ts";
import { createHub } from "../hub/hub.ts";
import { toNodeListener } from "../node/mod.ts";
import { numberOf } from "./options.ts";
import type { Command } from "./run.ts";
import { CommandError, print, tell, UsageError } from "./terminal.ts";

/** The one address that it listens on. */
const ADDRESS = "127.0.0.1";

/**
 * The hosts that requests may be for. A page can have its own name resolve to 127.0.0.1 (DNS rebinding), and would be of
 * the same origin then; but its requests still carry that name.
 */
const HOSTS = /^(localhost|127\.0\.0\.1)(:\d+)?$/i;

const examples = (port: number | string) =>
  `  curl -N 'http://${ADDRESS}:${port}/api/v1/sse/subscribe?sessionId=ada'
  curl -H 'Content-Type: application/json' -d '{"session":"ada","event":"note","data":"hello"}' \\
    http://${ADDRESS}:${port}/api/v1/sse/send`;

/** Serves a hub for this machine until it is stopped. */
export const serve: Command = {
  help: `streamside serve --dev [--port 8080]

A hub to try things on. It takes any ?sessionId= and any ?channel=, and lets anybody send. It listens on ${ADDRESS} and
nowhere else, and keeps pages of other origins out. It holds events in memory, until it ends with Ctrl-C.

  --dev                    says that this is for trying things on; there is no other way yet
  --port N                 the port (default 8080; 0: any that is free)

Subscribe and send, with curl:

${examples(8080)}

Exit code: 0 after Ctrl-C; 1 if the port is taken.`,
  options: { dev: { type: "boolean" }, port: { type: "string" } },

  async run({ values, positionals }, stopped) {
    const port = numberOf("port", values.port, 0, 65_535) ?? 8080;
    if (positionals.length > 0) throw new UsageError("serve takes no URL.");
    if (!values.dev) {
      throw new UsageError("serve needs --dev: it lets anybody on this machine in, and send.");
    }
    const hub = createHub();
    const handler = createHandler(hub, {
      authenticate: (request) => ({
        session: sessionFromRequest(request) ?? "anonymous",
        channels: new URL(request.url).searchParams.getAll("channel"),
      }),
      authorize: () => true,
    });
    const listener = toNodeListener(handler);
    const server = createServer((request, response) => {
      if (HOSTS.test(request.headers.host ?? "")) return void listener(request, response);
      response.writeHead(403, { "Content-Type": "text/plain" });
      response.end("This hub answers requests for localhost and 127.0.0.1 only.\n");
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, ADDRESS, resolve);
      });
    } catch (error) {
      await hub.close();
      throw new CommandError(
        `cannot listen on ${ADDRESS}:${port}: ${(error as Error).message}. Choose another --port.`,
      );
    }
    const { port: actual } = server.address() as AddressInfo;
    hub.on("connect", ({ session, channels }) => {
      tell(`${JSON.stringify(session)} subscribes ${channels.join(" ")}`);
    });
    hub.on("disconnect", ({ session }) => tell(`${JSON.stringify(session)} has gone`));
    hub.on("send", ({ event, connections }) => tell(`${event}, to ${connections} connections`));
    await print(`listening on http://${ADDRESS}:${actual}\n\n${examples(actual)}`);

    if (!stopped.aborted) {
      await new Promise<void>((resolve) => {
        stopped.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    await hub.close();
    server.close();
  },
};
