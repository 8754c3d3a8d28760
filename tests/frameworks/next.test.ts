/**
 * The example in `examples/frameworks/next`, built and started as in production. Next loads the library more than once:
 * the instrumentation, which is first, has a copy of its own, and the routes get the hub that this copy has made.
 *
 * It needs `npm ci --prefix examples/frameworks/next`, and runs with the long campaigns.
 *
 * @module
 */
import { built } from "./built.ts";
import { describeExample } from "./contract.ts";

describeExample("Next.js, as built: examples/frameworks/next", {
  from: "Next.js",
  base: "/api/v1/sse",
  // Next's own exit code after it has closed its server; a signal that nobody handled would be "SIGTERM".
  ends: 143,
  page: "Greeted by",
  ...built({
    folder: "next",
    build: ["node_modules/next/dist/bin/next", "build"],
    start: ["node_modules/next/dist/bin/next", "start", ".", "-H", "127.0.0.1", "-p", "0"],
    env: { NEXT_TELEMETRY_DISABLED: "1" },
  }),
});
