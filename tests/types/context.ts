/**
 * What a handler is called with beside the request, by what `authenticate` and its kin ask for. Nothing here is run:
 * `npm run check` compiles it, and `scripts/check-type-errors.ts` compares the errors with the comments.
 */
import { createServer, type IncomingMessage } from "node:http";
import { createHandler, createHub, type Handler } from "../../mod.ts";
import { type NodeContext, toNodeListener } from "../../src/node/mod.ts";

declare const request: Request;
interface Env {
  readonly TOKEN: string;
}
interface User {
  readonly id: string;
}
type WithUser = IncomingMessage & { user?: User };

const hub = createHub();

// Nobody asks for a context: it may be left out, and anything may come.
const plain = createHandler(hub, { authenticate: (request) => ({ session: request.url }) });
plain satisfies Handler;
plain(request);
plain(request, 1);
plain.subscribe(request, { any: "thing" });
toNodeListener(plain);
createServer(toNodeListener(plain));

// One that is asked for has to come, with its type.
const worker = createHandler(hub, {
  authenticate: (_request, env: Env) => ({ session: env.TOKEN }),
  authorize: (_identity, _message, { TOKEN }) => TOKEN === "t",
  authorizeMetrics: (_request, env) => env.TOKEN === "t",
});
worker satisfies Handler<Env>;
worker(request, { TOKEN: "t" });
worker.send(request, { TOKEN: "t" });
({ fetch: worker }) satisfies { fetch(request: Request, env: Env): unknown };
// @ts-expect-error: Expected 2 arguments, but got 1
worker(request);
// @ts-expect-error: 'token' does not exist in type 'Env'
worker.subscribe(request, { token: "t" });
// @ts-expect-error: Argument of type 'Handler<Env>' is not assignable
toNodeListener(worker);

// One that may be left out.
createHandler(hub, { authenticate: (_request, env?: Env) => env && { session: env.TOKEN } })(
  request,
);

// The framework's own request arrives, and the listener asks for it.
const framework = createHandler(hub, {
  authenticate: (_request, { req }: NodeContext<WithUser>) => req.user && { session: req.user.id },
});
const listener = toNodeListener(framework);
declare const incoming: WithUser;
declare const outgoing: Parameters<typeof listener>[1];
listener(incoming, outgoing) satisfies Promise<void>;
