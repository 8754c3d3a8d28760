/**
 * Many clients that come back at once from history that the hub's window does not hold: the log is asked a bounded number
 * of times, and each client has what it missed.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHub, type Log, memoryLog } from "../../mod.ts";
import { EventReader, until, within } from "../server-helpers.ts";

/** A log elsewhere: what is asked of it is counted, and takes a turn of the event loop. */
function countedLog(log: Log): Log & { reads: number; atOnce: number; mostAtOnce: number } {
  return {
    reads: 0,
    atOnce: 0,
    mostAtOnce: 0,
    follow: (follower) => log.follow(follower),
    append: (record) => log.append(record),
    async read(after, limit) {
      this.reads++;
      this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.atOnce--;
      return await log.read(after, limit);
    },
  };
}

const EVENTS = 5_000;
const CLIENTS = 150;

describe("history that no window holds", () => {
  test("is asked for once by many that come at once", async () => {
    const log = countedLog(memoryLog());
    const hub = createHub({ log, history: { events: 100 } });
    const ids: string[] = [];
    for (let i = 0; i < EVENTS; i++) ids.push((await hub.publish("news", "n", i)).id);
    await until(() => hub.stats().historyEvents <= 100, "the window to forget");
    log.reads = 0;
    const last = String(EVENTS - 1);
    const check = async (client: number) => {
      // All over the history, and none at the same place.
      const from = Math.floor(client * (EVENTS - 200) / CLIENTS);
      const lastEventId = ids[from];
      const stream = hub.subscribe(`client-${client}`, { channels: ["news"], lastEventId });
      const reader = new EventReader(stream);
      for (let due = from + 1; due < EVENTS; due++) {
        const { data } = await reader.event();
        if (data !== String(due)) assertEquals(data, String(due), `client ${client}`);
        if (data === last) break;
      }
      await reader.cancel();
    };
    const clients = Array.from({ length: CLIENTS }, (_, client) => check(client));
    await within(Promise.all(clients), "all clients to have it all", 120_000);
    // Ten pages. Each client by itself would ask for five of them on average.
    assert(log.reads > 5 && log.reads < 100, `the log was read ${log.reads} times`);
    assert(log.mostAtOnce <= 4, `${log.mostAtOnce} reads at once`);
    await hub.close();
  });

  test("is read whole also where it is short of a page, trimmed, or grows meanwhile", async () => {
    const inner = memoryLog({ events: 700 });
    const log = countedLog(inner);
    const hub = createHub({ log, history: { events: 10 } });
    const ids: string[] = [];
    for (let i = 0; i < 1_000; i++) ids.push((await hub.publish("news", "n", i)).id);
    await until(() => hub.stats().historyEvents <= 10, "the window to forget");
    const readers = [301, 400, 511, 512, 600, 985].map((from) => ({
      due: from + 1,
      reader: new EventReader(
        hub.subscribe("ada", { channels: ["news"], lastEventId: ids[from] }),
      ),
    }));
    const gone = new EventReader(
      hub.subscribe("ada", { channels: ["news"], lastEventId: ids[100] }),
    );
    for (let i = 1_000; i < 1_200; i++) {
      await hub.publish("news", "n", i);
      for (const one of readers) {
        assertEquals((await one.reader.event()).data, String(one.due));
        one.due++;
      }
    }
    assertEquals((await gone.event()).event, "streamside:reset");
    await hub.close();
  });

  test("is asked for again by who knows of an event that the log did not have when another asked", async () => {
    const inner = memoryLog();
    /** What the follower was not told yet, and the reads that are not answered yet. */
    let isHeld = true;
    const untold: (() => void)[] = [];
    const unanswered: (() => void)[] = [];
    const log: Log = {
      append: (record) => inner.append(record),
      follow: (follower) =>
        inner.follow({
          opened: (...places) => follower.opened(...places),
          failed: (error) => follower.failed(error),
          appended: (entries) => {
            if (isHeld) untold.push(() => follower.appended(entries));
            else follower.appended(entries);
          },
        }),
      async read(after, limit) {
        const answer = await inner.read(after, limit);
        if (isHeld) await new Promise<void>((resolve) => unanswered.push(resolve));
        return answer;
      },
    };
    const hub = createHub({ log, history: { events: 1 } });
    const next = hub.cursor().replace(/0$/, "1");
    const early = new EventReader(hub.subscribe("early", { lastEventId: next }));
    await until(() => unanswered.length === 1, "the log to be asked");
    // Another server takes it, and this one is not told yet.
    await inner.append({ to: "@ada", event: "n", data: "before" });
    const ada = new EventReader(hub.subscribe("ada", { lastEventId: next }));
    for (const data of ["one", "two"]) await inner.append({ to: "@ada", event: "n", data });
    isHeld = false;
    for (const answer of unanswered) answer();
    for (const tell of untold) tell();
    for (const data of ["one", "two"]) assertEquals((await ada.event()).data, data);
    assertEquals((await early.event()).event, "streamside:reset");
    await hub.close();
  });
});
