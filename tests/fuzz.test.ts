/**
 * Thousands of hostile requests in bytes, from a fixed seed, on kept and pipelined connections: never a 500, never a
 * hang, and the stream of another client is what it would have been without them.
 *
 * `FUZZ_SEED` and `FUZZ_REQUESTS` try another history.
 *
 * @module
 */
import process from "node:process";
import { describe, test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { cases } from "./campaign.ts";
import { RawClient, servers, until, withService } from "./server-helpers.ts";

const seed = Number(process.env.FUZZ_SEED ?? 20_260_101);
const requests = cases("FUZZ_REQUESTS", 5_000, 10_000);
/** No request takes nearly this long: what does, hangs. In ms. */
const HANG = 15_000;

/** A random number generator with a seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One request in bytes (latin1), and what is known about its answer. */
interface FuzzRequest {
  text: string;
  method: string;
  /** What follows on the connection means nothing certain: its framing is broken, or it asked for the end. */
  last: boolean;
  /** It may open a stream, which does not end by itself. */
  opensStream: boolean;
}

class Fuzzer {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = generator(seed);
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  integer(below: number): number {
    return Math.floor(this.#random() * below);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.integer(values.length)]!;
  }

  /** Text of any characters that can stand in a line, as latin1 bytes. */
  noise(length: number, alphabet?: string): string {
    let text = "";
    for (let i = 0; i < length; i++) {
      text += alphabet
        ? alphabet[this.integer(alphabet.length)]
        : String.fromCharCode(this.pick([32 + this.integer(95), 0x80 + this.integer(128)]));
    }
    return text;
  }

  #query(): string {
    const parts: string[] = [];
    while (this.chance(0.6)) {
      parts.push(
        this.pick([
          () =>
            `channel=${
              this.pick(["news", "sport", "secret", "", "%00", "%0a", "a%20b", "%F0%9F"])
            }`,
          () =>
            `lastEventId=${
              this.pick(["", "garbage", "%0d%0aevent:x", "-1", "a-1", this.noise(9, "az09-")])
            }`,
          () => `sessionId=${this.pick(["fuzz", "", "%0A", "%F0%9F%98%80", "x".repeat(1500)])}`,
          () => this.noise(this.integer(30), "abc=&%+;[]{}\\^`|<>'\"0123456789?/:@"),
          () => `q=${"a".repeat(this.integer(10_000))}`,
        ])(),
      );
    }
    return parts.length > 0 ? `?${parts.join("&")}` : "";
  }

  #target(): string {
    const base = "/api/v1/sse";
    return this.pick([
      () => `${base}/subscribe`,
      () => `${base}/send`,
      () => `${base}/send`,
      () => `${base}/test/echo`,
      () => `${base}/metrics`,
      () => `${base}/health`,
      () => `${base}/${this.noise(this.integer(20), "abc/.%2eF~!$&'()*,;=:@-_")}`,
      () => `/${this.noise(this.integer(40), 'abc/.%\\^`{}|<>"0123456789')}`,
      () =>
        this.pick([
          "//",
          "///",
          "/%",
          "/%%%",
          "/..",
          "/../..",
          `${base}/../sse/health`,
          `${base}//send`,
        ]),
      () =>
        this.pick([
          `http://other.example${base}/health`,
          `http://u:p@h${base}/send`,
          "*",
          "ftp://x/",
        ]),
    ])() + this.#query();
  }

  #headers(): string[] {
    const headers: string[] = [];
    if (this.chance(0.8)) headers.push("X-Session-Id: fuzz");
    else if (this.chance(0.5)) headers.push(`X-Session-Id: ${this.noise(this.integer(60))}`);
    while (this.chance(0.5)) {
      headers.push(
        this.pick([
          () =>
            `Last-Event-ID: ${this.pick(["", "garbage", "a-1", "é".repeat(20), this.noise(40)])}`,
          () =>
            `Origin: ${
              this.pick([
                "null",
                "https://evil.example",
                "http://127.0.0.1",
                "x",
                "",
                "https://[",
                "file://",
              ])
            }`,
          () => `Sec-Fetch-Site: ${this.pick(["cross-site", "same-origin", "none", "nonsense"])}`,
          () => `Accept: ${this.noise(20)}`,
          () => `Cookie: ${this.noise(this.integer(200))}`,
          () => `X-Forwarded-Host: ${this.noise(10)}`,
          () => `X-Forwarded-Proto: ${this.pick(["https", "javascript", "", "http, https"])}`,
          () => `Access-Control-Request-Method: ${this.pick(["POST", "é", ""])}`,
          () => `Authorization: ${this.pick(["Bearer", "Basic !!!", this.noise(30)])}`,
          () =>
            `${this.noise(1 + this.integer(12), "abcXYZ-09_")}z: ${this.noise(this.integer(30))}`,
          () => `X-Long: ${"y".repeat(this.integer(3000))}`,
        ])(),
      );
    }
    return headers;
  }

  #json(depth = 0): string {
    return this.pick([
      () => String(this.integer(1e9) - 5e8),
      () => this.pick(["null", "true", "false", "1e400", "-0", '""', "[]", "{}"]),
      () => JSON.stringify(this.noise(this.integer(20), 'abc\n\r\t\0"\\ é世\ud83d\ude00')),
      () =>
        depth > 4
          ? "0"
          : `[${Array.from({ length: this.integer(4) }, () => this.#json(depth + 1))}]`,
      () =>
        depth > 4 ? "0" : `{${
          Array.from(
            { length: this.integer(4) },
            () =>
              `${JSON.stringify(this.pick(["a", "__proto__", "toJSON", "event", "data"]))}:${
                this.#json(depth + 1)
              }`,
          )
        }}`,
    ])();
  }

  /** A message that is right, or nearly. Only "target" may be sent to; the others would be heard by the witness. */
  #message(): string {
    if (this.chance(0.4)) return `{"session":"target","event":"e","data":${this.#json()}}`;
    const members: string[] = [];
    const member = (name: string, values: string[], present = 0.85) => {
      if (this.chance(present)) {
        members.push(`"${name}":${this.chance(0.85) ? this.pick(values) : this.#json()}`);
      }
    };
    member("session", ['"target"', '"target"', '"witness"', '""', '"a\\nb"']);
    member("channel", ['"news"', '"\\u0000"'], 0.15);
    member("all", ["true", "false", "1"], 0.15);
    member("except", ['"witness"', '["a","b"]', "[1]"], 0.1);
    member("key", ['"k"', '""', '"a\\rb"'], 0.2);
    member("event", [
      '"e"',
      '"e"',
      '"a\\nb"',
      '"streamside:reset"',
      '""',
      '"\\u0000"',
      JSON.stringify("é".repeat(40)),
    ]);
    member("data", ['"x"', "1", "null", `"${"z".repeat(this.integer(3000))}"`]);
    return `{${members}}`;
  }

  /** A body as bytes, which may be JSON. */
  #body(): string {
    const utf8 = (text: string) =>
      Array.from(new TextEncoder().encode(text), (b) => String.fromCharCode(b)).join("");
    let body = utf8(
      this.pick([
        () => this.#message(),
        () => this.#message(),
        () => this.#json(),
        () => `[${Array.from({ length: this.integer(5) }, () => this.#json(5))}]`,
        () => '["a","b"]',
        () => "",
        () => "[".repeat(this.integer(5000)),
        () => " ".repeat(this.integer(20_000)),
      ])(),
    );
    while (body !== "" && this.chance(0.2)) {
      const at = this.integer(body.length);
      body = body.slice(0, at) +
        this.pick(["", "\xff", "\0", ",", '"', "\\", "\xe2\x82", "}", "\n"]) +
        body.slice(at + this.integer(3));
    }
    return body;
  }

  request(): FuzzRequest {
    const target = this.#target();
    const method = this.chance(0.75) ? /send|echo/.test(target) ? "POST" : "GET" : this.pick([
      "GET",
      "POST",
      "HEAD",
      "OPTIONS",
      "PUT",
      "DELETE",
      "PATCH",
      "PROPFIND",
      "TRACE",
    ]);
    const headers = [
      `Host: ${
        this.chance(0.93) ? "localhost" : this.pick([
          "",
          "h:99999",
          "999.1.1.1",
          "a b",
          "[::1]",
          "x/y",
          "u@h",
          this.noise(8),
          "h:",
          "é",
        ])
      }`,
      ...this.#headers(),
    ];
    let last = false;
    let body = "";
    if (this.chance(["POST", "PUT", "PATCH"].includes(method) ? 0.95 : 0.05)) {
      body = this.#body();
      if (this.chance(0.9)) {
        headers.push(
          `Content-Type: ${
            this.chance(0.85) ? "application/json" : this.pick([
              "text/plain",
              "application/json;charset=x",
              "",
              this.noise(15),
              "multipart/form-data",
            ])
          }`,
        );
      }
      if (this.chance(0.06)) {
        headers.push(`Content-Encoding: ${this.pick(["gzip", "identity", "x", "br, gzip"])}`);
      }
      if (this.chance(0.7)) headers.push(`Content-Length: ${body.length}`);
      else {
        headers.push("Transfer-Encoding: chunked");
        let chunked = "";
        while (body !== "") {
          const size = 1 + this.integer(body.length);
          chunked += `${size.toString(16)}\r\n${body.slice(0, size)}\r\n`;
          body = body.slice(size);
        }
        body = `${chunked}0\r\n\r\n`;
      }
    }
    const version = this.chance(0.95) ? "HTTP/1.1" : "HTTP/1.0";
    if (this.chance(0.05)) headers.push("Connection: close");
    let text = `${method} ${target} ${version}\r\n${headers.join("\r\n")}\r\n\r\n${body}`;
    if (version === "HTTP/1.0" || headers.includes("Connection: close")) last = true;
    // A few are no HTTP at all: cut off, or with bytes where none belong.
    if (this.chance(0.02)) {
      const at = this.integer(text.length);
      text = this.chance(0.5)
        ? text.slice(0, at)
        : text.slice(0, at) + this.noise(5) + text.slice(at);
      last = true;
    }
    // A server may refuse a line or a header that it cannot read, and close.
    return { text, method, last, opensStream: method === "GET" && target.includes("subscribe") };
  }

  /** What is sent on one connection: one request after the other, or all at once. */
  batch(): FuzzRequest[] {
    const batch: FuzzRequest[] = [];
    do batch.push(this.request()); while (
      !batch.at(-1)!.last && !batch.at(-1)!.opensStream && batch.length < 12 && this.chance(0.85)
    );
    return batch;
  }
}

/**
 * Sends a batch and reads its answers. Returns the statuses that came; fewer than requests when the server has closed
 * the connection, as it may after what is no HTTP.
 */
async function exchange(port: number, batch: FuzzRequest[], pipelined: boolean): Promise<number[]> {
  const client = await RawClient.open(port);
  const statuses: number[] = [];
  try {
    if (pipelined) client.write(batch.map(({ text }) => text).join(""));
    for (const { text, method, last, opensStream } of batch) {
      if (!pipelined) client.write(text);
      // Nothing more comes: what was cut off is not waited for any further.
      if (last) client.socket.end();
      try {
        const { status } = opensStream
          ? await client.head(HANG)
          : await client.response(method, HANG);
        statuses.push(status);
      } catch (error) {
        if (client.ended) break;
        throw new Error(`no answer to ${JSON.stringify(text.slice(0, 2000))}`, { cause: error });
      }
    }
  } finally {
    client.destroy();
  }
  return statuses;
}

for (const [index, [name, serve]] of Object.entries(servers).entries()) {
  // The runtime's own server gets them all; its node:http, where that is another one, a share.
  const count = index === 0 ? requests : Math.ceil(requests / 5);

  describe(`fuzz (${name})`, () => {
    test(`${count} hostile requests from seed ${seed}`, () =>
      withService({
        serve,
        hub: { maxEventBytes: 2000, maxChannelsPerConnection: 3 },
        handler: {
          maxBodyBytes: 10_000,
          testEndpoints: true,
          cors: ["https://app.example"],
          authorize: (_, message) => message.session === "target",
          authorizeMetrics: () => true,
          // A failure is a 500, whatever is asked for.
          unavailable: "status",
        },
      }, async (service) => {
        const fuzzer = new Fuzzer(seed);
        const { hub } = service;
        const witness = await service.subscribe("witness");
        const tally = new Map<number, number>();
        let sent = 0;
        let answers = 0;
        while (sent < count) {
          const batches: FuzzRequest[][] = [];
          while (batches.length < 8) batches.push(fuzzer.batch());
          const before = sent;
          const results = await Promise.all(batches.map(async (batch, i) => {
            const statuses = await exchange(service.server.port, batch, i % 2 === 0);
            const failed = statuses.findIndex((status) => status === 500);
            assertEquals(failed, -1, `${statuses[failed]} to ${JSON.stringify(batch[failed])}`);
            return statuses;
          }));
          for (const status of results.flat()) tally.set(status, (tally.get(status) ?? 0) + 1);
          answers += results.flat().length;
          sent += batches.flat().length;
          if (Math.floor(sent / 500) > Math.floor(before / 500)) {
            await hub.send("witness", "tick", sent);
            const event = await witness.event();
            assertEquals([event.event, event.data], ["tick", String(sent)]);
          }
        }
        const errors = service.log.filter(([level]) => level === "error");
        assertEquals(errors, []);
        // The requests reached what they are meant to try.
        for (const status of [200, 202, 204, 400, 401, 403, 404, 405, 413, 414, 415]) {
          assert(tally.has(status), `no ${status} among ${JSON.stringify([...tally])}`);
        }
        assert(
          answers > sent * 0.7,
          `only ${answers} answers to ${sent}: ${JSON.stringify([...tally])}`,
        );
        await until(() => hub.stats().connections === 1, "the fuzzed streams to be forgotten");
      }));
  });
}
