#!/usr/bin/env node
/**
 * The command line: `npx streamside`, to listen, to send, to try things on, and to see whether a server streams.
 *
 * ```sh
 * npx streamside --help
 * ```
 *
 * @module
 */
import process from "node:process";
import { run } from "./run.ts";

// Sockets that are kept alive, and timers of a runtime's fetch, must not hold up the end.
process.exit(await run(process.argv.slice(2)));
