/**
 * What the pages of the frameworks have in common: what a test asks of a page, and what it finds there.
 *
 * @module
 */
import { type Client, createClient, createSharedClient } from "../../src/client/mod.ts";
import type { Connection } from "../../examples/hooks/connection.ts";

/** The events of the tests. */
export interface Events {
  note: { text: string };
}

/** What a page's component shows. */
export interface Props {
  /** What it listens to. */
  channel: string;
  /** What it writes before each event that it heard, so that a listener tells which values it sees. */
  label: string;
  /** Where to begin. Default: at the first event after the connection. */
  cursor?: string | undefined;
  /** Whether tabs share the connection. */
  shared?: boolean | undefined;
}

/** What a test finds in a page. */
export interface Demo {
  /** Puts the component into the page. */
  mount(props: Props): void;
  /** Gives it other props. */
  update(props: Props): void;
  /** Takes it out of the page. */
  unmount(): void;
  /** React alone: hides and shows the component, as `Activity` does. */
  hide?(hidden: boolean): void;
  /** What it has heard. */
  heard: string[];
}

/** Where the stream of a channel is. */
export function urlOf(channel: string): string {
  return `/sse/subscribe?channel=${channel}`;
}

/** How a page with these props makes its client. */
export function maker({ cursor, shared }: Props): (url: string) => Client<Events> {
  const lastEventId = cursor ?? "";
  return shared
    ? (url) => createSharedClient<Events>(url, { name: "ada", lastEventId })
    : (url) => createClient<Events>(url, { lastEventId });
}

/** A connection in words. */
export function words(connection: Connection): string {
  switch (connection.state) {
    case "reconnecting":
      return `reconnecting, attempt ${connection.attempt}, ${Number.isFinite(connection.delay)}`;
    case "closed":
      return `closed: ${connection.reason}`;
    default:
      return connection.state;
  }
}
