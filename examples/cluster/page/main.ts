/**
 * The cluster's page: it listens, counts, and shows which server it is on.
 *
 * @module
 */
import { createClient } from "../../../src/client/mod.ts";
import { duration, element, grouped, on, tell } from "../../app/page/dom.ts";
import type { Count, Events } from "../server.ts";
import { Counts } from "./counts.ts";

/** How many marks a server's line has. */
const MARKS = 48;
/** What took this much longer than the fastest was sent while there was no connection, in ms. */
const LATE = 200;

let counts: Counts;
/** The server that the connection is to, and the process of it that this page has asked to be killed. */
let here: { server: number; pid: number } | undefined;
let asked: number | undefined;
/** When the connection was lost, by the page's clock, and what has come since it is back. */
let lostAt: number | undefined;
let late = 0;
let lost = 0;
/** The least that an event took: on two machines also the difference between their clocks. */
let least = Infinity;

/** Listens from a cursor on. */
function listen(lastEventId: string): void {
  const client = createClient<Events>("/events/subscribe", {
    lastEventId,
    // Which server answers is in its headers.
    async fetch(url, init) {
      const response = await fetch(url, init);
      const [server, pid] = ["x-server", "x-process"].map((name) => response.headers.get(name));
      if (response.ok) here = { server: Number(server), pid: Number(pid) };
      return response;
    },
    reconnect: { delay: 250, maxDelay: 2000, maxAttempts: Infinity },
  });
  client.addEventListener("count", (event) => {
    const count = event.json();
    const took = Date.now() - count.at;
    least = Math.min(least, took);
    counts.take(count);
    const isLate = took - least > LATE;
    if (lostAt !== undefined) {
      // The first that is not late says that all is here which was sent meanwhile.
      if (isLate) late++;
      else showReturn();
    }
    mark(count, isLate);
    showCounts();
  });
  client.on("open", () => {
    showConnection("open", "Connected");
    showHere();
  });
  client.on("reconnecting", () => {
    lostAt ??= Date.now();
    showConnection("waiting", "Lost, trying again");
  });
  client.on("reset", () => {
    showProblem(
      "A reset: the log has lost events, or holds those no more that this tab has missed.",
    );
    void load();
  });
  client.connect();
}

on("kill", "click", async () => {
  if (!here) return;
  asked = here.pid;
  // The answer may come from the server that is killed: then there is none.
  await fetch("/kill", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ pid: here.pid }),
  }).catch(() => {});
});

load().then(listen).catch((error) => {
  showProblem(`The page could not be loaded: ${error.message}. Load it again.`);
});

/** Begins to count, from the cursor that this resolves to. */
async function load(): Promise<string> {
  const response = await fetch("/state");
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { cursor, now } = await response.json();
  counts = new Counts(now);
  return cursor;
}

/** Adds a mark to the line of a server. */
function mark({ server, pid, n, connections }: Count, isLate: boolean): void {
  const row = document.getElementById(`server-${server}`) ?? newRow(server);
  const [marks, text] = [row.querySelector(".marks")!, row.querySelector(".text")!];
  const isNew = row.dataset.pid !== undefined && row.dataset.pid !== `${pid}`;
  if (isNew) {
    lost++;
    marks.append(newMark("dead"));
  }
  row.dataset.pid = `${pid}`;
  marks.append(newMark(isLate ? "late" : "live"));
  while (marks.childElementCount > MARKS) marks.firstElementChild!.remove();
  const tabs = connections === 1 ? "1 tab" : `${connections} tabs`;
  text.textContent = `process ${pid} · ${tabs} · number ${grouped(n)}`;
}

function newRow(server: number): HTMLElement {
  const row = document.createElement("div");
  row.id = `server-${server}`;
  row.className = "server";
  row.role = "listitem";
  const [name, text, marks] = ["name", "text", "marks"].map((name) => {
    const part = document.createElement("span");
    part.className = name;
    return part;
  }) as [HTMLElement, HTMLElement, HTMLElement];
  name.textContent = `Server ${server}`;
  marks.ariaHidden = "true";
  row.append(name, text, marks);
  const servers = element("servers");
  const next = [...servers.children].find((other) => other.id > row.id);
  servers.insertBefore(row, next ?? null);
  showHere();
  return row;
}

function newMark(kind: string): HTMLElement {
  const mark = document.createElement("i");
  mark.className = kind;
  return mark;
}

function showCounts(): void {
  tell("received", grouped(counts.received));
  tell("missed", grouped(counts.missed));
  tell("twice", grouped(counts.twice));
  tell("lost", grouped(lost));
  element("missed").dataset.wrong = String(counts.missed > 0);
  element("twice").dataset.wrong = String(counts.twice > 0);
}

function showHere(): void {
  if (!here) return;
  tell("here-server", `server ${here.server}`);
  tell("here-process", `, process ${here.pid}`);
  tell("kill", `Kill server ${here.server}`);
  document.title = `Server ${here.server} · Streamside`;
  for (const row of document.querySelectorAll<HTMLElement>(".server")) {
    row.ariaCurrent = String(row.id === `server-${here.server}`);
  }
}

function showProblem(text: string): void {
  tell("problem", text);
  element("problem").hidden = false;
}

/** Says what a return has brought. */
function showReturn(): void {
  const away = duration(Date.now() - lostAt!);
  const why = asked === undefined ? "The server was lost." : `Process ${asked} was killed.`;
  const came = late === 0
    ? "Nothing was sent meanwhile."
    : `${late} ${late === 1 ? "event" : "events"} sent meanwhile came on return.`;
  const wrong = counts.missed + counts.twice > 0;
  element("caught").dataset.state = wrong ? "wrong" : "right";
  tell("caught-line", `${why} Back on server ${here!.server} after ${away}.`);
  tell("caught-more", `${came} ${counts.missed} missed, ${counts.twice} twice.`);
  [lostAt, asked, late] = [undefined, undefined, 0];
}

function showConnection(state: string, text: string): void {
  element("connection").dataset.state = state;
  tell("connection-text", text);
  element("kill").ariaDisabled = String(state !== "open");
}
