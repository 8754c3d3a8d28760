/** `client.on`, which listens to events whose names are known and returns how to stop. */
import { describe, test } from "node:test";
import { assertEquals } from "@std/assert";
import { createClient, createSharedClient } from "../../src/client/mod.ts";
import { next, serve, until } from "./helpers.ts";

interface Events {
  tick: number;
}

describe("client.on", () => {
  for (const create of [createClient, createSharedClient]) {
    test(`${create.name}: hears the stream and the client, until it stops`, async () => {
      await using server = await serve((exchange, index) => {
        if (index === 0) exchange.stream("retry: 0\nid: 1\nevent: tick\ndata: 1\n\n");
        else exchange.stream(`id: ${index + 1}\nevent: tick\ndata: ${index + 1}\n\n`);
      });
      const client = create<Events>(server.url, { reconnect: { jitter: 0 } });
      const heard: string[] = [];
      const stopTicks = client.on("tick", (event) => heard.push(`tick ${event.json()}`));
      client.on("open", () => heard.push("open"));
      client.on("close", ({ reason }) => heard.push(reason));

      client.connect();
      await until(() => heard.includes("tick 1"), "the first event");
      // Over a reconnection.
      server.exchanges[0]!.response.end();
      await until(() => heard.includes("tick 2"), "the event of the second connection");

      assertEquals(stopTicks(), undefined);
      stopTicks();
      const third = next(client, "tick");
      server.exchanges[1]!.response.write("id: 3\nevent: tick\ndata: 3\n\n");
      await third;
      client.close();
      assertEquals(heard, ["open", "tick 1", "open", "tick 2", "closed"]);
    });
  }

  test("a function that listens twice hears twice, and stops once at a time", () => {
    const client = createClient("http://localhost/");
    let heard = 0;
    const listener = () => heard++;
    const stop = [client.on("tick", listener), client.on("tick", listener)];
    client.addEventListener("tick", listener);
    const count = () => {
      heard = 0;
      client.dispatchEvent(new Event("tick"));
      return heard;
    };
    assertEquals(count(), 3);
    stop[0]!();
    assertEquals(count(), 2);
    stop[0]!();
    assertEquals(count(), 2);
    stop[1]!();
    assertEquals(count(), 1);
  });

  test("what a listener does while it is called, holds from the next event on", () => {
    const client = createClient("http://localhost/");
    const heard: string[] = [];
    const stop = client.on("tick", () => {
      heard.push("first");
      stop();
      stopOther();
      client.on("tick", () => heard.push("added"));
    });
    const stopOther = client.on("tick", () => heard.push("other"));
    client.dispatchEvent(new Event("tick"));
    assertEquals(heard, ["first"]);
    client.dispatchEvent(new Event("tick"));
    assertEquals(heard, ["first", "added"]);
  });
});
