/**
 * The reasons for which a subscribe is refused only for now.
 *
 * @module
 */
import type { HandlerOptions, Log } from "../../mod.ts";
import { authenticate, type Service, type ServiceOptions, withService } from "../server-helpers.ts";

/** A log that has not been reached. */
const unreached: Log = {
  follow: () => () => {},
  append: () => Promise.reject(new Error("not reached")),
  read: () => Promise.resolve(null),
};

/** Why `ada` is refused for now. */
export interface Reason {
  readonly options: ServiceOptions;
  /** Brings about that `ada` is refused. */
  readonly arrange?: (service: Service) => Promise<unknown> | void;
  readonly status: number;
  readonly code: string;
  /** It concerns everyone, so that nobody needs to be asked who they are. */
  readonly isOfHub?: boolean;
}

const fail = () => {
  throw new Error("the database is down");
};

/** All reasons, by name. */
export const reasons: Record<string, Reason> = {
  "the hub drains": {
    options: {},
    // A connection that is open still, so that it goes on draining.
    arrange: async (service) => {
      await service.subscribe("open");
      void service.hub.close({ within: 60_000 });
    },
    status: 503,
    code: "closed",
    isOfHub: true,
  },
  "the hub is closed for good": {
    options: {},
    arrange: (service) => service.hub.close(),
    status: 503,
    code: "closed",
    isOfHub: true,
  },
  "the hub is full": {
    options: { hub: { maxConnections: 1 } },
    arrange: (service) => service.subscribe("open"),
    status: 503,
    code: "too-many-connections",
    isOfHub: true,
  },
  "the session has its connections": {
    options: { hub: { maxConnectionsPerSession: 1 } },
    arrange: (service) => service.subscribe("ada"),
    status: 429,
    code: "too-many-connections-of-session",
  },
  "the log is away": {
    options: { hub: { log: unreached } },
    status: 503,
    code: "log-unavailable",
    isOfHub: true,
  },
  "authenticate throws": {
    options: { handler: { authenticate: fail } },
    status: 500,
    code: "internal-error",
  },
  "authenticate rejects": {
    options: { handler: { authenticate: () => Promise.reject(new Error("down")) } },
    status: 500,
    code: "internal-error",
  },
  "authenticate is late": {
    options: { handler: { authenticate: () => new Promise(() => {}), authTimeout: 30 } },
    status: 503,
    code: "unavailable",
  },
};

/** Runs a test where `ada` is refused for a reason, and counts how often it is asked who somebody is. */
export function withReason(
  { options, arrange }: Reason,
  more: Partial<HandlerOptions>,
  run: (service: Service, asked: () => number) => Promise<void>,
): Promise<void> {
  let asked = 0;
  const answer = options.handler?.authenticate ?? authenticate;
  const handler: Partial<HandlerOptions> = {
    ...options.handler,
    ...more,
    authenticate: (request, context) => {
      asked++;
      return answer(request, context);
    },
  };
  return withService({ ...options, handler }, async (service) => {
    await arrange?.(service);
    asked = 0;
    await run(service, () => asked);
  });
}
