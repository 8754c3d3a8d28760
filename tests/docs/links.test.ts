/**
 * Every relative link of the documentation leads to a file, and every anchor to a heading.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { allPages, anchorOf, linksOf, pages, read } from "../../scripts/documentation.ts";

const root = new URL("../../", import.meta.url);

test("every relative link leads to a file, and every anchor to a heading", async () => {
  const broken: string[] = [];
  let count = 0;
  for (const page of await allPages()) {
    for (const { target, path, hash } of linksOf(page)) {
      count++;
      const file = fileURLToPath(new URL(path, root));
      if (!existsSync(file)) broken.push(`${page.path}: ${target}: there is no such file`);
      else if (hash !== "") {
        const anchors = anchorsOf(await readFile(file, "utf8"));
        if (!anchors.has(decodeURIComponent(hash.slice(1)))) {
          broken.push(`${page.path}: ${target}: there is no such heading`);
        }
      }
    }
  }
  assert(count > 50, `${count} links were found`);
  assertEquals(broken, []);
});

test("every page stands in the index, docs/README.md", async () => {
  const [index] = await read("docs/README.md");
  const missing = (await pages()).map(({ path }) => path)
    .filter((path) => path.startsWith("docs/") && path !== "docs/README.md")
    .map((path) => path.slice("docs/".length))
    .filter((path) => !index!.text.includes(`](${path})`));
  assertEquals(missing, []);
});

/** The anchors that GitHub makes of a text's headings. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  const plain = text.replace(/^ *```[\s\S]*?^ *```/gm, "");
  for (const [, heading] of plain.matchAll(/^#+ (.+)$/gm)) {
    const name = anchorOf(heading!);
    let anchor = name;
    for (let again = 1; anchors.has(anchor); again++) anchor = `${name}-${again}`;
    anchors.add(anchor);
  }
  return anchors;
}
