/**
 * What names the version agrees, and a release that does not is refused.
 *
 * @module
 */
import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  faultsOfRelease,
  faultsOfVersion,
  readRelease,
  type Release,
} from "../../scripts/release.ts";

const ready: Release = {
  version: "1.2.3",
  manifest: { version: "1.2.3" },
  lock: { version: "1.2.3" },
  deno: { version: "1.2.3" },
  changelog: "# Changelog\n\n## Unreleased\n\n## 1.2.3 (2030-01-01)\n\n### Added\n\n- This.\n",
  pages: [{ path: "README.md", text: "npm install streamside-1.2.3.tgz" }],
};

test("the version is the same wherever this tree names it", async () => {
  const release = await readRelease();
  assertEquals(faultsOfVersion(release), []);
  assert(release.changelog.includes("\n## "), "the changelog has sections");
});

test("a tree whose files agree with the tag can be published", () => {
  assertEquals(faultsOfRelease(ready, "v1.2.3"), []);
  const changelog = ready.changelog.replace("## Unreleased\n\n", "");
  assertEquals(faultsOfRelease({ ...ready, changelog }, "v1.2.3"), []);
});

const refused: [what: string, change: Partial<Release>, tag: string, says: string][] = [
  ["another tag", {}, "v1.2.4", "The tag is v1.2.4"],
  ["a tag without v", {}, "1.2.3", "tag v1.2.3"],
  ["package.json", { manifest: { version: "1.2.2" } }, "v1.2.3", "package.json says 1.2.2"],
  ["package-lock.json", { lock: { version: "1.2.2" } }, "v1.2.3", "package-lock.json says 1.2.2"],
  ["deno.json", { deno: { version: "1.3.0" } }, "v1.2.3", "deno.json says 1.3.0"],
  [
    "a page with the name of another file",
    { pages: [{ path: "README.md", text: "npm install streamside-1.2.2.tgz" }] },
    "v1.2.3",
    "README.md says 1.2.2",
  ],
  [
    "a page that says it is not published",
    { pages: [{ path: "README.md", text: "It is on no registry yet: …" }] },
    "v1.2.3",
    "README.md says that the package is on no registry yet",
  ],
  [
    "changes that are not under the version",
    { changelog: "## Unreleased\n\n- That.\n\n## 1.2.3\n\n- This.\n" },
    "v1.2.3",
    'under "Unreleased"',
  ],
  [
    "a changelog without the version",
    { changelog: "## Unreleased\n\n## 1.2.2\n" },
    "v1.2.3",
    "The newest version in CHANGELOG.md is 1.2.2",
  ],
  ["an empty changelog", { changelog: "# Changelog\n" }, "v1.2.3", "is missing"],
];

for (const [what, change, tag, says] of refused) {
  test(`a release is refused for ${what}`, () => {
    const faults = faultsOfRelease({ ...ready, ...change }, tag);
    assertEquals(faults.length, 1, faults.join("\n"));
    assertStringIncludes(faults[0]!, says);
  });
}
