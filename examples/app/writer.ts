/**
 * Stands for a language model, without one: sentences made of the project's own documentation, each word one that
 * follows the two before it somewhere there.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** How many words an answer has, about, and how long each takes, in ms. */
const WORDS = 240;
const PAUSE = 33;

/** Writes answers. */
export class Writer {
  /** What follows two words, and with which words a sentence begins. */
  readonly #next = new Map<string, string[]>();
  readonly #begins: [string, string][] = [];

  private constructor(texts: string[]) {
    for (const sentence of texts.flatMap(sentences)) {
      const words = sentence.split(/\s+/);
      if (words.length < 5) continue;
      this.#begins.push([words[0]!, words[1]!]);
      for (let i = 2; i < words.length; i++) {
        const before = `${words[i - 2]} ${words[i - 1]}`;
        const known = this.#next.get(before);
        if (known) known.push(words[i]!);
        else this.#next.set(before, [words[i]!]);
      }
    }
  }

  /** Reads the documentation. */
  static async open(): Promise<Writer> {
    const folder = new URL("../../docs/", import.meta.url);
    const names = (await readdir(folder)).filter((name) => name.endsWith(".md"));
    return new Writer(
      await Promise.all(names.map((name) => readFile(new URL(name, folder), "utf8"))),
    );
  }

  /** An answer, a word at a time, until it is told to stop. */
  async *write(signal: AbortSignal): AsyncGenerator<{ event: string; data: string }> {
    for (let words = 0; words < WORDS;) {
      for (const word of this.#sentence()) {
        await sleep(PAUSE, undefined, { signal });
        yield { event: "token", data: `${word} ` };
        words++;
      }
    }
  }

  *#sentence(): Generator<string> {
    let [first, second] = this.#begins[Math.floor(Math.random() * this.#begins.length)]!;
    yield first;
    yield second;
    for (let words = 2; words < 60; words++) {
      const known = this.#next.get(`${first} ${second}`);
      if (!known) return;
      [first, second] = [second, known[Math.floor(Math.random() * known.length)]!];
      yield second;
    }
  }
}

/** The sentences of a page: its prose, without code, tables, headings and what links lead to. */
function sentences(page: string): string[] {
  return page.replace(/```[^]*?```/g, "").split(/\n{2,}/)
    .filter((block) => /^[A-Z]/.test(block))
    .map((block) => block.replace(/\]\([^)]*\)/g, "").replace(/[[\]*`_]/g, "").replace(/\s+/g, " "))
    .flatMap((block) => block.match(/[A-Z][^.!?]*[.!?](?= |$)/g) ?? []);
}
