/**
 * What a source yields: the events of one answer, of {@link eventStream} or of a hub's run.
 *
 * @module
 */

import { quote, StreamsideError } from "./errors.ts";
import { checkField, serializeData } from "./event-format.ts";

/** An event of a source. */
export interface SourceEvent {
  /** Its name. Default: none, which clients see as `message`. */
  readonly event?: string;
  /** A string goes out as it is, anything else as JSON. Default: an empty string. */
  readonly data?: unknown;
  /** Its id. Default: none. A run gives its events ids of its own, and leaves this one out. */
  readonly id?: string;
  /**
   * How long the client is told to wait before it reconnects, in ms. Default: nothing is told. A run's readers are told
   * what the hub's `retry` says, and not this.
   */
  readonly retry?: number;
}

/** What a source gives: each string is the data of an event, each object an event. */
export type EventSequence = AsyncIterable<SourceEvent | string> | Iterable<SourceEvent | string>;

/**
 * Some events, or a function that gives them. The signal that the function gets aborts when they are not wanted any
 * more, also while the source waits for something: when the one reader of an {@link eventStream} has gone, or when a run
 * was stopped.
 */
export type StreamSource = EventSequence | ((signal: AbortSignal) => EventSequence);

/** Goes through a source. */
export type EventIterator = AsyncIterator<SourceEvent | string> | Iterator<SourceEvent | string>;

/** Begins to go through some events. */
export function iteratorOf(events: EventSequence): EventIterator {
  return Symbol.asyncIterator in events
    ? events[Symbol.asyncIterator]()
    : events[Symbol.iterator]();
}

/** An event of a source that was checked, with its data as it goes out. */
export interface CheckedEvent extends SourceEvent {
  /** See {@link SourceEvent.data}. */
  readonly data: string;
}

/**
 * Checks what a source has yielded.
 *
 * @throws {StreamsideError} `invalid-event` or `invalid-data` for what an event stream cannot carry
 */
export function checkSourceEvent(value: unknown): CheckedEvent {
  if (typeof value === "string") return { data: value };
  if (
    typeof value !== "object" || value === null || Array.isArray(value) || ArrayBuffer.isView(value)
  ) {
    throw new StreamsideError(
      "invalid-event",
      `An event must be a string, or an object with event, data, id or retry, got ${
        ArrayBuffer.isView(value) ? "bytes" : Array.isArray(value) ? "an array" : quote(value)
      }.`,
    );
  }
  const { event, data = "", id, retry } = value as SourceEvent;
  if (event !== undefined) checkField("event name", event);
  const text = serializeData(data);
  if (id !== undefined) checkField("event id", id);
  if (retry !== undefined && (!Number.isSafeInteger(retry) || retry < 0)) {
    throw new StreamsideError(
      "invalid-event",
      `retry must be a whole number of ms, got ${retry}.`,
    );
  }
  return { data: text, event, id, retry };
}
