/**
 * What a release is made of, and what must agree before one is published. `src/version.ts` has the version; npm, JSR and
 * git want it in files of their own.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { VERSION } from "../src/version.ts";
import { type Page, pages } from "./documentation.ts";

/** The parts of a tree that name its version. */
export interface Release {
  /** `VERSION` of `src/version.ts`. */
  readonly version: string;
  /** `package.json`, `package-lock.json` and `deno.json`. */
  readonly manifest: { readonly version: string };
  readonly lock: { readonly version: string };
  readonly deno: { readonly version: string };
  /** The text of `CHANGELOG.md`. */
  readonly changelog: string;
  /** The pages of the documentation. */
  readonly pages: readonly Page[];
}

/** What a clone says of a version that is on no registry; it has to go before the first release. */
const UNPUBLISHED = "on no registry yet";

/** Reads this tree's. */
export async function readRelease(): Promise<Release> {
  const text = (path: string) => readFile(new URL(`../${path}`, import.meta.url), "utf8");
  const json = async (path: string) => JSON.parse(await text(path)) as { version: string };
  return {
    version: VERSION,
    manifest: await json("package.json"),
    lock: await json("package-lock.json"),
    deno: await json("deno.json"),
    changelog: await text("CHANGELOG.md"),
    pages: await pages(),
  };
}

/** What is in the way of publishing a tree under a tag, each with what to do. */
export function faultsOfRelease(release: Release, tag: string): string[] {
  const faults = faultsOfVersion(release);
  const { version } = release;
  if (tag !== `v${version}`) {
    faults.push(`The tag is ${tag}, and src/version.ts says ${version}: tag v${version}.`);
  }
  const sections = [...release.changelog.matchAll(/^## (.+)$/gm)];
  const [first] = sections;
  const unreleased = first?.[1] === "Unreleased";
  if (unreleased) {
    const end = sections[1]?.index ?? release.changelog.length;
    const left = release.changelog.slice(first.index + first[0].length, end).trim();
    if (left !== "") {
      faults.push(`CHANGELOG.md has changes under "Unreleased": put them under "## ${version}".`);
    }
  }
  const newest = sections[unreleased ? 1 : 0]?.[1];
  if (newest?.split(" ")[0] !== version) {
    faults.push(
      `The newest version in CHANGELOG.md is ${newest ?? "missing"}: begin with "## ${version}".`,
    );
  }
  for (const { path, text } of release.pages) {
    if (text.includes(UNPUBLISHED)) {
      faults.push(`${path} says that the package is ${UNPUBLISHED}: say how to install it.`);
    }
  }
  return faults;
}

/** Which of the files do not have the version of `src/version.ts`. */
export function faultsOfVersion({ version, pages, ...release }: Release): string[] {
  const named = [
    ["package.json", release.manifest.version],
    ["package-lock.json", release.lock.version],
    ["deno.json", release.deno.version],
    ...pages.flatMap(({ path, text }) =>
      [...text.matchAll(/streamside-(\d+\.\d+\.\d+[\w.-]*?)\.tgz/g)].map(([, other]) =>
        [path, other!] as const
      )
    ),
  ] as const;
  return named.filter(([, other]) => other !== version)
    .map(([path, other]) => `${path} says ${other}, and src/version.ts ${version}.`);
}
