/**
 * Servers that share a log, within this process: a hub each, with a log and a connection of its own.
 *
 * @module
 */
import { createHub, type Hub, type HubOptions, type Log } from "../../mod.ts";
import { EventReader, quietLogger, until, within } from "../server-helpers.ts";

/** A log of one server, and what ends its connection. */
export interface OwnLog {
  readonly log: Log;
  end(): unknown;
}

/** One of the servers. */
export interface OneServer {
  readonly hub: Hub;
  readonly log: Log;
  end(): Promise<void>;
}

/** The servers of a test. */
export class Servers {
  readonly #open = new Set<() => Promise<void>>();
  readonly #options: HubOptions;

  /** `options`: those of their hubs. */
  constructor(options: HubOptions = {}) {
    this.#options = options;
  }

  /** One more server, once it has reached the log. */
  async start(own: OwnLog | Promise<OwnLog>): Promise<OneServer> {
    const { log, end } = await own;
    const hub = createHub({ log, logger: quietLogger, ...this.#options });
    const close = async () => {
      this.#open.delete(close);
      await within(hub.close({ within: 0 }), "a hub to close");
      await log.close!();
      await end();
    };
    this.#open.add(close);
    await until(() => isOpen(hub), "the hub to reach its log");
    return { hub, log, end: close };
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#open].map((close) => close()));
  }
}

function isOpen(hub: Hub): boolean {
  try {
    hub.cursor();
    return true;
  } catch {
    return false;
  }
}

/** Reads what a session hears, and what the channel `news` does. */
export function listen(hub: Hub, lastEventId?: string): EventReader {
  const stream = hub.subscribe("ada", { channels: ["news"], lastEventId });
  return new EventReader(new Response(stream));
}

/** The data of the next events, and `reset` for a reset. */
export async function hear(reader: EventReader, count: number): Promise<string[]> {
  const heard: string[] = [];
  while (heard.length < count) {
    const { event, data } = await reader.event();
    heard.push(event === "streamside:reset" ? "reset" : data!);
  }
  return heard;
}

/** Whole numbers, as data of events. */
export function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => String(from + i));
}
