/**
 * Runs the one test suite on Node, Deno and Bun, and ends with a line `N passed, N failed` (and `, N skipped`) that
 * counts every test once for each runtime that ran it. Before that it lists what failed.
 *
 * Tests mostly wait: one runtime after the other they take a third of one core. So each runtime gets the files in a few
 * parts, and two parts a core run at a time; with `--jobs 1` all files of a runtime run in one process.
 *
 * ```sh
 * npm test                                  # everything
 * npm test -- client backoff                # the files with one of these in their path
 * npm test -- --runtime node --limit 5      # one runtime, ended after five minutes
 * npm test -- --long                        # the campaigns at their full length
 *
 * npm ci --prefix .ci/nodes                 # once, for other versions of Node:
 * npm test -- --runtime node22 --runtime node24 --runtime node26
 * ```
 *
 * It exits with 1 if a test failed, or if a runtime crashed, hung or ran no test.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve, sep } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Counts, countTests, type Report } from "./junit.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(root, "node_modules", ".bin", name);

type Command = (files: string[], report: string) => string[];

const node = (path: string): Command => (files, report) => [
  path,
  "--import=tsx",
  "--test",
  "--test-reporter=spec",
  "--test-reporter-destination=stdout",
  "--test-reporter=junit",
  `--test-reporter-destination=${report}`,
  ...files,
];
const otherNode = (name: string) => node(join(root, ".ci/nodes/node_modules", name, "bin/node"));

/** How each runtime is told to run `files` and to write a JUnit report beside what it prints. */
const runtimes: Record<string, Command> = {
  node: node(process.execPath),
  deno: (files, report) => [
    bin("deno"),
    "test",
    "--allow-all",
    "--no-check",
    `--junit-path=${report}`,
    ...files,
  ],
  // Bun ends a test after 5 s unless told otherwise; the other two leave that to the limit of the whole run.
  bun: (files, report) => [
    bin("bun"),
    "test",
    "--timeout=600000",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...files.map((file) => `./${file}`),
  ],
  node22: otherNode("node22"),
  node24: otherNode("node24"),
  node26: otherNode("node26"),
};

/** Into how many parts the files are dealt: more share the work more evenly, and each starts a process. */
const PARTS = 4;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runtime: { type: "string", multiple: true, default: ["node", "deno", "bun"] },
    /** Minutes that one runtime may take for the whole suite. */
    limit: { type: "string", default: "40" },
    /** How many processes run tests at a time. */
    jobs: { type: "string", default: String(2 * availableParallelism()) },
    /** Runs the campaigns (random histories, hostile requests) at their full length. */
    long: { type: "boolean", default: false },
  },
});
const jobs = Number(values.jobs);
if (!(jobs >= 1)) throw new Error(`--jobs is a number from 1, got ${JSON.stringify(values.jobs)}`);
const limit = Number(values.limit) * 60_000;
if (!(limit > 0)) throw new Error(`--limit is minutes, got ${JSON.stringify(values.limit)}`);
for (const name of values.runtime) {
  if (Object.hasOwn(runtimes, name)) continue;
  const known = Object.keys(runtimes).join(", ");
  throw new Error(`--runtime is one of ${known}, got ${JSON.stringify(name)}`);
}

const files = (await readdir(join(root, "tests"), { recursive: true }))
  .filter((name) => name.endsWith(".test.ts"))
  .map((name) => `tests/${name.replaceAll(sep, "/")}`)
  .filter((name) => positionals.length === 0 || positionals.some((part) => name.includes(part)))
  .sort();
if (files.length === 0) throw new Error(`no file in tests/ matches ${positionals.join(", ")}`);

const reports = await mkdtemp(join(tmpdir(), "streamside-test-"));
process.once("exit", () => rmSync(reports, { recursive: true }));
/** With several at a time, each one's output is printed whole, when it has ended. */
const stdio = jobs > 1 ? "pipe" : "inherit";
const parts = jobs > 1 ? deal(files, Math.min(PARTS, files.length)) : [files];
const results = values.runtime.map((name) => ({
  name,
  counts: { passed: 0, failed: 0, skipped: 0 } as Counts,
  faults: [] as string[],
  failures: [] as string[],
  seconds: 0,
}));
const waiting = results.flatMap((result) => parts.map((part, i) => ({ result, part, i })));
await Promise.all(Array.from({ length: jobs }, async () => {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { result, part, i } = next;
    const began = performance.now();
    const { counts, fault } = await runSuite(result.name, part, i);
    result.failures.push(...counts.failures);
    if (fault) console.error(`\n${result.name}: ${fault}`);
    if (fault) result.faults.push(fault);
    add(result.counts, counts);
    result.seconds += (performance.now() - began) / 1000;
  }
}));

// What failed stands far up in the output of a part, and where only the end is kept it would be lost.
for (const { name, failures } of results) {
  for (const failure of failures) console.log(`\n${name}: FAILED ${firstLines(failure)}`);
}

const total: Counts = { passed: 0, failed: 0, skipped: 0 };
console.log();
for (const { name, counts, faults, seconds } of results) {
  add(total, counts);
  const why = faults.length > 0 ? ` (${faults.join("; ")})` : "";
  console.log(`${name}: ${summary(counts)} in ${seconds.toFixed(1)} s${why}`);
}
console.log(`\n${summary(total)}`);
process.exitCode = total.failed > 0 ? 1 : 0;

/** Deals files out one by one, so that the long ones of a folder come to different parts. */
function deal(files: string[], parts: number): string[][] {
  return Array.from({ length: parts }, (_, i) => files.filter((_, at) => at % parts === i));
}

/** The beginning of a message: enough to know what failed, and a page of output at most. */
function firstLines(message: string): string {
  return message.slice(0, 1_500).split("\n").slice(0, 20).join("\n  ");
}

function add(sum: Counts, { passed, failed, skipped }: Counts): void {
  sum.passed += passed;
  sum.failed += failed;
  sum.skipped += skipped;
}

/** Runs files on one runtime. A fault of the run itself is told, and counts as one failure. */
async function runSuite(
  name: string,
  files: string[],
  part: number,
): Promise<{ counts: Report; fault: string | undefined }> {
  if (stdio === "inherit") console.log(`\n${name}: ${files.length} files`);
  const report = join(reports, `${name}-${part}.xml`);
  const { code, ended } = await run(runtimes[name]!(files, report));

  let counts: Report = { passed: 0, failed: 0, skipped: 0, failures: [] };
  let fault: string | undefined;
  try {
    counts = countTests(await readFile(report, "utf8"), isTestFile);
    const ran = counts.passed + counts.failed + (positionals.length > 0 ? counts.skipped : 0);
    if (ran === 0) fault = "ran no test";
  } catch (error) {
    fault = `left no readable report: ${error}`;
  }
  if (code === null) fault = ended;
  else if (code !== 0 && counts.failed === 0) {
    fault = `${ended}, though no test failed${fault ? `; ${fault}` : ""}`;
  }
  if (fault) counts.failed++;
  return { counts, fault };
}

function isTestFile(name: string): boolean {
  return files.some((file) => resolve(root, name) === join(root, file));
}

/** Runs a command in a process group of its own. `code` is null when it did not end by itself. */
async function run(
  [command, ...args]: string[],
): Promise<{ code: number | null; ended: string }> {
  const env = values.long ? { ...process.env, STREAMSIDE_TEST_LONG: "1" } : process.env;
  const child = spawn(command!, args, {
    cwd: root,
    detached: true,
    stdio: ["ignore", stdio, stdio],
    env,
  });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => output.push(chunk));
  }
  // A group of its own does not get the terminal's Ctrl-C.
  const interrupted = (signal: NodeJS.Signals) => {
    killGroup(child.pid);
    process.exit(signal === "SIGINT" ? 130 : 143);
  };
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    killGroup(child.pid);
  }, limit);
  try {
    const closed = new Promise((resolve) => child.once("close", resolve));
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => resolve([code, signal]));
    });
    if (hung) return { code: null, ended: `hung: stopped after ${values.limit} minutes` };
    killGroup(child.pid); // what a failed test may have left running
    // The last of what it printed is still on its way; a process that left the group is not waited for without end.
    await Promise.race([closed, sleep(5_000, undefined, { ref: false })]);
    return { code, ended: signal ? `ended by ${signal}` : `ended with exit code ${code}` };
  } finally {
    clearTimeout(timer);
    process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
    if (output.length > 0) process.stdout.write(Buffer.concat(output));
  }
}

function killGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // ESRCH: nobody is left
  }
}

function summary({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
