/** Streams, and events that browsers send. */
import { createHandler } from "streamside";
import { hub } from "../../../../../lib/hub";

const handler = createHandler(hub, {
  basePath: "/api/v1/sse",
  // In place of this: your session or token. This one believes everybody.
  authenticate(request) {
    const session = request.headers.get("X-Session-Id");
    return session ? { session } : null;
  },
  authorize: (_identity, message) => message.session !== undefined,
});

const answer = (request: Request): Promise<Response> | Response => handler(request);

// Every method: the handler answers those that it does not take, and CORS's OPTIONS.
export {
  answer as DELETE,
  answer as GET,
  answer as HEAD,
  answer as OPTIONS,
  answer as PATCH,
  answer as POST,
  answer as PUT,
};
