/**
 * Starts an example in a process of its own, on the runtime that runs the test.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runtime, within as inTime } from "../server-helpers.ts";

/** How each runtime runs a file. */
const run = {
  node: ["--import=tsx"],
  deno: ["run", "--allow-all"],
  bun: ["run"],
}[runtime];
const root = fileURLToPath(new URL("../../", import.meta.url));

/** A running example. */
export interface Server {
  /** Its address. */
  url: string;
  /** Its process. */
  process: ChildProcess;
  /** How the process ended: its exit code, or the signal that ended it. */
  ended: Promise<number | string | null>;
  /** What it wrote to its standard error. */
  errors: () => string;
}

/** Starts an example, on a port of its own, and waits until it says its address. */
export function start(entry: string, env: Record<string, string>): Promise<Server> {
  return startWith([process.execPath, ...run, `examples/${entry}.ts`], env);
}

/** Starts an example with a command, in the repository unless told otherwise. */
export async function startWith(
  [program, ...args]: string[],
  env: Record<string, string>,
  { cwd = root }: { cwd?: string } = {},
): Promise<Server> {
  const child = spawn(program!, args, {
    cwd,
    env: { ...process.env, PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [output, errors] = ["", ""];
  child.stderr.on("data", (chunk) => errors += chunk);
  const ended = new Promise<number | string | null>((resolve) => {
    child.once("close", (code, signal) => resolve(signal ?? code));
  });
  const address = new Promise<string>((resolve) => {
    child.stdout.on("data", (chunk) => {
      output += chunk;
      const found = /https?:\/\/(localhost|127\.0\.0\.1):\d+/.exec(output);
      if (found) resolve(found[0]);
    });
  });
  const url = await within(
    Promise.race([
      address,
      ended.then((how) => Promise.reject(new Error(`ended with ${how}: ${output}${errors}`))),
    ]),
    "the application to start",
  ).catch((error) => {
    child.kill("SIGKILL");
    throw error;
  });
  return { url, process: child, ended, errors: () => errors };
}

/** Asks it to end with SIGTERM; how it ended. */
export async function stop(server: Server): Promise<number | string | null> {
  // Not the child's own kill(): Deno would say afterwards that the signal ended it, whatever its exit code was.
  process.kill(server.process.pid!, "SIGTERM");
  return await within(server.ended, "the application to end").catch((error) => {
    server.process.kill("SIGKILL");
    throw error;
  });
}

/** A limit for what a test waits for, so that one that fails says what it waited for. */
export function within<T>(promise: Promise<T>, what: string): Promise<T> {
  return inTime(promise, what, 120_000);
}
