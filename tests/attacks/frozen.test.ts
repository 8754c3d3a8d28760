/**
 * A server process that is stopped and goes on, as a suspended machine's does: its readers were not away.
 *
 * @module
 */
import { describe, test } from "node:test";
import process from "node:process";
import { assert, assertEquals } from "@std/assert";
import type { HubStats } from "../../mod.ts";
import { start, within } from "../examples/server.ts";
import { SocketReader } from "../hub/slow-readers-client.ts";
import { servers, until } from "../server-helpers.ts";

const STALL_TIMEOUT = 4_000;

for (const name of Object.keys(servers)) {
  describe(`a process that was stopped (${name})`, () => {
    test("closes no reader as stalled for the time that it was away", async () => {
      const server = await start("../tests/attacks/frozen-server", {
        SERVER: name,
        STALL_TIMEOUT: String(STALL_TIMEOUT),
      });
      const { pid } = server.process;
      const ask = async <T>(path: string): Promise<T> =>
        await (await within(fetch(server.url + path), `the answer to ${path}`)).json();
      const port = Number(new URL(server.url).port);
      const path = "/api/v1/sse/subscribe?sessionId=ada";
      const reader = new SocketReader({ port, path, reads: false });
      try {
        let state: HubStats & { fullFor: number };
        do state = await ask("/state"); while (state.connections === 0);
        const sent = await ask<number>("/fill");
        do state = await ask("/state"); while (state.fullFor < STALL_TIMEOUT / 2);
        assertEquals([state.connections, state.stalled], [1, 0]);

        process.kill(pid!, "SIGSTOP");
        await new Promise((resolve) => setTimeout(resolve, STALL_TIMEOUT * 1.5));
        reader.resume();
        process.kill(pid!, "SIGCONT");

        await until(() => reader.text.includes(`\ndata: ${sent} `) || !reader.isOpen, "the last");
        assert(reader.isOpen, "it was closed");
        const numbers = [...reader.text.matchAll(/^data: (\d+) /gm)].map(([, digits]) =>
          Number(digits)
        );
        assertEquals(numbers.length, sent);
        assert(numbers.every((number, i) => number === i + 1), "in order");
        state = await ask("/state");
        assertEquals([state.connections, state.stalled, state.resets], [1, 0, 0]);
      } finally {
        reader.break();
        server.process.kill("SIGKILL");
        await server.ended;
      }
    });
  });
}
