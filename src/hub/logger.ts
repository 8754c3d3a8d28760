/**
 * What the hub logs to.
 *
 * @module
 */

/** What the hub logs to: `console` has this shape. Session ids are cut, and tokens never appear. */
export interface Logger {
  /** Each connect, resume, reset, lag, disconnect with its reason, and drop of bytes that a reader did not take. */
  debug(...data: unknown[]): void;
  /** What an operator may want to know: draining begins, the log is back. */
  info(...data: unknown[]): void;
  /** What went wrong and was dealt with. */
  warn(...data: unknown[]): void;
  /** What failed. */
  error(...data: unknown[]): void;
}

const quiet = (): void => {};
/** Where a hub logs to unless told otherwise: warnings and errors go to `console`. */
export const DEFAULT_LOGGER: Logger = {
  debug: quiet,
  info: quiet,
  warn: (...data) => console.warn(...data),
  error: (...data) => console.error(...data),
};

/** The methods of a {@link Logger}. */
export const LEVELS = ["debug", "info", "warn", "error"] as const;

/** If a logger throws, its line is lost, but not the heartbeats or the connection that the line is about. */
export function guarded(logger: Logger): Logger {
  const guard = (level: keyof Logger) => (...data: unknown[]): void => {
    try {
      logger[level](...data);
    } catch (error) {
      console.error(`streamside: the logger's ${level} threw`, error);
    }
  };
  return {
    debug: guard("debug"),
    info: guard("info"),
    warn: guard("warn"),
    error: guard("error"),
  };
}

/** Enough of a session id to tell two apart in a log, too little to use it. */
export function redact(session: string): string {
  return session.length > 8 ? `${session.slice(0, 4)}…` : "…";
}
