/**
 * Tabs in one process: stand-ins for the browser's locks and channels, by which the clients of one process share a
 * connection on every runtime, and by which a test can freeze a tab, make it deaf, or have it crash.
 *
 * @module
 */

/** What happens to the messages for a tab: they come, wait until it goes on, or are lost. */
export type Hearing = "hears" | "frozen" | "deaf";

/** A `BroadcastChannel` whose messages reach each receiver in the order in which they were sent, as in browsers. */
export class Channel {
  static #all: Set<Channel> = new Set<Channel>();
  /** The channel that was made last. */
  static last: Channel | undefined;
  readonly name: string;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  /** Whether what this tab says is lost: it has crashed. */
  mute = false;
  #hearing: Hearing = "hears";
  #waiting: unknown[] = [];

  constructor(name: string) {
    this.name = name;
    Channel.#all.add(this);
    Channel.last = this;
  }

  get hearing(): Hearing {
    return this.#hearing;
  }

  set hearing(hearing: Hearing) {
    this.#hearing = hearing;
    if (hearing == "hears") setTimeout(() => this.#deliver());
  }

  postMessage(message: unknown): void {
    if (this.mute) return;
    const data = structuredClone(message);
    for (const other of Channel.#all) {
      if (other == this || other.name != this.name || other.hearing == "deaf") continue;
      other.#waiting.push(data);
      setTimeout(() => other.#deliver());
    }
  }

  close(): void {
    Channel.#all.delete(this);
  }

  #deliver(): void {
    while (this.#hearing == "hears" && Channel.#all.has(this) && this.#waiting.length > 0) {
      this.onmessage?.({ data: structuredClone(this.#waiting.shift()) });
    }
  }
}

interface Request {
  granted: () => unknown;
  resolve: (value: unknown) => void;
  reject: (reason: unknown) => void;
  /** By which a test knows whose request it is; those that take a lock away have none. */
  signal: AbortSignal | undefined;
}

/** A lock manager (Web Locks API): exclusive locks, granted in order, which can be taken away. */
export class Locks {
  readonly #queues = new Map<string, Request[]>();
  readonly #holders = new Map<string, Request>();
  /** The signal of the request that was made last. */
  last: AbortSignal | undefined;
  /** Tabs that are frozen are told later that their lock was taken. */
  readonly frozen: Map<AbortSignal, (() => void)[]> = new Map<AbortSignal, (() => void)[]>();

  request(
    name: string,
    { signal, steal }: { signal?: AbortSignal; steal?: boolean },
    granted: () => unknown,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const request = { granted, resolve, reject, signal };
      this.last = signal;
      if (steal) {
        const holder = this.#holders.get(name);
        this.#holders.delete(name);
        queue.unshift(request);
        const told = () => holder?.reject(new DOMException("The lock was stolen.", "AbortError"));
        const later = holder?.signal && this.frozen.get(holder.signal);
        if (later) later.push(told);
        else told();
      } else queue.push(request);
      signal?.addEventListener("abort", () => {
        const at = queue.indexOf(request);
        if (at < 0) return;
        queue.splice(at, 1);
        reject(signal.reason);
      });
      this.#grant(name);
    });
  }

  /** The signal of the request that holds a lock. */
  holder(name: string): AbortSignal | undefined {
    return this.#holders.get(name)?.signal;
  }

  #grant(name: string): void {
    setTimeout(async () => {
      if (this.#holders.has(name)) return;
      const request = this.#queues.get(name)!.shift();
      if (!request) return;
      this.#holders.set(name, request);
      try {
        request.resolve(await request.granted());
      } catch (error) {
        request.reject(error);
      }
      if (this.#holders.get(name) == request) {
        this.#holders.delete(name);
        this.#grant(name);
      }
    });
  }
}

/** Runs `body` in a world with these locks and channels. */
export async function withTabs(
  body: (locks: Locks) => Promise<void>,
  world: { locks?: unknown; channel?: unknown } = { locks: new Locks(), channel: Channel },
): Promise<void> {
  const global = globalThis as { navigator?: object; BroadcastChannel?: unknown };
  const { BroadcastChannel } = global;
  const bare = !global.navigator;
  if (bare) Object.defineProperty(global, "navigator", { value: {}, configurable: true });
  const navigator = global.navigator as { locks?: unknown };
  Object.defineProperty(navigator, "locks", { value: world.locks, configurable: true });
  global.BroadcastChannel = world.channel;
  try {
    await body(world.locks as Locks);
  } finally {
    delete navigator.locks;
    if (bare) delete global.navigator;
    global.BroadcastChannel = BroadcastChannel;
  }
}
