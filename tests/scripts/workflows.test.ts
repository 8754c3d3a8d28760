/**
 * The workflows, and `.ci/run`, are well-formed, and what they call is there.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { parseDocument } from "yaml";

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFile(new URL(path, root), "utf8");
const exists = (path: string) => existsSync(new URL(path, root));

interface Step {
  readonly uses?: string;
  readonly run?: string;
}

interface Job {
  readonly uses?: string;
  readonly needs?: string | readonly string[];
  readonly "runs-on"?: string;
  readonly "timeout-minutes"?: number;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly steps?: readonly Step[];
}

interface Workflow {
  readonly name: string;
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const workflows: [path: string, workflow: Workflow][] = [];
for (const name of await readdir(new URL(".github/workflows/", root))) {
  const path = `.github/workflows/${name}`;
  const document = parseDocument(await read(path), { strict: true, uniqueKeys: true });
  const faults = [...document.errors, ...document.warnings].map(({ message }) => message);
  if (faults.length > 0) throw new Error(`${path}: ${faults.join("; ")}`);
  workflows.push([path, document.toJS()]);
}

test("the workflows are these", () => {
  assertEquals(workflows.map(([path]) => path).sort(), [
    ".github/workflows/ci.yml",
    ".github/workflows/publish.yml",
  ]);
});

for (const [path, { on, permissions, jobs }] of workflows) {
  test(`${path}: its jobs are well-formed, may no more than they need, and call what is there`, async () => {
    assert(Object.keys(on).length > 0, "it begins with something");
    assertEquals(permissions, { contents: "read" });
    for (const [name, job] of Object.entries(jobs)) {
      const where = `${path}, ${name}`;
      for (const need of [job.needs ?? []].flat()) assert(need in jobs, `${where} needs ${need}`);
      if (job.uses !== undefined) {
        assert(job.uses.startsWith("./") && exists(job.uses), `${where} uses ${job.uses}`);
        continue;
      }
      assert(job["runs-on"] !== undefined && job["timeout-minutes"]! > 0, where);
      assert(job.steps!.length > 0, where);
      for (const step of job.steps!) {
        assert(
          (step.uses === undefined) !== (step.run === undefined),
          `${where}: a step is one thing`,
        );
        if (step.uses) assert(/^actions\/[\w-]+@v\d+$/.test(step.uses), `${where}: ${step.uses}`);
        if (step.run) {
          // A value that somebody else chose, such as a branch's name, would be read by the shell.
          assert(!step.run.includes("${{"), `${where}: ${step.run}`);
          assertEquals(await missing(step.run), [], where);
        }
      }
    }
  });
}

test("publish.yml publishes only what has passed the checks, and only those jobs may sign", () => {
  const [, { jobs, on }] = workflows.find(([path]) => path.endsWith("publish.yml"))!;
  assertEquals(on, { push: { tags: ["v*"] } });
  const runs = (job: Job, what: RegExp) =>
    job.steps?.some(({ run }) => what.test(run ?? "")) ?? false;
  const publishing = Object.entries(jobs).filter(([, job]) => runs(job, /\bpublish\b/));
  assertEquals(publishing.map(([name]) => name), ["npm", "jsr"]);
  for (const [name, job] of Object.entries(jobs)) {
    const signs = job.permissions?.["id-token"] === "write";
    assertEquals(signs, name === "npm" || name === "jsr", name);
    if (signs) assertEquals(job.needs, "ci");
  }
  assertEquals([jobs.ci!.needs, jobs.ci!.uses], ["release", "./.github/workflows/ci.yml"]);
  assert(runs(jobs.release!, /^npm run check:release -- "\$GITHUB_REF_NAME"$/));
  assert(runs(jobs.npm!, /--provenance/));
  const [, ci] = workflows.find(([path]) => path.endsWith("ci.yml"))!;
  assert(runs(ci.jobs.run!, /^\.ci\/run$/) && "workflow_call" in ci.on);
});

test(".ci/run calls what is there, and every check of package.json", async () => {
  const text = (await read(".ci/run")).replace(/^\s*#.*$/gm, "");
  assertEquals(await missing(text), []);
  const { scripts } = JSON.parse(await read("package.json")) as { scripts: Record<string, string> };
  const called = (script: string, text: string): boolean =>
    new RegExp(`npm run ${script}(?![:\\w-])`).test(text);
  for (const script of Object.keys(scripts).filter((name) => /^check/.test(name))) {
    // Of a release alone: a tree between two of them is not fit to be published.
    if (script === "check:release") continue;
    assert(called(script, text) || called(script, scripts.check!), `${script} runs in .ci/run`);
  }
});

test("a call of what is not there is found", async () => {
  assertEquals(await missing("npm run chekc\nnpm run check && npx dneo publish\n.ci/rnu\nnpm ci"), [
    "npm run chekc",
    "npx dneo",
    ".ci/rnu",
  ]);
  assertEquals(await missing("npm ci --prefix examples/nothing"), ["--prefix examples/nothing"]);
});

/** What a shell text calls of this project that it does not have. */
async function missing(text: string): Promise<string[]> {
  const { scripts } = JSON.parse(await read("package.json")) as { scripts: Record<string, string> };
  const found: string[] = [];
  for (const [call, script] of text.matchAll(/\bnpm run (?:--if-present )?([\w:-]+)/g)) {
    if (!Object.hasOwn(scripts, script!)) found.push(call);
  }
  for (const [call, program] of text.matchAll(/\bnpx (?:--no-install )?([\w-]+)/g)) {
    if (!exists(`node_modules/.bin/${program}`)) found.push(call);
  }
  for (const [call, folder] of text.matchAll(/--prefix (\S+)/g)) {
    if (!exists(`${folder}/package-lock.json`)) found.push(call);
  }
  for (const [path] of text.matchAll(/(?<![\w/.:])(?:\.ci|scripts)\/[\w./-]+/g)) {
    if (!exists(path)) found.push(path);
  }
  return found;
}
