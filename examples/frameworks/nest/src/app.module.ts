import { type MiddlewareConsumer, Module, type NestModule } from "@nestjs/common";
import type { NextFunction, Request, Response } from "express";
import { EventsController } from "./events.controller.js";
import { EventsService } from "./events.service.js";
import { GreetingsController } from "./greetings.controller.js";

declare global {
  namespace Express {
    interface Request {
      user?: { id: string };
    }
  }
}

/** In place of this: @nestjs/passport, a session, a token. This one believes everybody. */
function findUser(request: Request, _response: Response, next: NextFunction): void {
  const id = request.get("X-Session-Id");
  if (id) request.user = { id };
  next();
}

@Module({
  controllers: [EventsController, GreetingsController],
  providers: [EventsService],
  exports: [EventsService],
})
export class AppModule implements NestModule {
  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(findUser).forRoutes("*path");
  }
}
