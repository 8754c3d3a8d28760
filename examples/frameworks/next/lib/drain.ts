/**
 * Ends the streams on SIGTERM. Next closes its server then and waits for its connections.
 *
 * @module
 */
import { hub } from "./hub";

process.once("SIGTERM", () => void hub.close({ within: 1000 }));
