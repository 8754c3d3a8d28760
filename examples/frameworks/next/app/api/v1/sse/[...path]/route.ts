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

export const GET = (request: Request): Promise<Response> | Response => handler(request);
export const POST = GET;
