/**
 * The command line, as real processes of the runtime that runs this test.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { listen, runtime, until, within, withService } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const command = [
  process.execPath,
  ...{ node: ["--import", "tsx"], deno: ["run", "-A"], bun: [] }[runtime],
  "src/cli/mod.ts",
];

/** A command line that runs. */
class Run {
  readonly child: ChildProcess;
  out = "";
  err = "";
  readonly ended: Promise<number | null>;

  constructor([program, ...args]: readonly string[]) {
    this.child = spawn(program!, args, { cwd: root, stdio: "pipe" });
    this.child.stdout!.setEncoding("utf8").on("data", (text) => this.out += text);
    this.child.stderr!.setEncoding("utf8").on("data", (text) => this.err += text);
    this.ended = new Promise((resolve) => this.child.on("close", resolve));
  }

  says(what: string, where: "out" | "err" = "out"): Promise<void> {
    return until(
      () => this[where].includes(what),
      () => `${what}; out: ${this.out}; err: ${this.err}`,
    );
  }

  /** Ctrl-C. Of a child that it killed itself, Deno tells the signal in place of the exit code. */
  interrupt(): void {
    process.kill(this.child.pid!, "SIGINT");
  }

  async ends(code: number): Promise<void> {
    assertEquals(await within(this.ended, `the end of ${this.err}`), code, this.out + this.err);
  }
}

/** Runs command lines, and leaves none behind. */
async function cli(run: (start: (...args: string[]) => Run) => Promise<void>): Promise<void> {
  const runs: Run[] = [];
  try {
    await run((...args) => {
      const next = new Run([...command, ...args]);
      runs.push(next);
      return next;
    });
  } finally {
    for (const { child } of runs) child.kill("SIGKILL");
    await Promise.all(runs.map(({ ended }) => ended));
  }
}

const wrong: [args: string[], says: string][] = [
  [[], "A command is missing"],
  [["lisen"], "There is no command"],
  [["listen"], "A URL is missing"],
  [["listen", "nowhere"], "is not a URL"],
  [["listen", "http://localhost/", "--colour"], "--colour"],
  [["listen", "http://localhost/", "--header", "x"], "is not a header"],
  [["listen", "http://localhost/", "--timeout", "1s"], "--timeout is a whole number"],
  [["send", "http://localhost/", "--all"], "--event is missing"],
  [["send", "http://localhost/", "--all", "--session", "a", "--event", "e"], "exactly one of"],
  [["serve"], "needs --dev"],
  [["bench", "http://localhost/", "--connections", "100000"], "from 1 to 200"],
];

test("wrong usage ends with 2, and says what to do; help ends with 0 and shows curl", async () => {
  await cli(async (start) => {
    for (const [args, says] of wrong) {
      const run = start(...args);
      await run.ends(2);
      assert(run.err.includes(says) && run.err.includes("--help"), run.err);
      assertEquals([run.out, run.err.includes("\x1b")], ["", false]);
    }
    for (const name of ["listen", "send", "serve", "bench"]) {
      const run = start(name, "--help");
      await run.ends(0);
      assert(run.out.includes("  curl "), run.out);
    }
  });
});

test("serve, listen and send; Ctrl-C ends with 0", async () => {
  await cli(async (start) => {
    const serving = start("serve", "--dev", "--port", "0");
    await serving.says("listening on");
    const base = /http:\S+/.exec(serving.out)![0] + "/api/v1/sse";
    const heard = start("listen", `${base}/subscribe?sessionId=ada&channel=news`, "--json");
    await heard.says("connected", "err");
    const sends: string[][] = [
      ["--session", "ada", "--data", "hello \x9b2J"],
      ["--channel", "news", "--data", "[1]"],
      ["--all"],
    ];
    for (const args of sends) {
      const sent = start("send", `${base}/send`, "--event", "note", ...args);
      await sent.ends(0);
      assertEquals(JSON.parse(sent.out).connections, 1);
    }
    const piped = start("send", `${base}/send`, "--all", "--event", "note", "-");
    piped.child.stdin!.end("two\nlines\n");
    await piped.ends(0);
    await until(() => heard.out.split("\n").length > 4, "four lines");
    const lines = heard.out.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(Object.keys(lines[0]), ["id", "event", "data"]);
    assertEquals(lines.map(({ data }) => data), ["hello \x9b2J", "[1]", "null", "two\nlines"]);
    assert(!heard.out.includes("\x9b"));

    // From an id on, one event of one type.
    const resumed = start(
      ...["listen", `${base}/subscribe?sessionId=ada`, "--event", "note"],
      ...["--last-event-id", lines[2].id],
    );
    await resumed.says("note two\n  lines");
    for (const run of [heard, resumed, serving]) {
      run.interrupt();
      await run.ends(0);
    }
    const lost = start("listen", `${base}/subscribe`);
    await lost.ends(1);
    assert(lost.err.includes("Is the server running?"), lost.err);
    const unsent = start("send", `${base}/send`, "--all", "--event", "note");
    await unsent.ends(1);
  });
});

test("serve --dev refuses other hosts, and posts of pages of other origins", async () => {
  await cli(async (start) => {
    const serving = start("serve", "--dev", "--port", "0");
    await serving.says("listening on");
    const port = Number(/:(\d+)/.exec(serving.out)![1]);
    const post = (headers: Record<string, string>) =>
      new Promise<number>((resolve, reject) => {
        const sent = request({
          ...{ port, host: "127.0.0.1", path: "/api/v1/sse/send", method: "POST" },
          headers: { "Content-Type": "application/json", ...headers },
        }, (response) => resolve(response.resume().statusCode!));
        sent.on("error", reject);
        sent.end('{"all":true,"event":"note","data":1}');
      });
    const statuses = [];
    for (
      const headers of [
        { Host: `localhost:${port}` },
        { Host: `evil.example:${port}` },
        { Host: "localhost.evil.example" },
        { Origin: "https://evil.example" },
        { Origin: "null" },
        { "Sec-Fetch-Site": "cross-site" },
        { "Content-Type": "text/plain" },
      ]
    ) statuses.push(await post(headers as unknown as Record<string, string>));
    assertEquals(statuses, [202, 403, 403, 403, 403, 403, 415]);

    const second = start("serve", "--dev", "--port", String(port));
    await second.ends(1);
    assert(second.err.includes("Choose another --port"), second.err);
  });
});

test("listen misses nothing over a reconnection, and says why it ends", async () => {
  await withService({ hub: { retry: 20 } }, async ({ hub, base }) => {
    await cli(async (start) => {
      const heard = start("listen", `${base}/subscribe`, "--header", "X-Session-Id: ada", "--json");
      await heard.says("connected", "err");
      for (let number = 0; number < 60; number++) {
        await hub.send("ada", "number", number);
        if (number % 20 === 10) await hub.disconnect("ada");
      }
      await until(() => heard.out.split("\n").length > 60, () => `60 lines; ${heard.err}`);
      const numbers = heard.out.trim().split("\n").map((line) => Number(JSON.parse(line).data));
      assertEquals(numbers, Array.from({ length: 60 }, (_, number) => number));
      assert(heard.err.includes("attempt 1 in"), heard.err);
      heard.interrupt();
      await heard.ends(0);

      const refused = start("listen", `${base}/subscribe`);
      await refused.ends(1);
      assert(refused.err.includes("refused: The server answered 401"), refused.err);
    });
  });
});

test("a reader of the pipe that goes ends listen with 0, and without an error", async () => {
  await withService({}, async ({ hub, base }) => {
    await cli(async (start) => {
      const heard = start("listen", `${base}/subscribe?sessionId=ada`);
      await heard.says("connected", "err");
      await hub.send("ada", "number", 1);
      await heard.says("number 1");
      heard.child.stdout!.destroy();
      const sending = setInterval(() => hub.send("ada", "number", 2), 20);
      try {
        await heard.ends(0);
      } finally {
        clearInterval(sending);
      }
      assertEquals(heard.err, "connected\n");
    });
  });
});

test("bench ends after its seconds, also where the runtime has collected its garbage meanwhile", {
  skip: runtime !== "node" && "only Node's collector can be called from outside",
}, () =>
  withService({}, async ({ base }) => {
    const collecting = "data:text/javascript,setInterval(gc, 20).unref()";
    const run = new Run([
      process.execPath,
      ...["--expose-gc", "--import", "tsx", "--import", collecting, "src/cli/mod.ts"],
      ...["bench", `${base}/subscribe`, "--header", "X-Session-Id: ada", "--seconds", "1"],
    ]);
    try {
      await run.ends(0);
    } finally {
      run.child.kill("SIGKILL");
    }
  }));

test("bench tells a server that streams from one that is held back or cut", async () => {
  await withService({ hub: { heartbeat: 100 } }, async ({ base, server }) => {
    /** A proxy that holds bytes back: for a time, or for good. */
    const proxy = (every: number) =>
      listen(createServer((incoming, outgoing) => {
        const upstream = request(server.url + incoming.url, (response) => {
          outgoing.writeHead(200, { "Content-Type": "text/event-stream" });
          outgoing.flushHeaders();
          let held: Uint8Array[] = [];
          response.on("data", (bytes) => held.push(bytes)).on("error", () => {});
          const timer = setInterval(() => {
            outgoing.write(Buffer.concat(held));
            held = [];
          }, every);
          outgoing.on("close", () => {
            clearInterval(timer);
            upstream.destroy();
          });
        }).on("error", () => {});
        upstream.end();
      }));
    const batching = await proxy(1500);
    const holding = await proxy(1_000_000);
    const cutting = await listen(createServer((_, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" }).write(":\n\n");
      setTimeout(() => response.destroy(), 500);
    }));
    const path = "/api/v1/sse/subscribe?sessionId=ada";
    try {
      await cli(async (start) => {
        const cases: [url: string, code: number, says: string][] = [
          [`${base}/subscribe?sessionId=ada`, 0, "it streams"],
          [batching.url + path, 1, "several at once"],
          [holding.url + path, 1, "not a byte"],
          [cutting.url, 1, "cut, 3 of 3"],
          [`${base}/subscribe`, 1, "refused, 3 of 3"],
        ];
        for (const [url, code, says] of cases) {
          const run = start("bench", url, "--connections", "3", "--seconds", "5");
          await run.ends(code);
          assert((run.out + run.err).includes(says), run.out + run.err);
          assert(run.err.startsWith("opens 3 connections to http://127.0.0.1:"), run.err);
        }
      });
    } finally {
      for (const each of [batching, holding, cutting]) await each.close();
    }
  });
});

test("every command of docs/command-line.md runs", async () => {
  const page = await readFile(new URL("../../docs/command-line.md", import.meta.url), "utf8");
  const blocks = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block!.trim());
  assert(blocks.length >= 6);
  await cli(async (start) => {
    const serving = start("serve", "--dev", "--port", "0");
    await serving.says("listening on");
    const port = /:(\d+)/.exec(serving.out)![1]!;
    const quoted = command.map((word) => `'${word}'`).join(" ");
    for (const block of blocks) {
      if (block.includes("serve --dev")) continue; // it runs already
      const script = `streamside() { ${quoted} "$@"; }\n` +
        block.replaceAll("npx streamside", "streamside").replaceAll(
          "127.0.0.1:8080",
          `127.0.0.1:${port}`,
        );
      const run = new Run(["sh", "-c", script]);
      const fed = setInterval(() => {
        fetch(`http://127.0.0.1:${port}/api/v1/sse/send`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: '{"all":true,"event":"note","data":"hello"}',
        }).then((response) => response.text());
      }, 100);
      try {
        await within(run.ended, block, 60_000).then((code) =>
          assertEquals(code, 0, block + run.err)
        );
      } finally {
        clearInterval(fed);
        run.child.kill("SIGKILL");
      }
    }
  });
});
