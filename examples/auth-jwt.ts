/**
 * Doors with signed tokens: who may subscribe to what and send to what stands in the token, which ends by itself, and a
 * ticket of half a minute stands in for it where no header can be sent. `npx tsx examples/auth-jwt.ts`
 *
 * ```sh
 * TOKEN=$(curl -s localhost:8080/login -d '{"name":"ada","password":"analytical"}' | jq -r .token)
 * curl -N -H "Authorization: Bearer $TOKEN" localhost:8080/api/v1/sse/subscribe &
 * curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' localhost:8080/api/v1/sse/send \
 *   -d '{"channel":"news","event":"headline","data":"It works"}'
 * ```
 *
 * A page that uses the browser's own `EventSource`, which sends no headers, asks for a ticket each time that it
 * connects; a ticket that somebody finds in a log of URLs has long ended, and opens nothing but a stream. The browser
 * reconnects with the ticket of before, and gives up when that has ended: the page goes on then with a new one, from
 * the last event that it saw.
 *
 * ```js
 * async function connect(lastEventId) {
 *   const headers = { Authorization: `Bearer ${token}` };
 *   const { ticket } = await (await fetch("/ticket", { method: "POST", headers })).json();
 *   const query = new URLSearchParams({ ticket, lastEventId });
 *   const events = new EventSource(`/api/v1/sse/subscribe?${query}`);
 *   events.addEventListener("headline", (event) => {
 *     lastEventId = event.lastEventId;
 *     show(event.data);
 *   });
 *   events.addEventListener("error", () => {
 *     if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2_000, lastEventId);
 *   });
 * }
 * connect(login.lastEventId);
 * ```
 *
 * @module
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { errors, jwtVerify, SignJWT } from "jose";
import { createHandler, createHub, type Hub, type Identity, type Message } from "../mod.ts";
import { toNodeListener } from "../src/node/mod.ts";

/** Somebody who may log in, and what they may do then. */
export interface Account {
  /** A real application stores a hash: of scrypt, argon2 or bcrypt. */
  readonly password: string;
  /** The channels that they may subscribe to. */
  readonly subscribe: readonly string[];
  /** The channels that they may send to. */
  readonly send: readonly string[];
}

/** What {@link createApp} needs. */
export interface AppOptions {
  /** What tokens are signed with: at least 32 bytes that nobody else has, the same on every server. */
  readonly secret: Uint8Array;
  /** Who may log in, by name. */
  readonly accounts: Readonly<Record<string, Account>>;
  /** How long a token is good, in ms. Default: a quarter of an hour. */
  readonly tokenLife?: number;
  /** How long a ticket is good, in ms. Default: 30 000. */
  readonly ticketLife?: number;
}

/** The application: its hub, and what answers its requests. */
export interface App {
  readonly hub: Hub;
  readonly fetch: (request: Request) => Promise<Response>;
}

/** Who sent a request, with the rights that its token or ticket grants. */
interface Rights extends Identity {
  readonly channels: readonly string[];
  readonly send: readonly string[];
  readonly expires: number;
}

/** What a token is for. One that was made for one thing is good for nothing else. */
const TOKEN = "streamside-example";
const TICKET = "streamside-example/subscribe";
const ISSUER = "streamside-example";

/** The application, ready to be served by anything that speaks Fetch. */
export function createApp(options: AppOptions): App {
  const { secret, accounts, tokenLife = 15 * 60_000, ticketLife = 30_000 } = options;
  const hub = createHub({ maxConnectionsPerSession: 10, onSessionLimit: "close-oldest" });
  const sse = createHandler<Record<string, unknown>, Rights>(hub, {
    authenticate,
    authorize: ({ send }, { channel }: Message) => channel !== undefined && send.includes(channel),
  });

  /** A token in the header, or, for a stream only, a ticket in the URL. */
  async function authenticate(request: Request): Promise<Rights | null> {
    const [, token] = /^Bearer ([\w.-]+)$/i.exec(request.headers.get("Authorization") ?? "") ?? [];
    if (token !== undefined) return await read(token, TOKEN);
    const ticket = new URL(request.url).searchParams.get("ticket");
    return request.method === "GET" && ticket !== null ? await read(ticket, TICKET) : null;
  }

  /** What a token or ticket grants, if it is one of ours, made for this, and has not ended. */
  async function read(token: string, audience: string): Promise<Rights | null> {
    try {
      const { payload } = await jwtVerify(token, secret, {
        algorithms: ["HS256"],
        issuer: ISSUER,
        audience,
        requiredClaims: ["sub", "exp", "rights"],
      });
      return payload.rights as Rights;
    } catch (error) {
      if (error instanceof errors.JOSEError) return null;
      throw error;
    }
  }

  function sign(rights: Rights, audience: string, expires: number): Promise<string> {
    return new SignJWT({ rights })
      .setProtectedHeader({ alg: "HS256" })
      .setSubject(rights.session)
      .setIssuer(ISSUER)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(new Date(expires))
      .sign(secret);
  }

  async function logIn(request: Request): Promise<Response> {
    const { name, password } = await request.json().catch(() => null) ?? {};
    const account = Object.hasOwn(accounts, String(name)) ? accounts[name] : undefined;
    if (!account || account.password !== password) return refuse(401, "No such name and password.");
    const expires = Date.now() + tokenLife;
    const { subscribe, send } = account;
    const rights = { session: crypto.randomUUID(), channels: subscribe, send, expires };
    const token = await sign(rights, TOKEN, expires);
    return Response.json({ token, session: rights.session, lastEventId: hub.cursor() });
  }

  /** A stream that was opened with a ticket ends with the token that the ticket was given for. */
  async function giveTicket(request: Request): Promise<Response> {
    const rights = await authenticate(request);
    if (!rights) return refuse(401, "No valid token came with this request.");
    const ends = Math.min(Date.now() + ticketLife, rights.expires);
    const ticket = await sign({ ...rights, send: [] }, TICKET, ends);
    return Response.json({ ticket }, { headers: { "Cache-Control": "no-store" } });
  }

  return {
    hub,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (request.method === "POST" && pathname === "/login") return await logIn(request);
      if (request.method === "POST" && pathname === "/ticket") return await giveTicket(request);
      return await sse(request);
    },
  };
}

function refuse(status: number, detail: string): Response {
  return Response.json({ status, detail }, {
    status,
    headers: { "Content-Type": "application/problem+json" },
  });
}

/** Serves the application, and drains it on SIGTERM. */
function main(): Server {
  const secret = process.env.JWT_SECRET ?? crypto.randomUUID() + crypto.randomUUID();
  const app = createApp({
    secret: new TextEncoder().encode(secret),
    accounts: {
      ada: { password: "analytical", subscribe: ["news", "staff"], send: ["news"] },
      grace: { password: "nanoseconds", subscribe: ["news"], send: [] },
    },
  });
  const server = createServer(toNodeListener(app.fetch));
  server.listen(Number(process.env.PORT ?? 8080), () => {
    console.log(`Streamside is on http://localhost:${(server.address() as AddressInfo).port}`);
  });
  process.on("SIGTERM", async () => {
    await app.hub.close({ within: 2_000 });
    server.close();
    setTimeout(() => server.closeAllConnections(), 1_000).unref();
  });
  return server;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
