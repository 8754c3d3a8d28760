/**
 * Checks the package as its users get it: packs the built tarball, has publint and attw read it, installs it into an
 * empty directory, imports every entry point with plain Node, type-checks a program that uses it, and rehearses the
 * publication on JSR.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

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
    `for (const specifier of ${JSON.stringify(specifiers)}) {
  const names = Object.keys(await import(specifier));
  if (names.length === 0) throw new Error(specifier + " exports nothing");
  console.log(specifier + ": " + names.join(", "));
}
`,
  );
  run(temporary, process.execPath, "import.mjs");

  step("types, as a program that uses the package sees them");
  await writeFile(
    join(temporary, "use.ts"),
    specifiers.map((specifier, index) => `export * as e${index} from "${specifier}";\n`).join(""),
  );
  const options = ["--ignoreConfig", "--noEmit", "--strict", "--module", "nodenext"];
  const lib = ["--lib", "es2023,dom,dom.iterable,dom.asynciterable"];
  const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
  run(temporary, bin("tsc"), ...options, ...lib, ...types, "use.ts");

  step("deno publish --dry-run");
  run(root, bin("deno"), "publish", "--dry-run", "--allow-dirty");
} finally {
  await rm(temporary, { recursive: true });
}

function step(name: string): void {
  console.log(`\n# ${name}`);
}

function run(cwd: string, command: string, ...args: string[]): void {
  execFileSync(command, args, { cwd, stdio: "inherit" });
}
