/**
 * A real nginx in front of servers of this process.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { assert } from "@std/assert";
import { freePort } from "./client/helpers.ts";
import { find } from "./programs.ts";
import { type TestServer, until, within } from "./server-helpers.ts";

/** Another server is asked in place of one that answers 503. These directives are those of docs/unavailable.md. */
export const FAIL_OVER = "proxy_next_upstream error timeout http_503;";

/** For a location: where there is no server, {@link LATER} answers. */
export const INTERCEPT = "proxy_intercept_errors on; error_page 502 503 504 = @later;";

/** For a server: tells an `EventSource` to come back. */
export const LATER = `location @later {
  default_type text/event-stream;
  add_header Retry-After 5;
  return 200 "retry: 5000\\n";
}`;

/** Starts nginx in front of servers at these ports, with more directives for its location, and for its server. */
export function startNginx(
  ports: readonly number[],
  location: string,
  server = "",
): Promise<TestServer> {
  const upstreams = ports.map((port) => `server 127.0.0.1:${port};`).join(" ");
  return startNginxOf((port) =>
    `upstream app { ${upstreams} keepalive 8; }
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://app; ${location} }
        ${server}
      }`
  );
}

/** Starts nginx with what stands in its `http` block, for the port that it is to listen on. */
export async function startNginxOf(http: (port: number) => string): Promise<TestServer> {
  const nginx = find("nginx");
  assert(nginx !== undefined, "no nginx on PATH");
  const directory = await mkdtemp(join(tmpdir(), "streamside-nginx-"));
  const port = await freePort();
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `${kind}_temp_path ${directory}/${kind};`).join("\n");
  const user = userInfo().uid === 0 ? "user root;" : "";
  await writeFile(
    join(directory, "nginx.conf"),
    `${user} daemon off; worker_processes 1; pid ${directory}/pid; error_log stderr warn;
    events { worker_connections 256; }
    http {
      access_log off;
      ${temporary}
      ${http(port)}
    }`,
  );
  const child = spawn(nginx, ["-p", directory, "-c", join(directory, "nginx.conf")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let errors = "";
  child.stderr.on("data", (chunk) => errors += chunk);
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let listening = false;
  const attempt = () => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      listening = true;
      socket.destroy();
    });
    socket.once("error", () => child.exitCode === null && setTimeout(attempt, 10));
  };
  attempt();
  await until(() => listening || child.exitCode !== null, () => `nginx to listen: ${errors}`);
  assert(listening, errors);
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      child.kill("SIGTERM");
      await within(ended, "nginx to end");
      await rm(directory, { recursive: true });
    },
  };
}
