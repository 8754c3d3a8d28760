/** In place of this: a session, a token. This one believes everybody. */
import { defineHandler } from "nitro/h3";

export default defineHandler((event) => {
  const id = event.req.headers.get("X-Session-Id");
  if (id) event.context.user = { id };
});
