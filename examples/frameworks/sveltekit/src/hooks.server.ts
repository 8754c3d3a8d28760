import type { Handle, ServerInit } from "@sveltejs/kit";
import { hub } from "$lib/server/hub";

/** In place of this: your session or token. This one believes everybody. */
export const handle: Handle = ({ event, resolve }) => {
  const id = event.request.headers.get("X-Session-Id");
  if (id) event.locals.user = { id };
  return resolve(event);
};

/** adapter-node closes its server on the same signal, and `sveltekit:shutdown` comes only when no stream is left. */
export const init: ServerInit = () => {
  process.once("SIGTERM", () => void hub.close({ within: 1000 }));
};
