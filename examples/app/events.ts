/**
 * Every event of the application and the shape of its data: the one type that types both the hub and the page's client.
 *
 * @module
 */

/** Event names, and what their data is. */
export interface Events {
  /** To the session that asked: how much of its sync is done, in per cent. */
  syncProgress: number;
  /** To the session that asked: what its sync is doing. */
  syncMessage: string;
  /** To everyone but the session that locked it. */
  documentLocked: { document: string; by: string };
  /** To everyone but the session that unlocked it. */
  documentUnlocked: { document: string };
  /** To the session that asked: what its background task found. */
  taskCompleted: { taskId: string; file: string; bytes: number; lines: number; words: number };
  /** To the session that asked: why its background task found nothing. */
  taskFailed: { taskId: string; file: string; error: string };
  /** To everyone: a file of the watched directory changed; `bytes` is null when it is gone. */
  fileChanged: { fileId: string; bytes: number | null };
}
