/**
 * For tests of what must not be lost when garbage is collected.
 *
 * @module
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Collects what nobody holds, where the runtime lets a test do so: not on Deno. */
export const collectGarbage: (() => void) | undefined = "Bun" in globalThis
  ? () => (globalThis as unknown as { Bun: { gc(sync: boolean): void } }).Bun.gc(true)
  : "Deno" in globalThis
  ? undefined
  : exposedCollector();

function exposedCollector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
