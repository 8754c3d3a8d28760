/**
 * Four of the stories: what the user does, and what the events show. The lines between `#region` and `#endregion` are
 * shown on the page.
 *
 * @module
 */
import type { Client } from "../../../src/client/mod.ts";
import type { Events } from "../events.ts";
import { act, type State } from "./api.ts";
import { element, on, setUsable, tell } from "./dom.ts";

/** Lets the stories' controls work. `reload` shows the state anew, where what is on the page may be wrong. */
export function wireStories(reload: () => Promise<void>): void {
  // What a click begins is shown before the server is asked: its events may be here before its answer.
  on("sync-start", "click", async () => {
    showSync(true, 0);
    tell("sync-message", "Starting…");
    if (await act("POST", "sync")) return;
    showSync(false);
    await reload();
  });
  on("sync-cancel", "click", async () => {
    if (!await act("DELETE", "sync")) await reload();
  });
  on("task", "submit", async (event) => {
    event.preventDefault();
    const file = element<HTMLInputElement>("task-file").value;
    tell("task-message", `Counting ${file}…`);
    if (!await act("POST", "task", { file })) tell("task-message", "");
  });
  setUsable(element("task-start"), true);

  async function toggle(document: string, lockedBy: string | null, mine: boolean): Promise<void> {
    showDocument(document, mine ? null : "you", !mine);
    if (await act(mine ? "DELETE" : "POST", "lock", { document })) return;
    showDocument(document, lockedBy, mine);
    await reload();
  }
  onToggle = toggle;
}

let onToggle: (document: string, lockedBy: string | null, mine: boolean) => void = () => {};

/** Shows the stories as they are. */
export function showStories(state: State): void {
  tell("source", state.source);
  tell("watch-command", `echo hello >> ${state.notes}`);
  for (const { document, lockedBy, mine } of state.documents) {
    showDocument(document, lockedBy, mine);
  }
  showSync(state.syncing);
}

/** Empties what the stories told an earlier session. */
export function clearStories(): void {
  for (const id of ["sync-message", "task-message", "watch-message"]) tell(id, "");
  element("documents").replaceChildren();
  showSync(false, 0);
}

/** Adds the stories' listeners to a client. */
export function listenToStories(client: Client<Events>): void {
  // #region sync
  client.addEventListener("syncProgress", (event) => {
    const percent = event.json();
    showSync(percent < 100, percent);
  });
  client.addEventListener("syncMessage", (event) => {
    tell("sync-message", event.data);
    if (/^(Done|Cancelled|Failed)/.test(event.data)) showSync(false);
  });
  // #endregion

  // #region lock
  client.addEventListener("documentLocked", (event) => {
    const { document, by } = event.json();
    showDocument(document, by, false);
  });
  client.addEventListener("documentUnlocked", (event) => {
    showDocument(event.json().document, null, false);
  });
  // #endregion
  client.addEventListener("ownLock", (event) => {
    const { document, locked } = event.json();
    showDocument(document, locked ? "you" : null, locked);
  });

  // #region task
  client.addEventListener("taskCompleted", (event) => {
    const { file, lines, words, bytes } = event.json();
    tell("task-message", `${file}: ${lines} lines, ${words} words, ${bytes} bytes`);
  });
  client.addEventListener("taskFailed", (event) => {
    const { file, error } = event.json();
    tell("task-message", `${file}: ${error}`);
  });
  // #endregion

  // #region watch
  client.addEventListener("fileChanged", (event) => {
    const { fileId, bytes } = event.json();
    const now = bytes === null ? "is gone" : `has ${bytes} bytes`;
    tell("watch-message", `${fileId} ${now}`);
  });
  // #endregion
}

function showSync(running: boolean, percent?: number): void {
  const [start, cancel] = [element("sync-start"), element("sync-cancel")];
  setUsable(start, !running);
  setUsable(cancel, running);
  element("sync-message").ariaBusy = String(running); // a screen reader tells how it ends, not each step
  if (percent === undefined) return;
  element<HTMLProgressElement>("sync-progress").value = percent;
  tell("sync-percent", `${percent} %`);
}

function showDocument(name: string, lockedBy: string | null, mine: boolean): void {
  const title = document.createElement("strong");
  title.textContent = name;
  const holder = document.createElement("span");
  holder.textContent = mine ? "locked by you" : lockedBy ? `locked by ${lockedBy}` : "free";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = mine ? "Unlock" : "Lock";
  button.setAttribute("aria-label", `${button.textContent} ${name}`);
  setUsable(button, lockedBy === null || mine);
  button.addEventListener("click", () => onToggle(name, lockedBy, mine));

  const list = element("documents");
  const item = document.createElement("li");
  item.dataset.document = name;
  item.dataset.state = mine ? "mine" : lockedBy ? "locked" : "free";
  item.append(title, holder, button);
  const shown = [...list.children].find((li) => (li as HTMLElement).dataset.document === name);
  const focused = shown?.contains(document.activeElement);
  if (shown) shown.replaceWith(item);
  else list.append(item);
  if (focused) button.focus();
}
