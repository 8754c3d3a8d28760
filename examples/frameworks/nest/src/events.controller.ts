import { All, Controller, Req, Res } from "@nestjs/common";
import type { Request, Response } from "express";
import { createHandler } from "streamside";
import { type NodeContext, type NodeListener, toNodeListener } from "streamside/node";
// deno-lint-ignore verbatim-module-syntax -- Nest injects by the class itself
import { EventsService } from "./events.service.js";

/** Streams, and events that browsers send. Guards stand before it as before any other controller. */
@Controller("events")
export class EventsController {
  readonly #listener: NodeListener<Request>;

  constructor(events: EventsService) {
    const handler = createHandler(events.hub, {
      basePath: "/events",
      // The user that a middleware or a guard has found.
      authenticate: (_request, { req }: NodeContext<Request>) =>
        req.user && { session: req.user.id },
      authorize: (_identity, message) => message.session !== undefined,
    });
    this.#listener = toNodeListener(handler);
  }

  // With `@Res()` it is answered here, and not by Nest.
  @All("*path")
  answer(@Req() request: Request, @Res() response: Response): unknown {
    return this.#listener(request, response);
  }
}
