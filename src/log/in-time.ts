/**
 * Answers that have to come: a connection may be dead without anybody knowing.
 *
 * @module
 */

/** An answer, or an error that says for how long there was none, in ms. */
export async function inTime<T>(who: string, answer: Promise<T>, limit: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${who} has not answered for ${limit} ms`)), limit);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
