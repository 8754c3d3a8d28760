/**
 * The timeline: every event is a mark where it was sent, the time without a connection is a band, and what came later
 * than it was sent has a colour of its own.
 *
 * @module
 */
import { element, still, token } from "./dom.ts";

/** The rows, from the top. */
export const lanes = ["numbers", "sync", "locks", "task", "files"] as const;

/** One row. */
export type Lane = typeof lanes[number];

/** How many pixels a second takes. */
const scale = 36;
/** How many ms one slot of the numbers takes: less than a pixel does. */
const slot = 10;
/** What is older, in ms, is on no screen. */
const kept = 180_000;
/** How long the marks that a return brings take to appear, in ms. */
const filling = 700;

interface Mark {
  at: number;
  lane: Lane;
  late: boolean;
}

interface Away {
  from: number;
  /** When there was a connection again, and when what was missed had come. */
  to?: number;
  filled?: number;
}

/** A timeline on the canvas with this id. */
export class Timeline {
  readonly #canvas: HTMLCanvasElement;
  /** The numbered events, counted by slot, since there may be thousands a second: [in time, late]. */
  readonly #slots = new Map<number, [number, number]>();
  #marks: Mark[] = [];
  #away: Away[] = [];
  #colours: Record<string, string> = {};

  constructor(id: string) {
    this.#canvas = element<HTMLCanvasElement>(id);
    const readColours = () => {
      for (const name of ["accent", "filled", "quiet", "line", "band", "text"]) {
        this.#colours[name] = token(`--${name}`);
      }
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
    readColours();
    this.#draw();
  }

  /** Adds an event's mark. */
  add(lane: Lane, at: number, late: boolean): void {
    if (lane !== "numbers") {
      this.#marks = this.#marks.filter((mark) => mark.at > at - kept);
      this.#marks.push({ at, lane, late });
      return;
    }
    const key = Math.floor(at / slot);
    const counts = this.#slots.get(key);
    if (counts) counts[Number(late)]!++;
    else this.#slots.set(key, late ? [0, 1] : [1, 0]);
    // Here, since nothing is drawn while the page is hidden; the oldest come first.
    for (const oldest of this.#slots.keys()) {
      if (oldest * slot > at - kept) break;
      this.#slots.delete(oldest);
    }
  }

  /** The connection is lost. */
  lost(at: number): void {
    if (this.#away.at(-1)?.to !== undefined || this.#away.length === 0) {
      this.#away.push({ from: at });
    }
  }

  /** There is a connection again. */
  opened(at: number): void {
    const last = this.#away.at(-1);
    if (last) last.to ??= at;
  }

  /** What was missed has come. */
  filled(at: number): void {
    const last = this.#away.at(-1);
    if (last) last.filled ??= at;
  }

  /** Forgets everything. */
  clear(): void {
    this.#slots.clear();
    this.#marks = [];
    this.#away = [];
  }

  #draw(): void {
    if (this.#canvas.clientWidth > 0) this.#paint(Date.now());
    const again = () => this.#draw();
    if (still.matches) setTimeout(again, 1000);
    else requestAnimationFrame(again);
  }

  #paint(now: number): void {
    const canvas = this.#canvas;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const to = canvas.getContext("2d")!;
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    to.clearRect(0, 0, width, height);
    const { accent, filled, quiet, line, band } = this.#colours as Record<string, string>;
    const x = (at: number) => width - 8 - (now - at) / 1000 * scale;
    const begin = now - width / scale * 1000 - 1000;
    const axis = height - 20;
    const tall = Math.round(axis * 0.44);
    const low = (axis - tall) / (lanes.length - 1);
    const middle = (lane: Lane) =>
      lane === "numbers" ? tall / 2 : tall + (lanes.indexOf(lane) - 0.5) * low;

    to.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    to.textBaseline = "middle";

    for (const away of this.#away) {
      const [left, right] = [Math.max(0, x(away.from)), x(away.to ?? now)];
      if (right < 0) continue;
      to.fillStyle = band!;
      to.fillRect(left, 0, right - left, axis);
      to.fillStyle = to.strokeStyle = quiet!;
      to.lineWidth = 1;
      to.setLineDash([3, 3]);
      for (const edge of [x(away.from), ...away.to ? [right] : []]) {
        to.beginPath();
        to.moveTo(Math.round(edge) + 0.5, 0);
        to.lineTo(Math.round(edge) + 0.5, axis);
        to.stroke();
      }
      to.setLineDash([]);
    }

    // The axis: a line and its time every five seconds.
    to.fillStyle = quiet!;
    to.strokeStyle = line!;
    to.textAlign = "center";
    for (let second = 0; second * scale < width - 24; second += 5) {
      const at = Math.round(x(now - second * 1000)) + 0.5;
      to.beginPath();
      to.moveTo(at, axis);
      to.lineTo(at, axis + 4);
      to.stroke();
      if (second === 0) to.textAlign = "right";
      to.fillText(second === 0 ? "now" : `${second} s`, second === 0 ? width - 2 : at, axis + 13);
      to.textAlign = "center";
    }
    lanes.forEach((_, index) => {
      const y = Math.round(index === 0 ? tall : tall + index * low) + 0.5;
      to.beginPath();
      to.moveTo(0, y);
      to.lineTo(width, y);
      to.stroke();
    });

    const last = this.#away.at(-1);
    /** Whether a late mark is to be seen yet: they come one after the other, from the left. */
    const shows = (at: number) => {
      if (!last?.to || still.matches || at < last.from) return true;
      const part = (at - last.from) / Math.max(1, last.to - last.from);
      return part * filling < now - last.to;
    };

    for (const [key, [inTime, late]] of this.#slots) {
      const at = key * slot;
      if (at < begin) continue;
      const visibleLate = late > 0 && shows(at) ? late : 0;
      const count = inTime + visibleLate;
      if (count === 0) continue;
      // One is a mark of half of the row; more in the same place make it taller.
      const size = Math.min(tall - 8, (tall - 8) * (0.5 + 0.07 * Math.log2(count)));
      to.fillStyle = visibleLate > 0 ? filled! : accent!;
      to.fillRect(x(at) - 0.8, (tall - size) / 2, 1.6, size);
    }
    for (const { at, lane, late } of this.#marks) {
      if (at < begin || (late && !shows(at))) continue;
      to.fillStyle = late ? filled! : accent!;
      to.beginPath();
      to.arc(x(at), middle(lane), 3.2, 0, 2 * Math.PI);
      to.fill();
    }

    // The names of the rows, on the ground of the page, so that marks pass behind them.
    to.textAlign = "left";
    for (const lane of lanes) {
      const wide = to.measureText(lane).width;
      to.fillStyle = token("--card");
      to.fillRect(0, middle(lane) - 8, wide + 8, 16);
      to.fillStyle = quiet!;
      to.fillText(lane, 0, middle(lane));
    }
  }
}
