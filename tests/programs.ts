/**
 * Programs that a test starts and that a machine may not have.
 *
 * @module
 */
import { accessSync, constants } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import process from "node:process";

/** Where the first of these programs is: on PATH, or at the path that is given. */
export function find(...names: string[]): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return names.flatMap((name) =>
    isAbsolute(name) ? [name] : folders.map((folder) => join(folder, name))
  ).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * A test's option `skip`: why it is skipped where none of these programs is on PATH. In CI it is not skipped, but runs,
 * and fails for want of the program.
 */
export function skipWithout(...names: string[]): string | false {
  return find(...names) === undefined && process.env.CI !== "true" && `no ${names[0]} on PATH`;
}
