/** The demo's count of the numbered events: it finds what is missing and what came twice, whenever there is such. */
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { type Return, Tally } from "../../examples/app/page/tally.ts";

/** A tally that has seen the numbers 1 to 3 at 1, 2 and 3 s, and was away from 3.5 s to 6.5 s. */
function away(): { tally: Tally; found: Return[]; take(at: number, ...numbers: number[]): void } {
  const found: Return[] = [];
  const tally = new Tally((one) => found.push(one));
  const take = (now: number, ...numbers: number[]) => {
    for (const n of numbers) tally.take({ n, at: n * 1000, run: "a" }, now);
  };
  tally.opened(500);
  for (const n of [1, 2, 3]) take(n * 1000, n);
  tally.lost(3500);
  tally.opened(6500);
  return { tally, found, take };
}

const nothing = {
  ...{ away: 3000, count: 3, first: 4, last: 6, took: 20 },
  ...{ missed: 0, twice: 0, reset: false, restarted: false },
};

describe("the tally of the demo", () => {
  test("everything comes: how much, and in what time", () => {
    const { tally, found, take } = away();
    take(6510, 4, 5);
    take(6520, 6);
    assertEquals([found, tally.catchingUp], [[], true]);
    take(7000, 7);
    assertEquals([found, tally.catchingUp], [[nothing], false]);
    assertEquals([tally.received, tally.missed, tally.twice, tally.last], [7, 0, 0, 7]);
  });

  test("what the server says of its last number tells that all has come", () => {
    const { tally, found, take } = away();
    take(6520, 4, 5, 6);
    tally.check({ n: 6, at: 6600, run: "a" }, 6600);
    assertEquals(found, [nothing]);
    take(7000, 7);
    assertEquals([tally.missed, tally.twice], [0, 0]);
  });

  test("or that the last of them has not", () => {
    const { tally, found, take } = away();
    take(6520, 4, 5);
    tally.check({ n: 6, at: 6600, run: "a" }, 6600);
    assertEquals(found, [{ ...nothing, count: 2, last: 5, missed: 1 }]);
    take(7000, 7);
    assertEquals([tally.missed, tally.twice], [1, 0]);
  });

  test("another start of the server may tell that first", () => {
    const { tally, found } = away();
    tally.reset();
    tally.check({ n: 8, at: 6600, run: "b" }, 6610);
    assertEquals([found[0]!.restarted, found[0]!.missed], [true, 0]);
    tally.take({ n: 9, at: 6700, run: "b" }, 6700);
    assertEquals([tally.missed, tally.twice], [0, 0]);
  });

  test("one is missing", () => {
    const { tally, found, take } = away();
    take(6520, 4, 6);
    take(7000, 7);
    assertEquals(found, [{ ...nothing, count: 2, missed: 1 }]);
    assertEquals(tally.missed, 1);
  });

  test("all are missing", () => {
    const { found, take } = away();
    take(7000, 7);
    assertEquals(found, [{ ...nothing, count: 0, first: 0, last: 0, took: 0, missed: 3 }]);
  });

  test("one comes twice", () => {
    const { tally, found, take } = away();
    take(6520, 3, 4, 5, 6);
    take(7000, 7);
    assertEquals(found, [{ ...nothing, count: 4, first: 3, twice: 1 }]);
    assertEquals(tally.twice, 1);
  });

  test("one is missing though the connection never was", () => {
    const tally = new Tally(() => {});
    tally.opened(500);
    for (const n of [1, 2, 4]) tally.take({ n, at: n * 1000, run: "a" }, n * 1000);
    assertEquals([tally.missed, tally.twice], [1, 0]);
  });

  test("the history no longer reaches back: the reset comes first, and what is gone is missed", () => {
    const { tally, found, take } = away();
    tally.reset();
    take(6520, 6);
    take(7000, 7);
    assertEquals(found, [{ ...nothing, count: 1, first: 6, missed: 2, reset: true }]);
  });

  test("the server has started anew: its numbers begin again", () => {
    const { tally, found } = away();
    tally.reset();
    for (const n of [1, 2]) tally.take({ n, at: 6600 + n, run: "b" }, 6610);
    assertEquals(found, [
      { ...nothing, count: 0, first: 0, last: 0, took: 0, reset: true, restarted: true },
    ]);
    assertEquals([tally.missed, tally.twice, tally.last], [0, 0, 2]);
  });

  test("the server's clock is an hour behind", () => {
    const found: Return[] = [];
    const tally = new Tally((one) => found.push(one));
    const take = (n: number, now: number) => {
      tally.take({ n, at: n * 1000 - 3_600_000, run: "a" }, now);
    };
    tally.opened(500);
    take(1, 1001);
    tally.lost(1500);
    tally.opened(3500);
    take(2, 3510);
    take(3, 3510);
    take(4, 4001);
    assertEquals(found.map(({ count, missed, twice }) => [count, missed, twice]), [[2, 0, 0]]);
  });
});
