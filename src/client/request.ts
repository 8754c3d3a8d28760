/**
 * One request of a client, and the redirects that follow it.
 *
 * @module
 */

import { cancel } from "./body.ts";
import type { Fetch, Init } from "./fetch.ts";

/** As many redirects as the fetch standard follows (4.4, HTTP-redirect fetch). */
const MOST_REDIRECTS = 20;

/**
 * Sends a request and follows its redirects. Resolves with the response and the URL that it came from.
 *
 * When a redirect leads to another origin, `fetch` itself drops only `Authorization` and cookies. Where the runtime
 * shows redirects (Node.js, Deno, Bun, workerd), they are followed here, and the user's headers stay with the origin
 * that they were meant for. Browsers do not show redirects, and follow them themselves.
 */
export async function request(
  fetch: Fetch,
  url: string,
  init: Init,
): Promise<[Response, string]> {
  const follow = init.redirect === "follow";
  const browser = /^Mozilla/.test(globalThis.navigator?.userAgent);
  if (!browser) init.redirect = "manual";
  // Deno and Bun ignore `cache`. In browsers it would take a preflight.
  if (!browser) init.headers["cache-control"] ??= "no-cache";
  for (let redirects = 0;; redirects++) {
    const response = await fetch(url, { ...init });
    const { status } = response;
    const location = response.headers.get("Location");
    if (!follow || location === null || !/^30[12378]$/.test(String(status))) {
      return [response, url];
    }
    cancel(response.body);
    init.signal!.throwIfAborted();
    const target = new URL(location, url);
    if (redirects === MOST_REDIRECTS || !/^https?:$/.test(target.protocol)) {
      throw new Error(`Cannot follow the redirect to ${target}, after ${redirects} redirects`);
    }
    const sameOrigin = target.origin === new URL(url).origin;
    if (
      status === 303
        ? !/^(GET|HEAD)$/i.test(init.method!)
        : status < 303 && /^POST$/i.test(init.method!)
    ) {
      init.method = "GET";
      delete init.body;
    }
    init.headers = Object.fromEntries(
      Object.entries(init.headers).filter(([name]) =>
        /^content-/.test(name)
          ? init.body != null
          : sameOrigin || /^(accept|cache-control|last-event-id)$/.test(name)
      ),
    );
    url = target.href;
  }
}
