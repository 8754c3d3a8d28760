/**
 * Checks the package as its users get it: packs the built tarball, has publint and attw read it, installs it into an
 * empty directory, imports and requires every entry point with plain Node, runs the command line, type-checks the examples of the
 * documentation and every entry point against it, and rehearses the publication on JSR.
 *
 * @module
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { blocksOf, pages } from "./documentation.ts";
import { pack } from "./pack.ts";
import { snippets, surroundings, toModule, toProgram } from "./snippets.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
  name: string;
  version: string;
  exports: Record<string, string | Record<string, string>>;
};
const specifiers = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === "object")
  .map(([path]) => manifest.name + path.slice(1));

/** How a user's project may find modules: `--module` and `--moduleResolution`. */
const resolutions = [
  ["node16", "node16"],
  ["nodenext", "nodenext"],
  ["preserve", "bundler"],
] as const;

const temporary = await mkdtemp(join(tmpdir(), "streamside-package-"));
try {
  step("pack");
  const packed = await pack(root, temporary);
  const held = new Set(
    packed.files.map(({ path }) => path.replace(/^dist\/.+\.(d\.ts|js)$/, "dist/")),
  );
  const needed = ["CHANGELOG.md", "LICENSE", "README.md", "dist/", "package.json"];
  assert.deepEqual([...held].sort(), needed, "what the tarball holds");
  const tarball = join(temporary, packed.filename);

  step("publint");
  run(root, bin("publint"), "run", tarball, "--strict");

  step("attw");
  // CommonJS gets ES modules: by import(), and by require() from Node 20.19 and 22.12 on.
  const profile = ["--profile", "node16", "--ignore-rules", "cjs-resolves-to-esm"];
  run(root, bin("attw"), tarball, ...profile, "--no-emoji");

  step("install and import");
  await writeFile(join(temporary, "package.json"), '{ "private": true, "type": "module" }');
  run(temporary, "npm", "install", "--no-audit", "--no-fund", `./${packed.filename}`);
  const names = await exported("import.mjs", "await import(specifier)");
  for (const [specifier, own] of Object.entries(names)) {
    if (own.length === 0) throw new Error(`${specifier} exports nothing`);
    console.log(`${specifier}: ${own.join(", ")}`);
  }
  assert.deepEqual(names["streamside/client.browser"], names["streamside/client"]);
  if ((process.features as { require_module?: boolean }).require_module) {
    assert.deepEqual(await exported("require.cjs", "require(specifier)"), names);
  }

  step("the command line, as npx, bunx and Deno start it");
  for (
    const [program, ...args] of [
      ["npx", "--no-install", manifest.name],
      [bin("bun"), "x", "--no-install", manifest.name],
      [bin("bun"), "x", "--bun", "--no-install", manifest.name],
      [bin("deno"), "run", "-A", `npm:${manifest.name}`],
    ] as const
  ) {
    const { status, stdout } = spawnSync(program, [...args, "--version"], {
      cwd: temporary,
      encoding: "utf8",
    });
    assert.deepEqual([status, stdout], [0, `${manifest.version}\n`], program);
    assert.equal(spawnSync(program, [...args, "listen"], { cwd: temporary }).status, 2, program);
  }

  step("types, as the examples of the documentation use them");
  await writeFile(join(temporary, "surroundings.d.ts"), surroundings(names));
  const programs = ["surroundings.d.ts"];
  // Packages that are not installed here: `check-docs.ts` checks what imports them on pages.
  const foreign = /from "(?!streamside|node:|\.)/;
  const example = async (name: string, program: string) => {
    await writeFile(join(temporary, name), program);
    programs.push(name);
  };
  for (const source of await documented()) {
    const text = await readFile(join(root, source), "utf8");
    for (const [line, program] of snippets(text)) {
      if (foreign.test(program)) continue;
      await example(`${source.replaceAll("/", ".")}.${line}.ts`, program);
    }
  }
  for (const page of await pages()) {
    for (const block of blocksOf(page).filter(({ language }) => language === "ts")) {
      if (foreign.test(block.text)) continue;
      const name = `${page.path.replaceAll("/", ".")}.${block.line}.ts`;
      await example(name, block.file ? toProgram(block) : toModule(block));
    }
  }
  const dom = ["--lib", "es2023,dom,dom.iterable,dom.asynciterable"];
  for (const [module, resolution] of resolutions) {
    checkTypes(module, resolution, ...dom, ...programs);
    console.log(`${programs.length - 1} examples, --moduleResolution ${resolution}`);
  }

  step("types of every entry point, where there is no DOM, for ES modules and for CommonJS");
  const entries = specifiers.map((specifier) => JSON.stringify(specifier));
  await writeFile(
    join(temporary, "module.mts"),
    entries.map((entry, index) => `export * as entry${index} from ${entry};\n`).join(""),
  );
  await writeFile(
    join(temporary, "import.cts"),
    `export const entries = [${entries.map((entry) => `import(${entry})`)}];\n`,
  );
  await writeFile(
    join(temporary, "require.cts"),
    entries.map((entry, index) => `export import entry${index} = require(${entry});\n`).join(""),
  );
  for (const [module, resolution] of resolutions) {
    const programs = ["module.mts"];
    if (module !== "preserve") programs.push("import.cts");
    if (module === "nodenext") programs.push("require.cts");
    checkTypes(module, resolution, "--lib", "es2023", ...programs);
    console.log(`${programs.join(", ")}, --moduleResolution ${resolution}`);
  }

  step("deno publish --dry-run");
  const rehearsal = spawnSync(bin("deno"), ["publish", "--dry-run", "--allow-dirty"], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  const said = rehearsal.stdout + rehearsal.stderr;
  assert.equal(rehearsal.status, 0, said);
  assert.doesNotMatch(said, /warning/i);
  const base = pathToFileURL(root).href;
  const published = said.split("\n").map((line) => line.trim()).filter((line) =>
    line.startsWith(base)
  )
    .map((line) => decodeURIComponent(line.slice(base.length)).replace(/ \(.+\)$/, ""));
  assert.deepEqual(
    published.sort(),
    ["LICENSE", "README.md", "deno.json", "mod.ts", ...await sources()].sort(),
    "what JSR would get",
  );
  console.log(`${published.length} files`);
} finally {
  await rm(temporary, { recursive: true });
}

/** What each entry point exports by name, as a program in a file of this name finds it with an expression. */
async function exported(file: string, expression: string): Promise<Record<string, string[]>> {
  await writeFile(
    join(temporary, file),
    `(async () => {
  const names = {};
  for (const specifier of ${JSON.stringify(specifiers)}) {
    names[specifier] = Object.keys(${expression}).filter((name) => !name.startsWith("__")).sort();
  }
  console.log(JSON.stringify(names));
})();
`,
  );
  return JSON.parse(execFileSync(process.execPath, [file], { cwd: temporary, encoding: "utf8" }));
}

/** Type-checks programs that use the package, and the package's declarations with them. */
function checkTypes(module: string, resolution: string, ...rest: string[]): void {
  const options = ["--ignoreConfig", "--noEmit", "--strict", "--skipLibCheck", "false"];
  const modules = ["--module", module, "--moduleResolution", resolution];
  const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
  run(temporary, bin("tsc"), ...options, ...modules, ...types, ...rest);
}

/** The sources whose examples a user reads. */
async function documented(): Promise<string[]> {
  const internal = ["src/client/backoff.ts"];
  return ["mod.ts", ...(await sources()).filter((name) => !internal.includes(name))];
}

/** The files of `src/`, in order. */
async function sources(): Promise<string[]> {
  return (await readdir(join(root, "src"), { recursive: true }))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `src/${name.replaceAll(sep, "/")}`)
    .sort();
}

function step(name: string): void {
  console.log(`\n# ${name}`);
}

function run(cwd: string, command: string, ...args: string[]): void {
  execFileSync(command, args, { cwd, stdio: "inherit" });
}
