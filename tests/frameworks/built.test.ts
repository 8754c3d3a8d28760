/**
 * The examples in `examples/frameworks` that are built first, as built and started in production.
 *
 * Each needs `npm ci --prefix examples/frameworks/NAME`, and runs with the long campaigns.
 *
 * @module
 */
import { built } from "./built.ts";
import { describeExample } from "./contract.ts";

describeExample("NestJS, as built: examples/frameworks/nest", {
  from: "NestJS",
  ...built({
    folder: "nest",
    build: ["node_modules/typescript/bin/tsc"],
    start: ["dist/main.js"],
  }),
});

describeExample("SvelteKit, as built: examples/frameworks/sveltekit", {
  from: "SvelteKit",
  page: "Greeted by",
  ...built({
    folder: "sveltekit",
    build: ["node_modules/vite/bin/vite.js", "build"],
    start: ["build/index.js"],
  }),
});

describeExample("Nitro, as built: examples/frameworks/nitro", {
  from: "Nitro",
  refusesBodies: false,
  ...built({
    folder: "nitro",
    build: ["node_modules/nitro/dist/cli/index.mjs", "build"],
    start: [".output/server/index.mjs"],
  }),
});
