/**
 * Medians and Markdown tables.
 *
 * @module
 */

/** The median of the numbers among some values; NaN when there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A part of 1 in percent; nothing for NaN. */
export function percent(part: number): string {
  return Number.isNaN(part) ? "" : `${(part * 100).toFixed(part < 1 ? 1 : 0)} %`;
}

/** A table in Markdown, numbers to three digits, and a line below it. */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  below: string,
): string {
  const lines = [head, head.map((_, column) => column === 0 ? "---" : "---:"), ...rows]
    .map((row) => `| ${row.map(cell).join(" | ")} |`);
  return `${lines.join("\n")}\n\n${below}\n`;
}

function cell(value: string | number): string {
  if (typeof value === "string") return value;
  if (Number.isNaN(value)) return "";
  if (Math.abs(value) >= 1000) {
    return Number(value.toPrecision(3)).toLocaleString("en").replaceAll(",", " ");
  }
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
