/**
 * Several copies of the library in one process, as bundlers make them (Next loads a module for each layer): what one
 * copy made, the others know.
 *
 * @module
 */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { VERSION } from "../src/version.ts";
import { EventReader, quietLogger, serveNode, textOf, until, within } from "./server-helpers.ts";

type Server = typeof import("../mod.ts");
type Node = typeof import("../src/node/mod.ts");

const root = fileURLToPath(new URL("../", import.meta.url));

describe("copies of the library", () => {
  let directory = "";
  let first: Server;
  let second: Server;
  let third: Node;
  let later: Server;

  /** Copies the library, as another version if need be. */
  async function copy(name: string, version = VERSION): Promise<string> {
    const target = join(directory, name);
    await cp(join(root, "src"), join(target, "src"), { recursive: true });
    await cp(join(root, "mod.ts"), join(target, "mod.ts"));
    const path = join(target, "src/version.ts");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace(`"${VERSION}"`, JSON.stringify(version)));
    return pathToFileURL(target).href;
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "streamside-copies-"));
    await writeFile(join(directory, "package.json"), '{ "type": "module" }');
    first = await import(`${await copy("first")}/mod.ts`);
    second = await import(`${await copy("second")}/mod.ts`);
    third = await import(`${await copy("third")}/src/node/mod.ts`);
    later = await import(`${await copy("later", "9.9.9")}/mod.ts`);
    assert(first.createHub !== second.createHub, "they are copies");
  });

  after(() => rm(directory, { recursive: true }));

  test("a hub of one, a handler of another, the listener of a third", async () => {
    const hub = first.createHub({ logger: quietLogger, maxConnectionsPerSession: 2 });
    const handler = second.createHandler(hub, {
      authenticate: (request) => ({ session: second.sessionFromRequest(request) ?? "nobody" }),
      authorize: () => true,
      unavailable: "status",
    });
    const plain = () => new Response(hub.subscribe("grace"));
    const listener = third.toNodeListener(handler);
    const others = third.toNodeListener(plain);
    const server = await serveNode((req, res) =>
      (req.url === "/plain" ? others : listener)(req, res)
    );
    try {
      const headers = { "X-Session-Id": "ada", "Content-Type": "application/json" };
      const subscribe = () => fetch(`${server.url}/api/v1/sse/subscribe`, { headers });
      const reader = new EventReader(await subscribe());
      const other = new EventReader(await fetch(`${server.url}/plain`));
      await reader.block();
      await other.block();
      await within(hub.broadcast("e", "x".repeat(200_000)), "the broadcast");
      for (const each of [reader, other]) assertEquals((await each.event()).data!.length, 200_000);

      // What one copy throws, another answers with its own status.
      const again = new EventReader(await subscribe());
      const refused = await subscribe();
      assertEquals([refused.status, JSON.parse(await textOf(refused)).code], [
        429,
        "too-many-connections-of-session",
      ]);
      const send = (data: string) =>
        fetch(`${server.url}/api/v1/sse/send`, {
          method: "POST",
          headers,
          body: JSON.stringify({ session: "ada", event: "e", data }),
        });
      const large = await send("x".repeat(1_048_576));
      assertEquals([large.status, JSON.parse(await textOf(large)).code], [413, "event-too-large"]);
      for (const each of [reader, other, again]) await each.cancel();
      await until(() => hub.stats().connections === 0, "the hub to forget them");
    } finally {
      await hub.close();
      await server.close();
    }
  });

  test("an error of one is a StreamsideError of the other, and of no class that extends it", () => {
    class Mine extends second.StreamsideError {}
    const error = new first.StreamsideError("closed", "on purpose");
    assert(error instanceof first.StreamsideError && error instanceof second.StreamsideError);
    assert(!(error instanceof Mine) && new Mine("closed", "mine") instanceof Mine);
    assert(new Mine("closed", "mine") instanceof first.StreamsideError);
    for (const value of [new Error("other"), { code: "closed" }, null, "closed", undefined]) {
      assert(!((value as unknown) instanceof first.StreamsideError), String(value));
    }
    assertEquals(JSON.stringify(error), '{"name":"StreamsideError","code":"closed"}');
  });

  test("a hub of another version is refused by its name, and what is no hub is refused as before", () => {
    const authenticate = () => null;
    const messageOf = (hub: unknown) => {
      try {
        second.createHandler(hub as ReturnType<Server["createHub"]>, { authenticate });
      } catch (error) {
        assert(error instanceof first.StreamsideError && error.code === "invalid-argument");
        return error.message;
      }
      return "";
    };
    const message = messageOf(later.createHub({ logger: quietLogger }));
    assertStringIncludes(message, "made by Streamside 9.9.9");
    assertStringIncludes(message, `of Streamside ${VERSION}`);
    for (const hub of [undefined, null, {}, "hub"]) {
      assertEquals(messageOf(hub), "createHandler needs a hub made by createHub.");
    }
  });

  test("a handler of another version is served as any other function", async () => {
    const hub = later.createHub({ logger: quietLogger });
    const handler = later.createHandler(hub, { authenticate: () => ({ session: "ada" }) });
    const server = await serveNode(third.toNodeListener(handler.subscribe));
    try {
      const reader = new EventReader(await fetch(server.url));
      await reader.block();
      await hub.send("ada", "e", "hello");
      assertEquals((await reader.event()).data, "hello");
      await reader.cancel();
      await until(() => hub.stats().connections === 0, "the hub to forget it");
    } finally {
      await hub.close();
      await server.close();
    }
  });
});
