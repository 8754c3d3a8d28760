/**
 * How a client's requests are sent.
 *
 * @module
 */

/** A `fetch`, called with a URL and with headers as a plain object. */
export type Fetch = (url: string, init: RequestInit) => Response | Promise<Response>;

/** What a client's request is made of. */
export interface Init extends RequestInit {
  headers: Record<string, string>;
}

/**
 * A Streamside handler as a `fetch`: it takes a `Request`, and is known by its `subscribe`. Any other `fetch` stays as
 * it is.
 */
export function fetchOf(given: Fetch): Fetch {
  if (!("subscribe" in given)) return given;
  const handler = given as unknown as (request: Request) => Promise<Response>;
  return (url, init) => handler(new Request(url, init));
}
