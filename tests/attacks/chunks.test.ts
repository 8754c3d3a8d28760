/**
 * What consumers do with the bytes that a stream gives out: take their buffers over, transfer them, write into them,
 * look at what else is in there. None of it harms the log, other readers, or what is given out later.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { eventStream } from "../../mod.ts";
import {
  EventReader,
  runtime,
  type Service,
  until,
  withHub,
  within,
  withService,
} from "../server-helpers.ts";

type Bytes = ReadableStream<Uint8Array>;

/** A stream of what `use` makes of each chunk of another one. */
function mapped(
  body: Bytes,
  use: (chunk: Uint8Array) => Uint8Array,
  { type, ended }: { type?: "bytes"; ended?: () => void } = {},
): Bytes {
  const reader = body.getReader();
  const source = {
    type,
    async pull(controller: ReadableStreamDefaultController<Uint8Array>) {
      const { done, value } = await reader.read();
      if (!done) return controller.enqueue(use(value));
      controller.close();
      ended?.();
    },
  };
  return new ReadableStream(source as UnderlyingDefaultSource<Uint8Array>);
}

function transferred(chunk: Uint8Array): Uint8Array {
  return structuredClone(chunk, { transfer: [chunk.buffer as ArrayBuffer] });
}

function postedAway({ body }: Response): Bytes[] {
  const { port1 } = new MessageChannel();
  const post = (chunk: Uint8Array) => {
    const copy = new Uint8Array(chunk);
    port1.postMessage(chunk, [chunk.buffer as ArrayBuffer]);
    return copy;
  };
  return [mapped(body!, post, { ended: () => port1.close() })];
}

/** All of the buffer is overwritten, but that of a large chunk, which readers share. */
function overwritten(chunk: Uint8Array): Uint8Array {
  const copy = new Uint8Array(chunk);
  if (chunk.length <= 4096) new Uint8Array(chunk.buffer).fill(0);
  return copy;
}

async function streamTransferred({ body }: Response): Promise<Bytes[]> {
  const { port1, port2 } = new MessageChannel();
  const received = new Promise<Bytes>((resolve) => port2.onmessage = ({ data }) => resolve(data));
  port1.postMessage(body, [body as unknown as Transferable]);
  const stream = await within(received, "the stream");
  port1.close();
  return [stream];
}

/** Ways to treat a response, each with the streams that come of it. */
const ways: Record<string, (response: Response) => Bytes[] | Promise<Bytes[]>> = {
  "a byte stream around its body": ({ body }) => [
    mapped(body!, (chunk) => chunk, { type: "bytes" }),
  ],
  "chunks transferred": ({ body }) => [mapped(body!, transferred)],
  "chunks posted away": postedAway,
  "small chunks overwritten": ({ body }) => [mapped(body!, overwritten)],
  "clone()": (response) => [response.clone().body!, response.body!],
  "tee()": ({ body }) => body!.tee(),
  "a TransformStream": ({ body }) => [body!.pipeThrough(new TransformStream())],
  "the stream transferred": streamTransferred,
};

const unsupported = (name: string) =>
  name === "the stream transferred" && runtime === "bun" && "Bun cannot transfer a stream";

/** A response of the handler's own, with no server between. */
async function open(service: Service, session: string, lastEventId = ""): Promise<Response> {
  const headers = { "X-Session-Id": session, "Last-Event-ID": lastEventId };
  const request = new Request("http://localhost/api/v1/sse/subscribe", { headers });
  return await service.handler(request);
}

describe("a consumer's treatment of its chunks harms nobody", () => {
  for (const [name, way] of Object.entries(ways)) {
    test(name, { skip: unsupported(name) }, () =>
      withService({}, async (service) => {
        const { hub } = service;
        const treated = async (lastEventId?: string) =>
          (await way(await open(service, "taker", lastEventId))).map((body) =>
            new EventReader(body)
          );
        const plain = async (lastEventId?: string) =>
          new EventReader((await open(service, "grace", lastEventId)).body!);

        const cursor = hub.cursor();
        const readers = [
          ...await treated(),
          await service.subscribe("ada"),
          await plain(),
          ...await treated(),
          await plain(),
        ];
        const sent: string[] = [];
        // The first of a pair is small or large, and both leave together.
        for (const length of [1, 5_000, 2, 6_000, 50_000]) {
          const pair = ["x".repeat(length), `${length}`];
          sent.push(...pair);
          await Promise.all(pair.map((data) => hub.broadcast("e", data)));
          for (const reader of readers) assertEquals(await reader.data(2), pair);
        }
        const late = [
          ...await treated(cursor),
          await service.subscribe("ada", "", { "Last-Event-ID": cursor }),
          await plain(cursor),
          ...await treated(cursor),
          await plain(cursor),
        ];
        for (const reader of late) assertEquals(await reader.data(sent.length), sent);
        for (const session of ["taker", "ada", "grace"]) await hub.disconnect(session);
        for (const reader of [...readers, ...late]) assertEquals(await reader.rest(), []);
      }));
  }
});

describe("a chunk's buffer", () => {
  test("holds that chunk and nothing else: events, preamble, heartbeat, reset, farewell", () =>
    withHub({ heartbeat: 20 }, async (hub) => {
      const chunks: Uint8Array[] = [];
      const done = (async () => {
        const stream = hub.subscribe("alice", { lastEventId: "forged" });
        for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
          chunks.push(chunk);
        }
      })();
      const text = () => chunks.map((chunk) => new TextDecoder().decode(chunk)).join("");
      await hub.send("bob", "e", "secret");
      await hub.send("alice", "e", "small");
      await until(() => text().includes("small"), "an event alone");
      await Promise.all(Array.from({ length: 40 }, async (_, i) => {
        await hub.send("bob", "e", "secret");
        await hub.send("alice", "e", "large".repeat(100 + i));
      }));
      await until(() => text().includes(":\nid:"), "a heartbeat");
      await hub.close();
      await within(done, "the end of the stream");
      for (const chunk of chunks) {
        assertEquals([chunk.byteOffset, chunk.buffer.byteLength], [0, chunk.length]);
      }
      assert(chunks.some((chunk) => chunk.length > 10_000), "events that left together");
      assertEquals(text().match(/retry:|streamside:reset|small|secret/g), [
        "retry:",
        "streamside:reset",
        "small",
        "retry:",
      ]);
    }));

  test("is copied once for all readers when it is large, and anew when somebody took it", () =>
    withHub({}, async (hub) => {
      const cursor = hub.cursor();
      const readers: ReadableStreamDefaultReader<Uint8Array>[] = [];
      const next = async (reader: ReadableStreamDefaultReader<Uint8Array>) =>
        (await within(reader.read(), "a chunk")).value!;
      const open = async (lastEventId?: string) => {
        const reader = hub.subscribe("alice", { lastEventId }).getReader();
        readers.push(reader);
        await next(reader); // the preamble
        return reader;
      };
      const live = [await open(), await open()];
      const waiting = live.map(next);
      await hub.broadcast("e", "x".repeat(10_000));
      const [one, two] = await Promise.all(waiting);
      assertStrictEquals(one!.buffer, two!.buffer);
      const text = new TextDecoder().decode(one);
      // What catches up is read once for all as well.
      const late = await Promise.all((await Promise.all([open(cursor), open(cursor)])).map(next));
      assertStrictEquals(late[0]!.buffer, late[1]!.buffer);
      transferred(late[0]!);
      assertEquals(new TextDecoder().decode(await next(await open(cursor))), text);
      for (const reader of readers) await reader.cancel();
    }));
});

test("eventStream: what becomes of one response's bytes harms no other", async () => {
  const response = () => eventStream(["one", "two"]);
  const expected = ":\n\ndata: one\n\ndata: two\n\nevent: streamside:end\ndata: {}\n\n";
  for (const [name, way] of Object.entries(ways)) {
    if (unsupported(name)) continue;
    const bodies = await way(response());
    for (const text of await Promise.all(bodies.map((body) => new Response(body).text()))) {
      assertEquals(text, expected, name);
    }
    assertEquals(await response().text(), expected, `after ${name}`);
  }
});
