/**
 * Packs a package, as `npm publish` would.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** What `npm pack` says of a file that it made. */
export interface Packed {
  readonly filename: string;
  readonly integrity: string;
  readonly files: readonly { readonly path: string }[];
}

/** Packs the package in a folder as it stands: nothing is built. The file lies in `destination`. */
export async function pack(folder: string, destination: string): Promise<Packed> {
  const { stdout } = await promisify(execFile)(
    "npm",
    ["pack", "--json", "--ignore-scripts", "--pack-destination", destination],
    { cwd: folder },
  );
  return (JSON.parse(stdout) as [Packed])[0];
}
