/**
 * A page where there is none.
 *
 * @module
 */

/** Runs `body` with the runtime's global as an event target, and a page in front of it, whose events `raise` raises. */
export async function withPage(
  body: (raise: (type: string, hidden?: boolean) => void) => Promise<void>,
): Promise<void> {
  const global = globalThis as unknown as Record<string, unknown>;
  const saved = Object.getOwnPropertyDescriptors(globalThis);
  const names = ["addEventListener", "removeEventListener", "dispatchEvent", "document"];
  const target = new EventTarget();
  const page = { hidden: false };
  const values = [
    target.addEventListener.bind(target),
    target.removeEventListener.bind(target),
    target.dispatchEvent.bind(target),
    page,
  ];
  names.forEach((name, i) =>
    Object.defineProperty(global, name, { value: values[i], configurable: true, writable: true })
  );
  try {
    await body((type, hidden = false) => {
      page.hidden = hidden;
      target.dispatchEvent(new Event(type));
    });
  } finally {
    for (const name of names) {
      const before = (saved as Record<string, PropertyDescriptor | undefined>)[name];
      if (before) Object.defineProperty(global, name, before);
      else delete global[name];
    }
  }
}
