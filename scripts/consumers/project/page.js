// A page: it subscribes, sends, and shows what it received in its title.
import { createClient } from "streamside/client";

const headers = { "X-Session-Id": "ada", "Content-Type": "application/json" };
// A redirect, which browsers follow by themselves and other runtimes leave to the client.
const client = createClient("/api/moved", { headers });
client.on("said", (event) => document.title = event.json().text);
client.on("error", ({ error, status }) => document.title = `error ${status}: ${error}`);
client.on("open", () => {
  const message = { session: "ada", event: "said", data: { text: "received" } };
  fetch("/api/v1/sse/send", { method: "POST", headers, body: JSON.stringify(message) });
});
client.connect();
