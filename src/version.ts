/**
 * Which version this is.
 *
 * Bundlers load a library more than once, and an application may have two versions of it. So what one part knows of
 * another stands under symbols that all copies share (`Symbol.for`), and that name the version where its form may
 * change.
 *
 * @module
 */

/** The version, as in `package.json` and `deno.json`. */
export const VERSION = "0.1.0";
