/**
 * A fan-out over so many connections that it lets others work in between: what happens meanwhile changes nothing about
 * what each connection gets.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { createHub, type Hub, type HubOptions } from "../../mod.ts";
import { Ledger, ScriptedLog } from "./delivery-model.ts";
import { type VirtualTime, withVirtualTime } from "./delivery-time.ts";
import { parseBlock, quietLogger } from "../server-helpers.ts";

/** Of so many connections, a fan-out serves 32 before it lets others work. */
const CROWD = 80;

/** A reader that always reads, and what it got: the data of events, and how it ended. */
class Reader {
  readonly got: string[] = [];
  readonly ids: (string | undefined)[] = [];
  /** How many chunks it got. */
  chunks = 0;
  readonly #stream: ReadableStreamDefaultReader<Uint8Array>;

  constructor(stream: ReadableStream<Uint8Array>, reads = true) {
    this.#stream = stream.getReader();
    if (reads) void this.read();
  }

  async read(): Promise<void> {
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await this.#stream.read();
      if (done) return void this.got.push("end");
      this.chunks++;
      for (const text of decoder.decode(value).split("\n\n").slice(0, -1)) {
        const { event, data, id, comments } = parseBlock(text);
        if (event === "streamside:reset") this.got.push("reset");
        else if (event !== undefined) this.got.push(data!);
        else if (comments) this.got.push("beat");
        this.ids.push(id);
      }
    }
  }

  async cancel(): Promise<void> {
    await this.#stream.cancel();
  }
}

/** A hub in a time in which every look at the clock costs more than a turn may take. */
class Scene {
  readonly hub: Hub;
  readonly log = new ScriptedLog(new Ledger({ events: 100, bytes: 1_000_000, age: 600_000 }));
  readonly crowd: Reader[];
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, options: HubOptions) {
    this.#time = time;
    this.hub = createHub({ log: this.log, logger: quietLogger, ...options });
    this.crowd = Array.from({ length: CROWD }, () => this.open());
  }

  static run(run: (scene: Scene) => Promise<void>, options: HubOptions = {}): Promise<void> {
    return withVirtualTime(async (time) => {
      const scene = new Scene(time, options);
      await scene.settle();
      time.step = 9;
      await run(scene);
      time.step = 0;
      for (const reader of scene.crowd) await reader.cancel();
      await scene.hub.close();
      await scene.settle();
      const { connections, sessions, lagging } = scene.hub.stats();
      assertEquals([connections, sessions, lagging], [0, 0, 0]);
      assertEquals(time.timers, 0);
    });
  }

  open(session = "crowd"): Reader {
    return new Reader(this.hub.subscribe(session));
  }

  /** Lets the fan-out begin, and stop after its first slice. */
  async begin(): Promise<void> {
    for (let i = 0; i < 20; i++) await Promise.resolve();
    const served = this.crowd.filter(({ got }) => got.length > 0).length;
    assert(served > 0 && served < CROWD, `a fan-out is under way: ${served} were served`);
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 30; i++) await this.#time.advance(1);
  }

  /** A heartbeat comes due before the fan-out goes on. */
  async beat(): Promise<void> {
    this.#time.step = 0;
    await this.#time.advance(15_000);
    await this.settle();
  }

  assertAll(...got: string[]): void {
    for (const reader of this.crowd) assertEquals(reader.got, got);
  }
}

describe("while a fan-out lets others work", () => {
  test("a stream that is read for the first time goes on from before the fan-out", () =>
    Scene.run(async (scene) => {
      const { hub } = scene;
      const late = new Reader(hub.subscribe("crowd"), false);
      const cursor = hub.cursor();
      const { id } = await hub.broadcast("e", 1);
      await scene.begin();
      void late.read();
      await scene.settle();
      assertEquals([late.got, late.ids], [["1"], [cursor, id]]);
      scene.assertAll("1");
      await late.cancel();
    }));

  test("a reader that connects in between gets what comes from then on", () =>
    Scene.run(async (scene) => {
      const { hub } = scene;
      const { id } = await hub.broadcast("e", 1);
      await scene.begin();
      const late = scene.open();
      const next = await hub.broadcast("e", 2);
      await scene.settle();
      assertEquals([late.got, late.ids], [["2"], [id, next.id]]);
      scene.assertAll("1", "2");
      await late.cancel();
    }));

  test("what is sent comes after it, also when the history holds less than that", () =>
    Scene.run(async (scene) => {
      await scene.hub.broadcast("e", 1);
      await scene.begin();
      for (let i = 2; i < 6; i++) await scene.hub.broadcast("e", i);
      await scene.settle();
      scene.assertAll("1", "2", "3", "4", "5");
      assertEquals(scene.hub.stats().historyEvents, 1);
    }, { history: { events: 1 } }));

  for (const to of ["everyone", "one session"]) {
    test(`a log that begins anew resets everyone, once and for all (to ${to})`, () =>
      Scene.run(async (scene) => {
        const { hub, log } = scene;
        await (to === "everyone" ? hub.broadcast("e", 1) : hub.send("crowd", "e", 1));
        await scene.begin();
        log.beginAnew();
        await hub.broadcast("e", 2);
        await scene.settle();
        for (const { got } of scene.crowd) assertEquals(got.slice(-2), ["reset", "2"]);
        const served = scene.crowd.filter(({ got }) => got.length === 3).length;
        assert(served > 0 && served < CROWD, "some had got the first one, some never did");
      }));
  }

  test("a disconnect ends everyone with what was sent before it, and nothing after", () =>
    Scene.run(async (scene) => {
      const { hub } = scene;
      await hub.broadcast("e", 1);
      await scene.begin();
      await hub.broadcast("e", 2);
      const disconnected = hub.disconnect("crowd");
      await hub.broadcast("e", 3);
      const again = scene.open();
      await hub.broadcast("e", 4);
      await scene.settle();
      await disconnected;
      scene.assertAll("1", "2", "end");
      assertEquals(again.got, ["4"]);
      await again.cancel();
    }));

  test("a hub that closes ends everyone with what was sent before", () =>
    Scene.run(async (scene) => {
      const { hub } = scene;
      await hub.broadcast("e", 1);
      await scene.begin();
      await hub.broadcast("e", 2);
      const closed = hub.close();
      await scene.settle();
      await closed;
      scene.assertAll("1", "2", "end");
    }));

  for (const to of ["everyone", "one session"]) {
    test(`those that leave are forgotten, and a heartbeat that is due comes after it (to ${to})`, () =>
      Scene.run(async (scene) => {
        const { hub } = scene;
        await (to === "everyone" ? hub.broadcast("e", 1) : hub.send("crowd", "e", 1));
        await scene.begin();
        for (const reader of scene.crowd.splice(20, 40)) await reader.cancel();
        await scene.beat();
        scene.assertAll("1", "beat");
        assertEquals(hub.stats().connections, CROWD - 40);
      }));
  }
});

describe("after a fan-out", () => {
  for (
    const { size, step, least, most, why } of [
      { size: 500, step: 0.1, least: 1, most: 3, why: "as long as it took" },
      { size: 500, step: 5, least: 5, most: 6, why: "0.012 ms for each connection at most" },
      { size: 5000, step: 5, least: 39, most: 40, why: "40 ms at most" },
    ]
  ) {
    test(`the next waits ${why}, and carries all that came meanwhile`, () =>
      withVirtualTime(async (time) => {
        const hub = createHub({ logger: quietLogger });
        const crowd = Array.from({ length: size }, () => new Reader(hub.subscribe("crowd")));
        const turns = async () => {
          for (let i = 0; i < size / 8; i++) await time.advance(0);
        };
        const assertAll = (...got: string[]) => {
          for (const reader of crowd) assertEquals(reader.got, got);
        };
        await turns();
        time.step = step;
        await hub.broadcast("e", 1);
        await turns();
        time.step = 0;
        assertAll("1");

        // Nothing was there when it ended.
        const [{ chunks }] = crowd as [Reader];
        await hub.broadcast("e", 2);
        await turns();
        await hub.broadcast("e", 3);
        await time.advance(least - 0.1);
        await turns();
        assertAll("1");
        await time.advance(most - least + 0.1);
        await turns();
        assertAll("1", "2", "3");
        for (const reader of crowd) assertEquals(reader.chunks, chunks + 1);

        // Nothing was sent for that long.
        await time.advance(most);
        await hub.broadcast("e", 4);
        await turns();
        assertAll("1", "2", "3", "4");
        for (const reader of crowd) await reader.cancel();
        await hub.close();
      }));
  }
});
