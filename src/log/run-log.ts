/**
 * What a log needs to keep runs. A run is what one source yields: a channel with a beginning and an end.
 *
 * It is apart from the rest of the log, since a run has a history of its own: it pushes nobody's events out, and nobody
 * pushes its events out. A log without it is complete in all else.
 *
 * @module
 */

/** Why a run ended before its source did: the source failed, it was stopped, or its server was lost. */
export type RunError = "failed" | "stopped" | "lost";

/** How a run ended: `error` is missing if all of it is there. */
export interface RunEnd {
  /** Why it ended early. */
  readonly error?: RunError | undefined;
}

/** An entry of a run. All members are plain JSON; a log carries a record as it is. */
export interface RunRecord {
  /**
   * - `begin`: a channel's run begins.
   * - `event`: an event of it.
   * - `alive`: its producer is alive, though it has nothing to say. It is told and not held.
   * - `end`: nothing more comes.
   */
  readonly type: "begin" | "event" | "alive" | "end";
  /** Which run: 16 characters of 0-9 and a-z, drawn at random by its producer. No two runs share one. */
  readonly run: string;
  /** The channel that it is a run of. */
  readonly channel: string;
  /** When it was appended, in ms since the epoch, by the clock of whoever appended it. Nothing goes by it. */
  readonly time: number;
  /** Of an event, which of the run it is: 1, 2, 3 and so on. Else 0. */
  readonly number: number;
  /** Of an event, its name. */
  readonly event?: string | undefined;
  /** Of an event, its data as it goes out, before it is split into lines. */
  readonly data?: string | undefined;
  /** Of an end, why it came early. */
  readonly error?: RunError | undefined;
}

/** What a log knows of a run that it holds. */
export interface RunSummary {
  /** See {@link RunRecord.run}. */
  readonly run: string;
  /** See {@link RunRecord.channel}. */
  readonly channel: string;
  /** When it began, in ms since the epoch: {@link RunRecord.time} of its beginning. */
  readonly since: number;
  /** The number of its newest event; 0 before the first. */
  readonly events: number;
  /** How it ended; missing while it runs. */
  readonly end?: RunEnd | undefined;
}

/** What a log tells those who follow its runs. Calls come one at a time. */
export interface RunFollower {
  /**
   * Everything that is taken from now on will be told. It is called first, and again whenever the log can be followed
   * again after {@link RunFollower.failed} or has told less than everything: the follower then lists the runs anew.
   */
  opened(): void;
  /** The next entries, each once, in the order in which they were taken. */
  appended(records: readonly RunRecord[]): void;
  /** The log cannot be followed at the moment. It keeps trying by itself. */
  failed(error: unknown): void;
}

/**
 * The runs of a log. What an implementation promises:
 *
 * - There is one order for everyone, and in it the rules of {@link RunLog.append} hold: a channel has one run at a time,
 *   and nothing comes after an end.
 * - An entry that was taken is held, within the log's bounds: a run's oldest events may be trimmed, and a run as a whole
 *   may be forgotten some time after its end. A run that has not ended is never forgotten.
 */
export interface RunLog {
  /** Follows all runs from now on. Returns how to stop. */
  follow(follower: RunFollower): () => void;
  /**
   * Appends some records, each for itself. Resolves, for each, to whether its run goes on with it, and rejects if it is
   * not known what was taken; then the same records may be appended again.
   *
   * - `begin`: taken if no run of the channel runs. True as well if it is this run that runs.
   * - `event`: taken if its run runs. Not taken again, but true, if the run has one with this number or a higher one.
   * - `alive`: true if its run runs.
   * - `end`: taken if its run runs.
   */
  append(records: readonly RunRecord[]): Promise<readonly boolean[]>;
  /** The runs held, of all channels or of one, in the order in which they began. */
  list(channel?: string): Promise<readonly RunSummary[]>;
  /**
   * The events of a run after a number, in order: at most `limit` of them, fewer if the log likes, and at least one if
   * there is one. If the oldest were trimmed, it begins with the oldest that is held.
   */
  read(run: string, after: number, limit: number): Promise<readonly RunRecord[]>;
}
