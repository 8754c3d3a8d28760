/**
 * Every event of the application and the shape of its data: the one type that types both the hub and the page's client.
 *
 * @module
 */

/** Event names, and what their data is. */
export interface Events {
  /** To everyone: a number, one more each time, by which a page can tell whether it missed one or saw one twice. */
  tick: Tick;
  /** To everyone, once a second: what the hub counts. */
  stats: Stats;
  /** To everyone: somebody has changed how many ticks are sent. */
  /** `change`: which change of the rate it is; later ones have greater numbers, over restarts too. */
  rateChanged: { perSecond: number; by: string; change: number };
  /** To the session that asked: how much of its sync is done, in per cent. */
  syncProgress: number;
  /** To the session that asked: what its sync is doing. */
  syncMessage: string;
  /** To everyone but the session that locked it. */
  documentLocked: { document: string; by: string };
  /** To everyone but the session that unlocked it. */
  documentUnlocked: { document: string };
  /** To the session that locked or unlocked it: its other tabs show it too. */
  ownLock: { document: string; locked: boolean };
  /** To the session that asked: what its background task found. */
  taskCompleted: { taskId: string; file: string; bytes: number; lines: number; words: number };
  /** To the session that asked: why its background task found nothing. */
  taskFailed: { taskId: string; file: string; error: string };
  /** To everyone: somebody has asked for an answer. It is read as a run, of its own channel. */
  answerBegun: { by: string };
  /** To everyone: a file of the watched directory changed; `bytes` is null when it is gone. */
  fileChanged: { fileId: string; bytes: number | null };
}

/** The events of an answer, and what their data is. */
export interface AnswerEvents {
  /** The next word. */
  token: string;
  /** That was all, or why there is no more: `stopped`, `failed`, `lost`. */
  "streamside:end": { error?: string };
}

/** One numbered event. */
export interface Tick {
  /** From 1, one more each time. */
  n: number;
  /** When it was sent, in ms since 1970 by the server's clock. */
  at: number;
  /** Which count it is of. A server that is started again goes on with it if its history is in a file, or begins at 1. */
  run: string;
}

/** What `hub.stats()` says, as far as the page shows it, and the number of the tick before. */
export interface Stats extends Tick {
  /** When the server started, in ms since 1970. */
  started: number;
  /** Open connections. */
  connections: number;
  /** Events sent, since the server started. */
  events: number;
  /** Events handed to connections, since the server started. */
  deliveries: number;
}
