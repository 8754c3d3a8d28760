/**
 * What readers of runs must get, however often they break and wherever they resume: a ledger of what was published, and
 * a reader that checks each event against it.
 *
 * @module
 */
import type { RunError } from "../../mod.ts";
import { nextTask } from "../../src/hub/turns.ts";
import { parseBlock, within } from "../server-helpers.ts";

/** The data of the events of a run, by their index: of many lengths, each its own. */
export function lineOf(index: number): string {
  return `${index} ${"x".repeat(index % 97)}`;
}

/** A run as its source yielded it. */
export interface PublishedRun {
  /** The data of its events, which the log holds or may hold. */
  readonly data: string[];
  /** How it ended; `undefined` while it runs, `"any"` where that is for the hubs to say. */
  end: RunError | "done" | "any" | undefined;
}

/** All runs of a channel. */
export class RunLedger {
  /** By their ids, in the order in which they began. */
  readonly runs: Map<string, PublishedRun> = new Map();
  /** How many of the newest events of a run are held at least. */
  readonly held: number;

  constructor(held: number = Infinity) {
    this.held = held;
  }

  /** A run has begun. */
  begin(cursor: string): PublishedRun {
    const run: PublishedRun = { data: [], end: undefined };
    this.runs.set(cursor.replace(/-0$/, ""), run);
    return run;
  }
}

/** Something that must not be. */
class Fault extends Error {}

/** A reader of a channel's run: a connection at a time. It throws at the first event that it should not have got. */
export class RunReader {
  /** The last id that it has seen. */
  lastEventId: string | undefined;
  /** The events that it has got since it began, or since the last reset. */
  count = 0;
  resets = 0;
  /** It has seen the end of a run. */
  ended: string | undefined;
  readonly #ledger: RunLedger;
  readonly #ask: (lastEventId: string | undefined) => Promise<Response>;
  #body: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** A read that was asked for and has not come. */
  #reading: Promise<ReadableStreamReadResult<Uint8Array>> | undefined;
  #text = "";
  #decoder = new TextDecoder();
  /** The run and the number of the last event. */
  #run: string | undefined;
  #number = 0;
  /** It has just been told to begin anew. */
  #isReset = false;

  constructor(
    ledger: RunLedger,
    ask: (lastEventId: string | undefined) => Promise<Response>,
  ) {
    this.#ledger = ledger;
    this.#ask = ask;
  }

  get isOpen(): boolean {
    return this.#body !== undefined;
  }

  /** Connects. Resolves to the status. */
  async open(): Promise<number> {
    const response = await within(this.#ask(this.lastEventId), "an answer");
    if (response.status !== 200) {
      await response.body?.cancel();
      return response.status;
    }
    // Refused for now: it comes back.
    if (response.headers.has("retry-after")) {
      await response.body?.cancel();
      return 503;
    }
    this.#body = response.body!.getReader();
    this.#text = "";
    this.#decoder = new TextDecoder();
    this.#isReset = false;
    return 200;
  }

  /** Reads so many bytes at most, or to the end of the stream; the rest of a chunk is lost with the connection. */
  async read(bytes: number): Promise<void> {
    while (this.#body !== undefined && bytes > 0) {
      const { done, value } = await within(
        this.#reading ?? this.#body.read(),
        `more after ${this.lastEventId}`,
      );
      this.#reading = undefined;
      if (done) return void (this.#body = undefined);
      this.#feed(value.subarray(0, bytes));
      bytes -= value.length;
      if (bytes < 0) await this.break();
    }
  }

  /** Reads what there is, so many bytes at most, and does not wait for more. */
  async readSome(bytes: number): Promise<void> {
    while (this.#body !== undefined && bytes > 0) {
      this.#reading ??= this.#body.read();
      let result: ReadableStreamReadResult<Uint8Array> | undefined;
      void this.#reading.then((value) => result = value, () => {});
      // A fan-out and a reading take a few turns of the event loop.
      for (let i = 0; i < 3 && result === undefined; i++) await nextTask();
      if (result === undefined) return;
      this.#reading = undefined;
      if (result.done) return void (this.#body = undefined);
      this.#feed(result.value.subarray(0, bytes));
      bytes -= result.value.length;
      if (bytes < 0) await this.break();
    }
  }

  /** Forgets what it has, as a page that was reloaded; its next request has this last id. */
  goTo(lastEventId: string | undefined): void {
    this.lastEventId = lastEventId;
    this.ended = undefined;
    this.#run = undefined;
    this.#number = 0;
    this.count = 0;
  }

  /** The connection breaks. */
  async break(): Promise<void> {
    const body = this.#body;
    this.#body = undefined;
    this.#reading = undefined;
    await body?.cancel().catch(() => {});
  }

  /** Reads on, breaking and coming back, until the end. `bytes`: how many the next connection takes. */
  async readToEnd(bytes: () => number): Promise<void> {
    for (let failures = 0;;) {
      try {
        const status = this.isOpen ? 200 : await this.open();
        if (status === 204 && this.ended !== undefined) return;
        if (this.ended !== undefined) this.#fault("a stream after the end");
        if (status === 503) await new Promise((resolve) => setTimeout(resolve, 5));
        else if (status !== 200) this.#fault(`an answer of ${status}`);
        await this.read(bytes());
        if (this.ended !== undefined) await this.break();
      } catch (error) {
        // A connection broke that was not ours to break: its server is gone, or has closed it when it was used again.
        if (error instanceof Fault || ++failures > 20) throw error;
        await this.break();
      }
    }
  }

  #feed(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end < 0) return;
      const { event, data, id } = parseBlock(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 2);
      if (event === "streamside:reset") this.#reset(id!);
      else if (event === "streamside:end") this.#end(id!, data!);
      else if (event !== undefined) this.#event(id!, data!);
      else if (id !== undefined) this.#begin(id);
      if (id !== undefined) this.lastEventId = id;
    }
  }

  /** Where its stream says that it goes on. */
  #begin(id: string): void {
    const [, number] = this.#parse(id);
    const isExpected = this.lastEventId === undefined ? number === 0 : id === this.lastEventId;
    if (!isExpected) this.#fault(`a stream from ${id}`);
  }

  #reset(id: string): void {
    const [run, number] = this.#parse(id);
    const { data } = this.#ledger.runs.get(run)!;
    const isForeign = this.lastEventId !== undefined && !this.lastEventId.startsWith(`${run}-`);
    const at = this.#run === run ? this.#number : 0;
    if (!isForeign && data.length - at <= this.#ledger.held) this.#fault(`a reset at ${at}`);
    if (!isForeign && number <= at) this.#fault(`a reset back to ${id}`);
    // The ledger may be behind the log by the event under way.
    if (number > data.length) this.#fault(`a reset to ${id} of ${data.length}`);
    this.#run = run;
    this.#number = number;
    this.count = 0;
    this.resets++;
    this.#isReset = true;
  }

  #event(id: string, data: string): void {
    const [run, number] = this.#parse(id);
    const isFirst = this.lastEventId === undefined || this.lastEventId === `${run}-0`;
    if (run !== this.#run && !isFirst) this.#fault(`${id}, of another run, without a reset`);
    if (run !== this.#run) {
      this.#run = run;
      this.#number = 0;
    }
    if (number !== this.#number + 1) this.#fault(`${id} after ${this.#number}`);
    const sent = this.#ledger.runs.get(run)!.data[number - 1];
    if (data !== sent) this.#fault(`${id} is ${data}, not ${sent}`);
    this.#number = number;
    this.#isReset = false;
    this.count++;
  }

  #end(id: string, data: string): void {
    const [run] = this.#parse(id);
    const published = this.#ledger.runs.get(run)!;
    const error = JSON.parse(data).error as string | undefined ?? "done";
    if (published.end !== "any" && error !== published.end) {
      this.#fault(`the end ${error}, not ${published.end}`);
    }
    const isAtEnd = this.#run === run || published.data.length === 0;
    if (
      error === "done" &&
      !(isAtEnd && (this.#run !== run || this.#number === published.data.length))
    ) {
      this.#fault(`the end after ${this.#number} of ${published.data.length}`);
    }
    this.ended = error;
  }

  #parse(id: string): [run: string, number: number] {
    const [run, number] = id.split("-");
    if (!this.#ledger.runs.has(run!)) this.#fault(`an id of no run: ${id}`);
    return [run!, Number(number)];
  }

  #fault(what: string): never {
    throw new Fault(
      `a reader at ${this.lastEventId} got ${what}${this.#isReset ? " (reset)" : ""}`,
    );
  }
}

/** Numbers that look random, the same for the same seed (mulberry32). */
export function randomOf(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) % below);
  };
}
