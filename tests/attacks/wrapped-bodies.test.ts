/**
 * Readers that take nothing, of streams that go through something on their way: a TransformStream, a compressor,
 * another's handler. Neither the socket nor what feeds it is left behind. Runs on the node:http of each runtime.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import * as http2 from "node:http2";
import { connect, type Socket } from "node:net";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";
import { createHub, eventStream, type Hub } from "../../mod.ts";
import { type FetchHandler, toNodeListener } from "../../src/node/mod.ts";
import { collectGarbage } from "../garbage.ts";
import {
  type AnyListener,
  listen,
  quietLogger,
  RawClient,
  runtime,
  until,
  within,
} from "../server-helpers.ts";

const STREAM = { headers: { "Content-Type": "text/event-stream" } };
const GET = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/** A listener behind node:http, and how many sockets it has. */
async function serve(listener: AnyListener) {
  let open = 0;
  const server = createServer(listener as RequestListener);
  server.on("connection", (socket: Socket) => {
    open++;
    socket.once("close", () => open--);
  });
  return { ...await listen(server), open: () => open };
}

/** The stream of a hub as a middleware that wraps it hands it on. */
const wraps: Record<string, (hub: Hub) => FetchHandler> = {
  "a TransformStream": (hub) => () =>
    new Response(hub.subscribe("ada").pipeThrough(new TransformStream()), STREAM),
  "a compressor": (hub) => () =>
    new Response(
      hub.subscribe("ada").pipeThrough(
        new CompressionStream("gzip") as ReadableWritablePair<Uint8Array, Uint8Array>,
      ),
      { headers: { ...STREAM.headers, "Content-Encoding": "gzip" } },
    ),
};

interface ReadableWritablePair<R, W> {
  readable: ReadableStream<R>;
  writable: WritableStream<W>;
}

/** Opens a stream and takes nothing of it. */
async function stall(port: number, version = "1.1"): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {}); // it is cut off on purpose
  await within(new Promise((resolve) => socket.once("connect", resolve)), "a connection");
  socket.pause();
  socket.write(GET.replace("1.1", version));
  return socket;
}

/** What no compressor makes small. */
function noise(length: number): string {
  return randomBytes(length * 0.75).toString("base64");
}

/** Sends until something is so. */
async function flood(hub: Hub, enough: () => boolean, what: string): Promise<void> {
  await until(() => hub.stats().connections > 0, "a connection");
  await until(() => (enough() || void hub.broadcast("e", noise(60_000)), enough()), what);
}

describe("a reader that takes nothing at all", () => {
  for (const [wrap, handlerOf] of Object.entries(wraps)) {
    test(`of a stream that goes through ${wrap}: its socket is closed, and its connection with it`, async () => {
      // The hub's own limit is far: the sockets are what this is about.
      const hub = createHub({ logger: quietLogger, maxConnections: 3 });
      const server = await serve(toNodeListener(handlerOf(hub), { stallTimeout: 400 }));
      try {
        for (let round = 0; round < 2; round++) {
          const sockets = await Promise.all([1, 2, 3].map(() => stall(server.port)));
          await until(() => hub.stats().connections === 3, "three connections");
          await flood(hub, () => server.open() === 0, "the sockets to close");
          await until(() => hub.stats().connections === 0, "the hub's connections to go");
          for (const socket of sockets) socket.destroy();
        }
      } finally {
        await hub.close();
        await server.close();
      }
    });
  }

  test("of a hub that closes stalled readers first", async () => {
    const hub = createHub({ logger: quietLogger, stallTimeout: 100 });
    const handler = wraps["a TransformStream"]!(hub);
    const server = await serve(toNodeListener(handler, { stallTimeout: 800 }));
    try {
      const socket = await stall(server.port);
      await flood(hub, () => hub.stats().stalled === 1, "the hub to give it up");
      await until(() => server.open() === 0, "its socket to close");
      socket.destroy();
    } finally {
      await hub.close();
      await server.close();
    }
  });

  test("of an eventStream: its source is returned from", async () => {
    let returned = false;
    const handler = () =>
      eventStream(async function* () {
        try {
          for (;;) yield await Promise.resolve("x".repeat(20_000));
        } finally {
          returned = true;
        }
      }());
    const server = await serve(toNodeListener(handler, { stallTimeout: 400 }));
    try {
      const socket = await stall(server.port);
      await until(() => returned, "the source to be returned from");
      await until(() => server.open() === 0, "the socket to close");
      socket.destroy();
    } finally {
      await server.close();
    }
  });

  test("of any other body, where it is asked for", async () => {
    let cancelled = false;
    const endless = () =>
      new Response(
        new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(100_000)),
          cancel: () => void (cancelled = true),
        }),
      );
    const server = await serve(toNodeListener(endless, { stallTimeout: 400 }));
    try {
      const socket = await stall(server.port);
      await until(() => cancelled, "the body to be cancelled");
      await until(() => server.open() === 0, "the socket to close");
      socket.destroy();
    } finally {
      await server.close();
    }
  });

  test("of an HTTP/2 stream, beside one that reads on the same connection", async () => {
    const hub = createHub({ logger: quietLogger });
    const handler = wraps["a TransformStream"]!(hub);
    const server = http2.createServer(toNodeListener(handler, { stallTimeout: 400 }));
    const sessions = new Set<http2.ServerHttp2Session>();
    server.on("session", (session) => sessions.add(session));
    const { port, close } = await listen(server as unknown as Server);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    // With Bun's client, what one stream leaves unread holds up all streams of its connection.
    const another = runtime === "bun" ? http2.connect(`http://127.0.0.1:${port}`) : session;
    try {
      const open = (session: http2.ClientHttp2Session) => {
        const stream = session.request({ ":path": "/" });
        stream.on("error", () => {}); // it is reset on purpose
        return stream;
      };
      const reading = open(session);
      let text = "";
      reading.setEncoding("utf8").on("data", (chunk) => text += chunk);
      await until(() => text.includes("retry: "), "a stream");
      const stalled = open(another);
      let closed = false;
      stalled.once("close", () => closed = true);
      await until(() => hub.stats().connections === 2, "the second stream");
      await flood(hub, () => hub.stats().connections === 1, "the stalled stream to go");
      // It is told of its end when it reads: what came is taken first.
      stalled.resume();
      await until(() => closed, "the stalled stream to be closed");
      await hub.broadcast("e", "still there");
      await until(() => text.includes("still there"), "the other to go on");
    } finally {
      await hub.close();
      session.destroy();
      another.destroy();
      for (const each of sessions) each.destroy();
      await close();
    }
  });

  for (const version of ["1.0", "1.1"]) {
    test(`HTTP/${version}: what is left when the hub ends its stream holds no socket`, async () => {
      const responses: ServerResponse[] = [];
      const hub = createHub({ logger: quietLogger, stallTimeout: 400 });
      const listener = toNodeListener(() => new Response(hub.subscribe("ada"), STREAM), {
        stallTimeout: 400,
      });
      const server = await serve((incoming, outgoing) => {
        responses.push(outgoing as ServerResponse);
        listener(incoming, outgoing);
      });
      try {
        const socket = await stall(server.port, version);
        await until(() => hub.stats().connections === 1, "the connection");
        // Something is left in the response, and still it takes more.
        while (responses[0]!.writableLength === 0) {
          await hub.broadcast("e", "x".repeat(8000));
          await new Promise((resolve) => setTimeout(resolve));
        }
        await hub.disconnect("ada");
        await until(() => server.open() === 0, "its socket to close");
        assertEquals(hub.stats().connections, 0);
        socket.destroy();
      } finally {
        await hub.close();
        await server.close();
      }
    });
  }

  test("a stallTimeout that is no time is refused; 0 and Infinity are none", () => {
    const handler = () => new Response();
    for (const stallTimeout of [-1, NaN, "1" as unknown as number]) {
      let message = "";
      try {
        toNodeListener(handler, { stallTimeout });
      } catch (error) {
        message = (error as Error).message;
      }
      assert(message.startsWith("stallTimeout must be a number"), `${stallTimeout}: ${message}`);
    }
    for (const stallTimeout of [0, Infinity]) toNodeListener(handler, { stallTimeout });
  });
});

describe("a reader that is slow", () => {
  test("gets all of it, though no write is taken whole within stallTimeout", async () => {
    // The kernel takes some megabytes for nobody.
    const size = 24_000_000;
    const handler = () => eventStream(["x".repeat(size)]);
    const server = await serve(toNodeListener(handler, { stallTimeout: 400 }));
    const socket = await stall(server.port);
    try {
      let received = 0;
      let ahead = 0;
      socket.on("data", (chunk) => {
        received += chunk.length;
        ahead += chunk.length;
        if (ahead < 400_000) return;
        ahead = 0;
        socket.pause();
        setTimeout(() => socket.resume(), 40);
      });
      socket.resume();
      let closed = false;
      socket.once("close", () => closed = true);
      await until(() => received > size || closed, () => `${received} of ${size}`);
      assert(received > size, `cut off after ${received} of ${size}`);
    } finally {
      socket.destroy();
      await server.close();
    }
  });
});

describe("when the socket goes, the hub's connection goes", () => {
  test("while the stream waits for events, and while its reader is behind", async () => {
    const hub = createHub({ logger: quietLogger });
    const server = await serve(toNodeListener(wraps["a TransformStream"]!(hub)));
    try {
      const client = await RawClient.open(server.port);
      client.write(GET);
      await client.head();
      await client.streamUntil(true, "retry: ");
      client.destroy();
      await until(() => hub.stats().connections === 0, "the idle one to go");
      const socket = await stall(server.port);
      await flood(hub, () => hub.stats().lagging === 1, "it to be behind");
      socket.destroy();
      await until(() => hub.stats().connections === 0, "the one that is behind to go");
    } finally {
      await hub.close();
      await server.close();
    }
  });

  test("before the handler has answered, over HTTP/1.1 and HTTP/2", async () => {
    const hub = createHub({ logger: quietLogger });
    const waiting: (() => void)[] = [];
    const wrapped = wraps["a TransformStream"]!(hub);
    let closes = 0;
    const listener = toNodeListener(async (request) => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return wrapped(request);
    });
    const seeing: AnyListener = (incoming, outgoing) => {
      (outgoing as ServerResponse).once("close", () => closes++);
      listener(incoming, outgoing);
    };
    const server = await serve(seeing);
    const second = http2.createServer(seeing);
    const { port, close } = await listen(second as unknown as Server);
    const session = http2.connect(`http://127.0.0.1:${port}`);
    try {
      const client = await RawClient.open(server.port);
      client.write(GET);
      const stream = session.request({ ":path": "/" });
      stream.on("error", () => {}); // it is reset on purpose
      await until(() => waiting.length === 2, "both requests");
      client.destroy();
      stream.close(http2.constants.NGHTTP2_CANCEL);
      await until(() => closes === 2, "both to go");
      for (const answer of waiting) answer();
      await until(() => hub.stats().connects === 2, "both to be answered");
      await until(() => hub.stats().connections === 0, "the hub to forget both");
    } finally {
      session.destroy();
      await hub.close();
      await server.close();
      await close();
    }
  });

  test("because the application ended the response by itself", async () => {
    const hub = createHub({ logger: quietLogger });
    const responses: ServerResponse[] = [];
    const told: unknown[] = [];
    const listener = toNodeListener(wraps["a TransformStream"]!(hub), {
      onError: (error) => told.push(error),
    });
    const server = await serve((incoming, outgoing) => {
      responses.push(outgoing as ServerResponse);
      listener(incoming, outgoing);
    });
    const client = await RawClient.open(server.port);
    try {
      client.write(GET);
      await client.head();
      await client.streamUntil(true, "retry: ");
      responses[0]!.end();
      for (let i = 0; i < 10; i++) await hub.broadcast("e", i);
      await until(() => hub.stats().connections === 0, "the hub to forget it");
      assertEquals(told, []);
    } finally {
      client.destroy();
      await hub.close();
      await server.close();
    }
  });
});

test(
  "a response that was taken is held by nobody",
  { skip: collectGarbage === undefined },
  async () => {
    const hub = createHub({ logger: quietLogger });
    const handlers: FetchHandler[] = [
      () => eventStream(["x".repeat(100_000)]),
      () => new Response(hub.subscribe("ada"), STREAM),
    ];
    const responses: WeakRef<object>[] = [];
    const listeners = handlers.map((handler) => toNodeListener(handler));
    const server = await serve((incoming, outgoing) => {
      responses.push(new WeakRef(outgoing));
      return listeners[Number(incoming.url!.slice(1))]!(incoming, outgoing);
    });
    try {
      for (const path of ["/0", "/1"]) {
        const client = await RawClient.open(server.port);
        client.write(GET.replace("/", path));
        await client.head();
        if (path === "/1") {
          await client.streamUntil(true, "retry: ");
          await hub.disconnect("ada");
        }
        while (await client.chunk() !== "") { /* what is left */ }
        client.destroy();
      }
      await until(
        () => (collectGarbage!(), responses.every((response) => response.deref() === undefined)),
        () => `${responses.map((response) => response.deref() === undefined)}`,
      );
    } finally {
      await hub.close();
      await server.close();
    }
  },
);

describe("the process", () => {
  const program = fileURLToPath(new URL("stalls-program.ts", import.meta.url));
  const commands = {
    node: [process.execPath, "--import=tsx", program],
    deno: [process.execPath, "run", "-A", "--no-check", program],
    bun: [process.execPath, program],
  };

  /** Runs a server of its own: its port, and how it ends. */
  async function start(...args: string[]) {
    const [command, ...rest] = [...commands[runtime], ...args];
    const child = spawn(command!, rest, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk) => text += chunk);
    await until(() => text.includes("\n"), "the server to listen");
    // Deno's own `kill` counts a child as gone after any signal.
    const kill = (signal: NodeJS.Signals) => process.kill(child.pid!, signal);
    return { kill, ended, port: parseInt(text), said: () => text };
  }

  test("that was frozen counts that time for nobody", async () => {
    const { kill, ended, port, said } = await start("--stall", "2000");
    const socket = await stall(port);
    try {
      await until(() => said().includes("full"), "the reader to be behind");
      kill("SIGSTOP");
      await new Promise((resolve) => setTimeout(resolve, 4000));
      kill("SIGCONT");
      let received = 0;
      socket.on("data", (chunk) => received += chunk.length).resume();
      // More than the kernel holds: so it goes on.
      await until(() => received > 60_000_000 || socket.destroyed, () => `more than ${received}`);
      assert(!socket.destroyed, "it was cut off");
    } finally {
      socket.destroy();
      kill("SIGKILL");
      await ended;
    }
  });

  test("ends when nobody is there any more", async () => {
    const { kill, ended, port, said } = await start("--stall", "600000");
    const socket = await stall(port);
    try {
      await until(() => said().includes("full"), "the reader to be behind");
      // The program closes its server when its first reader is behind.
      socket.destroy();
      await within(ended, "the process to end");
    } catch (error) {
      kill("SIGKILL");
      throw error;
    }
  });
});
