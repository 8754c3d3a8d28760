/** What bundlers take of the client: for browsers what these need, for workers and servers all of it. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { bundle } from "../../scripts/bundle.ts";
import type { ClientErrorEvent } from "../../src/client/mod.ts";
import * as others from "../../src/client/runtime.ts";
import * as browsers from "../../src/client/runtime.browser.ts";
import { next, serve } from "./helpers.ts";

type Module = typeof import("../../src/client/mod.ts");

/** The options with which bundlers for other runtimes than browsers resolve modules. */
const bundlers: Record<string, string[]> = {
  "for Node.js": ["--platform=node"],
  wrangler: ["--conditions=workerd,worker,browser"],
  "for a web worker": ["--conditions=worker,browser"],
};

describe("a bundle", () => {
  let directory = "";
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "streamside-bundles-"));
  });
  after(() => rm(directory, { recursive: true }));

  /** Bundles the client with esbuild's options, and loads the bundle. */
  async function load(...options: string[]): Promise<Module> {
    const path = join(directory, `client${options.join("").replace(/\W/g, "-")}.mjs`);
    await writeFile(path, bundle('export * from "./src/client/mod.ts";', ...options));
    return await import(pathToFileURL(path).href);
  }

  for (const [name, options] of Object.entries(bundlers)) {
    test(`${name}: follows redirects, and the user's headers stay at home`, async () => {
      const { createClient } = await load(...options);
      await using target = await serve((exchange) => exchange.stream("data: x\n\n"));
      await using server = await serve(({ response }) => {
        response.writeHead(307, { Location: target.url }).end();
      });
      const client = createClient(server.url, { headers: { "X-Session-Id": "ada" } });
      try {
        const event = next<MessageEvent>(client, "message");
        client.connect();
        assertEquals((await event).origin, new URL(target.url).origin);
        assertEquals(target.exchanges[0]!.request.headers["x-session-id"], undefined);
      } finally {
        client.close();
      }
    });
  }

  test("for browsers: leaves redirects to the browser, and follows none elsewhere", async () => {
    const { createClient } = await load();
    await using target = await serve((exchange) => exchange.stream("data: x\n\n"));
    await using server = await serve(({ response }) => {
      response.writeHead(307, { Location: target.url }).end();
    });
    const client = createClient(server.url);
    try {
      const error = next<ClientErrorEvent>(client, "error");
      client.connect();
      assertEquals((await error).status, 307);
      assertEquals(target.exchanges.length, 0);
    } finally {
      client.close();
    }
  });

  test("for browsers has all of the client, and is the smaller one", async () => {
    const source = 'export * from "./src/client/mod.ts";';
    assertEquals(
      Object.keys(await load()).sort(),
      Object.keys(await load("--platform=node")).sort(),
    );
    assert(bundle(source).length < bundle(source, "--platform=node").length - 500);
    assertEquals(Object.keys(browsers).sort(), Object.keys(others).sort());
  });

  test("of the built package resolves as one of the source does", async () => {
    const [source, built] = await Promise.all(
      ["src/client/package.json", "package.json"].map(async (path) => {
        const text = await readFile(new URL(`../../${path}`, import.meta.url), "utf8");
        // In order: the first condition that holds counts.
        return JSON.stringify(JSON.parse(text).imports);
      }),
    );
    assertEquals(built, source!.replaceAll('"./', '"./dist/src/client/').replaceAll(".ts", ".js"));
  });
});
