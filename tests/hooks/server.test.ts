/** A server that renders a component with a hook makes no connection, and says that the page is connecting. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { assertEquals } from "@std/assert";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { createSSRApp } from "vue";
import { renderToString as renderVue } from "vue/server-renderer";
import { bundle } from "./pages.ts";
import type { Props } from "./demo.ts";
import { Notes as ReactNotes } from "./react-page.ts";
import { Notes as VueNotes } from "./vue-page.ts";

const shown: Props = { channel: "news", label: "a" };

/** Renders with each framework. */
const renderers: Record<string, () => string | Promise<string>> = {
  React: () => renderToString(createElement(ReactNotes, shown)),
  Vue: () => renderVue(createSSRApp(VueNotes, { shown })),
  Svelte: async () => {
    const directory = await mkdtemp(join(tmpdir(), "streamside-svelte-"));
    const path = join(directory, "page.mjs");
    const source = `import { render } from "svelte/server";
      import Notes from "./tests/hooks/svelte-page.svelte";
      export const html = () => render(Notes, { props: ${JSON.stringify(shown)} }).body;`;
    try {
      await writeFile(path, await bundle(source, "server"));
      return (await import(pathToFileURL(path).href)).html();
    } finally {
      await rm(directory, { recursive: true });
    }
  },
};

for (const [framework, render] of Object.entries(renderers)) {
  test(`${framework}, on a server: connecting, without a connection`, async () => {
    const { fetch } = globalThis;
    const asked: unknown[] = [];
    globalThis.fetch = ((url: unknown) => {
      asked.push(url);
      return Promise.reject(new Error("nobody answers"));
    }) as typeof fetch;
    try {
      // A client could not even be made here: its URL has no page to be resolved against.
      const html = (await render()).replace(/<!--.*?-->/g, "");
      assertEquals(html, '<p title="a"><b id="state">connecting</b><i id="last"></i></p>');
      assertEquals(asked, []);
    } finally {
      globalThis.fetch = fetch;
    }
  });
}
