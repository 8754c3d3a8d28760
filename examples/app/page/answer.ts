/**
 * The fifth story: an answer that is written word by word, and read from its first word however often the page is loaded.
 *
 * @module
 */
import { type Client, createClient } from "../../../src/client/mod.ts";
import type { AnswerEvents } from "../events.ts";
import { act, identity } from "./api.ts";
import { element, on, setUsable, tell } from "./dom.ts";

let client: Client<AnswerEvents> | undefined;

/** Lets the story's controls work. */
export function wireAnswer(): void {
  on("answer-ask", "click", async () => {
    tell("answer-message", "Asking…");
    if (!await act("POST", "answer")) tell("answer-message", "");
  });
  on("answer-stop", "click", () => act("DELETE", "answer"));
  setUsable(element("answer-ask"), true);
  setUsable(element("answer-stop"), false);
  // A browser has six connections to a server of HTTP/1.1 for all tabs: one that nobody sees reads on later.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) client?.close();
    else client?.connect();
  });
}

/** Reads the answer that there is, from its first word, and goes on while it is written. */
export function readAnswer(): void {
  clearAnswer();
  const text = element("answer-text");
  const answer = client = createClient<AnswerEvents>("/api/v1/sse/runs/answer", {
    headers: { "X-Session-Id": identity.token! },
    reconnect: { maxAttempts: Infinity },
  });
  // #region answer
  answer.addEventListener("token", (event) => text.append(event.data));
  answer.addEventListener("reset", () => text.replaceChildren()); // it begins again from the first word
  answer.addEventListener("streamside:end", (event) => showEnd(event.json().error));
  if (!document.hidden) answer.connect();
  // #endregion
  answer.addEventListener("token", () => text.scrollTop = text.scrollHeight);
  answer.addEventListener("open", () => showWriting(true));
  answer.addEventListener("close", ({ reason }) => {
    showWriting(false);
    if (reason !== "closed" && client === answer) client = undefined;
  });
}

/** Leaves the answer. */
export function clearAnswer(): void {
  client?.close();
  client = undefined;
  element("answer-text").replaceChildren();
  tell("answer-message", "");
}

function showWriting(writing: boolean): void {
  setUsable(element("answer-ask"), !writing);
  setUsable(element("answer-stop"), writing);
  if (writing) tell("answer-message", "Writing…");
}

function showEnd(error?: string): void {
  tell("answer-message", error ? `It ended early: ${error}` : "Done");
}
