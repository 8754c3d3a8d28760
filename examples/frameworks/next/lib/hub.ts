/**
 * The hub of this process. Next loads this module more than once (for the routes, for the instrumentation), so the hub is
 * kept on `globalThis`: all of them get the same one.
 *
 * @module
 */
import { createHub, type Hub } from "streamside";

export interface Events {
  greeting: { from: string };
}

const kept = globalThis as { hub?: Hub<Events> };

export const hub: Hub<Events> = kept.hub ??= createHub<Events>();
