/**
 * Ends the streams on SIGTERM. Nitro closes its server on the same signal; its hook `close` would be too late, since it
 * is called when no connection is left, or after 30 seconds.
 *
 * @module
 */
import { defineNitroPlugin } from "nitro/runtime";
import { hub } from "../lib/hub";

export default defineNitroPlugin(() => {
  process.once("SIGTERM", () => void hub.close({ within: 1000 }));
});
