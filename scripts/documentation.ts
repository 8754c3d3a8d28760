/**
 * The pages of the documentation, and the code blocks in them.
 *
 * A block whose first line is a comment with nothing but a file's name (`// server.mjs`, `# backend.py`, `<!-- index.html -->`) is that
 * file, whole. Any other is a piece, whose surroundings are in `scripts/snippets.ts`.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** A page: its path from the project's root, and its text. */
export interface Page {
  readonly path: string;
  readonly text: string;
}

/** A link of a page to another file of the project. */
export interface Link {
  /** As it stands there. */
  readonly target: string;
  /** The file or the folder, from the project's root. */
  readonly path: string;
  /** The heading, with its `#`, or an empty string. */
  readonly hash: string;
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

/** Those, and the pages that stand elsewhere. */
export async function allPages(): Promise<Page[]> {
  const others = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
    .filter((path) => existsSync(join(root, path)));
  const nested = (await Promise.all(["bench", "examples"].map(async (folder) => {
    const names = await readdir(join(root, folder), { recursive: true });
    return names.map((name) => `${folder}/${name.replaceAll(sep, "/")}`);
  }))).flat().filter((path) => path.endsWith(".md") && !path.includes("node_modules/"));
  return [...await pages(), ...await read(...others, ...nested.sort())];
}

/** Pages by their paths. */
export async function read(...paths: string[]): Promise<Page[]> {
  return await Promise.all(
    paths.map(async (path) => ({ path, text: await readFile(join(root, path), "utf8") })),
  );
}

/** The links of a page to other files of the project and to headings, in order. */
export function linksOf({ path, text }: Page): Link[] {
  const prose = text.replace(/^ *```[\s\S]*?^ *```/gm, "").replace(/`[^`\n]+`/g, "``");
  return [...prose.matchAll(/\[([^\]]*)\]\(([^()\s]+)\)/g)]
    .filter(([, , target]) => !/^[a-z]+:/.test(target!))
    .map(([, text, target]) => ({ text: text!, target: target!, ...resolve(path, target!) }));
}

/** Where a link of a page leads to. */
export function resolve(page: string, target: string): { path: string; hash: string } {
  const { pathname, hash } = new URL(target, new URL(page, "file:///"));
  return { path: decodeURIComponent(pathname.slice(1)).replace(/\/$/, ""), hash };
}

/** The anchor of a heading, as GitHub makes it. A second one of the same text has `-1` behind it. */
export function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/\]\([^)]*\)/g, "]")
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(" ", "-");
}

/** The parts of the index, docs/README.md, each with the pages that it names. */
export async function contents(): Promise<{ title: string; pages: Link[] }[]> {
  const [index] = await read("docs/README.md");
  return index!.text.split(/^## /m).slice(1).map((text) => ({
    title: text.slice(0, text.indexOf("\n")),
    pages: linksOf({ path: index!.path, text }),
  }));
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
      const [, file] = /^(?:\/\/|#|<!--) ([\w./[\]-]+\.\w+)(?: -->)?$/.exec(first) ?? [];
      const { language, line } = open;
      blocks.push({ language, line, text: `${open.lines.join("\n")}\n`, file });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: the block has no end`);
  return blocks;
}
