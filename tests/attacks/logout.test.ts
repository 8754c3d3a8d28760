/**
 * A logout while a subscribe of the same session is under way: at `authenticate`, on this server or on another.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { createHub, type Hub, sessionFromRequest, StreamsideError } from "../../mod.ts";
import { createClient } from "../../src/client/mod.ts";
import { Ledger, ScriptedLog } from "../hub/delivery-model.ts";
import {
  EventReader,
  quietLogger,
  refusedForNow,
  until,
  withHub,
  within,
  withService,
} from "../server-helpers.ts";

/** A store of logins whose answers are on their way until they are let through: what it says was so when it was asked. */
class Logins {
  readonly #sessions = new Set<string>();
  #answers: (() => void)[] = [];
  isSlow = false;
  asked = 0;

  constructor(...sessions: string[]) {
    this.#sessions = new Set(sessions);
  }

  readonly authenticate = async (request: Request): Promise<{ session: string } | null> => {
    this.asked++;
    const session = sessionFromRequest(request)!;
    const found = this.#sessions.has(session) ? { session } : null;
    if (this.isSlow) await new Promise<void>((resolve) => this.#answers.push(resolve));
    return found;
  };

  /** How many answers are on their way. */
  get waiting(): number {
    return this.#answers.length;
  }

  /** Lets the answers through that are on their way; those to come come at once. */
  answer(): void {
    this.isSlow = false;
    for (const answer of this.#answers.splice(0)) answer();
  }

  in(session: string): void {
    this.#sessions.add(session);
  }

  async out(session: string, hub: Hub): Promise<void> {
    this.#sessions.delete(session);
    await hub.disconnect(session);
  }
}

async function untilAsked(logins: Logins): Promise<void> {
  await until(() => logins.waiting > 0, "authenticate to be asked");
}

function assertRefused(subscribe: () => unknown, code: string): void {
  assertEquals(assertThrows(subscribe, StreamsideError).code, code);
}

/** Two hubs of one log that can be told late, and can begin anew. */
async function withTwoHubs(run: (log: ScriptedLog, hubs: [Hub, Hub]) => Promise<void>) {
  const log = new ScriptedLog(new Ledger({ events: 1_000, bytes: 1_000_000, age: 600_000 }));
  const hubs: [Hub, Hub] = [
    createHub({ log, logger: quietLogger }),
    createHub({ log, logger: quietLogger }),
  ];
  try {
    await run(log, hubs);
  } finally {
    await Promise.all(hubs.map((hub) => hub.close()));
  }
}

describe("a logout while a subscribe of the session is at authenticate", () => {
  test("is told 401, and its client stops", () => {
    const logins = new Logins("ada");
    return withService({ handler: { authenticate: logins.authenticate } }, async (service) => {
      logins.isSlow = true;
      const client = createClient(`${service.base}/subscribe`, {
        headers: { "X-Session-Id": "ada" },
      });
      const statuses: unknown[] = [];
      client.addEventListener(
        "error",
        (event) => statuses.push((event as { status?: number }).status),
      );
      client.connect();
      const answer = service.get("ada");
      await until(() => logins.waiting === 2, "authenticate to be asked");
      await logins.out("ada", service.hub);
      logins.answer();
      const { status, body } = await answer;
      await body?.cancel();
      assertEquals(status, 401);
      await until(() => statuses.length > 0, "the client to be refused");
      const { readyState } = client;
      client.close();
      assertEquals([statuses, readyState], [[401], client.CLOSED]);
      assertEquals(service.hub.stats().connects, 0);
    });
  });

  test("is refused for now where it may come in again, as after a change of its rights", () => {
    const logins = new Logins("ada");
    return withService({ handler: { authenticate: logins.authenticate } }, async (service) => {
      logins.isSlow = true;
      const answer = service.get("ada");
      await untilAsked(logins);
      await service.hub.disconnect("ada");
      logins.answer();
      const { status, code } = await refusedForNow(answer);
      assertEquals([status, code], [503, "disconnected"]);
      assertEquals([logins.asked, service.hub.stats().connects], [2, 0]);
      await service.subscribe("ada");
    });
  });

  test("does not concern who asks after it, nor other sessions", () => {
    const logins = new Logins("ada", "grace");
    return withService({ handler: { authenticate: logins.authenticate } }, async (service) => {
      logins.isSlow = true;
      const grace = service.subscribe("grace");
      await untilAsked(logins);
      await logins.out("ada", service.hub);
      logins.in("ada");
      const ada = service.subscribe("ada");
      await until(() => logins.waiting === 2, "authenticate to be asked");
      logins.answer();
      const readers = [await ada, await grace];
      await service.hub.broadcast("e", "for both");
      for (const reader of readers) assertEquals((await reader.event()).data, "for both");
      assertEquals(logins.asked, 2);
    });
  });

  test("holds on another server of the log", () =>
    withTwoHubs(async (_, [here, there]) => {
      const requestedAt = there.cursor();
      await here.disconnect("ada");
      assertRefused(() => there.subscribe("ada", { requestedAt }), "disconnected");
      await there.subscribe("ada", { requestedAt: there.cursor() }).cancel();
      await there.subscribe("grace", { requestedAt }).cancel();
    }));

  test("holds on another server that is told of it late: the stream ends, with nothing that came after", () =>
    withTwoHubs(async (log, [here, there]) => {
      const requestedAt = there.cursor();
      log.followers[1]!.hold();
      await here.disconnect("ada");
      await here.send("ada", "secret", "after the logout");
      const reader = new EventReader(there.subscribe("ada", { requestedAt }));
      log.followers[1]!.release();
      const events = (await within(reader.rest(), "the end")).filter(({ event }) => event);
      assertEquals(events, []);
    }));

  test("holds where disconnect is still on its way to the log", () =>
    withHub({}, async (hub) => {
      const requestedAt = hub.cursor();
      const disconnected = hub.disconnect("ada");
      assertRefused(() => hub.subscribe("ada", { requestedAt }), "disconnected");
      await disconnected;
    }));

  test("is not known any more after very many others: it may come again", () =>
    withHub({}, async (hub) => {
      const before = hub.cursor();
      await hub.disconnect("ada");
      const after = hub.cursor();
      for (let i = 0; i < 999; i++) await hub.disconnect(`session ${i}`);
      assertRefused(() => hub.subscribe("ada", { requestedAt: before }), "disconnected");
      await hub.subscribe("ada", { requestedAt: after }).cancel();
      await hub.disconnect("grace");
      assertRefused(() => hub.subscribe("ada", { requestedAt: before }), "log-unavailable");
      await hub.subscribe("ada", { requestedAt: after }).cancel();
      // Once more for each of them: the one whose last is the oldest is forgotten, however often it was.
      for (let i = 0; i < 999; i++) await hub.disconnect("grace");
      await hub.subscribe("ada", { requestedAt: after }).cancel();
    }));

  test("is not known where the log began anew: it may come again", () =>
    withTwoHubs(async (log, [hub]) => {
      const requestedAt = hub.cursor();
      log.beginAnew();
      assertRefused(() => hub.subscribe("ada", { requestedAt }), "log-unavailable");
      await hub.subscribe("ada", { requestedAt: hub.cursor() }).cancel();
    }));

  test("a requestedAt that is no string is an invalid argument", () =>
    withHub({}, (hub) => {
      const requestedAt = 7 as unknown as string;
      assertRefused(() => hub.subscribe("ada", { requestedAt }), "invalid-argument");
      return Promise.resolve();
    }));
});
