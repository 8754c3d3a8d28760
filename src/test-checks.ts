/**
 * How the suites for logs check: without a framework, since they run in any.
 *
 * @module
 */

/** Fails, and says what. */
export function expect(is: boolean, what: string): void {
  if (!is) throw new Error(what);
}

/** Fails unless two values are the same as JSON. */
export function equal(actual: unknown, wanted: unknown, what: string): void {
  const [got, want] = [show(actual), show(wanted)];
  if (got === want) return;
  let at = 0;
  while (got[at] === want[at]) at++;
  const cut = (text: string) => {
    const from = Math.max(0, at - 100);
    return `${from > 0 ? "…" : ""}${text.slice(from, at + 200)}${
      text.length > at + 200 ? "…" : ""
    }`;
  };
  throw new Error(`${what}:\n  got    ${cut(got)}\n  wanted ${cut(want)}`);
}

/** A value as JSON, its members in one order, and without those that are undefined. */
export function show(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (typeof member !== "object" || member === null || Array.isArray(member)) return member;
    return Object.fromEntries(Object.entries(member).sort(([a], [b]) => a < b ? -1 : 1));
  }) ?? String(value);
}

/** Resolves after so many ms. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
