/**
 * The page: logs in, listens, and shows the connection, the timeline, the charts and the stories.
 *
 * Who is logged in is in the page's address (`/?as=Ada`), so that one browser can be several people, a window each, and
 * one person with several tabs. Each one's token is in the browser's storage.
 *
 * @module
 */
import type { Client, StreamEvent } from "../../../src/client/mod.ts";
import type { Events } from "../events.ts";
import { clearAnswer, readAnswer, wireAnswer } from "./answer.ts";
import { act, ask, identity, Refusal, showProblem, type State } from "./api.ts";
import { Charts } from "./charts.ts";
import { canShare, Connection } from "./connection.ts";
import { duration, element, grouped, on, setConnected, setUsable, tell } from "./dom.ts";
import { clearStories, listenToStories, showStories, wireStories } from "./stories.ts";
import { type Return, Tally } from "./tally.ts";
import { type Lane, Timeline } from "./timeline.ts";

const maxRows = 200;
/** What the slider stands at, in events a second. */
const rates = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const kept = "The server was restarted meanwhile: its history is in a file, and nothing is lost.";
const laneOf: Partial<Record<string, Lane>> = {
  syncProgress: "sync",
  syncMessage: "sync",
  documentLocked: "locks",
  documentUnlocked: "locks",
  ownLock: "locks",
  taskCompleted: "task",
  taskFailed: "task",
  fileChanged: "files",
};

const timeline = new Timeline("timeline");
const charts = new Charts();
let tally = new Tally(showReturn);
let connection: Connection | undefined;
let me: State | undefined;
/** When the newest tick was sent: the stories' events, which carry no time, lie beside it. */
let newest = 0;
let openedOnce = false;
/** What the return before has brought, and whether the server was another one then. */
let returned: Return | undefined;
let isRestarted = false;
/** The server is asked to change the rate, and has not answered yet. */
let asking = false;
/** The newest change of the rate that the page knows of. */
let change = 0;
/** Whether the page has shown something else before: then the focus has to go somewhere. */
let moved = false;

identity.onEnd = () => leave("Your session has ended. Log in again.");
wireStories(reload);
wireAnswer();
wireControls();
const name = new URLSearchParams(location.search).get("as");
if (name) await enter(name);
else show(false);

/** Enters as somebody: with the token that is stored, or a new one. */
async function enter(name: string): Promise<void> {
  try {
    const state = await known(name) ?? await ask<State>("POST", "login", { name }, "");
    store(state.name, state.token);
    history.replaceState(null, "", `/?as=${encodeURIComponent(state.name)}`);
    showProblem(undefined);
    begin(state);
  } catch (error) {
    // A server that did not answer may yet know the session: it is not forgotten.
    show(false);
    showProblem(error);
  }
}

/** The state of a session that this browser has begun before, unless it has ended. */
async function known(name: string): Promise<State | undefined> {
  const token = stored(name);
  try {
    return token ? await ask<State>("GET", "session", undefined, token) : undefined;
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) return undefined;
    throw error;
  }
}

/** Shows the state, and listens from its cursor on: nothing in between is missed. */
function begin(state: State): void {
  me = state;
  identity.token = state.token;
  tally = new Tally(showReturn);
  openedOnce = false;
  returned = undefined;
  isRestarted = false;
  showState(state);
  if (state.answered) readAnswer();
  show(true);
  connection = new Connection({
    session: state.id,
    token: state.token,
    cursor: state.cursor,
    listen,
    changed: showConnection,
    ended: (status) =>
      leave(
        status === 401
          ? "Your session has ended. Log in again."
          : `The server refused the stream with ${status}.`,
      ),
  });
  showConnection();
}

function listen(client: Client<Events>): void {
  // #region resume
  client.addEventListener("tick", (event) => {
    const late = tally.take(event.json(), Date.now()); // counts the numbers that are missing or came twice
    // #endregion
    const { at } = event.json();
    newest = tally.timeOf(at);
    timeline.add("numbers", newest, late);
    if (!late) charts.took(Date.now() - at);
  });
  // Events were missed that the server no longer has: what is on the page may be old.
  // #region resume
  client.addEventListener("reset", reload); // the history no longer reaches back that far
  // #endregion
  client.addEventListener("reset", () => tally.reset());
  client.addEventListener("stats", (event) => {
    const stats = event.json();
    tally.check(stats, Date.now());
    if (me && stats.started !== me.started) {
      // It is another one, which knows nothing of the locks and syncs of the one before.
      me.started = stats.started;
      isRestarted = true;
      if (returned && !tally.catchingUp) showFound(returned);
      void reload();
    }
    charts.add(stats);
    showCount();
  });
  client.addEventListener("rateChanged", (event) => {
    const changed = event.json();
    // Of this page's own changes the last counts: those before it must not move the slider back.
    if (asking || changed.change < change) return;
    change = changed.change;
    showRate(changed.perSecond);
  });
  listenToStories(client);
  client.addEventListener("answerBegun", readAnswer);
  for (const [type, lane] of Object.entries(laneOf)) {
    client.addEventListener(type, (event: StreamEvent) => {
      timeline.add(lane!, tally.catchingUp ? newest : Date.now(), tally.catchingUp);
      row(event);
    });
  }
}

/** Ends what is shown of a session: after a logout, here or elsewhere, or when the server knows it no longer. */
function leave(why?: string): void {
  if (!me) return;
  store(me.name, undefined);
  me = undefined;
  identity.token = undefined;
  connection?.close();
  connection = undefined;
  history.replaceState(null, "", "/");
  document.title = "Streamside";
  timeline.clear();
  clearStories();
  clearAnswer();
  element("events").replaceChildren();
  showCaught("");
  show(false);
  showConnection();
  showProblem(why ? new Error(why) : undefined);
}

/** Shows the state anew, where what is on the page may be wrong. */
async function reload(): Promise<void> {
  if (!me) return;
  try {
    showState(await ask<State>("GET", "session"));
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) identity.onEnd!();
    else showProblem(error);
  }
}

function wireControls(): void {
  for (const button of document.querySelectorAll<HTMLElement>("[data-enter]")) {
    button.addEventListener("click", () => enter(button.dataset.enter!));
  }
  on("login-form", "submit", (event) => {
    event.preventDefault();
    void enter(element<HTMLInputElement>("login-name").value.trim());
  });
  on("logout", "click", async () => {
    if (await act("POST", "logout")) leave();
  });
  on("reconnect", "click", () => connection?.reconnect());
  on("cut", "click", () => connection?.setCut(!connection.cut));
  on("share", "click", () => connection?.setShared(!connection.shared));
  const slider = element<HTMLInputElement>("rate");
  slider.max = String(rates.length - 1);
  on("rate", "input", () => {
    if (slider.ariaDisabled === "true") showRate(me?.perSecond ?? 0);
    else showRate(rates[Number(slider.value)]!);
  });
  on("rate", "change", async () => {
    if (slider.ariaDisabled === "true" || asking) return;
    asking = true;
    // One at a time: of two requests at once the second may come first.
    for (let sent = ""; sent !== slider.value;) {
      sent = slider.value;
      const asked = { perSecond: rates[Number(sent)] };
      const answer = await act<{ change: number }>("POST", "rate", asked);
      if (answer) change = answer.change;
      else await reload();
    }
    asking = false;
  });
  for (const id of ["rate", "share", "logout"]) setUsable(element(id), true);
  setConnected(false);
  setInterval(() => {
    showDetails();
    if (connection?.state === "open") showCount();
  }, 250);
  setInterval(() => connection?.countTabs(), 1000);
}

function show(loggedIn: boolean): void {
  element("login").hidden = loggedIn;
  element("demo").hidden = !loggedIn;
  element("account").hidden = !loggedIn;
  element("connection").hidden = !loggedIn;
  if (moved) element(loggedIn ? "cut" : "enter-first").focus({ preventScroll: true });
  moved = true;
}

function showState(state: State): void {
  me = state;
  tell("name", state.name);
  document.title = `${state.name} · Streamside`;
  const other = state.name === "Grace" ? "Ada" : "Grace";
  for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-second-window]")) {
    link.href = `/?as=${other}`;
    link.textContent = `Open a second window as ${other}`;
  }
  const tab = element<HTMLAnchorElement>("second-tab");
  tab.href = `/?as=${encodeURIComponent(state.name)}`;
  tell("second-tab-name", state.name);
  showRate(state.perSecond);
  showStories(state);
}

function showRate(perSecond: number): void {
  const slider = element<HTMLInputElement>("rate");
  const nearest = rates.findLastIndex((rate) => rate <= perSecond);
  slider.value = String(nearest);
  slider.ariaValueText = `${perSecond} events a second`;
  tell("rate-asked", `${grouped(perSecond)} events/s`);
  if (me) me.perSecond = perSecond;
}

/** Shows the connection's state. What is announced is the state alone, not the seconds. */
function showConnection(): void {
  const now = Date.now();
  const open = connection?.state === "open";
  const badge = element("connection");
  const [state, text] = !connection
    ? ["closed", "Not connected"]
    : connection.cut
    ? ["cut", "Cut by you"]
    : open
    ? ["open", "Connected"]
    : connection.state === "connecting"
    ? ["connecting", "Connecting"]
    : ["waiting", "Lost, trying again"];
  badge.dataset.state = state;
  tell("connection-text", text!);
  element("cut").ariaChecked = String(connection?.cut ?? false);
  element("share").ariaChecked = String(connection?.shared ?? false);
  setUsable(element("share"), canShare);
  element("reconnect").ariaDisabled = String(connection?.cut ?? false);
  setUsable(element("logout"), true);
  setConnected(open);
  if (open) {
    openedOnce = true;
    tally.opened(now);
    timeline.opened(now);
    showProblem(undefined);
  } else if (connection && openedOnce) {
    tally.lost(now);
    isRestarted = false;
    timeline.lost(now);
    if (connection.cut) {
      showCaught("", "The server goes on sending. Switch it back to see what you missed.");
    }
  }
  showDetails();
}

/** The details of the badge, which change every second. */
function showDetails(): void {
  if (!connection) return;
  const { state, attempt, nextAt, openSince, lastEventId, tabs, shared } = connection;
  const now = Date.now();
  tell("detail-state", state === "waiting" ? "waiting" : state);
  tell("detail-attempt", state === "open" ? "–" : String(Math.max(1, attempt)));
  const next = nextAt === undefined
    ? "–"
    : nextAt > now
    ? `${((nextAt - now) / 1000).toFixed(1)} s`
    : "now";
  tell("detail-next", state === "open" ? "–" : state === "connecting" ? "now" : next);
  tell("detail-open", openSince === undefined ? "–" : duration(now - openSince));
  tell("detail-id", lastEventId || "–");
  const alone = canShare ? "this tab’s own" : "not shared: that takes HTTPS";
  tell("detail-tabs", !shared ? alone : tabs === 1 ? "1 tab" : `${tabs} tabs`);
}

/** The running count of the numbered events. */
function showCount(): void {
  tell("count-last", tally.last === undefined ? "–" : grouped(tally.last));
  tell("count-received", grouped(tally.received));
  tell("count-missed", grouped(tally.missed));
  tell("count-twice", grouped(tally.twice));
  element("count-missed").dataset.wrong = String(tally.missed > 0);
  element("count-twice").dataset.wrong = String(tally.twice > 0);
}

/** Says what a return has brought. */
function showReturn(found: Return): void {
  timeline.filled(Date.now());
  returned = found;
  showFound(found);
  showCount();
}

function showFound(found: Return): void {
  const { away, count, first, last, took, missed, twice, reset, restarted } = found;
  const state = missed + twice > 0 ? "wrong" : "right";
  const loaded = "A reset said so, and the page has loaded the state again.";
  if (restarted) {
    const why = "The server has started anew, and its history with it.";
    showCaught(state, `Back; ${duration(away)} away.`, `${why} ${loaded}`);
  } else if (reset) {
    const why = `The history does not reach back that far: ${grouped(missed)} events are gone.`;
    showCaught(state, `Back; ${duration(away)} away.`, `${why} ${loaded}`);
  } else {
    const caught = `Caught up ${grouped(count)} events in ${duration(took)}`;
    const range = count > 0 ? `, from number ${grouped(first)} to ${grouped(last)}` : "";
    showCaught(
      state,
      `${caught}, ${grouped(missed)} missed, ${grouped(twice)} twice.`,
      `Away for ${duration(away)}${range}.${isRestarted ? ` ${kept}` : ""}`,
    );
  }
}

/** The line below the timeline. */
function showCaught(state: "" | "right" | "wrong", line = "", more = ""): void {
  element("caught").dataset.state = state;
  tell("caught-line", line);
  tell("caught-more", more);
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
  element("no-events").hidden = true;
}

/** What the browser has stored; where it stores nothing, each window logs in anew. */
function stored(name: string): string | undefined {
  try {
    return localStorage.getItem(`token of ${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

function store(name: string, token: string | undefined): void {
  try {
    if (token === undefined) localStorage.removeItem(`token of ${name}`);
    else localStorage.setItem(`token of ${name}`, token);
  } catch {
    // The browser denies storage.
  }
}
