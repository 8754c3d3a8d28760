/**
 * Type-checks the code of README.md, docs/ and the other pages against the source, as a user's programs. Of blocks in
 * other languages it checks the syntax. `check-package.ts` does the first against the packed package.
 *
 * ```sh
 * npm run check:pages
 * ```
 *
 * @module
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parse as parseSvelte } from "svelte/compiler";
import { parse as parseVue } from "vue/compiler-sfc";
import { parse as parseYaml } from "yaml";
import { allPages, type Block, blocksOf } from "./documentation.ts";
import { surroundings, toModule, toProgram } from "./snippets.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const entries: Record<string, string> = {
  "streamside": "mod.ts",
  "streamside/client": "src/client/mod.ts",
  "streamside/client.browser": "src/client/mod.ts",
  "streamside/node": "src/node/mod.ts",
  "streamside/jetstream": "src/log/jetstream.ts",
  "streamside/postgres": "src/log/postgres.ts",
  "streamside/redis": "src/log/redis.ts",
  "streamside/sqlite": "src/log/sqlite.ts",
  "streamside/testing": "src/testing.ts",
};

/**
 * Languages that tests run: the configurations of `tests/docs/configurations.test.ts`, the Python of
 * `tests/docs/commands.test.ts`, and the SQL of `tests/log/postgres.test.ts`. A block without a language is no code: what a terminal or a server says.
 */
const elsewhere = ["nginx", "caddyfile", "python", "sql", ""];

// Inside the project, so that what the blocks import beside this package is found.
await mkdir(join(root, "tmp"), { recursive: true });
const folder = await mkdtemp(join(root, "tmp/pages-"));
let faults = 0;
try {
  const names: Record<string, string[]> = {};
  for (const [specifier, path] of Object.entries(entries)) {
    names[specifier] = Object.keys(await import(join(root, path)));
  }
  const programs: string[] = ["surroundings.d.ts"];
  await writeFile(join(folder, "surroundings.d.ts"), surroundings(names));
  const folders = new Set<string>();
  let syntax = 0;
  for (const page of await allPages()) {
    for (const block of blocksOf(page)) {
      const where = `${page.path}:${block.line}`;
      const typed = typedPart(block);
      if (typed !== block) {
        syntax++;
        const fault = syntaxFault(block);
        if (fault !== undefined) {
          console.error(`${where}: ${fault}`);
          faults++;
        }
      }
      if (typed !== undefined) {
        const program = typed.file ? toProgram(typed) : toModule(typed);
        // The page and the block's line make a folder, so that whole files keep their names and find each other.
        const name = `${page.path}/${typed.file ?? `${typed.line}.${typed.language}`}`;
        if (programs.includes(name)) throw new Error(`${where}: ${block.file} stands there twice`);
        folders.add(`./${page.path}`);
        await mkdir(dirname(join(folder, name)), { recursive: true });
        await writeFile(join(folder, name), program);
        programs.push(name);
      }
    }
  }
  const paths = Object.fromEntries(
    Object.entries(entries).map(([specifier, path]) => [specifier, [join(root, path)]]),
  );
  const compilerOptions = {
    ...{ target: "es2022", module: "preserve", moduleResolution: "bundler", strict: true },
    ...{ lib: ["es2023", "dom", "dom.iterable", "dom.asynciterable"], types: ["node", "svelte"] },
    ...{ noEmit: true, skipLibCheck: true },
    ...{ allowImportingTsExtensions: true, jsx: "preserve", paths },
    // Blocks that import what their page says to copy out of examples/ find it there.
    rootDirs: [join(root, "examples"), ...folders],
  };
  const config = { compilerOptions, files: programs };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
  const { status } = spawnSync(bin("tsc"), ["-p", "."], { cwd: folder, stdio: "inherit" });
  if (status !== 0) faults++;
  console.log(`${programs.length - 1} programs, ${syntax} blocks in other languages`);
} finally {
  await rm(folder, { recursive: true });
}
if (faults > 0) process.exitCode = 1;

/** What of a block the type checker reads: all of it, or the script of a component. */
function typedPart(block: Block): Block | undefined {
  const { language, line, text } = block;
  if (language === "ts" || language === "tsx") return block;
  const [, head, script] = /^([^]*?<script[^>]*\blang="ts">\n)([^]*?)<\/script>/.exec(text) ?? [];
  if (script === undefined) return undefined;
  return {
    language: "ts",
    file: undefined,
    line: line + head!.split("\n").length - 1,
    text: script,
  };
}

/** What is wrong with a block in a language that has no types. */
function syntaxFault({ language, text }: Block): string | undefined {
  try {
    if (language === "json") JSON.parse(text);
    else if (language === "js" || language === "jsx") parse(text, language);
    else if (language === "html") {
      for (const [, script] of text.matchAll(/<script[^>]*>(.+?)<\/script>/gs)) {
        parse(script!, "js");
      }
    } else if (language === "sh") execFileSync("bash", ["-n"], { input: text, stdio: "pipe" });
    else if (language === "yaml") parseYaml(text);
    else if (language === "svelte") parseSvelte(text);
    else if (language === "vue") {
      for (const error of parseVue(text).errors) throw error;
    } else if (!elsewhere.includes(language)) return `nothing checks the language "${language}"`;
  } catch (error) {
    return String((error as { stderr?: unknown }).stderr ?? error);
  }
  return undefined;
}

function parse(text: string, loader: string): void {
  execFileSync(bin("esbuild"), [`--loader=${loader}`, "--log-level=error"], {
    input: text,
    stdio: "pipe",
  });
}
