/**
 * The examples of the documentation as programs: those of the pages and of the doc comments, each made a module that
 * a type checker takes as it would take a user's.
 *
 * @module
 */
import { type Block, blocksOf } from "./documentation.ts";

/** The modules that an example may use the exports of without importing them. */
const specifiers = ["streamside", "streamside/client", "streamside/node", "streamside/testing"];

/**
 * What the examples leave to their reader: an application, as loosely as it can be told, and the runtimes that they
 * name. `names`, by specifier, are what the package exports.
 */
export function surroundings(names: Readonly<Record<string, readonly string[]>>): string {
  // A page's EventSource is the browser's own, for which ours stands in.
  const exported = specifiers.flatMap((specifier) =>
    names[specifier]!.filter((name) => name !== "EventSource")
      .map((name) => `  const ${name}: typeof import("${specifier}").${name};\n`)
  );
  return `import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";

declare global {
${exported.join("")}
  interface Events {
    syncProgress: number;
    documentLocked: { by: string };
    fileChanged: { fileId: string };
    taskCompleted: { file: string };
    typing: { by: string };
  }
  type Login = import("streamside").Identity & { documents: Set<string>; mayWrite(channel: string): boolean };

  const hub: import("streamside").Hub<Events>;
  const handler: import("streamside").Handler;
  const client: import("streamside/client").Client<Events>;
  const logins: Map<string, Login>;
  const sessions: { find(id: string | null): Promise<Login | undefined> };
  const request: Request;
  const session: string, sessionId: string, url: string, cursor: string;
  const percent: number;
  const documents: string[];
  const known: Set<string>;
  const bar: HTMLProgressElement;
  const model: {
    generate(prompt: unknown, options?: { signal: AbortSignal }): AsyncIterable<string>;
  };
  function banner(text: string): void;
  function refresh(fileId: string): void;
  function freshToken(): Promise<string>;
  function assertEquals(actual: unknown, expected: unknown): void;

  const http: typeof import("node:http");
  const Deno: { serve(handler: (request: Request, info: object) => Response | Promise<Response>): void };
  const Bun: {
    serve(options: {
      fetch: (request: Request, server: object) => Response | Promise<Response>;
      idleTimeout: number;
    }): void;
  };
  const router: { all(path: string, handler: (request: Request) => Response | Promise<Response>): void };
  type Middleware = (request: never, response: never) => unknown;
  const express: () => RequestListener & {
    use(path: string, ...middleware: Middleware[]): void;
  };
  const passport: { session(): Middleware };
  namespace Express {
    interface Request {
      user?: { id: string };
    }
  }
  const fastify: () => {
    all(
      path: string,
      handler: (
        request: { raw: IncomingMessage; body: unknown },
        reply: { raw: ServerResponse; hijack(): void },
      ) => void,
    ): void;
  };
}
`;
}

/** The examples of a source file's doc comments, as modules, by the line that each begins at. */
export function snippets(text: string): Map<number, string> {
  const lines = text.split("\n").map((line) => line.match(/^ *\* ?(.*)$/)?.[1] ?? "");
  const found = blocksOf({ path: "a source file", text: lines.join("\n") });
  return new Map(
    found.filter(({ language }) => language === "ts").map((block) => [block.line, toModule(block)]),
  );
}

/** A whole file, on the lines that it has where it was found, for the type checker to name. */
export function toProgram({ line, text }: Block): string {
  return `${"\n".repeat(line - 1)}${text}`;
}

/**
 * A module with an example in a function, since it may return and await; on the lines that it has where it was found.
 */
export function toModule(block: Block): string {
  const example = block.text.split("\n").slice(0, -1);
  const last = example.findLastIndex((line) => /^(import .*|.*\} from ".*);$/.test(line));
  const imports = example.slice(0, last + 1);
  const body = example.slice(last + 1).map((line) => line.replace(/^export default /, "void "));
  const head = [...Array<string>(block.line - 1).fill(""), ...imports].join("\n");
  return `${head} export const example = async () => {\n${body.join("\n")}\n};\n`;
}
