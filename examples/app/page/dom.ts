/**
 * What all of the page's script shares: finding elements, telling with them, and buttons that cannot work for now.
 *
 * Everything that comes from elsewhere is shown with `textContent`, never as markup.
 *
 * @module
 */

/** The element with this id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found as T;
}

/** Lets an element say something; what it says already is not said again, for the sake of screen readers. */
export function tell(id: string, text: string): void {
  const found = element(id);
  if (found.textContent !== text) found.textContent = text;
}

/** Listens to an element's events. */
export function on(id: string, type: string, listener: (event: Event) => void): void {
  element(id).addEventListener(type, listener);
}

/** A number with spaces between its thousands. */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}

/** A length of time, given in ms, to read at a glance. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** A token of the page's style, such as `--accent`, as it is now: light and dark differ. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Whether the user wants things not to move. */
export const still: MediaQueryList = matchMedia("(prefers-reduced-motion: reduce)");

let connected = false;

/** Says whether a control can be used as far as the page's own state goes; without a connection none can. */
export function setUsable(control: HTMLElement, usable: boolean): void {
  control.dataset.usable = String(usable);
  control.ariaDisabled = String(!(usable && connected));
}

/** Says whether there is a connection. */
export function setConnected(value: boolean): void {
  connected = value;
  document.body.dataset.connected = String(value);
  for (const control of document.querySelectorAll<HTMLElement>("[data-usable]")) {
    setUsable(control, control.dataset.usable === "true");
  }
}

// Such a control stays where the keyboard can reach it (`disabled` would throw the focus away), and does nothing.
document.addEventListener("click", (event) => {
  if (!(event.target as Element).closest?.("[aria-disabled=true]")) return;
  event.preventDefault();
  event.stopPropagation();
}, { capture: true });
