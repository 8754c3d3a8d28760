/**
 * Checks that what SECURITY.md and docs/guarantees.md refer to exists: each test file, and each quoted test name in it.
 *
 * @module
 */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const missing: string[] = [];
for (const page of ["SECURITY.md", "docs/guarantees.md"]) {
  const text = readFileSync(page, "utf8").replace(/\s+/g, " ");
  // A link to a test, and the names that follow it: quoted, with commas in between.
  for (const [, path, names] of text.matchAll(/\]\(([^)#]+\.test\.ts)\)((?:,? “[^”]+”)*)/g)) {
    const file = join(dirname(page), path!);
    if (!existsSync(file)) {
      missing.push(`${page}: ${file} does not exist`);
      continue;
    }
    const tests = readFileSync(file, "utf8").replace(/\s+/g, " ");
    for (const [, name] of names!.matchAll(/“([^”]+)”/g)) {
      if (!tests.includes(name!)) missing.push(`${page}: ${file} has no test “${name}”`);
    }
  }
}
if (missing.length > 0) {
  console.error(missing.join("\n"));
  process.exit(1);
}
