/**
 * The window: what a read gives, where it stops, and which reads share their bytes.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { LogRecord } from "../../mod.ts";
import { EntryWriter } from "../../src/log/entry.ts";
import type { Audience, ReadRange } from "../../src/hub/read.ts";
import { LogWindow } from "../../src/hub/window.ts";
import { withVirtualTime } from "./delivery-time.ts";

function audience(...addresses: string[]): Audience {
  return {
    addresses,
    size: addresses.length,
    hears: (address) => addresses.includes(address),
  };
}

const everyone = audience("*");
const news = audience("*", "#news");

class Scene {
  readonly window: LogWindow;
  readonly #writer = new EntryWriter("e");
  #position: number;

  constructor(options = {}, head = 0) {
    this.window = new LogWindow(options, { position: head });
    this.#position = head;
  }

  /** Adds events of so many bytes of data, `times` of them. */
  add(to: string, bytes = 1, times = 1, more: Partial<LogRecord> = {}): void {
    for (let i = 0; i < times; i++) {
      const record = { to, event: "e", data: "x".repeat(bytes), ...more };
      this.window.add(this.#writer.write({ position: ++this.#position, time: 0, record }));
    }
  }

  /** The positions that a read gives, and how far it came. */
  read(session: string, audience: Audience, range: ReadRange, latest = true): [number[], number] {
    const { chunk, position } = this.window.read(session, audience, range, latest);
    const text = new TextDecoder().decode(chunk?.bytes ?? new Uint8Array());
    const positions = [...text.matchAll(/^id: e-(\d+)$/gm)].map(([, digits]) => Number(digits));
    assertEquals(chunk?.events ?? 0, positions.length);
    return [positions, position];
  }
}

const count = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("a read of the window", () => {
  test("does not go through the channels of a reader where it is known whom the range is for", () => {
    const scene = new Scene();
    for (const to of ["@ada", "#news", "#sport"]) scene.add(to);
    for (let i = 0; i < 200; i++) scene.add("@grace");
    const many: Audience = {
      size: 100,
      hears: (address) => address === "#news",
      get addresses(): string[] {
        throw new Error("they were gone through");
      },
    };
    const range = { from: 0, to: 203, limit: 1_000, addresses: ["#news", "#sport"] };
    assertEquals(scene.read("ada", many, range, false), [[1, 2], 203]);
  });

  test("gives what is addressed to a reader in the range, and comes to its end", () => {
    const scene = new Scene();
    for (const to of ["*", "@ada", "#news", "@grace", "#sport", "*", "@ada"]) scene.add(to);
    const range = { from: 1, to: 6, limit: 1_000 };
    assertEquals(scene.read("ada", news, range), [[2, 3, 6], 6]);
    assertEquals(scene.read("grace", everyone, range), [[4, 6], 6]);
    assertEquals(scene.read("mary", everyone, range), [[6], 6]);
    assertEquals(scene.read("mary", everyone, { ...range, to: 5 }), [[], 5]);
  });

  test("stops before more bytes than its limit, but never before the first event", () => {
    const scene = new Scene();
    scene.add("*", 100, 3);
    const { chunk } = scene.window.readForAudience(everyone, { from: 0, to: 3, limit: 1_000 });
    const size = chunk!.bytes.length / 3;
    const read = (limit: number, from = 0) => scene.read("ada", everyone, { from, to: 3, limit });
    assertEquals(read(1), [[1], 1]);
    assertEquals(read(2 * size - 1), [[1], 1]);
    assertEquals(read(2 * size), [[1, 2], 2]);
    assertEquals(read(3 * size - 1), [[1, 2], 2]);
    assertEquals(read(3 * size), [[1, 2, 3], 3]);
    assertEquals(read(1, 2), [[3], 3]);
  });

  test("with a block stops at its next multiple, once there is an event", () => {
    const scene = new Scene();
    scene.add("*", 1, 30);
    scene.add("@ada", 1, 5);
    scene.add("*", 1, 10);
    const read = (from: number, to: number, session = "grace") =>
      scene.read(session, everyone, { from, to, limit: 1_000_000, block: 8 });
    assertEquals(read(0, 45), [count(1, 8), 8]);
    assertEquals(read(3, 45), [count(4, 8), 8]);
    assertEquals(read(8, 45), [count(9, 16), 16]);
    assertEquals(read(24, 30), [count(25, 30), 30]);
    // Nothing for this reader before 36, which is in another block.
    assertEquals(read(30, 45), [count(36, 40), 40]);
    assertEquals(read(30, 45, "ada"), [[31, 32], 32]);
  });

  test("leaves out what is superseded, unless what supersedes it is not for this reader", () => {
    const scene = new Scene();
    const key = "k";
    scene.add("*", 1, 1, { key });
    scene.add("@ada", 1, 1, { key });
    scene.add("*", 1, 1, { key, except: ["ada"] });
    scene.add("@ada", 1, 1, { key: "other" });
    scene.add("*", 1, 1, { key, except: ["ada", "grace"] });
    const range = { from: 0, to: 5, limit: 1_000 };
    assertEquals(scene.read("ada", everyone, range), [[1, 2, 4], 5]);
    assertEquals(scene.read("grace", everyone, range), [[3], 5]);
    assertEquals(scene.read("mary", everyone, range), [[5], 5]);
    assertEquals(scene.read("ada", everyone, range, false), [[1, 2, 4], 5]);
    assertEquals(scene.read("mary", everyone, range, false), [[1, 3, 5], 5]);
    scene.add("@ada", 1, 1, { key });
    // Not by what comes after the range: the reader may end before it.
    assertEquals(scene.read("ada", everyone, range), [[1, 2, 4], 5]);
    assertEquals(scene.read("ada", everyone, { ...range, to: 6 }), [[1, 4, 6], 6]);
  });

  test("leaves out what is superseded for everyone alike, and remembers the newest of a key", () => {
    const scene = new Scene({ events: 2 });
    const key = "k";
    scene.add("*", 1, 3, { key });
    const read = (from: number, to: number) =>
      scene.read("ada", everyone, { from, to, limit: 1_000 });
    assertEquals(read(0, 3), [[3], 3]);
    assertEquals(read(0, 2), [[2], 2]);
    scene.window.prune(3);
    scene.add("*", 1, 1, { key });
    assertEquals(read(1, 4), [[4], 4]);
  });

  test("is shared by those who get the same, and by nobody else", () => {
    const scene = new Scene();
    const { window } = scene;
    scene.add("*", 1, 4);
    const range = { from: 0, to: 4, limit: 1_000_000, block: 3 };
    const chunk = (session: string, audience: Audience, range: ReadRange) =>
      window.read(session, audience, range, true).chunk;
    const shared = chunk("ada", everyone, range);
    assert(chunk("grace", news, range) === shared, "a channel without an event changes nothing");
    scene.add("#news");
    scene.add("@ada");
    assert(chunk("grace", everyone, { ...range, to: 6 }) === shared, "it was full before its end");
    assert(chunk("ada", everyone, { ...range, to: 6 }) !== shared, "a range with one of its own");
    const ofNews = chunk("grace", news, { ...range, to: 6 });
    assert(ofNews !== shared, "a range with one of a channel's");
    const others = audience("*", "#grace's own", "#news");
    assert(chunk("grace", others, { ...range, to: 6 }) === ofNews, "other channels change nothing");
    const { block: _, ...whole } = range;
    assertEquals(scene.read("grace", everyone, whole), [count(1, 4), 4]);
    assertEquals(scene.read("grace", everyone, { ...whole, to: 2 }), [[1, 2], 2]);
    assertEquals(scene.read("grace", everyone, { ...range, to: 2 }), [[1, 2], 2]);
    const again = chunk("ada", everyone, range);
    window.release();
    assert(chunk("grace", everyone, range) !== again, "it was let go of");
  });

  test("is kept for others in a bounded number, and of bounded bytes", () => {
    const chunk = ({ window }: Scene, from: number) =>
      window.readForAudience(everyone, { from, to: from + 1, limit: 1 }).chunk;
    const kept = (bytes: number, reads: number) => {
      const scene = new Scene();
      scene.add("*", bytes, reads);
      const chunks = count(0, reads - 1).map((from) => chunk(scene, from));
      // From the newest, since one that is not kept any more takes another's place when it is read again.
      let kept = 0;
      while (kept < reads && chunk(scene, reads - 1 - kept) === chunks[reads - 1 - kept]) kept++;
      return kept;
    };
    assertEquals(kept(1, 100), 64);
    assertEquals(kept(1_000_000, 20), 5);
    assertEquals(kept(6_000_000, 3), 1);
  });

  test("remembers the newest of each of many keys, while it is held", () => {
    const scene = new Scene({ events: 60 });
    const add = (keys: number[]) => {
      for (const key of keys) scene.add("@ada", 1, 1, { key: `${key}` });
    };
    const read = (from: number) =>
      scene.read("ada", everyone, { from, to: scene.window.head, limit: 100_000 })[0];
    add(count(1, 40));
    add([7, 7, 40]);
    assertEquals(read(0), [...count(1, 6), ...count(8, 39), 42, 43]);
    add(count(1, 40));
    assertEquals(read(0), count(44, 83));
    scene.window.prune(83);
    assertEquals(scene.window.start, 23);
    add([1, 99]);
    assertEquals(read(23), [...count(45, 83), 84, 85]);
    for (let i = 0; i < 70; i++) scene.add("*");
    scene.window.prune(scene.window.head);
    add([99, 99]);
    assertEquals(read(155), [157]);
  });

  test("forgets what is beyond the bounds, with its indexes, but nothing that is still to be read", () =>
    withVirtualTime((time) => {
      const scene = new Scene({ events: 2 }, 10);
      const { window } = scene;
      scene.add("@ada", 1, 1, { key: "k" });
      scene.add("*", 1, 1, { except: ["grace"] });
      scene.add("#news", 1, 3);
      window.prune(11);
      assertEquals([window.start, window.size, window.head], [11, 4, 15]);
      window.prune(15);
      assertEquals([window.start, window.size, window.head], [13, 2, 15]);
      const range = { from: 13, to: 15, limit: 1_000 };
      assertEquals(scene.read("ada", news, range), [[14, 15], 15]);
      scene.add("@ada", 1, 1, { key: "k" });
      assertEquals(scene.read("ada", news, { ...range, to: 16 }), [[14, 15, 16], 16]);
      time.now += 600_001;
      window.prune(16);
      assertEquals([window.start, window.size, window.bytes], [16, 0, 0]);
      return Promise.resolve();
    }));
});
