/**
 * Checks that what names the version of a release agrees. Without a tag, the tree alone.
 *
 * ```sh
 * npm run check:release            # what would be in the way of a release of this tree
 * npm run check:release -- v0.2.0
 * ```
 *
 * @module
 */
import process from "node:process";
import { faultsOfRelease, readRelease } from "./release.ts";

const [tag] = process.argv.slice(2);
const release = await readRelease();
const faults = faultsOfRelease(release, tag ?? `v${release.manifest.version}`);
for (const fault of faults) console.error(fault);
if (faults.length === 0) console.log(`${release.manifest.version} can be published`);
process.exitCode = faults.length > 0 ? 1 : 0;
