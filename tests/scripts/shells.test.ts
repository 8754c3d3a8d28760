/**
 * `npm start` and the other scripts work in every shell that npm uses: `sh`, and on Windows `cmd.exe`. And the demo runs
 * where a project may be on Windows: in a folder with a space and other letters, its lines ended by CR and LF.
 *
 * @module
 */
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { startWith, within } from "../examples/server.ts";
import { runtime } from "../server-helpers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Programs that are there with Node, or come with `npm ci`: npm finds them in `node_modules/.bin`. */
const programs = ["node", "npm", "tsx", "tsc", "deno"];

/** What is wrong with a script in one of the shells. */
function faultsOf(script: string): string[] {
  // What is in double quotes both shells hand on, but for variables.
  const bare = script.replace(/"[^"]*"/g, "");
  const faults = script.split("&&").map((part) => part.trim().split(" ")[0]!)
    .filter((program) => !programs.includes(program))
    .map((program) => `${program} is not in every shell`);
  if (/[$`%]/.test(script)) faults.push("variables differ between shells");
  if (/[';|<>*?~()\\]|(?<!&)&(?!&)/.test(bare)) faults.push("quotes and operators differ");
  return faults;
}

test("the check of scripts knows what a Windows shell does not", () => {
  const wrong = [
    "exec node main.ts",
    "PORT=1 node main.ts",
    "rm -rf dist && tsc",
    "node -e 'run()'",
    "node main.ts; node other.ts",
    "node main.ts &",
    "node main.ts > /dev/null",
    "node $HOME/main.ts",
    "tsx tests/*.ts",
  ];
  assertEquals(wrong.filter((script) => faultsOf(script).length === 0), []);
});

test("every script of package.json runs in every shell", async () => {
  const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  assert(Object.keys(scripts).length > 5);
  const faults = Object.entries<string>(scripts)
    .flatMap(([name, script]) => faultsOf(script).map((fault) => `${name}: ${fault}: ${script}`));
  assertEquals(faults, []);
});

test(
  "the demo starts in a folder with a space and other letters, with lines as Git writes them on Windows, and ends with Ctrl-C",
  {
    skip: runtime !== "node" && "npm start is for Node",
  },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "streamside ä 100% "));
    try {
      for (
        const name of ["mod.ts", "src", "docs", "examples/app", "examples/node.ts", "package.json"]
      ) {
        await cp(join(root, name), join(folder, name), { recursive: true });
      }
      for (const name of await readdir(join(folder, "examples/app"), { recursive: true })) {
        if (!/\.(ts|html|css)$/.test(name)) continue;
        const path = join(folder, "examples/app", name);
        await writeFile(path, (await readFile(path, "utf8")).replace(/\r?\n/g, "\r\n"));
      }
      await symlink(join(root, "node_modules"), join(folder, "node_modules"), "junction");
      const main = join(folder, "examples/node.ts");
      const server = await startWith([process.execPath, "--import=tsx", main], {
        DATA: join(folder, "data"),
        WATCH: join(folder, "watched"),
      });
      const page = await (await fetch(server.url)).text();
      assert(page.includes("documentLocked"), "the code of the stories");
      assertEquals((await fetch(`${server.url}/page.js`)).status, 200);
      // There is no SIGTERM on Windows: what the terminal sends is this.
      process.kill(server.process.pid!, "SIGINT");
      assertEquals(await within(server.ended, "the demo to end"), 0);
      assertEquals(server.errors(), "");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
