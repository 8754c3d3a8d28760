/**
 * What the page asks of the server, and what the server says of the page's state.
 *
 * @module
 */
import { element, tell } from "./dom.ts";

/** What a page shows, as the server answers a login with it. */
export interface State {
  cursor: string;
  id: string;
  token: string;
  name: string;
  documents: { document: string; lockedBy: string | null; mine: boolean }[];
  syncing: boolean;
  answered: boolean;
  perSecond: number;
  started: number;
  maxPerSecond: number;
  source: string;
  notes: string;
}

/** What the server refused, or that it did not answer: `status` is 0. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Who asks, once logged in. */
export const identity: { token?: string; onEnd?: () => void } = {};

/** Asks the server; its answer, or a {@link Refusal} with what its problem details say. */
export async function ask<T>(
  method: string,
  path: string,
  body?: unknown,
  token: string | undefined = identity.token,
): Promise<T> {
  const headers = new Headers();
  if (token) headers.set("X-Session-Id", token);
  if (body) headers.set("Content-Type", "application/json");
  const response = await fetch(`/api/v1/${path}`, {
    method,
    headers,
    body: body ? JSON.stringify(body) : null,
  }).catch(() => {
    throw new Refusal(0, "The server cannot be reached.");
  });
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  // What stands between may answer with something else than problem details.
  const problem: { detail?: string } = await response.json().catch(() => ({}));
  throw new Refusal(response.status, problem.detail ?? `The server answered ${response.status}.`);
}

/** Asks the server for its answer, or `true` where it is empty; a problem is shown, and the answer is `false`. */
export async function act<T = true>(
  method: string,
  path: string,
  body?: unknown,
): Promise<T | false> {
  try {
    const answer = await ask<T | undefined>(method, path, body);
    showProblem(undefined);
    return answer ?? true as T;
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) identity.onEnd?.();
    else showProblem(error);
    return false;
  }
}

/** Shows what went wrong, or with `undefined`, that nothing is wrong any more. */
export function showProblem(error: unknown): void {
  element("problem").hidden = error === undefined;
  tell("problem", error instanceof Error ? error.message : "");
}
