/**
 * `streamside bench`: does a server, or a proxy before it, stream? It only reads, a bounded number of connections for a
 * bounded time.
 *
 * @module
 */
import { createParser } from "../client/parser.ts";
import { isStream, refusalOf } from "../client/refusal.ts";
import { limited } from "./limit.ts";
import { headersOf, numberOf, reasonOf, urlOf } from "./options.ts";
import type { Command } from "./run.ts";
import { coloured, CommandError, print, tell } from "./terminal.ts";

/** A silence, in ms, after which what comes together was held back together. A busy machine pauses for less. */
const PAUSE = 1000;
/** The longest wait for the first byte of a server that answers at once, in ms. */
const LATE = 2000;

/** What one connection saw. Times are in ms since its request. */
interface Seen {
  /** When the response's head came. */
  head?: number;
  /** When the first byte of its body came. */
  first?: number;
  /** When the connection ended, if it did before it was told to. */
  ended?: number;
  /** Whether the stream said that it is complete. */
  complete: boolean;
  /** Why there was no stream, or why it broke off. */
  failure?: string;
  /** Whether the server answered with something else than a stream. */
  refused: boolean;
  events: number;
  heartbeats: number;
  /** How often several heartbeats came at once, after a silence. */
  batches: number;
  /** How often an event's end came long after its beginning. */
  pieces: number;
  /** When each event came, by its id, in ms of `performance.now()`. */
  arrivals: Map<string, number>;
}

/** Reads streams for a while, and reports. */
export const bench: Command = {
  help: `streamside bench URL [--connections N] [--seconds S]

Does my server, or the proxy before it, stream? Opens connections to your own URL, reads them for a while, and reports
the time to the first byte, whether events are held back, and whether connections are cut. It sends no event; send some
meanwhile and it compares when they reach each connection.

  --connections N          how many (default 10, at most 200)
  --seconds S              for how long (default 30, at most 600): longer than two heartbeats, and than the idle limit
                           that you suspect
  --header 'Name: value'   a header of the request; may be given more than once

  streamside bench 'http://127.0.0.1:8080/api/v1/sse/subscribe?sessionId=ada'

With curl, by eye: the first line comes at once, and then a colon every 15 s:

  curl -N -i -H 'Accept: text/event-stream' 'http://127.0.0.1:8080/api/v1/sse/subscribe?sessionId=ada'

Exit code: 0 when it streams; 1 if it was refused, held back or cut.`,
  options: {
    connections: { type: "string" },
    seconds: { type: "string" },
    header: { type: "string", multiple: true },
  },

  async run({ values, positionals }, stopped) {
    const url = urlOf(positionals);
    const count = numberOf("connections", values.connections, 1, 200) ?? 10;
    const seconds = numberOf("seconds", values.seconds, 1, 600) ?? 30;
    const headers = headersOf(values.header);
    headers.set("Accept", "text/event-stream");
    tell(`opens ${count} connections to ${url}, reads for ${seconds} s, and closes them`);

    const all = await limited(
      stopped,
      seconds * 1000,
      (signal) => Promise.all(Array.from({ length: count }, () => watch(url, headers, signal))),
    );
    if (stopped.aborted) return;
    const { lines, faults } = report(all, seconds);
    for (const line of lines) await print(line);
    if (faults.length > 0) throw new CommandError(faults.join("\n"));
    await print(coloured("green", "it streams"));
  },
};

/** Opens one connection and watches it until the signal aborts. */
async function watch(url: string, headers: Headers, signal: AbortSignal): Promise<Seen> {
  const began = performance.now();
  const since = () => performance.now() - began;
  const seen: Seen = {
    complete: false,
    refused: false,
    events: 0,
    heartbeats: 0,
    batches: 0,
    pieces: 0,
    arrivals: new Map(),
  };
  try {
    const response = await fetch(url, { headers, cache: "no-store", signal });
    seen.head = since();
    if (!isStream(response) || response.headers.has("Retry-After")) {
      seen.refused = true;
      const refusal = await refusalOf(response, signal);
      seen.failure = refusal?.message ?? "no stream";
      return seen;
    }
    let id = "";
    const read = createParser({
      onId: (value) => id = value,
      onEvent: (type) => {
        seen.events++;
        if (id && !seen.arrivals.has(id)) seen.arrivals.set(id, performance.now());
        if (type === "streamside:end") seen.complete = true;
      },
      onComment: () => seen.heartbeats++,
    });
    let last = since();
    let isInside = false;
    for await (const chunk of response.body ?? []) {
      const now = since();
      const pause = now - last;
      const before = seen.heartbeats;
      seen.first ??= now;
      if (isInside && pause > PAUSE) seen.pieces++;
      read(chunk);
      if (seen.heartbeats - before > 1 && pause > PAUSE) seen.batches++;
      isInside = chunk.at(-1) !== 10 && chunk.at(-1) !== 13;
      last = now;
    }
    seen.ended = since();
  } catch (error) {
    if (!signal.aborted) {
      seen.ended = since();
      seen.failure = reasonOf(error);
    }
  }
  return seen;
}

/** What all connections saw: lines to print, and what is wrong. */
function report(
  all: readonly Seen[],
  seconds: number,
): { lines: string[]; faults: string[] } {
  const lines: string[] = [];
  const faults: string[] = [];
  const of = (number: number) => `${number} of ${all.length}`;

  const refused = all.filter((seen) => seen.refused);
  const unreached = all.filter((seen) => seen.head === undefined && seen.failure !== undefined);
  const silent = all.filter((seen) => !seen.refused && !seen.failure && seen.first === undefined);
  const firsts = all.flatMap((seen) => seen.first ?? []);
  const cut = all.filter((seen) => seen.head !== undefined && !seen.refused)
    .filter((seen) => seen.ended !== undefined && !seen.complete);
  const held = all.filter((seen) => seen.batches > 0 || seen.pieces > 0);
  const late = firsts.filter((first) => first > LATE);

  lines.push(`connections   ${of(all.filter((seen) => seen.head && !seen.refused).length)}`);
  if (firsts.length > 0) {
    lines.push(`first byte    ${spread(firsts)}`);
    lines.push(`events        ${sum(all, "events")}, heartbeats ${sum(all, "heartbeats")}`);
  }
  const lags = lagsOf(all);
  if (lags.length > 0) lines.push(`same event    ${spread(lags)} from the first to the last`);

  if (refused.length > 0) faults.push(`refused, ${of(refused.length)}: ${refused[0]!.failure}`);
  if (unreached.length > 0) {
    faults.push(`cannot connect, ${of(unreached.length)}: ${unreached[0]!.failure}`);
  }
  if (silent.length > 0) {
    faults.push(
      `held back, ${
        of(silent.length)
      }: not a byte in ${seconds} s. A Streamside hub says something at once; ` +
        "if this is one, what is between holds it back.",
    );
  }
  if (late.length > 0) {
    faults.push(`held back, ${of(late.length)}: the first byte took up to ${time(max(late))}.`);
  }
  if (held.length > 0) {
    faults.push(
      `held back, ${of(held.length)}: ` +
        "heartbeats came several at once, or events in pieces, after a silence. A buffer is on the way: switch off " +
        "buffering and compression for this path.",
    );
  }
  if (cut.length > 0) {
    faults.push(
      `cut, ${of(cut.length)}: after ${spread(cut.map((seen) => seen.ended!))}. ` +
        "If it is always the same time, it is an idle limit or a limit of the response's length.",
    );
  } else if (silent.length + refused.length + unreached.length === 0) {
    lines.push(`cut           none in ${seconds} s`);
  }
  return { lines, faults };
}

/** For each event that every connection got: how long from the first arrival to the last. */
function lagsOf(all: readonly Seen[]): number[] {
  const [first, ...others] = all.filter((seen) => seen.arrivals.size > 0);
  if (first === undefined || others.length === 0) return [];
  return [...first.arrivals].flatMap(([id, arrival]) => {
    const times = [arrival, ...others.flatMap((seen) => seen.arrivals.get(id) ?? [])];
    return times.length === others.length + 1 ? max(times) + max(times.map((time) => -time)) : [];
  });
}

function sum(all: readonly Seen[], key: "events" | "heartbeats"): number {
  return all.reduce((total, seen) => total + seen[key], 0);
}

function max(numbers: readonly number[]): number {
  return numbers.reduce((most, number) => Math.max(most, number), -Infinity);
}

/** The median and the largest. */
function spread(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  return `${time(sorted[sorted.length >> 1]!)} (median), ${time(sorted.at(-1)!)} (most)`;
}

function time(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
