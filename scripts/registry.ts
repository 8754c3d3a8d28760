/**
 * A registry on this machine that holds a few packages: enough for npm, Bun and Deno to install a package by its name
 * before it is published.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { pack } from "./pack.ts";

/** A registry that runs. */
export interface Registry {
  readonly url: string;
  /** Where the packed files lie, by the packages' names. */
  readonly tarballs: ReadonlyMap<string, string>;
  close(): Promise<void>;
}

/**
 * Packs the packages in these folders, and serves them.
 *
 * @param folders each with a `package.json`
 * @param directory where the packed files go
 */
export async function serveRegistry(
  folders: readonly string[],
  directory: string,
): Promise<Registry> {
  const documents = new Map<string, (url: string) => string>();
  const tarballs = new Map<string, string>();
  for (const folder of folders) {
    const manifest = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const { name, version } = manifest as { name: string; version: string };
    const { filename, integrity } = await pack(folder, directory);
    tarballs.set(name, join(directory, filename));
    documents.set(name, (url) => {
      const dist = { tarball: `${url}/-/${filename}`, integrity };
      return JSON.stringify({
        name,
        "dist-tags": { latest: version },
        versions: { [version]: { ...manifest, dist } },
        // Long ago: package managers may wait for some days before they take a version.
        time: { [version]: "2020-01-01T00:00:00.000Z" },
      });
    });
  }
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(request.url!.slice(1));
    const tarball = [...tarballs.values()].find((file) => path === `-/${basename(file)}`);
    const document = documents.get(path);
    if (tarball !== undefined) response.end(await readFile(tarball));
    else if (document === undefined) response.writeHead(404).end();
    else response.setHeader("Content-Type", "application/json").end(document(url));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    tarballs,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
