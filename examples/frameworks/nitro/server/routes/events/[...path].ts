/** Streams, and events that browsers send. */
import { defineHandler, type H3Event } from "nitro/h3";
import { createHandler } from "streamside";
import { hub } from "../../lib/hub";

const handler = createHandler(hub, {
  basePath: "/events",
  // The user that the middleware has found.
  authenticate(_request, event: H3Event) {
    const user = event.context.user as { id: string } | undefined;
    return user && { session: user.id };
  },
  authorize: (_identity, message) => message.session !== undefined,
});

export default defineHandler((event) => handler(event.req, event));
