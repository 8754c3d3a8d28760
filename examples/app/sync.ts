/**
 * Copies a directory and hashes every file on the way, within bounds, telling what it does as it goes.
 *
 * @module
 */
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** How much is copied: what is over a bound is left out, and told. */
export interface SyncBounds {
  /** Files in all. */
  files: number;
  /** Bytes in all. */
  bytes: number;
  /** Bytes of one file; each is held in memory while it is hashed. */
  fileBytes: number;
}

/** What a sync tells: once what it found, then every file it copied, with the bytes copied so far. */
export type SyncStep =
  | { type: "found"; files: number; bytes: number; leftOut: number }
  | { type: "copied"; path: string; hash: string; files: number; bytes: number };

/** The name of the list of hashes in the copy, in the form that `sha256sum --check` reads. */
export const hashList = "SHA256SUMS";

/**
 * Copies the files of `source` into `target`, which is emptied first. Symbolic links are left out. Leaving the loop
 * or aborting `signal` ends the copy and removes what was copied.
 *
 * @example
 * ```ts
 * for await (const step of sync("node_modules", "/tmp/copy", bounds, signal)) {
 *   if (step.type === "copied") console.log(step.hash, step.path);
 * }
 * ```
 */
export async function* sync(
  source: string,
  target: string,
  bounds: SyncBounds,
  signal: AbortSignal,
): AsyncGenerator<SyncStep, void> {
  await rm(target, { recursive: true, force: true });
  let complete = false;
  try {
    const found = await find(source, bounds, signal);
    yield { type: "found", files: found.paths.length, bytes: found.bytes, leftOut: found.leftOut };

    let list = "";
    let [files, bytes] = [0, 0];
    for (const path of found.paths) {
      signal.throwIfAborted();
      const content = await readFile(join(source, path));
      const hash = hex(await crypto.subtle.digest("SHA-256", content));
      await mkdir(dirname(join(target, path)), { recursive: true });
      await writeFile(join(target, path), content);
      list += `${hash}  ${path}\n`;
      files += 1;
      bytes += content.byteLength;
      yield { type: "copied", path, hash, files, bytes };
    }
    await mkdir(target, { recursive: true });
    await writeFile(join(target, hashList), list);
    complete = true;
  } finally {
    if (!complete) await rm(target, { recursive: true, force: true });
  }
}

/** The files of a directory in order of their paths, as many as the bounds allow. */
async function find(
  source: string,
  bounds: SyncBounds,
  signal: AbortSignal,
): Promise<{ paths: string[]; bytes: number; leftOut: number }> {
  const found = { paths: [] as string[], bytes: 0, leftOut: 0 };
  for await (const path of walk(source, "")) {
    signal.throwIfAborted();
    const { size } = await stat(join(source, path));
    const fits = found.paths.length < bounds.files && size <= bounds.fileBytes &&
      found.bytes + size <= bounds.bytes;
    if (fits) {
      found.paths.push(path);
      found.bytes += size;
    } else {
      found.leftOut += 1;
    }
  }
  return found;
}

async function* walk(root: string, folder: string): AsyncGenerator<string, void> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) yield* walk(root, path);
    else if (entry.isFile()) yield path;
  }
}

function hex(hash: ArrayBuffer): string {
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What to tell of a step: a message, where there is something new to say, and how much is done, in per cent. */
export interface Report {
  message?: string;
  percent: number;
}

/** Puts the steps of one sync into words; `summary()` is what there is to say at the end. */
export function reporter(): ((step: SyncStep) => Report) & { summary(): string } {
  let [total, folder, last] = [0, "", { files: 0, bytes: 0 }];
  const report = (step: SyncStep): Report => {
    if (step.type === "found") {
      total = step.bytes;
      const leftOut = step.leftOut > 0 ? `; ${step.leftOut} over the limits are left out` : "";
      return {
        message: `Found ${step.files} files, ${megabytes(step.bytes)}${leftOut}`,
        percent: 0,
      };
    }
    last = step;
    // The whole is told when the list of hashes is written, too.
    const percent = total > 0 ? Math.min(99, Math.floor((step.bytes / total) * 100)) : 0;
    const inFolder = step.path.split("/")[0]!;
    if (inFolder === folder) return { percent };
    folder = inFolder;
    return { message: `Copying ${folder}`, percent };
  };
  const summary = () => `Done: ${last.files} files, ${megabytes(last.bytes)}`;
  return Object.assign(report, { summary });
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
