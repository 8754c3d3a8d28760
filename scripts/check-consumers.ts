/**
 * Checks the package in the hands of its users: packs it, serves it by a registry on this machine, installs it into a
 * new project whose path has a space in it, and uses every entry point from every runtime, module system, type checker
 * and bundler. Each use is a round trip: a client subscribes, something is sent, and the client receives it.
 *
 * ```sh
 * npm run check:consumers
 * ```
 *
 * The project is `scripts/consumers/project`. A bundle for browsers runs in Chromium, which may be missing, except in CI.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build, type BuildOptions } from "esbuild";
import { createServer as createViteServer } from "vite";
import { launch, skip } from "../tests/client/browser-helpers.ts";
import { createHandler, createHub } from "../mod.ts";
import { freePort } from "../tests/client/helpers.ts";
import { find } from "../tests/programs.ts";
import { authenticate, quietLogger, serve, within } from "../tests/server-helpers.ts";
import { type Registry, serveRegistry } from "./registry.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const consumers = join(root, "scripts/consumers/node_modules");
const json = async (path: string) => JSON.parse(await readFile(path, "utf8"));
const { name, version, exports } = await json(join(root, "package.json"));
const deno = await json(join(root, "deno.json"));
const entries = Object.keys(exports).filter((path) => typeof exports[path] === "object");

let temporary = "";
let project = "";
let registry: Registry;
/** Package managers ask the registry here, and keep what they get to themselves. */
let env: Record<string, string | undefined> = {};

before(async () => {
  temporary = await mkdtemp(join(tmpdir(), "streamside consumers "));
  project = join(temporary, "project");
  // The package, the one that it depends on, and Node's types, which depend on another.
  const others = ["eventsource-parser", "@types/node", "undici-types"];
  const folders = [root, ...others.map((other) => join(root, "node_modules", other))];
  registry = await serveRegistry(folders, temporary);
  env = {
    ...process.env,
    ...{ npm_config_registry: registry.url, NPM_CONFIG_REGISTRY: registry.url },
    ...{ BUN_CONFIG_REGISTRY: registry.url, npm_config_cache: join(temporary, "npm") },
    ...{ DENO_DIR: join(temporary, "deno"), BUN_INSTALL_CACHE_DIR: join(temporary, "bun") },
    ...{ TMPDIR: join(temporary, "tmp"), BUN_TMPDIR: join(temporary, "tmp") }, // of bunx, a cache
    ...{
      npm_config_audit: "false",
      npm_config_fund: "false",
      NO_COLOR: "1",
      FORCE_COLOR: undefined,
    },
  };
  await mkdir(join(temporary, "tmp"));
  await cp(join(root, "scripts/consumers/project"), project, { recursive: true });
  await writeFile(join(project, "package.json"), '{ "private": true, "type": "module" }');
  await exec(["npm", "install", registry.tarballs.get(name)!, "@types/node"]);
  await copyFile(join(project, "typed.ts"), join(project, "typed.cts"));

  const modules = entries.map((path) => [path, name + path.slice(1)] as const);
  await writeFile(join(project, "esm.js"), esm(modules));
  for (const load of ["require", "import"]) {
    const calls = modules.map(([path, specifier]) =>
      `    ${JSON.stringify(path)}: await ${load}(${JSON.stringify(specifier)}),\n`
    );
    await writeFile(
      join(project, `${load}.cjs`),
      `(async () => {
  const { roundTrip } = await import("./round-trip.js");
  await roundTrip({
${calls.join("")}  });
})();
`,
    );
  }
});

after(async () => {
  await registry?.close();
  await rm(temporary, { recursive: true });
});

/** A program that imports entry points, and makes the round trip with them. */
function esm(modules: readonly (readonly [path: string, specifier: string])[]): string {
  const imports = modules.map(([, specifier], index) =>
    `import * as entry${index} from ${JSON.stringify(specifier)};\n`
  );
  const named = modules.map(([path], index) => `${JSON.stringify(path)}: entry${index}`);
  return `${imports.join("")}import { roundTrip } from "./round-trip.js";

roundTrip({ ${named.join(", ")} });
`;
}

const all = `round trip: ${entries.join(" ")}\n`;
/** The versions of Node that are there: this one, and those of `.ci/nodes`. */
const versions: [name: string, path: string][] = [
  [`Node ${process.versions.node}`, process.execPath],
  ...["node22", "node24", "node26"].map((name): [string, string] => [
    name,
    join(root, ".ci/nodes/node_modules", name, "bin/node"),
  ]).filter(([, path]) => find(path) !== undefined),
];
/** This Node, which may find a `require()` of a module worth a warning. */
const node = [process.execPath, "--disable-warning=ExperimentalWarning"];
const requiresModules = (process.features as { require_module?: boolean }).require_module === true;

describe("module systems", () => {
  for (const [name, path] of versions) {
    test(`ES modules on ${name}`, async () => {
      assert.equal(await exec([path, "esm.js"]), all);
    });

    test(`CommonJS on ${name}: require(), and import() where there is no require() of a module`, async () => {
      let command = [path, "--disable-warning=ExperimentalWarning"];
      if (await exec([...command, "-p", "process.features.require_module"]) === "true\n") {
        assert.equal(await exec([...command, "require.cjs"]), all);
        // As on Node 20 before 20.19, and 22 before 22.12.
        command = [path, "--no-experimental-require-module"];
      }
      assert.equal(await exec([...command, "import.cjs"]), all);
      await assert.rejects(exec([...command, "require.cjs"]), /ERR_REQUIRE_ESM/);
    });
  }
});

describe("TypeScript", () => {
  /** Type-checks files with nothing left out, and compiles them into `outDir` where one is given. */
  async function check(compiler: string, options: object, ...files: string[]): Promise<void> {
    const compilerOptions = {
      ...{ target: "es2022", strict: true, skipLibCheck: false, noUncheckedIndexedAccess: true },
      ...{ exactOptionalPropertyTypes: true, noEmit: !("outDir" in options) },
      ...options,
    };
    await writeFile(
      join(project, "tsconfig.check.json"),
      JSON.stringify({ compilerOptions, files }),
    );
    await exec([compiler, "-p", "tsconfig.check.json"]);
  }

  const compilers = [
    ["TypeScript 5", join(consumers, "typescript5/bin/tsc")],
    ["TypeScript 7", bin("tsc")],
  ] as const;
  const resolutions = [
    ["node16", "node16"],
    ["nodenext", "nodenext"],
    ["preserve", "bundler"],
  ] as const;
  const withDom = ["es2023", "dom", "dom.iterable", "dom.asynciterable"];
  for (const [compiler, tsc] of compilers) {
    for (const [module, moduleResolution] of resolutions) {
      const modules = { module, moduleResolution };
      test(`${compiler}, ${moduleResolution}: with and without the DOM; what it compiles runs`, async () => {
        await check(tsc, { ...modules, lib: withDom, types: ["node"] }, "typed.ts");
        await check(tsc, { ...modules, lib: withDom, types: [] }, "page.ts");
        // Of the two that know CommonJS, nodenext knows that it may require() a module.
        const files = moduleResolution === "nodenext" ? ["typed.ts", "typed.cts"] : ["typed.ts"];
        const outDir = `out/${compiler} ${moduleResolution}`;
        await check(tsc, { ...modules, lib: ["es2023"], types: ["node"], outDir }, ...files);
        for (const file of await readdir(join(project, outDir))) {
          if (file.endsWith(".cjs") && !requiresModules) continue;
          assert.equal(await exec([...node, join(outDir, file)]), "round trip: typed\n");
        }
      });
    }
  }

  test("Bun's types", async () => {
    const types = { types: ["bun-types"], typeRoots: [join(root, "node_modules")] };
    const options = { module: "preserve", lib: ["es2023"], skipLibCheck: true };
    await check(bin("tsc"), { ...options, ...types }, "typed.ts");
  });
});

describe("Deno", () => {
  const run = (folder: string, ...args: string[]) => exec([bin("deno"), ...args], folder);
  /** A new project for Deno, with these imports. */
  async function denoProject(name: string, config: object, program: string): Promise<string> {
    const folder = join(temporary, name);
    await mkdir(folder);
    await copyFile(join(project, "round-trip.js"), join(folder, "round-trip.js"));
    await copyFile(join(project, "typed.ts"), join(folder, "typed.ts"));
    await writeFile(join(folder, "deno.json"), JSON.stringify(config));
    await writeFile(join(folder, "esm.js"), program);
    return folder;
  }

  test("in a project with node_modules", async () => {
    assert.equal(await run(project, "run", "-A", "esm.js"), all);
    assert.equal(await run(project, "run", "-A", "--check", "typed.ts"), "round trip: typed\n");
  });

  test("npm:", async () => {
    const modules = entries.map((path) =>
      [path, `npm:${name}@${version}${path.slice(1)}`] as const
    );
    const imports = Object.fromEntries(
      modules.map(([path, specifier]) => [name + path.slice(1), specifier]),
    );
    const folder = await denoProject("deno npm", { imports }, esm(modules));
    assert.equal(await run(folder, "run", "-A", "esm.js"), all);
    assert.equal(await run(folder, "run", "-A", "--check", "typed.ts"), "round trip: typed\n");
  });

  test("the source, by the exports of deno.json", async () => {
    const paths = Object.keys(deno.exports).filter((path) => path !== "./cli");
    const modules = paths.map((path) => [path, name + path.slice(1)] as const);
    const imports = Object.fromEntries(
      modules.map((
        [path, specifier],
      ) => [specifier, `jsr:${deno.name}@${version}${path.slice(1)}`]),
    );
    // JSR has no bundle of one file.
    imports[`${name}/client.browser`] = imports[`${name}/client`]!;
    // Deno type-checks what it links as the project's own code; of what comes from JSR it takes the declarations.
    const config = { imports, links: [root], compilerOptions: deno.compilerOptions };
    const folder = await denoProject("deno source", config, esm(modules));
    assert.equal(await run(folder, "run", "-A", "esm.js"), `round trip: ${paths.join(" ")}\n`);
    assert.equal(await run(folder, "run", "-A", "--check", "typed.ts"), "round trip: typed\n");
    const cli = `jsr:${deno.name}@${version}/cli`;
    assert.equal(await run(folder, "run", "-A", cli, "--version"), `${version}\n`);
  });
});

describe("Bun", () => {
  test("from node_modules", async () => {
    assert.equal(await exec([bin("bun"), "esm.js"]), all);
    assert.equal(await exec([bin("bun"), "typed.ts"]), "round trip: typed\n");
    assert.equal(await exec([bin("bun"), "require.cjs"]), all);
  });

  test("as bun add installs it", async () => {
    const folder = join(temporary, "bun project");
    await mkdir(folder);
    for (const file of ["esm.js", "round-trip.js", "package.json"]) {
      await copyFile(join(project, file), join(folder, file));
    }
    await writeFile(join(folder, "package.json"), "{}");
    await exec([bin("bun"), "add", name], folder);
    assert.equal(await exec([bin("bun"), "esm.js"], folder), all);
  });

  test("bun build", async () => {
    for (const format of ["esm", "cjs"]) {
      const out = ["--outfile", `out/bun.${format === "cjs" ? "cjs" : "mjs"}`];
      await exec([bin("bun"), "build", "esm.js", "--target=node", `--format=${format}`, ...out]);
      assert.equal(await exec([process.execPath, out[1]!]), all);
    }
  });
});

describe("bundlers", () => {
  const bundle = (options: BuildOptions) =>
    build({ absWorkingDir: project, bundle: true, logLevel: "warning", ...options });

  /** Builds with webpack, as its users do in a configuration file. */
  async function webpack(options: object): Promise<void> {
    const path = pathToFileURL(join(consumers, "webpack/lib/index.js")).href;
    const { default: webpack } = await import(path);
    const stats = await new Promise<{ hasErrors(): boolean; hasWarnings(): boolean }>(
      (resolve, reject) =>
        webpack(
          { context: project, mode: "production", performance: false, ...options },
          (error: Error | null, stats: never) => error ? reject(error) : resolve(stats),
        ),
    );
    if (stats.hasErrors() || stats.hasWarnings()) throw new Error(String(stats));
  }

  /** Opens a site in Chromium, which passes when the page has made its round trip. */
  async function open(url: string): Promise<void> {
    const browser = await launch();
    try {
      const page = await browser.newPage();
      await page.goto(url);
      await page.waitForFunction('document.title !== "waiting"', undefined, { timeout: 20_000 });
      assert.equal(await page.title(), "received");
    } finally {
      await browser.close();
    }
  }

  /** Opens the files of a folder, served beside a hub. */
  async function openFolder(folder: string): Promise<void> {
    const files = new Map<string, Uint8Array>();
    for (const file of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const path = join(file.parentPath, file.name);
      if (file.isFile()) files.set(path.slice(folder.length), await readFile(path));
    }
    await withHub((request) => {
      const { pathname } = new URL(request.url);
      const file = files.get(pathname === "/" ? "/index.html" : pathname);
      const type = pathname.endsWith(".js") ? "text/javascript" : "text/html";
      return new Response(file as BodyInit | undefined, {
        status: file === undefined ? 404 : 200,
        headers: { "Content-Type": type },
      });
    }, open);
  }

  /** A folder with the page, whose script is a bundle. */
  async function pageIn(folder: string): Promise<string> {
    const path = join(project, folder);
    await mkdir(path, { recursive: true });
    const page = await readFile(join(project, "index.html"), "utf8");
    await writeFile(join(path, "index.html"), page);
    return path;
  }

  test("Vite: a build", { skip }, async () => {
    await exec([bin("vite"), "build", "--outDir", "out/vite"]);
    await openFolder(join(project, "out/vite"));
  });

  test("Vite: the development server", { skip }, async () => {
    await withHub(() => new Response(null, { status: 404 }), async (target) => {
      const vite = await createViteServer({
        root: project,
        configFile: false,
        logLevel: "warn",
        cacheDir: join(temporary, "vite"),
        server: { port: await freePort(), host: "127.0.0.1", proxy: { "/api": target } },
      });
      try {
        await vite.listen();
        await open(vite.resolvedUrls!.local[0]!);
      } finally {
        await vite.close();
      }
    });
  });

  test("webpack: a page", { skip }, async () => {
    const path = await pageIn("out/webpack");
    await webpack({ entry: "./page.js", output: { path, filename: "page.js" } });
    await openFolder(path);
  });

  test("esbuild: a page", { skip }, async () => {
    const path = await pageIn("out/esbuild");
    await bundle({ entryPoints: ["page.js"], format: "esm", minify: true, outdir: path });
    await openFolder(path);
  });

  test("bun build: a page", { skip }, async () => {
    const path = await pageIn("out/bun");
    await exec([bin("bun"), "build", "page.js", "--target=browser", "--outdir", path]);
    await openFolder(path);
  });

  test("no bundler: a page that imports client.browser", { skip }, async () => {
    const path = await pageIn("out/none");
    const page = await readFile(join(project, "page.js"), "utf8");
    await writeFile(join(path, "page.js"), page.replace(`${name}/client`, "./client.js"));
    const file = join(project, "node_modules", name, exports["./client.browser"].default);
    await copyFile(file, join(path, "client.js"));
    await openFolder(path);
  });

  test("webpack: a server", async () => {
    await webpack({
      entry: "./esm.js",
      target: "node20",
      output: { path: join(project, "out"), filename: "webpack.cjs" },
    });
    assert.equal(await exec([process.execPath, "out/webpack.cjs"]), all);
  });

  test("esbuild: a server, as an ES module and as CommonJS", async () => {
    for (const format of ["esm", "cjs"] as const) {
      const outfile = `out/esbuild.${format === "cjs" ? "cjs" : "mjs"}`;
      await bundle({
        entryPoints: ["esm.js"],
        platform: "node",
        target: "node20",
        format,
        outfile,
      });
      assert.equal(await exec([process.execPath, outfile]), all);
    }
  });

  test("esbuild with wrangler's conditions: a worker, on workerd", async () => {
    await bundle({
      entryPoints: ["worker.js"],
      format: "esm",
      platform: "browser",
      conditions: ["workerd", "worker", "browser"],
      outfile: "out/worker.js",
    });
    const port = await freePort();
    const address = `--socket-addr=http=127.0.0.1:${port}`;
    const worker = start([bin("workerd"), "serve", "worker.capnp", address]);
    try {
      await within(listens(port), "workerd to listen");
      const answer = await fetch(`http://127.0.0.1:${port}`, {
        signal: AbortSignal.timeout(20_000),
      });
      assert.deepEqual(await answer.json(), { data: "received", header: "null" });
    } finally {
      await worker.end();
    }
  });
});

describe("the command line", () => {
  // Where nothing is installed: each fetches the package from the registry.
  const commands = [
    ["npx", "--yes", name],
    [bin("bunx"), name],
    [bin("bunx"), "--bun", name],
    [bin("deno"), "run", "-A", `npm:${name}`],
  ];
  for (const command of commands) {
    const what = [basename(command[0]!), ...command.slice(1)].join(" ");
    test(`${what}: serve, listen and send`, async () => {
      const cwd = join(temporary, "empty folder");
      await mkdir(cwd, { recursive: true });
      const cli = (...rest: string[]) => start([...command, ...rest], cwd);
      const running: Running[] = [];
      try {
        const serving = cli("serve", "--dev", "--port", "0");
        running.push(serving);
        const [, url] = await serving.says(/listening on (http:\S+)/);
        const base = `${url}/api/v1/sse`;
        const listening = cli("listen", `${base}/subscribe?sessionId=ada`, "--json");
        running.push(listening);
        await listening.says(/connected/);
        const message = ["--session", "ada", "--event", "said", "--data", '"hello"'];
        const sent = await exec([...command, "send", `${base}/send`, ...message], cwd);
        assert.equal(JSON.parse(sent).connections, 1);
        const [line] = await listening.says(/^\{.*\}$/m);
        const { event, data } = JSON.parse(line);
        assert.deepEqual([event, data], ["said", '"hello"']);
        await assert.rejects(exec([...command, "listen"], cwd), { code: 2 });
      } finally {
        for (const each of running) await each.end();
      }
    });
  }
});

/** Serves a hub, and beside it what a function answers. */
async function withHub(
  answer: (request: Request) => Response,
  run: (url: string) => Promise<void>,
): Promise<void> {
  const hub = createHub({ logger: quietLogger });
  const handler = createHandler(hub, { authenticate, authorize: () => true });
  const server = await serve((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/api/moved") {
      return new Response(null, { status: 307, headers: { Location: "/api/v1/sse/subscribe" } });
    }
    return pathname.startsWith("/api/") ? handler(request) : answer(request);
  });
  try {
    await run(server.url);
  } finally {
    await hub.close();
    await server.close();
  }
}

/** Resolves when something listens on a port. */
async function listens(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const found = await new Promise((resolve) =>
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false))
    );
    socket.destroy();
    if (found) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What a command prints. Where it fails, the error says all that it printed. */
function exec([program, ...args]: readonly string[], cwd: string = project): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { cwd, env, timeout: 300_000, killSignal: "SIGKILL" } as const;
    execFile(program!, args, options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      error.message = `${program} ${args.join(" ")} failed (${error.code}):\n${stdout}${stderr}`;
      reject(error);
    });
  });
}

/** A command that runs until it is ended. */
interface Running {
  /** Waits until it prints something. */
  says(what: RegExp): Promise<RegExpExecArray>;
  end(): Promise<void>;
}

/** Starts a command, in a process group of its own: npx and bunx start another process. */
function start([program, ...args]: readonly string[], cwd: string = project): Running {
  const child: ChildProcess = spawn(program!, args, { cwd, env, detached: true, stdio: "pipe" });
  let text = "";
  let ended = false;
  let more = () => {};
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      more();
    });
  }
  const closed = new Promise<void>((resolve) =>
    child.once("close", () => {
      ended = true;
      more();
      resolve();
    })
  );
  async function says(what: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = what.exec(text);
      if (found !== null) return found;
      if (ended) throw new Error(`${program} ended before it said ${what}: ${text}`);
      await new Promise<void>((resolve) => more = resolve);
    }
  }
  return {
    says: (what) => within(says(what), `${program} ${args.join(" ")} to say ${what}`, 120_000),
    async end() {
      if (!ended) process.kill(-child.pid!, "SIGKILL");
      await within(closed, `${program} to end`);
    },
  };
}
