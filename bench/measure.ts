/**
 * How it is measured: in turns, again when something else was at work, at a rate or as fast as it can.
 *
 * @module
 */

import { type Cpu, Load, maxFiles, othersBusy, Server, type ServerKind } from "./process.ts";
import type { Kind } from "./servers/driver.ts";
import { median, percent } from "./table.ts";

/** How much to do. */
export interface Effort {
  /** How often each has its turn. */
  readonly rounds: number;
  /** By how much the durations are cut: 1, or less for a quick look. */
  readonly scale: number;
}

/** What a round yields, by name. */
export type Figures = Record<string, number>;

/** What was measured of whom: the median of each figure over the rounds, NaN when no round yielded it. */
export class Results {
  readonly #rounds = new Map<string, Figures[]>();

  add(name: string, figures: Figures | undefined): void {
    const rounds = this.#rounds.get(name) ?? [];
    this.#rounds.set(name, figures ? [...rounds, figures] : rounds);
  }

  /** Who was measured. */
  get names(): string[] {
    return [...this.#rounds.keys()];
  }

  of(name: string, figure: string): number {
    return median((this.#rounds.get(name) ?? []).map((figures) => figures[figure] ?? NaN));
  }
}

/** How much of a core something else may use before a measurement counts as disturbed, and is done again. */
const MAX_DISTURBANCE = 0.1;
const MAX_ATTEMPTS = 3;
/** How many more measurements may be done again, so that a run ends on a busy machine too. */
let repeatsLeft = 30;

/** Gives each its turn, round after round. */
export async function inTurns<Item extends { readonly name: string }>(
  effort: Effort,
  items: readonly Item[],
  measure: (item: Item) => Promise<Figures>,
): Promise<Results> {
  const results = new Results();
  for (let round = 0; round < effort.rounds; round++) {
    for (const item of items) {
      results.add(item.name, await undisturbed(item.name, () => measure(item)));
    }
  }
  return results;
}

/** Measures, again if something else was at work or it failed, and gives the attempt that was disturbed least. */
async function undisturbed(
  name: string,
  measure: () => Promise<Figures>,
): Promise<Figures | undefined> {
  let best: Figures | undefined;
  let least = Infinity;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const started = performance.now();
    const before = othersBusy();
    try {
      const figures = await measure();
      const others = (othersBusy() - before) / (performance.now() - started) * 1000;
      const disturbed = others > MAX_DISTURBANCE;
      const note = disturbed
        ? ` (disturbed: something else took ${percent(others)} of a core)`
        : "";
      console.error(`  ${name}: ${inWords(figures)}${note}`);
      if (best === undefined || others < least) [best, least] = [figures, others];
      if (!disturbed || repeatsLeft-- <= 0) break;
    } catch (error) {
      console.error(`  ${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  return best;
}

function inWords(figures: Figures): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(", ");
}

/** Starts a server, and ends it whatever happens. */
export async function withServer<Answer>(
  kind: ServerKind,
  use: (server: Server) => Promise<Answer>,
): Promise<Answer> {
  const server = await Server.start(kind);
  try {
    return await use(server);
  } finally {
    await server.end();
  }
}

/** Starts a server, connects clients, and ends both whatever happens. */
export function withClients<Answer>(
  kind: ServerKind,
  connections: number,
  use: (server: Server, load: Load) => Promise<Answer>,
): Promise<Answer> {
  return withServer(kind, async (server) => {
    const load = await Load.connect(server, { connections });
    try {
      return await use(server, load);
    } finally {
      await load.end();
    }
  });
}

/** How long clients wait for what is outstanding when the last event is sent, in seconds. */
export const GRACE = 1;

/** Sends at a rate: which part came, how late, and what it cost the server. */
export async function paced(
  server: Server,
  load: Load,
  { kind = "broadcast", rate, seconds }: { kind?: Kind; rate: number; seconds: number },
): Promise<Figures> {
  const total = Math.round(rate * seconds);
  const broadcasts = { broadcast: total, send: 0, mixed: Math.ceil(total / 2) }[kind];
  const expected = broadcasts * load.connections + (total - broadcasts);
  await load.mark();
  const before = await server.cpu();
  const waiting = load.wait(expected, seconds + GRACE);
  await server.order({ do: "run", kind, rate, seconds });
  const report = await waiting;
  const cpu = spent(before, await server.cpu());
  return {
    arrived: report.events / expected,
    rate: report.events / report.seconds,
    "us each": cpu / report.events * 1e6,
    cpu,
    "core used": cpu / report.sinceMark,
    p50: report.p50,
    p99: report.p99,
    max: report.max,
    "client's core used": report.cpu / report.sinceMark,
  };
}

/** Sends as fast as it can, with no bound on how late: deliveries a second, of those that came within half a minute. */
export async function flooded(
  server: Server,
  load: Load,
  { kind = "broadcast", events, burst }: { kind?: Kind; events: number; burst: number },
): Promise<number> {
  const each = kind === "broadcast" ? load.connections : 1;
  const flood = async (events: number) => {
    await load.mark();
    const waiting = load.wait(events * each, 30);
    await server.order({ do: "flood", kind, events, burst });
    return await waiting;
  };
  await flood(Math.ceil(events / 4));
  const report = await flood(events);
  if (report.events < events * each / 4) {
    throw new Error(`${report.events} of ${events * each} came`);
  }
  return report.events / report.sinceMark;
}

/** Processor time between two moments, in seconds. */
export function spent(before: Cpu, after: Cpu): number {
  return after.user + after.system - before.user - before.system;
}

/** Broadcasts so many events, and tells the cursor after each. */
export async function cursorsOf(server: Server, events: number): Promise<string[]> {
  return (await server.order<{ cursors: string[] }>({ do: "cursors", events })).cursors;
}

/** Whether a process may have so many connections; says so when not. */
export function enoughFiles(connections: number): boolean {
  const needed = connections + 200;
  if (maxFiles >= needed) return true;
  console.error(
    `  left out: ${connections} connections need \`ulimit -n ${needed}\`, it is ${maxFiles}`,
  );
  return false;
}
