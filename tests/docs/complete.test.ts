/**
 * The reference pages leave nothing out: every option and every code of the source stands on its page.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";

const root = fileURLToPath(new URL("../../", import.meta.url));
const text = (path: string) => readFile(join(root, path), "utf8");

const interfaces: [file: string, name: string, section: string][] = [
  ["src/hub/types.ts", "HubOptions", "createHub("],
  ["src/hub/types.ts", "HeartbeatOptions", "createHub("],
  ["src/log/history.ts", "HistoryOptions", "createHub("],
  ["src/log/run-history.ts", "RunHistoryOptions", "createHub("],
  ["src/http/types.ts", "HandlerOptions", "createHandler("],
  ["src/http/cors.ts", "CorsOptions", "createHandler("],
  ["src/node/mod.ts", "NodeListenerOptions", "toNodeListener("],
  ["src/http/event-stream.ts", "EventStreamOptions", "eventStream("],
  ["src/client/types.ts", "ClientOptions", "createClient("],
  ["src/client/backoff.ts", "ReconnectOptions", "createClient("],
  ["src/client/shared.ts", "SharedClientOptions", "createSharedClient("],
];

test("docs/configuration.md has every option, in its section", async () => {
  const sections = (await text("docs/configuration.md")).split(/^## /m);
  const missing: string[] = [];
  for (const [file, name, heading] of interfaces) {
    const section = sections.find((section) => section.startsWith(`\`${heading}`));
    assert(section !== undefined, heading);
    const begins = (await text(file)).split(new RegExp(`export interface ${name}\\b[^{]*\\{\n`))[1];
    assert(begins !== undefined, `${name} in ${file}`);
    const body = begins.slice(0, begins.indexOf("\n}"));
    const options = [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(([, option]) =>
      option
    );
    assert(options.length > 0, name);
    for (const option of options) {
      if (!new RegExp(`\`(\\{[^\`]*\\b)?${option}\\b`).test(section)) {
        missing.push(`${name}.${option}`);
      }
    }
  }
  assertEquals(missing, []);
});

test("docs/errors.md has every code and every reason", async () => {
  const page = await text("docs/errors.md");
  const names = new Set<string>();
  const add = (matches: Iterable<RegExpMatchArray>) => {
    for (const [, name] of matches) names.add(name!);
  };
  for (const name of await readdir(join(root, "src"), { recursive: true })) {
    if (!name.endsWith(".ts")) continue;
    const source = await text(join("src", name));
    add(source.matchAll(/new Problem\(\s*\d+,\s*"([a-z-]+)"/g));
    for (const type of ["StreamsideErrorCode", "CloseReason", "EndReason"]) {
      const [, union] = new RegExp(`export type ${type} =([^;]+);`).exec(source) ?? [];
      add((union ?? "").matchAll(/\| "([a-z-]+)"/g));
    }
  }
  assert(names.size > 35, `${names.size} names were found`);
  assertEquals([...names].filter((name) => !page.includes(`| \`${name}\``)), []);
});
