/**
 * Checks what the type checker says of mistakes: compiles `tests/types` without its `@ts-expect-error` comments, and
 * compares each error with the text that such a comment has: parts of the message, in order, with `…` between them.
 *
 * That there is an error, in TypeScript and in Deno, `npm run check:types` has seen before.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const directory = join(root, "tests/types");

/** What is expected, by `file:line` of the statement. */
const expected = new Map<string, string>();
// Beside the original, for its imports to lead to the same files.
const copies = await mkdtemp(join(root, "tests/types-"));
let output: string;
try {
  for (const name of await readdir(directory)) {
    const lines = (await readFile(join(directory, name), "utf8")).split("\n");
    for (const [index, line] of lines.entries()) {
      const [, text] = /^\s*\/\/ @ts-expect-error: (.*)/.exec(line) ?? [];
      if (text === undefined) continue;
      expected.set(`${name}:${index + 2}`, text);
      lines[index] = "";
    }
    await writeFile(join(copies, name), lines.join("\n"));
  }
  const config = { extends: "../../tsconfig.json", include: ["."] };
  await writeFile(join(copies, "tsconfig.json"), JSON.stringify(config));
  const tsc = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", ".", "--pretty", "false"], {
    cwd: copies,
    encoding: "utf8",
  });
  output = tsc.stdout + tsc.stderr;
} finally {
  await rm(copies, { recursive: true });
}

const faults: string[] = [];
for (const error of output.split(/\n(?=\S)/)) {
  const [, name, line, message] = /^([^(]+)\((\d+),\d+\): ([^]*)/.exec(error) ?? [];
  const place = `${name}:${line}`;
  const text = expected.get(place);
  expected.delete(place);
  if (text === undefined) faults.push(error);
  else if (!holds(message!, text)) faults.push(`${place}: expected "${text}", got\n${message}`);
}
for (const [place, text] of expected) faults.push(`${place}: expected "${text}", got no error`);

for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;

/** Whether a message has the parts of a text in order. */
function holds(message: string, text: string): boolean {
  let from = 0;
  return text.split(" … ").every((part) => {
    const at = message.indexOf(part, from);
    from = at + part.length;
    return at >= 0;
  });
}
