/**
 * Checks the package as its users get it: packs the built tarball, has publint and attw read it, installs it into an
 * empty directory, imports every entry point with plain Node, type-checks the examples of the documentation against it,
 * and rehearses the publication on JSR.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { snippets, surroundings } from "./snippets.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const manifest = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
  name: string;
  exports: Record<string, string | Record<string, string>>;
};
const specifiers = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === "object")
  .map(([path]) => manifest.name + path.slice(1));

const temporary = await mkdtemp(join(tmpdir(), "streamside-package-"));
try {
  step("pack");
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", temporary], {
      cwd: root,
      encoding: "utf8",
    }),
  ) as [{ filename: string; files: { path: string }[] }];
  const strangers = packed.files.map((file) => file.path)
    .filter((path) => !/^(dist\/|README\.md$|LICENSE$|package\.json$)/.test(path));
  if (strangers.length > 0) throw new Error(`the tarball holds ${strangers.join(", ")}`);
  const tarball = join(temporary, packed.filename);

  step("publint");
  run(root, bin("publint"), "run", tarball, "--strict");

  step("attw");
  run(root, bin("attw"), tarball, "--profile", "esm-only", "--no-emoji");

  step("install and import");
  await writeFile(join(temporary, "package.json"), '{ "private": true, "type": "module" }');
  run(temporary, "npm", "install", "--no-audit", "--no-fund", `./${packed.filename}`);
  await writeFile(
    join(temporary, "import.mjs"),
    `const names = {};
for (const specifier of ${JSON.stringify(specifiers)}) {
  names[specifier] = Object.keys(await import(specifier));
}
console.log(JSON.stringify(names));
`,
  );
  const names = JSON.parse(
    execFileSync(process.execPath, ["import.mjs"], { cwd: temporary, encoding: "utf8" }),
  ) as Record<string, string[]>;
  for (const [specifier, exported] of Object.entries(names)) {
    if (exported.length === 0) throw new Error(`${specifier} exports nothing`);
    console.log(`${specifier}: ${exported.join(", ")}`);
  }

  step("types, as the examples of the documentation use them");
  await writeFile(join(temporary, "surroundings.d.ts"), surroundings(names));
  const programs = ["surroundings.d.ts"];
  for (const source of await documented()) {
    const text = await readFile(join(root, source), "utf8");
    for (const [line, program] of snippets(text, source.endsWith(".md"))) {
      const name = `${source.replaceAll("/", ".")}.${line}.ts`;
      await writeFile(join(temporary, name), program);
      programs.push(name);
    }
  }
  const options = ["--ignoreConfig", "--noEmit", "--strict"];
  const lib = ["--lib", "es2023,dom,dom.iterable,dom.asynciterable"];
  const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
  for (const [module, resolution] of [["nodenext", "nodenext"], ["preserve", "bundler"]] as const) {
    const modules = ["--module", module, "--moduleResolution", resolution];
    run(temporary, bin("tsc"), ...options, ...modules, ...lib, ...types, ...programs);
    console.log(`${programs.length - 1} examples, --moduleResolution ${resolution}`);
  }

  step("types of the server, where there is no DOM");
  await writeFile(
    join(temporary, "server.ts"),
    'export * from "streamside";\nexport * from "streamside/node";\n',
  );
  run(
    temporary,
    bin("tsc"),
    ...options,
    "--module",
    "nodenext",
    "--lib",
    "es2023",
    ...types,
    "server.ts",
  );

  step("deno publish --dry-run");
  run(root, bin("deno"), "publish", "--dry-run", "--allow-dirty");
} finally {
  await rm(temporary, { recursive: true });
}

/** The files whose examples a user reads. */
async function documented(): Promise<string[]> {
  const internal = ["src/client/backoff.ts"];
  const sources = (await readdir(join(root, "src"), { recursive: true }))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `src/${name.replaceAll(sep, "/")}`)
    .filter((name) => !internal.includes(name));
  return ["README.md", "mod.ts", ...sources.sort()];
}

function step(name: string): void {
  console.log(`\n# ${name}`);
}

function run(cwd: string, command: string, ...args: string[]): void {
  execFileSync(command, args, { cwd, stdio: "inherit" });
}
