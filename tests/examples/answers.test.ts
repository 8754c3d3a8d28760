/**
 * The examples of answers that outlive their page: one that is written here, and one that is read from an API.
 *
 * @module
 */
import { createServer, type ServerResponse } from "node:http";
import { describe, test } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { readEvents } from "../../src/client/mod.ts";
import { launch, skip } from "../client/browser-helpers.ts";
import { listen, within } from "../server-helpers.ts";
import { type Server, start } from "./server.ts";

async function withExample(
  name: string,
  env: Record<string, string>,
  test: (url: string) => Promise<void>,
): Promise<void> {
  const server: Server = await start(name, env);
  try {
    await test(server.url);
  } finally {
    server.process.kill("SIGKILL");
    await server.ended;
  }
}

/** The text of an answer, to its end; throws if it is not complete. */
async function textOf(url: string): Promise<string> {
  let text = "";
  for await (const event of readEvents(await fetch(url))) {
    if (event.type === "token") text += event.data;
  }
  return text;
}

describe("examples/answer.ts", () => {
  test("whoever comes, and whenever, reads the whole answer; a second question joins it", () =>
    withExample("answer", { PAUSE: "1" }, async (url) => {
      const ask = () => fetch(`${url}/ask`, { method: "POST" });
      assertEquals((await ask()).status, 204);
      assertEquals((await ask()).status, 204);
      const texts = await within(
        Promise.all([textOf(`${url}/events/runs/answer`), textOf(`${url}/events/runs/answer`)]),
        "the answer",
      );
      assertEquals(texts[0], texts[1]);
      assertEquals(texts[0]!.length, 830);
      assertEquals(await textOf(`${url}/events/runs/answer`), texts[0]);
    }));

  test("a page that is reloaded in the middle shows it all; Stop ends it for every tab", {
    skip,
  }, () =>
    withExample("answer", { PAUSE: "10" }, async (url) => {
      const browser = await launch();
      try {
        const [one, two] = [await browser.newPage(), await browser.newPage()];
        await one.goto(url);
        await one.getByText("Ask").click();
        await one.locator("#answer", { hasText: "Nothing is lost" }).waitFor();
        await two.goto(url);
        for (let i = 0; i < 3; i++) await one.reload();
        for (const page of [one, two]) await page.locator("#state", { hasText: "done" }).waitFor();
        const [first, second] = await Promise.all(
          [one, two].map((page) => page.textContent("#answer")),
        );
        assertEquals(first, second);
        assertEquals(first!.length, 830);

        await one.getByText("Ask").click();
        await one.locator("#answer", { hasText: "Nothing" }).waitFor();
        await two.reload();
        await two.getByText("Stop").click();
        for (const page of [one, two]) {
          await page.locator("#state", { hasText: "stopped" }).waitFor();
        }
      } finally {
        await browser.close();
      }
    }));
});

describe("examples/openai-proxy.ts", () => {
  const say = (response: ServerResponse, content: string) =>
    response.write(
      `data: ${JSON.stringify({ choices: [{ delta: { content }, finish_reason: null }] })}\n\n`,
    );

  /** Stands for the API: what it answers depends on the prompt. */
  async function withApi(test: (url: string) => Promise<void>): Promise<void> {
    const asked: string[] = [];
    const server = await listen(createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const { stream, messages: [{ content }] } = JSON.parse(body);
      asked.push(content);
      assertEquals([request.method, request.url, stream], ["POST", "/v1/chat/completions", true]);
      if (content === "refuse") return response.writeHead(429).end();
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      for (const token of ["Hel", "lo, ", "world\nand ", "all"]) say(response, token);
      if (content === "break") return setTimeout(() => response.destroy(), 20);
      if (content === "end early") return response.end();
      if (content === "fail") response.write(`data: {"error":{"message":"overloaded"}}\n\n`);
      response.end("data: [DONE]\n\n");
    }));
    try {
      await withExample("openai-proxy", { OPENAI_URL: `${server.url}/v1` }, test);
    } finally {
      await server.close();
    }
  }

  const ask = async (url: string, prompt: string): Promise<string> => {
    const response = await fetch(`${url}/ask`, { method: "POST", body: prompt });
    assertEquals(response.status, 202);
    return url + (await response.json() as { url: string }).url;
  };

  test("the answer is read once, and by as many as like", () =>
    withApi(async (url) => {
      const answer = await ask(url, "greet");
      for (let i = 0; i < 3; i++) {
        assertEquals(await within(textOf(answer), "the answer"), "Hello, world\nand all");
      }
    }));

  for (const prompt of ["refuse", "break", "end early", "fail"]) {
    test(`an API that does this: ${prompt}. The answer never looks complete`, () =>
      withApi(async (url) => {
        const answer = await ask(url, prompt);
        const error = await assertRejects(() => within(textOf(answer), "the answer"), Error);
        assertEquals(error.cause, "failed");
      }));
  }

  test("another answer's name is not given away", () =>
    withApi(async (url) => {
      const response = await fetch(`${url}/events/runs/other`);
      assertEquals(response.status, 403);
      await response.body?.cancel();
    }));
});
