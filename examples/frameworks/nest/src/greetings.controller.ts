import { Controller, Get, HttpCode, Param, Post } from "@nestjs/common";
import type { SendResult } from "streamside";
// deno-lint-ignore verbatim-module-syntax -- Nest injects by the class itself
import { EventsService } from "./events.service.js";

/** Other routes, which send through the same hub. */
@Controller()
export class GreetingsController {
  readonly #events: EventsService;

  constructor(events: EventsService) {
    this.#events = events;
  }

  @Get("sessions")
  sessions(): string[] {
    return [...this.#events.hub.sessions()];
  }

  @Post("greet/:name")
  @HttpCode(200)
  greet(@Param("name") name: string): Promise<SendResult> {
    return this.#events.hub.send(name, "greeting", { from: "NestJS" });
  }
}
