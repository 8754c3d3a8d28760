/**
 * Tells of files that change in a directory.
 *
 * @module
 */
import { watch } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";

/** A file that changed; `bytes` is null when it is gone. */
export interface FileChange {
  fileId: string;
  bytes: number | null;
}

/** One write is several notifications of the operating system: what changes within this many ms is told once. */
const settle = 50;

/**
 * Watches the entries of a directory, not those of the directories in it.
 *
 * @returns What ends the watch.
 */
export function watchDirectory(
  directory: string,
  onChange: (change: FileChange) => void,
  onError: (error: unknown) => void,
): () => void {
  const changed = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function tell(): Promise<void> {
    timer = undefined;
    const names = [...changed];
    changed.clear();
    for (const fileId of names) onChange({ fileId, bytes: await size(join(directory, fileId)) });
  }

  const watcher = watch(directory, (_event, name) => {
    if (name === null) return; // a platform that cannot tell which
    changed.add(name);
    timer ??= setTimeout(() => tell().catch(onError), settle);
  });
  watcher.on("error", onError);
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}

async function size(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
