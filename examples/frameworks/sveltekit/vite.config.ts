/**
 * Streamside in SvelteKit. In this folder, after `npm run build` in the root of the repository:
 *
 * ```sh
 * npm ci
 * npm install --no-save --install-links ../../.. # in an application of yours: npm install streamside
 * npm run build
 * ORIGIN=http://localhost:3000 npm start
 * curl -N localhost:3000/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:3000/greet/ada
 * ```
 *
 * @module
 */
import { sveltekit } from "@sveltejs/kit/vite";
import { defineConfig } from "vite";

export default defineConfig({ plugins: [sveltekit()] });
