/**
 * Where the site has a file of the project.
 *
 * @module
 */

/** The address of a page, or of the page that shows a file or a folder of the source. */
export function address(path: string): string {
  if (!path.endsWith(".md")) return `/source/${sourcePage(path)}.html`;
  return `/${path}`.replace(
    /(\/README)?\.md$/,
    (_, index: string | undefined) => index === undefined ? ".html" : "/",
  );
}

/**
 * The name of that page of the source, without what a route cannot have in it: `[...path]` is `path`, and `app.html`,
 * which would be taken for the page `app`, is `app-html`.
 */
export function sourcePage(path: string): string {
  return path.replace(/\[(?:\.\.\.)?(\w+)\]/g, "$1").replace(/\.html$/, "-html");
}
