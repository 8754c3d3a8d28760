/**
 * Readers that take less than is sent, over real sockets: what they cost, what they get when they go on, and that
 * nobody else notices.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import {
  createHandler,
  createHub,
  type Hub,
  type HubOptions,
  sessionFromRequest,
} from "../../mod.ts";
import { turn } from "./delivery-time.ts";
import { type Block, parseBlock, quietLogger, runtime, servers, until } from "../server-helpers.ts";
import { SocketReader } from "./slow-readers-client.ts";

const KIB = 1024;

/** How many bytes a connection may hold beyond the kernel's buffers. */
const HELD: Record<string, number> = {
  // Deno takes up to sixteen chunks, or 400 KiB and a chunk, ahead of the socket.
  "Deno.serve": 480 * KIB,
  // Deno's node:http takes 64 KiB before it says that it is full, and then there may be a chunk more.
  "node:http": runtime === "deno" ? 128 * KIB : 64 * KIB,
  "Bun.serve": 64 * KIB,
};

/** A reader, and the events that it got. */
class EventSocket extends SocketReader {
  /** The blocks that came since this was last asked, but for comments and preambles. */
  take(): Block[] {
    const end = this.text.lastIndexOf("\n\n");
    if (end === -1) return [];
    const blocks = this.text.slice(0, end).split("\n\n").map(parseBlock);
    this.text = this.text.slice(end + 2);
    return blocks.filter(({ event }) => event !== undefined);
  }

  /** Takes events until one has this data. */
  async takeUntil(data: string): Promise<Block[]> {
    const taken: Block[] = [];
    await until(
      () => {
        taken.push(...this.take());
        return taken.some((block) => block.data === data);
      },
      () =>
        `an event ${data}, having ${taken.length}, the last ${taken.at(-1)?.data?.slice(0, 20)}`,
    );
    return taken;
  }
}

interface Stage {
  hub: Hub;
  port: number;
  /** Opens a stream for a session, and waits until the hub has it. */
  open(session: string, reads: boolean): Promise<EventSocket>;
}

/** Runs a test on a hub behind a server. */
async function onStage(
  serve: (typeof servers)[string],
  options: HubOptions,
  run: (stage: Stage) => Promise<void>,
): Promise<void> {
  const hub = createHub({ logger: quietLogger, ...options });
  const handler = createHandler(hub, {
    authenticate: (request) => ({ session: sessionFromRequest(request) ?? "anyone" }),
  });
  const server = await serve(handler);
  const readers: EventSocket[] = [];
  try {
    await run({
      hub,
      port: server.port,
      open: async (session, reads) => {
        const path = `/api/v1/sse/subscribe?sessionId=${session}`;
        const before = hub.stats().connects;
        const reader = new EventSocket({ port: server.port, path, reads });
        readers.push(reader);
        await until(() => hub.stats().connects > before, "the connection");
        return reader;
      },
    });
    for (const reader of readers) reader.break();
    await until(() => hub.stats().connections === 0, "the hub to forget its connections");
  } finally {
    for (const reader of readers) reader.break();
    await hub.close();
    await server.close();
  }
}

/** Sends until a hub has handed out nothing for a while to some readers, all of which stalled. */
async function sendUntilFull(
  hub: Hub,
  stalled: number,
  send: () => Promise<unknown>,
): Promise<void> {
  let handed = -1;
  for (let quiet = 0; quiet < 20; quiet++) {
    for (let i = 0; i < 20; i++) await send();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const { bytes, lagging } = hub.stats();
    if (bytes !== handed || lagging < stalled) quiet = 0;
    handed = bytes;
  }
}

/** Bytes that the kernel holds for all connections to a port: not acknowledged, or not read yet. */
function kernelBytes(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  let bytes = 0;
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)) {
    const [, local, remote, , queues] = line.trim().split(/\s+/);
    if (queues === undefined) continue;
    const [sending, receiving] = queues.split(":").map((digits) => parseInt(digits, 16));
    if (local!.endsWith(`:${hex}`)) bytes += sending!;
    if (remote!.endsWith(`:${hex}`)) bytes += receiving!;
  }
  return bytes;
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`slow readers behind ${name}`, () => {
    test(
      "readers that stop reading hold 64 KiB each beyond the kernel's buffers, and no more comes",
      {
        skip: existsSync("/proc/net/tcp") ? false : "what the kernel holds is read from /proc",
      },
      async () => {
        await onStage(serve, { history: { bytes: 4 * KIB * KIB } }, async ({ hub, open, port }) => {
          const count = 20;
          const stalled = await Promise.all(
            Array.from({ length: count }, (_, i) => open(`stalled-${i}`, false)),
          );
          const data = "x".repeat(KIB);
          await sendUntilFull(hub, count, () => hub.broadcast("filler", data));
          const { bytes } = hub.stats();
          const held = (bytes - kernelBytes(port)) / count;
          assertLessOrEqual(held, HELD[name]!, `each holds ${held} bytes`);

          const healthy = await open("healthy", true);
          for (let i = 0; i < 500; i++) {
            await hub.broadcast("more", `${i} ${data}`);
            if (i % 4 === 0) await turn();
          }
          await hub.broadcast("more", "end");
          const got = await healthy.takeUntil("end");
          assertEquals(got.map(({ data }) => data!.split(" ")[0]), [
            ...Array.from({ length: 500 }, (_, i) => String(i)),
            "end",
          ]);
          const toHealthy = got.reduce((sum, { data }) => sum + data!.length, 0);
          const toStalled = hub.stats().bytes - bytes - toHealthy;
          assertLessOrEqual(toStalled, 100 * KIB, "more was handed to those that stalled");
          assert(stalled.every((reader) => reader.isOpen));
        });
      },
    );

    test("a reader that goes on gets everything, in order", async () => {
      await onStage(serve, { history: { bytes: 64 * KIB * KIB } }, async ({ hub, open }) => {
        const reader = await open("slow", false);
        let sent = 0;
        await sendUntilFull(
          hub,
          1,
          () => hub.broadcast("event", `${++sent} ${"x".repeat(4 * KIB)}`),
        );
        for (let i = 0; i < 1_000; i++) {
          await hub.send("slow", "event", `${++sent} ${"é".repeat(KIB)}`);
        }
        await hub.send("slow", "event", "end");
        reader.resume();
        const got = await reader.takeUntil("end");
        assertEquals(got.length, sent + 1);
        got.slice(0, -1).forEach(({ data }, i) =>
          assert(data!.startsWith(`${i + 1} `), `after ${i}`)
        );
        await until(() => hub.stats().lagging === 0, "the reader to be live again");
        assertEquals(hub.stats().resets, 0);
      });
    });

    test("of events with a key, one that lagged gets the newest", async () => {
      await onStage(serve, {}, async ({ hub, open }) => {
        const reader = await open("slow", false);
        await sendUntilFull(hub, 1, () => hub.broadcast("filler", "x".repeat(16 * KIB)));
        for (let i = 0; i <= 1_000; i++) {
          await hub.send("slow", "progress", i, { key: "sync" });
          if (i % 100 === 0) await hub.send("slow", "message", i);
        }
        await hub.send("slow", "message", "end");
        reader.resume();
        const got = await reader.takeUntil("end");
        const data = (event: string) =>
          got.filter((block) => block.event === event).map(({ data }) => data);
        assertEquals(data("progress"), ["1000"]);
        assertEquals(data("message"), [
          ...Array.from({ length: 11 }, (_, i) => String(i * 100)),
          "end",
        ]);
      });
    });

    test("a reader that has fallen out of the history gets a reset, where the gap is", async () => {
      await onStage(serve, { history: { bytes: 256 * KIB } }, async ({ hub, open }) => {
        const reader = await open("slow", false);
        let sent = 0;
        const send = async () => {
          await hub.broadcast("event", `${++sent} ${"x".repeat(8 * KIB)}`);
          await turn();
        };
        await sendUntilFull(hub, 1, send);
        for (let i = 0; i < 100; i++) await send();
        reader.resume();
        await until(() => hub.stats().lagging === 0, "the reader to be live again");
        await hub.broadcast("event", `${++sent}`);
        // A kernel that takes more after a pause makes more than one gap: a reset stands at each, and nowhere else.
        let resets = 0;
        let last = 0;
        let isReset = false;
        for (const { event, data } of await reader.takeUntil(`${sent}`)) {
          if (event === "streamside:reset") {
            resets++;
            isReset = true;
            continue;
          }
          const number = parseInt(data!);
          assert(number > last, `after ${last} comes ${number}`);
          assertEquals(number > last + 1, isReset, `a gap, a reset: between ${last} and ${number}`);
          last = number;
          isReset = false;
        }
        assert(resets > 0, "a reset");
        assertEquals(hub.stats().resets, resets);
      });
    });

    test("a reader that takes nothing for stallTimeout is closed, a reader that takes little is not", async () => {
      const options = { stallTimeout: 1_500, history: { bytes: 64 * KIB * KIB } };
      await onStage(serve, options, async ({ hub, open }) => {
        const reasons: [string, string][] = [];
        hub.on("disconnect", ({ session, reason }) => reasons.push([session, reason]));
        const slow = await open("slow", false);
        const stalled = await open("stalled", false);
        await sendUntilFull(hub, 2, () => hub.broadcast("event", "x".repeat(16 * KIB)));
        let isOver = false;
        const takeLittle = async () => {
          while (!isOver) {
            slow.resume();
            const before = slow.text.length;
            await until(() => slow.text.length > before, "the slow reader to get something");
            slow.pause();
            await new Promise((resolve) => setTimeout(resolve, 20));
            await hub.broadcast("event", "x".repeat(16 * KIB));
          }
        };
        const taking = takeLittle();
        await until(() => reasons.length > 0, "the stalled reader to be closed");
        isOver = true;
        await taking;
        assertEquals(reasons, [["stalled", "stalled"]]);
        assertEquals(hub.stats().stalled, 1);
        stalled.resume();
        await until(() => !stalled.isOpen, "the stalled reader to see its connection gone");
        assert(slow.isOpen);
      });
    });

    test(
      "a reader of 5 kB/s is not closed with the options' defaults, though its kernel moves in large steps",
      { skip: process.env.STREAMSIDE_TEST_LONG ? false : "takes 100 s: npm run test:long" },
      async () => {
        await onStage(serve, { history: { bytes: 64 * KIB * KIB } }, async ({ hub, open }) => {
          const reader = await open("slow", false);
          await sendUntilFull(hub, 1, () => hub.broadcast("event", "x".repeat(16 * KIB)));
          const began = performance.now();
          // One piece at a time, and the next when it is due.
          reader.socket.on("data", () => reader.pause());
          while (performance.now() - began < 100_000 && reader.isOpen) {
            if (reader.text.length < (performance.now() - began) * 5) reader.resume();
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
          assertEquals([hub.stats().connections, hub.stats().stalled], [1, 0]);
          assert(reader.isOpen);
        });
      },
    );

    test("a stream that is ended while its reader takes nothing is let go of after stallTimeout", async () => {
      await onStage(serve, { stallTimeout: 1_000 }, async ({ hub, open, port }) => {
        const reader = await open("stalled", false);
        await sendUntilFull(hub, 1, () => hub.broadcast("event", "x".repeat(16 * KIB)));
        await hub.disconnect("stalled");
        await until(() => hub.stats().connections === 0, "the hub to forget the connection");
        // Deno.serve and Bun.serve look at a stream again when its socket has room again.
        if (name === "node:http") {
          await until(() => openSockets(port) === 0, "the server to close the connection");
        }
        reader.resume();
        await until(() => !reader.isOpen, "the reader to see its connection gone");
      });
    });
  });
}

/** How many connections a server holds open, as the kernel sees it: those whose own end is not closed. */
function openSockets(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const OPEN = new Set(["01", "08"]);
  return readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(`:${hex}`) && OPEN.has(state!)).length;
}
