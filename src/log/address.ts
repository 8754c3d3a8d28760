/**
 * Addresses: whom an entry of the log is for.
 *
 * @module
 */

/**
 * Whom an entry is addressed to, as one string that can be stored and looked up: `*` everyone, `@id` a session,
 * `#name` a channel.
 */
export type Address = string;

/** The address of everyone. */
export const EVERYONE: Address = "*";

/** The address of a session. */
export function sessionAddress(session: string): Address {
  return `@${session}`;
}

/** The address of a channel. */
export function channelAddress(channel: string): Address {
  return `#${channel}`;
}

/** The session or channel that an address names. */
export function nameOf(address: Address): string {
  return address.slice(1);
}

/** Whether an address is a session's. */
export function isSession(address: Address): boolean {
  return address[0] === "@";
}
