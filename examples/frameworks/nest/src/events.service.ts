import { type BeforeApplicationShutdown, Injectable } from "@nestjs/common";
import { createHub, type Hub } from "streamside";

export interface Events {
  greeting: { from: string };
}

/** The hub: one a process, as every provider. */
@Injectable()
export class EventsService implements BeforeApplicationShutdown {
  readonly hub: Hub<Events> = createHub<Events>();

  /** Nest closes its server after this one, and waits for what is open: `onApplicationShutdown` would be too late. */
  beforeApplicationShutdown(): Promise<void> {
    return this.hub.close({ within: 1000 });
  }
}
