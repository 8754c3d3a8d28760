/**
 * Streamside in Next.js. In this folder, after `npm run build` in the root of the repository:
 *
 * ```sh
 * npm ci
 * npm install --no-save --install-links ../../.. # in an application of yours: npm install streamside
 * npm run build
 * npm start
 * curl -N localhost:3000/api/v1/sse/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:3000/greet/ada
 * ```
 *
 * @module
 */
import type { NextConfig } from "next";

// This folder is the whole application, though another lockfile is above it.
const config: NextConfig = { turbopack: { root: import.meta.dirname } };

export default config;
