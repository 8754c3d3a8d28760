/**
 * What clients for Redis answer, whichever they are.
 *
 * @module
 */

/** What XREAD answers, by stream: pairs of a stream and its entries, or with RESP3 an object or a map of them. */
export function streamsOf(answer: unknown): Map<string, unknown[]> {
  if (answer === null || answer === undefined) return new Map();
  if (answer instanceof Map) return answer;
  if (!Array.isArray(answer)) return new Map(Object.entries(answer as Record<string, unknown[]>));
  if (Array.isArray(answer[0])) return new Map(answer as [string, unknown[]][]);
  const streams = new Map<string, unknown[]>();
  for (let i = 0; i < answer.length; i += 2) streams.set(answer[i], answer[i + 1]);
  return streams;
}

/** The fields of an entry of a stream. */
export function fieldsOf(entry: unknown): Record<string, string> {
  const [, list] = entry as [string, string[] | Record<string, string>];
  if (!Array.isArray(list)) return list;
  const fields: Record<string, string> = {};
  for (let i = 0; i < list.length; i += 2) fields[list[i]!] = list[i + 1]!;
  return fields;
}
