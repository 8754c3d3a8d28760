/**
 * The background task: counts the lines and words of one file, however long it is.
 *
 * @module
 */
import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative } from "node:path";

/**
 * Counts what is in the file at `path` of the directory `root`.
 *
 * @throws An error whose message can be shown to the one who asked: it holds no path of the machine.
 */
export async function count(
  root: string,
  path: string,
  signal: AbortSignal,
): Promise<{ bytes: number; lines: number; words: number }> {
  const file = await locate(root, path);
  const counts = { bytes: 0, lines: 0, words: 0 };
  let inWord = false;
  for await (const chunk of createReadStream(file, { signal })) {
    for (const byte of chunk as Uint8Array) {
      const space = byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
      if (byte === 0x0a) counts.lines += 1;
      if (!space && !inWord) counts.words += 1;
      inWord = !space;
    }
    counts.bytes += (chunk as Uint8Array).byteLength;
  }
  return counts;
}

/** The real place of a file, once every symbolic link is followed: it must be inside the directory. */
async function locate(root: string, path: string): Promise<string> {
  const file = await realpath(join(root, path)).catch(() => {
    throw new Error("There is no such file.");
  });
  const inside = relative(await realpath(root), file);
  if (inside.startsWith("..") || isAbsolute(inside)) throw new Error("There is no such file.");
  if (!(await stat(file)).isFile()) throw new Error("This is not a file.");
  return file;
}
