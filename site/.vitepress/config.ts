/**
 * README.md, docs/ and the pages beside them as a site. Its sidebar is the index, docs/README.md; a link to a file of
 * the source leads to a page with that file. The pages stay plain Markdown: nothing in them is for this site.
 *
 * @module
 */
import { relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitepress";
import { anchorOf, contents, resolve } from "../../scripts/documentation.ts";
import { address } from "../address.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const site = fileURLToPath(new URL("../", import.meta.url));

/** `getting-started.md` is "Getting started". */
function title(text: string): string {
  const words = text.replace(/\.md$/, "").replaceAll("-", " ").toLowerCase();
  return words[0]!.toUpperCase() + words.slice(1);
}

const reference = [
  { text: "streamside", link: "/api/index.html" },
  { text: "streamside/client", link: "/api/client/index.html" },
  { text: "streamside/node", link: "/api/node/index.html" },
  { text: "streamside/postgres", link: "/api/postgres/index.html" },
  { text: "streamside/redis", link: "/api/redis/index.html" },
  { text: "streamside/sqlite", link: "/api/sqlite/index.html" },
  { text: "streamside/testing", link: "/api/testing/index.html" },
  { text: "Every export", link: "/api/all_symbols.html" },
].map((item) => ({ ...item, target: "_self" })); // no page of VitePress's

export default defineConfig({
  title: "Streamside",
  description: "Server-Sent Events that miss nothing",
  lang: "en",
  srcDir: root,
  srcExclude: [
    ...["dist", "examples", "scripts", "src", "tests", "tmp", "site/dist", ".*"].map((folder) =>
      `${folder}/**`
    ),
  ],
  ignoreDeadLinks: "localhostLinks",
  outDir: `${site}dist`,
  cacheDir: `${site}node_modules/.vitepress`,
  rewrites: {
    "README.md": "index.md",
    "docs/README.md": "docs/index.md",
    "bench/README.md": "bench/index.md",
    "site/source/:path*": "source/:path*",
  },
  markdown: {
    anchor: { slugify: anchorOf },
    config(md) {
      md.core.ruler.push("links to files of the project", ({ tokens, env }) => {
        const page = relative(root, env.realPath ?? env.path).split(sep).join("/");
        for (const link of tokens.flatMap(({ children }) => children ?? [])) {
          const href = link.type === "link_open" ? link.attrGet("href")! : "#";
          if (/^(#|[a-z]+:)/.test(href)) continue;
          const { path, hash } = resolve(page, href);
          link.attrSet("href", address(path) + hash);
        }
      });
    },
  },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    nav: [
      { text: "Documentation", link: "/docs/" },
      { text: "API reference", items: reference },
      { text: "Changes", link: "/CHANGELOG.html" },
    ],
    sidebar: [
      { text: "Streamside in five minutes", link: "/" },
      ...(await contents()).map((part) => ({
        text: part.title,
        items: part.pages.map(({ text, path }) => ({ text: title(text), link: address(path) })),
      })),
    ],
  },
  vite: {
    publicDir: `${site}public`,
    plugins: [{
      // Vue is installed here, and not where the pages are.
      name: "vue of the site",
      enforce: "pre",
      resolveId: (id, _from, { ssr }) =>
        ssr && /^vue(\/server-renderer)?$/.test(id) ? { id, external: true } : undefined,
    }],
  },
});
