/**
 * An event of the stream as a client's listeners get it: a plain object. Building the runtime's own `MessageEvent`
 * takes as long as parsing the event does, on Bun three times as long.
 *
 * @module
 */
import type { IsKnown } from "../event-map.ts";

/**
 * One event of the stream (WHATWG HTML 9.2.6, "dispatch the event").
 *
 * @example
 * ```ts
 * client.addEventListener("fileChanged", (event) => {
 *   const { fileId } = event.json();
 * });
 * ```
 */
export interface StreamEvent<Data = unknown, Type extends string = string> {
  /** The event's type: its `event` field, or `message`. */
  readonly type: Type;
  /** The data as it was sent: the `data` lines, joined by line feeds. */
  readonly data: string;
  /** The last `id` of the stream up to this event: its own, or one carried over. */
  readonly lastEventId: string;
  /** The origin of the response, after redirects. */
  readonly origin: string;
  /** The client. */
  readonly target: EventTarget;
  /**
   * The data, parsed as JSON; its type is the one in the client's `Events`. Data that is a `string` there is read as
   * `data`: it was not sent as JSON. Throws a `SyntaxError` when it is not JSON.
   */
  json(this: JsonEvent<Data>): Data;
}

/** An event whose `json()` may be called: any but one whose data is a string. */
export type JsonEvent<Data> = IsKnown<Data> extends true ? unknown extends Data ? unknown
  : [Data] extends [string | undefined] ? "The data of this event is a string: read event.data"
  : unknown
  : unknown;

/** The class behind {@link StreamEvent}. */
export class StreamMessage {
  declare readonly type: string;
  declare readonly data: string;
  declare readonly lastEventId: string;
  declare readonly origin: string;
  declare readonly target: EventTarget | undefined;
  /** Never set: nothing stops it on its way. */
  declare readonly cancelBubble?: boolean;

  constructor(
    type: string,
    data: string,
    lastEventId: string,
    origin: string,
    target?: EventTarget,
  ) {
    this.type = type;
    this.data = data;
    this.lastEventId = lastEventId;
    this.origin = origin;
    this.target = target;
  }

  json(): unknown {
    return JSON.parse(this.data);
  }
}
