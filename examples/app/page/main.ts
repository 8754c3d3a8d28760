/**
 * The page: logs in, listens, and shows the state of the connection and every event.
 *
 * Everything that comes from elsewhere is shown with `textContent`, never as markup.
 *
 * @module
 */
import { type Client, createClient, type StreamEvent } from "../../../src/client/mod.ts";
import type { Events } from "../events.ts";

/** What the server answers a login with. */
interface State {
  cursor: string;
  sessionId: string;
  name: string;
  documents: { document: string; lockedBy: string | null; mine: boolean }[];
  syncing: boolean;
  source: string;
  watched: string;
}

const maxRows = 500;
let session: { id: string; client: Client<Events>; left: AbortController } | undefined;

/** The session's id outlives a reload of the tab; another tab has its own. */
const remembered = sessionStorage.getItem("session");
if (remembered) await enter(() => ask("GET", "session", undefined, remembered));
else show(false);

on("login", "submit", (event) => {
  event.preventDefault();
  void enter(() => ask("POST", "login", { name: element<HTMLInputElement>("login-name").value }));
});
on("logout", "click", () => act("POST", "logout"));
on("reconnect", "click", () => session?.client.reconnect());
// What a click begins is shown before the server is asked: its events may be here before its answer.
on("sync-start", "click", async () => {
  showSync(true, 0);
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

/** Shows the state that the server answers with, and listens from its cursor on: nothing in between is missed. */
async function enter(load: () => Promise<State>): Promise<void> {
  let state: State;
  try {
    state = await load();
  } catch (error) {
    // A server that did not answer may yet know the session: it is not forgotten.
    show(false);
    return showProblem(error);
  }
  sessionStorage.setItem("session", state.sessionId);
  showProblem(undefined);
  showState(state);
  show(true);
  listen(state);
}

function listen(state: State): void {
  const left = new AbortController();
  const client = createClient<Events>("/api/v1/sse/subscribe", {
    headers: { "X-Session-Id": state.sessionId },
    lastEventId: state.cursor,
    signal: left.signal,
  });
  session = { id: state.sessionId, client, left };

  client.addEventListener("open", () => {
    showConnection("open", "connected");
    showProblem(undefined);
  });
  client.addEventListener("reconnecting", ({ attempt, delay }) => {
    showConnection("connecting", `attempt ${attempt} in ${(delay / 1000).toFixed(1)} s`);
  });
  client.addEventListener("close", ({ reason }) => {
    if (reason === "attempts") showConnection("closed", "gave up");
    if (reason !== "server") return;
    leave();
    showProblem(new Error("Your session has ended. Log in again."));
  });
  // Events were missed that the server no longer has: what is on the page may be old.
  client.addEventListener("reset", reload);

  client.addEventListener("syncProgress", (event) => {
    const percent = Number(event.data);
    showSync(percent < 100, percent);
    row(event);
  });
  client.addEventListener("syncMessage", (event) => {
    tell("sync-message", event.data);
    if (/^(Done|Cancelled|Failed)/.test(event.data)) showSync(false);
    row(event);
  });
  client.addEventListener("documentLocked", (event) => {
    const { document, by } = event.json();
    showDocument(document, by, false);
    row(event);
  });
  client.addEventListener("documentUnlocked", (event) => {
    showDocument(event.json().document, null, false);
    row(event);
  });
  client.addEventListener("taskCompleted", (event) => {
    const { file, lines, words, bytes } = event.json();
    tell("task-message", `${file}: ${lines} lines, ${words} words, ${bytes} bytes`);
    row(event);
  });
  client.addEventListener("taskFailed", (event) => {
    const { file, error } = event.json();
    tell("task-message", `${file}: ${error}`);
    row(event);
  });
  client.addEventListener("fileChanged", (event) => {
    const { fileId, bytes } = event.json();
    tell("watch-message", bytes === null ? `${fileId} is gone` : `${fileId}: ${bytes} bytes`);
    row(event);
  });

  showConnection("connecting", "connecting");
  client.connect();
}

/** Forgets the session: after a logout, here or elsewhere, or when the server knows it no longer. */
function leave(): void {
  session?.left.abort();
  session = undefined;
  sessionStorage.removeItem("session");
  showConnection("closed", "not connected");
  show(false);
}

/** Shows the state anew, where what is on the page may be wrong. */
async function reload(): Promise<void> {
  try {
    if (session) showState(await ask("GET", "session"));
  } catch (error) {
    showProblem(error);
  }
}

/** Asks the server; its answer, or an error with what its problem details say. */
async function ask<T>(method: string, path: string, body?: unknown, id = session?.id): Promise<T> {
  const headers = new Headers();
  if (id) headers.set("X-Session-Id", id);
  if (body) headers.set("Content-Type", "application/json");
  const response = await fetch(`/api/v1/${path}`, {
    method,
    headers,
    body: body ? JSON.stringify(body) : null,
  }).catch(() => {
    throw new Error("The server cannot be reached.");
  });
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  if (response.status === 401) leave();
  // What stands between may answer with something else than problem details.
  const problem: { detail?: string } = await response.json().catch(() => ({}));
  throw new Error(problem.detail ?? `The server answered ${response.status}.`);
}

/** Asks the server for something of which only success matters; a problem is shown. */
async function act(method: string, path: string, body?: unknown): Promise<boolean> {
  try {
    await ask(method, path, body);
    if (path === "logout") leave();
    showProblem(undefined);
    return true;
  } catch (error) {
    showProblem(error);
    return false;
  }
}

function show(loggedIn: boolean): void {
  element("login").hidden = loggedIn;
  element("stories").hidden = !loggedIn;
  element("account").hidden = !loggedIn;
  element(loggedIn ? "sync-start" : "login-name").focus();
}

function showState(state: State): void {
  tell("name", state.name);
  tell("source", state.source);
  tell("watch-command", `date >> ${state.watched}/notes.txt`);
  document.title = `${state.name} · Streamside`;
  element("documents").replaceChildren();
  for (const { document, lockedBy, mine } of state.documents) {
    showDocument(document, lockedBy, mine);
  }
  showSync(state.syncing);
}

function showConnection(state: "open" | "connecting" | "closed", text: string): void {
  element("connection").dataset.state = state;
  tell("connection", text);
}

function showSync(running: boolean, percent?: number): void {
  const buttons = ["sync-start", "sync-cancel"].map((id) => element<HTMLButtonElement>(id));
  const focused = buttons.some((button) => button === document.activeElement);
  buttons.forEach((button, index) => button.disabled = running === (index === 0));
  // A button that can be pressed no more would leave whoever uses the keyboard nowhere.
  if (focused) buttons.find((button) => !button.disabled)?.focus();
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
  button.disabled = lockedBy !== null && !mine;
  button.addEventListener("click", async () => {
    showDocument(name, mine ? null : "you", !mine);
    if (await act(mine ? "DELETE" : "POST", "lock", { document: name })) return;
    showDocument(name, lockedBy, mine);
    await reload();
  });

  const list = element("documents");
  const item = document.createElement("li");
  item.dataset.document = name;
  item.append(title, holder, button);
  const shown = [...list.children].find((li) => (li as HTMLElement).dataset.document === name);
  const focused = shown?.contains(document.activeElement);
  if (shown) shown.replaceWith(item);
  else list.append(item);
  if (focused) button.focus();
}

function row(event: StreamEvent): void {
  const rows = element("events");
  const line = document.createElement("tr");
  line.title = `id ${event.lastEventId}`;
  for (const text of [new Date().toTimeString().slice(0, 8), event.type, event.data]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    line.append(cell);
  }
  rows.prepend(line);
  while (rows.children.length > maxRows) rows.lastElementChild!.remove();
  tell("events-count", String(Number(element("events-count").textContent) + 1));
}

function showProblem(error: unknown): void {
  element("problem").hidden = error === undefined;
  tell("problem", error instanceof Error ? error.message : "");
}

function tell(id: string, text: string): void {
  element(id).textContent = text;
}

function on(id: string, type: string, listener: (event: Event) => void): void {
  element(id).addEventListener(type, listener);
}

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found as T;
}
