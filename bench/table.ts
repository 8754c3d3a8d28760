/**
 * Medians and Markdown tables.
 *
 * @module
 */

/** A table and what it is held against. */
export interface Table {
  readonly markdown: string;
}

/** Ways to take the middle. */
export const mean = {
  /** The median of the numbers among some values; NaN when there are none. */
  median(values: readonly number[]): number {
    const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    if (sorted.length === 0) return NaN;
    return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  },
};

/** A table in Markdown, numbers to three digits, and what it is held against below it. */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  target: string,
): Table {
  const lines = [head, head.map((_, column) => column === 0 ? "---" : "---:"), ...rows]
    .map((row) => `| ${row.map(cell).join(" | ")} |`);
  return { markdown: `${lines.join("\n")}\n\n${target}\n` };
}

function cell(value: string | number): string {
  if (typeof value === "string") return value;
  if (Number.isNaN(value)) return "";
  if (Math.abs(value) >= 1000) {
    const rounded = Number(value.toPrecision(3));
    return rounded.toLocaleString("en").replaceAll(",", " ");
  }
  return value === Math.round(value) ? String(value) : value.toPrecision(3);
}
