/** Streams, and events that browsers send. */
import { createHandler } from "streamside";
import { hub } from "$lib/server/hub";

const handler = createHandler(hub, {
  basePath: "/events",
  // The user that `handle` in hooks.server.ts has found.
  authenticate: (_request, { user }: App.Locals) => user && { session: user.id },
  authorize: (_identity, message) => message.session !== undefined,
});

// Every method: the handler answers those that it does not take, and CORS's OPTIONS.
export const fallback = ({ request, locals }: { request: Request; locals: App.Locals }) =>
  handler(request, locals);
