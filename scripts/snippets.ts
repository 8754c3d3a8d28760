/**
 * The examples of the documentation as programs: those of the README and of the doc comments, each made a module that
 * a type checker takes as it would take a user's.
 *
 * @module
 */

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
  }
  type Login = import("streamside").Identity & { mayWrite(channel: string): boolean };

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

/** The examples of a Markdown text or of a source file's doc comments, as modules, by the line that each begins at. */
export function snippets(text: string, isMarkdown: boolean): Map<number, string> {
  const lines = text.split("\n");
  const found = new Map<number, string>();
  let example: string[] | undefined;
  let first = 0;
  for (const [index, whole] of lines.entries()) {
    const line = isMarkdown ? whole : whole.match(/^ *\* ?(.*)$/)?.[1] ?? "";
    if (example === undefined && line === "```ts") [example, first] = [[], index + 1];
    else if (example !== undefined && line === "```") {
      found.set(first + 1, toModule(example, first));
      example = undefined;
    } else example?.push(line);
  }
  if (example !== undefined) throw new Error(`the example at line ${first} has no end`);
  return found;
}

/**
 * A module with an example in a function, since it may return and await; on the lines that it has where it was found,
 * for the type checker to name.
 */
function toModule(example: readonly string[], first: number): string {
  const last = example.findLastIndex((line) => /^import /.test(line));
  const imports = example.slice(0, last + 1);
  const body = example.slice(last + 1).map((line) => line.replace(/^export default /, "void "));
  const head = [...Array<string>(first).fill(""), ...imports].join("\n");
  return `${head} export const example = async () => {\n${body.join("\n")}\n};\n`;
}
