/**
 * Bodies that a framework's parser has read before the handler gets the request.
 *
 * @module
 */
import { createServer, type RequestListener } from "node:http";
import { describe, test } from "node:test";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Hono } from "hono";
import Koa from "koa";
import { toNodeListener } from "../../src/node/mod.ts";
import {
  listen,
  serve,
  type Service,
  type ServiceOptions,
  withService,
} from "../server-helpers.ts";

const MESSAGE = { session: "ada", event: "e", data: "hello" };

/** Koa behind a parser as koa-bodyparser and its like, that hands on to the handler what it made, or does not. */
function koa(isHandedOn: boolean): ServiceOptions["serve"] {
  return (handler) => {
    const listener = toNodeListener(handler);
    const app = new Koa();
    app.use(async (ctx, next) => {
      const request = ctx.request as { body?: unknown };
      let text = "";
      for await (const chunk of ctx.req) text += new TextDecoder().decode(chunk);
      if (text !== "") request.body = JSON.parse(text);
      await next();
    });
    app.use(async (ctx) => {
      ctx.respond = false;
      const { body } = ctx.request as { body?: unknown };
      await listener(isHandedOn ? Object.assign(ctx.req, { body }) : ctx.req, ctx.res);
    });
    return listen(createServer(app.callback() as RequestListener));
  };
}

/** Hono whose middleware has read the body of the very Request. */
const hono: ServiceOptions["serve"] = (handler) => {
  const app = new Hono();
  app.use(async (c, next) => {
    if (c.req.method === "POST") await c.req.raw.text();
    await next();
  });
  app.all("*", (c) => handler(c.req.raw));
  return serve((request) => app.fetch(request));
};

async function saysSo(service: Service): Promise<void> {
  const answer = await service.post("/send", MESSAGE);
  const { code, detail } = await answer.json();
  assertEquals([answer.status, code], [500, "body-already-read"]);
  assertStringIncludes(detail, "read before the handler got the request");
  assertStringIncludes(detail, "ctx.req.body = ctx.request.body");
  const errors = service.log.filter(([level]) => level === "error");
  assertEquals(errors.length, 1);
  assertStringIncludes(errors[0]![1], "read before the handler");
}

describe("a body that was read already", () => {
  const handler: ServiceOptions["handler"] = { authorize: () => true };

  test("Koa: says what happened, and what to do", () =>
    withService({ handler, serve: koa(false) }, saysSo));

  test("Koa: what the parser made of it is handed on as req.body", () =>
    withService({ handler, serve: koa(true) }, async (service) => {
      const reader = await service.subscribe("ada");
      assertEquals((await service.post("/send", MESSAGE)).status, 202);
      assertEquals((await reader.event()).data, "hello");
    }));

  test("Hono: says what happened, and what to do", () =>
    withService({ handler, serve: hono }, saysSo));

  test("a handler never rejects, though somebody holds the body of a request that it refuses", () =>
    withService({
      handler: {
        authenticate: (request) => {
          request.body?.getReader();
          return null;
        },
      },
    }, async ({ handler }) => {
      for (const connection of ["close", "keep-alive"]) {
        const answer = await handler(
          new Request("http://localhost/api/v1/sse/send", {
            method: "POST",
            headers: { "Content-Type": "application/json", "Connection": connection },
            body: "{}",
          }),
        );
        assertEquals(answer.status, 401);
      }
    }));

  test("no body at all is no body that was read", () =>
    withService({ handler, serve: koa(false) }, async (service) => {
      const answer = await service.post("/send", "");
      assertEquals([answer.status, (await answer.json()).code], [400, "malformed-json"]);
    }));
});
