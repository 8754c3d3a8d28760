/**
 * The pages of the documentation, and the code blocks in them.
 *
 * A block whose first line is a comment with nothing but a file's name (`// server.mjs`, `<!-- index.html -->`) is that
 * file, whole. Any other is a piece, whose surroundings are in `scripts/snippets.ts`.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** A page: its path from the project's root, and its text. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

/** A code block of a page. */
export interface Block {
  /** The language it names, or an empty string. */
  readonly language: string;
  /** The line of the page that its text begins at, from 1. */
  readonly line: number;
  readonly text: string;
  /** The name of the file that it is, if it is a whole one. */
  readonly file: string | undefined;
}

/** README.md and everything in docs/. */
export async function pages(): Promise<Page[]> {
  const names = (await readdir(join(root, "docs"), { recursive: true }))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name.replaceAll(sep, "/")}`);
  return await read("README.md", ...names.sort());
}

/** Pages by their paths. */
export async function read(...paths: string[]): Promise<Page[]> {
  return await Promise.all(
    paths.map(async (path) => ({ path, text: await readFile(join(root, path), "utf8") })),
  );
}

/** The code blocks of a page, in order. */
export function blocksOf({ path, text }: Page): Block[] {
  const blocks: Block[] = [];
  let open: { language: string; line: number; indent: number; lines: string[] } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const [, indent, language] = /^( *)```(\S*)/.exec(line) ?? [];
    if (open === undefined) {
      if (indent === undefined) continue;
      open = { language: language!, line: index + 2, indent: indent.length, lines: [] };
    } else if (indent === undefined) open.lines.push(line.slice(open.indent));
    else {
      const [first = ""] = open.lines;
      const [, file] = /^(?:\/\/|<!--) ([\w./[\]-]+\.\w+)(?: -->)?$/.exec(first) ?? [];
      const { language, line } = open;
      blocks.push({ language, line, text: `${open.lines.join("\n")}\n`, file });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: the block has no end`);
  return blocks;
}
