/**
 * Streamside in Nitro 3. In this folder, after `npm run build` in the root of the repository:
 *
 * ```sh
 * npm ci
 * npm install --no-save --install-links ../../.. # in an application of yours: npm install streamside
 * npm run build
 * npm start
 * curl -N localhost:3000/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:3000/greet/ada
 * ```
 *
 * @module
 */
import { defineNitroConfig } from "nitro/config";

export default defineNitroConfig({ srcDir: "server", compatibilityDate: "2026-01-01" });
