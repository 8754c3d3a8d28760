/**
 * nginx with the nchan module, and a publisher beside it that posts to it over one kept connection.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { drive, PORT } from "./driver.ts";

const folder = mkdtempSync(join(tmpdir(), "streamside-nchan-"));
const config = join(folder, "nginx.conf");
writeFileSync(
  config,
  `load_module ${process.env["NCHAN"]};
daemon off;
user root;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 12000; }
http {
  access_log off;
  client_body_temp_path ${folder};
  keepalive_requests 100000000;
  server {
    listen 127.0.0.1:${PORT};
    location /subscribe { nchan_subscriber eventsource; nchan_channel_id ticks; }
    location /publish { nchan_publisher; nchan_channel_id ticks; nchan_message_buffer_length 100; }
  }
}
`,
);
const core = process.env["CORE"]!;
const nginx = spawn("taskset", ["-c", core, "nginx", "-c", config, "-p", folder], {
  stdio: ["ignore", "ignore", "inherit"],
});
nginx.on("exit", () => {
  rmSync(folder, { recursive: true, force: true });
  process.exit();
});

const publisher = await dial();
publisher.resume();

function dial(): Promise<import("node:net").Socket> {
  return new Promise((resolve, reject) => {
    let attempts = 0;
    const attempt = () => {
      const socket = connect(PORT, "127.0.0.1");
      socket.once("connect", () => resolve(socket));
      socket.once("error", (error) => {
        if (++attempts > 100) reject(error);
        else setTimeout(attempt, 50);
      });
    };
    attempt();
  });
}

drive({
  connections: () => 1000,
  broadcast: (data) => {
    publisher.write(
      `POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nX-EventSource-Event: tick\r\n` +
        `Content-Length: ${data.length}\r\n\r\n${data}`,
    );
  },
}, () => nginx.kill());
