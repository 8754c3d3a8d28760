/**
 * The charts of the last minute, fed by what the server tells once a second.
 *
 * @module
 */
import uPlot from "uplot";
import type { Stats } from "../events.ts";
import { duration, element, grouped, tell, token } from "./dom.ts";

/** How many seconds are shown. */
const seconds = 60;

/** The line of one chart: the token of its colour, and whether it is dashed. */
type Line = [colour: string, dashed?: boolean];

/** Whether the page's clock is the server's, so that the time an event took can be told. */
const sameClock = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

/** The three charts. */
export class Charts {
  readonly #rate = new Chart("chart-rate", [["--accent"], ["--quiet", true]]);
  readonly #connections = new Chart("chart-connections", [["--accent"]], [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    500,
  ]);
  readonly #latency = new Chart("chart-latency", [["--accent"], ["--quiet", true]]);
  #last: Stats | undefined;
  /** How long each event of the last second took, in ms. */
  #took: number[] = [];

  constructor() {
    if (!sameClock) tell("latency-now", "not on this machine");
  }

  /** An event took `ms` from the server to here. */
  took(ms: number): void {
    if (this.#took.length < 10_000) this.#took.push(ms);
  }

  /** What the hub counts now. */
  add(stats: Stats): void {
    const last = this.#last;
    this.#last = stats;
    const took = this.#took.sort((a, b) => a - b);
    this.#took = [];
    if (!last || stats.at <= last.at || stats.events < last.events) return;
    const span = (stats.at - last.at) / 1000;
    const sent = (stats.events - last.events) / span;
    const delivered = (stats.deliveries - last.deliveries) / span;
    // Where the page was away the lines have a gap: of the hub's counters only the newest is kept for it.
    const gap = span > 2.5;
    const at = (part: number) => took[Math.min(took.length - 1, Math.floor(took.length * part))];
    const [p50, p99] = sameClock ? [at(0.5) ?? null, at(0.99) ?? null] : [null, null];

    this.#rate.add(stats.at, [sent, delivered], gap);
    this.#connections.add(stats.at, [stats.connections], gap);
    this.#latency.add(stats.at, [p50, p99], gap);
    tell("rate-now", grouped(sent));
    tell("delivered-now", grouped(delivered));
    tell("connections-now", grouped(stats.connections));
    if (p50 != null && p99 != null) tell("latency-now", `${duration(p50)} / ${duration(p99)}`);
  }
}

class Chart {
  readonly #plot: uPlot;
  readonly #times: number[] = [];
  readonly #values: (number | null)[][];

  /** Draws `lines`; `steps` are how far apart the numbers at the left may be. */
  constructor(id: string, lines: Line[], steps?: number[]) {
    const place = element(id);
    this.#values = lines.map(() => []);
    const axis: uPlot.Axis = {
      stroke: () => token("--quiet"),
      grid: { stroke: () => token("--line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    };
    this.#plot = new uPlot(
      {
        width: 300,
        height: 120,
        padding: [8, 8, 0, 0],
        cursor: { show: false },
        legend: { show: false },
        scales: {
          x: { time: false, range: () => [Date.now() / 1000 - seconds, Date.now() / 1000] },
          y: { range: (_plot, _min, max) => [0, Math.max(1, (max ?? 1) * 1.15)] },
        },
        axes: [
          {
            ...axis,
            size: 22,
            values: (_plot, values) =>
              values.map((value) => `${Math.round(Date.now() / 1000 - value)} s`),
            splits: () => [45, 30, 15].map((ago) => Date.now() / 1000 - ago),
          },
          {
            ...axis,
            size: 44,
            space: 28,
            ...steps ? { incrs: steps } : {},
            values: (_plot, values) => values.map(short),
          },
        ],
        series: [
          {},
          ...lines.map(([colour, dashed]): uPlot.Series => ({
            stroke: () => token(colour),
            width: 1.75,
            ...dashed ? { dash: [3, 3] } : {},
            points: { show: false },
            spanGaps: false,
          })),
        ],
      },
      [[], ...lines.map(() => [])],
      place,
    );
    new ResizeObserver(() => {
      if (place.clientWidth > 0) this.#plot.setSize({ width: place.clientWidth, height: 120 });
    }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#plot.redraw();
    });
  }

  add(at: number, values: (number | null)[], gap: boolean): void {
    if (gap) this.#push(at - 1, values.map(() => null));
    this.#push(at, values);
    while (this.#times[0]! < at / 1000 - seconds - 5) {
      this.#times.shift();
      for (const line of this.#values) line.shift();
    }
    this.#plot.setData([this.#times, ...this.#values] as uPlot.AlignedData);
  }

  #push(at: number, values: (number | null)[]): void {
    this.#times.push(at / 1000);
    values.forEach((value, index) => this.#values[index]!.push(value));
  }
}

function short(value: number): string {
  return value >= 1000 ? `${value / 1000}k` : String(Math.round(value * 10) / 10);
}
