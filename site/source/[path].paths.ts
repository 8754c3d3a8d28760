/**
 * The files of the source that a page links to, each as a page: code, or the list of a folder.
 *
 * @module
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { allPages, linksOf } from "../../scripts/documentation.ts";
import { sourcePage } from "../address.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

export default {
  async paths(): Promise<{ params: { path: string }; content: string }[]> {
    const paths = (await allPages()).flatMap(linksOf).map(({ path }) => path)
      .filter((path) => !/\.(md|png)$/.test(path));
    const files = new Map<string, string>();
    for (const path of paths) await add(path, files);
    return [...files].map(([path, content]) => ({ params: { path: sourcePage(path) }, content }));
  },
};

async function add(path: string, files: Map<string, string>): Promise<void> {
  if (files.has(path)) return;
  if ((await stat(join(root, path))).isDirectory()) {
    const names = (await readdir(join(root, path), { withFileTypes: true }))
      .filter(({ name }) => !/^(node_modules$|dist$|\.|package-lock)/.test(name))
      .map((entry) => entry.name).sort();
    const list = names.map((name) => `- [${name}](/${path}/${name})`);
    files.set(path, `# ${path}/\n\n${list.join("\n")}\n`);
    for (const name of names) await add(`${path}/${name}`, files);
  } else {
    const [, ending = ""] = /\.(ts|tsx|mjs|html|json|c)$/.exec(path) ?? [];
    const language = ending === "mjs" ? "js" : ending;
    const text = await readFile(join(root, path), "utf8");
    files.set(path, `# ${path}\n\n\`\`\`\`${language}\n${text}\`\`\`\`\n`);
  }
}
