/**
 * The code that the page shows beside each story, taken from this application's own source, so that it is what runs.
 * A story's lines stand between `// #region NAME` and `// #endregion`; several of one name follow each other.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** The lines of one story in one file. */
export interface Excerpt {
  /** The file, below `examples/app/`. */
  file: string;
  /** Its lines, without the indentation that all of them have. */
  code: string;
}

/** The excerpts of every story, by its name: those of the server first, then those of the page. */
export async function readExcerpts(): Promise<Map<string, Excerpt[]>> {
  const stories = new Map<string, Excerpt[]>();
  for (const folder of ["", "page/"]) {
    const files = await readdir(fileURLToPath(new URL(`./${folder}`, import.meta.url)));
    for (const name of files.filter((name) => name.endsWith(".ts")).sort()) {
      const file = folder + name;
      const text = await readFile(new URL(file, import.meta.url), "utf8");
      const source = text.replaceAll("\r\n", "\n"); // as Git writes lines on Windows
      for (const [story, code] of excerpts(source)) {
        stories.set(story, [...stories.get(story) ?? [], { file, code }]);
      }
    }
  }
  return stories;
}

/** The regions of a source text, those of one name joined. */
export function excerpts(source: string): Map<string, string> {
  const found = new Map<string, string>();
  const regions = /^ *\/\/ #region (\S+)\n([^]*?)^ *\/\/ #endregion/gm;
  for (const [, name, lines] of source.matchAll(regions)) {
    const before = found.get(name!);
    found.set(name!, (before ? `${before}\n…\n` : "") + unindent(lines!.trimEnd()));
  }
  return found;
}

function unindent(text: string): string {
  const lines = text.split("\n");
  const indents = lines.filter((line) => line !== "").map((line) => line.search(/\S/));
  return lines.map((line) => line.slice(Math.min(...indents))).join("\n");
}

/** TypeScript as HTML, with its comments, strings and keywords marked. */
export function highlight(code: string): string {
  const tokens =
    /(\/\/.*)|("[^"\n]*"|`[^`]*`)|\b(async|await|const|for|from|if|import|new|of|return|yield)\b|[&<>]/g;
  return code.replace(tokens, (token, comment, string, keyword) => {
    const kind = comment ? "comment" : string ? "string" : keyword ? "keyword" : undefined;
    const text = escape(token);
    return kind ? `<span class="${kind}">${text}</span>` : text;
  });
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
