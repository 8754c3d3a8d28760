/**
 * What groups of connections share of a range: those that hear the same of it get the same bytes, whatever else they
 * subscribe to.
 *
 * @module
 */

import type { Address } from "../log/address.ts";
import type { Audience, Read, ReadRange } from "./read.ts";
import type { LogWindow } from "./window.ts";

/** Those who hear the same of a range. */
export class Shared implements Audience {
  readonly addresses: readonly Address[];
  readonly #others = new Map<Address, Shared>();
  #read: Read | undefined;

  /** Those who hear these addresses, and no other that the range has events for. */
  constructor(addresses: readonly Address[]) {
    this.addresses = addresses;
  }

  get size(): number {
    return this.addresses.length;
  }

  hears(address: Address): boolean {
    return this.addresses.includes(address);
  }

  /** Those who hear one address more. */
  and(address: Address): Shared {
    let others = this.#others.get(address);
    if (others === undefined) {
      others = new Shared([...this.addresses, address]);
      this.#others.set(address, others);
    }
    return others;
  }

  /** The events of the range for them, read once. */
  read(window: LogWindow, range: ReadRange): Read {
    return this.#read ??= window.readForAudience(this, range);
  }
}
