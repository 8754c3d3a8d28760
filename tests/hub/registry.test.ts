/**
 * Who is connected: groups and channels, against a plain list of who subscribes to what.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Connection } from "../../src/hub/connection.ts";
import { Registry } from "../../src/hub/registry.ts";

const owner = { drained: () => {}, gone: () => {} };

function connect(registry: Registry, number: number, channels: Set<string>): Connection {
  const start = { number, session: `s${number % 3}`, channels, position: undefined };
  const ends = { deadline: Infinity, deadlineReason: "expired" } as const;
  const connection = new Connection(owner, { ...start, ...ends }, registry.group(channels), 0);
  registry.add(connection);
  return connection;
}

const channels = Array.from({ length: 40 }, (_, i) => `c${i}`);
const step = fc.oneof(
  fc.record({
    do: fc.constant("add" as const),
    channels: fc.uniqueArray(fc.constantFrom(...channels)),
  }),
  fc.record({
    do: fc.constantFrom("join" as const, "leave" as const),
    which: fc.nat(),
    channel: fc.constantFrom(...channels),
  }),
  fc.record({ do: fc.constant("remove" as const), which: fc.nat() }),
);

describe("the registry", () => {
  test("finds by channel those who subscribe to it, whatever came and went", () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const registry = new Registry();
      const open = new Map<Connection, Set<string>>();
      for (const [i, step] of steps.entries()) {
        const all = [...open];
        if (step.do === "add") {
          const names = new Set(step.channels);
          open.set(connect(registry, i, names), names);
        } else if (all.length > 0) {
          const [connection, names] = all[step.which % all.length]!;
          if (step.do === "remove") {
            open.delete(connection);
            registry.remove(connection);
          } else {
            const joins = step.do === "join";
            if (joins) names.add(step.channel);
            else names.delete(step.channel);
            registry[step.do](connection, step.channel);
          }
        }
      }
      for (const [connection, names] of open) {
        assertEquals([...connection.group.names].sort(), [...names].sort());
        assertEquals(connection.group.size, names.size + 1);
      }
      const inUse = new Set([...open.values()].flatMap((names) => [...names]));
      assertEquals([...registry.channels.keys()].sort(), [...inUse].sort());
      for (const name of channels) {
        const expected = [...open].filter(([, names]) => names.has(name)).map(([each]) => each);
        const groups = registry.channels.get(name)?.groups ?? [];
        const found = groups.flatMap(({ connections }) => [...connections]);
        assertEquals(found.length, expected.length);
        assertEquals(new Set(found), new Set(expected));
        assertEquals(registry.count(`#${name}`), expected.length);
        const others = expected.filter(({ session }) => session !== "s1").length;
        assertEquals(registry.count(`#${name}`, ["s1", "s1"]), others);
        for (const [{ group }, names] of open) {
          assertEquals(group.hears(`#${name}`), names.has(name));
        }
      }
      const groups = [...registry.groups];
      assert(groups.every(({ connections }) => connections.size > 0));
      const sets = new Set([...open.values()].map((names) => [...names].sort().join()));
      assertEquals(groups.length, sets.size);
    }));
  });

  test("joining or leaving a channel costs nothing for the others of a connection", () => {
    const registry = new Registry();
    const others = Array.from({ length: 100 }, (_, i) => `c${i}`);
    const alone = connect(registry, 0, new Set(["own", ...others]));
    const [one, another] = [1, 2].map((i) => connect(registry, i, new Set(["theirs", ...others])));
    const left = connect(registry, 3, new Set(["theirs", "new", ...others]));
    const groups = others.map((name) => [...registry.channels.get(name)!.groups]);
    const { group } = alone;
    for (let i = 0; i < 3; i++) {
      registry.join(alone, "new");
      assertEquals(registry.count("#new"), 2);
      registry.leave(alone, "new");
      registry.join(one!, "new");
      assert(one!.group === left.group && another!.group !== left.group);
      registry.leave(one!, "new");
    }
    assert(
      alone.group === group,
      "nobody else has the channels of its group, which it takes along",
    );
    assertEquals(registry.channels.get("new")!.groups, [left.group]);
    for (const [i, name] of others.entries()) {
      assert(registry.channels.get(name)!.groups.every((each, j) => each === groups[i]![j]));
      assertEquals(registry.count(`#${name}`), 4);
    }
  });

  test("a channel that many joined and left one after the other holds on to few of them", () => {
    const registry = new Registry();
    connect(registry, 0, new Set(["all"]));
    for (let i = 1; i < 1_000; i++) {
      registry.remove(connect(registry, i, new Set(["all", `c${i}`])));
    }
    assert(registry.channels.get("all")!.groups.length <= 16);
    assert(registry.table.length <= 2, "numbers are used again");
  });
});
