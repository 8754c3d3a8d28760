/**
 * Responses that are refusals: why, for how long, and what they say about it.
 *
 * @module
 */
import { onAbort } from "#runtime";
import { cancel } from "./body.ts";
import { createParser } from "./parser.ts";

/** Problem details (RFC 9457): what a server says about a refusal. */
export interface Problem {
  /** A URI for this kind of problem. */
  readonly type?: string;
  /** The kind of problem in a few words. */
  readonly title?: string;
  /** The status. */
  readonly status?: number;
  /** What happened this time, in a sentence. */
  readonly detail?: string;
  /** A Streamside hub's code for this kind of problem, such as `too-many-connections`. */
  readonly code?: string;
  /** Whatever else the server says. */
  readonly [member: string]: unknown;
}

/** The server answered, but not with a stream. */
export class RefusedError extends Error {
  /** `RefusedError` */
  override readonly name: string = "RefusedError";
  /** The response's status. If a stream says that it is refused for now, the status of its problem. */
  declare readonly status: number;
  /** The problem details, if the answer has them. */
  declare readonly problem: Problem | undefined;

  /** An error with a message, the status, and the problem. */
  constructor(message: string, status: number, problem?: Problem) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

/** How much of a refusal's body is read, in bytes, and for how long, in milliseconds. */
const MOST_BYTES = 65_536;
const MOST_TIME = 2000;

/** Whether a response has the status and the type of an event stream. */
export function isStream({ status, headers }: Response): boolean {
  return status === 200 && /^text\/event-stream *(;|$)/i.test(headers.get("Content-Type")!);
}

/**
 * Says why a response is a refusal; `undefined` if it is a stream. The body of a refusal is used up.
 *
 * A stream with `Retry-After` is a refusal for now, in the shape that brings a browser's `EventSource` back: `retry:`,
 * one event with the problem, and the end.
 */
export async function refusalOf(
  response: Response,
  signal: AbortSignal | undefined,
  onRetry?: (delay: number) => void,
): Promise<RefusedError | undefined> {
  const { headers } = response;
  const stream = isStream(response);
  if (stream && !headers.has("Retry-After")) return;

  const type = headers.get("Content-Type");
  const tells = stream || /^application\/problem\+json *(;|$)/i.test(type!);
  let said = "";
  const decoder = new TextDecoder();
  const read = stream
    ? createParser({
      onRetry,
      onEvent: (type, data) => {
        if (type === "streamside:unavailable") said = data;
      },
    })
    : (chunk: Uint8Array) => said += decoder.decode(chunk, { stream: true });

  const reader = response.body?.getReader();
  const giveUp = () => cancel(reader);
  const timer = setTimeout(giveUp, MOST_TIME);
  const stop = onAbort(signal, giveUp);
  let problem: Problem | undefined;
  try {
    for (let bytes = 0; tells && reader;) {
      const { value, done } = await reader.read();
      if (done || (bytes += value.length) > MOST_BYTES) break;
      read(value);
    }
  } catch { /* It broke off: what came before may be enough. */ }
  clearTimeout(timer);
  stop();
  giveUp();
  try {
    const value = JSON.parse(said);
    if (Object(value) === value && !Array.isArray(value)) problem = value;
  } catch { /* Cut off, or not JSON. */ }
  const status = stream && Number(problem?.status) || response.status;
  const what = problem?.detail ?? problem?.title;
  return new RefusedError(
    response.status === 200 && !stream
      ? `Expected text/event-stream, got ${type}`
      : `The server answered ${status}${what ? ": " + what : ""}`,
    status,
    problem,
  );
}
