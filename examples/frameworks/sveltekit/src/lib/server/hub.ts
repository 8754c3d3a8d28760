/**
 * The hub of this process. The development server loads this module anew on each change, so the hub is kept on
 * `globalThis`.
 *
 * @module
 */
import { createHub, type Hub } from "streamside";

export interface Events {
  greeting: { from: string };
}

const kept = globalThis as { hub?: Hub<Events> };

export const hub: Hub<Events> = kept.hub ??= createHub<Events>();
