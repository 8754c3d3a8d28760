/**
 * `hub.stats()` as text for Prometheus and its like: in Prometheus's format, or in that of OpenMetrics.
 *
 * @module
 */

import type { HubStats } from "../hub/types.ts";

/** The content type of each format. */
export const METRICS_TYPES = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
} as const;

/** A format of metrics. */
export type MetricsFormat = keyof typeof METRICS_TYPES;

type Kind = "gauge" | "counter";

const METRICS: Record<keyof HubStats, [kind: Kind, name: string, help: string]> = {
  connections: ["gauge", "connections", "Open connections."],
  sessions: ["gauge", "sessions", "Sessions with at least one connection."],
  channels: ["gauge", "channels", "Channels with at least one connection."],
  lagging: ["gauge", "lagging_connections", "Connections that have not got everything yet."],
  historyEvents: ["gauge", "history_events", "Events held."],
  historyBytes: ["gauge", "history_bytes", "Bytes of memory that the events held take."],
  runs: ["gauge", "runs", "Runs whose source runs in this process."],
  runHistoryEvents: ["gauge", "run_history_events", "Events of runs held."],
  runHistoryBytes: ["gauge", "run_history_bytes", "Bytes of memory that the runs held take."],
  events: ["counter", "events", "Events sent through this hub."],
  runsBegun: ["counter", "runs_begun", "Runs begun in this process."],
  runsBroken: ["counter", "runs_broken", "Runs that ended before their source did."],
  runEvents: ["counter", "run_events", "Events that runs of this process have published."],
  joins: ["counter", "joins", "Joins put into the log by this hub."],
  leaves: ["counter", "leaves", "Leaves put into the log by this hub."],
  deliveries: ["counter", "deliveries", "Events handed to connections."],
  bytes: ["counter", "sent_bytes", "Bytes handed to connections."],
  connects: ["counter", "connects", "Connections opened."],
  disconnects: ["counter", "disconnects", "Connections ended."],
  resumes: ["counter", "resumes", "Connections that went on from a cursor."],
  resets: ["counter", "resets", "Times that a connection was told of a gap."],
  lags: ["counter", "lags", "Times that a connection began to lag."],
  stalled: ["counter", "stalled_connections", "Connections closed because they took nothing."],
  replaced: [
    "counter",
    "replaced_connections",
    "Connections closed for a newer one of the session.",
  ],
  refusedConnections: ["counter", "refused_connections", "Connections refused: maxConnections."],
  refusedSessionConnections: [
    "counter",
    "refused_session_connections",
    "Connections refused: maxConnectionsPerSession.",
  ],
  refusedChannels: [
    "counter",
    "refused_channels",
    "Connections refused: maxChannelsPerConnection.",
  ],
  refusedEvents: ["counter", "refused_events", "Events refused: maxEventBytes."],
  refusedBodies: ["counter", "refused_bodies", "Bodies refused: maxBodyBytes and bodyTimeout."],
  refusedQueries: ["counter", "refused_queries", "Queries refused: maxQueryLength."],
};

/** The counters in a format. They differ in the name that a counter's help and type stand under, and in the end. */
export function formatMetrics(stats: HubStats, format: MetricsFormat): string {
  const isOpen = format === "openMetrics";
  let text = "";
  for (const [member, [kind, name, help]] of Object.entries(METRICS)) {
    const family = `streamside_${name}`;
    const sample = kind === "counter" ? `${family}_total` : family;
    const described = isOpen ? family : sample;
    text += `# HELP ${described} ${help}\n# TYPE ${described} ${kind}\n`;
    text += `${sample} ${stats[member as keyof HubStats]}\n`;
  }
  return isOpen ? `${text}# EOF\n` : text;
}

/**
 * The format that an `Accept` asks for (RFC 9110, 12.5.1): OpenMetrics where it is named, with a weight that is not
 * below that of plain text; Prometheus's, which every reader knows, for anything else.
 */
export function metricsFormat(accept: string | null): MetricsFormat {
  let open = 0;
  let plain = 0;
  for (const range of (accept ?? "").toLowerCase().split(",")) {
    const [type, ...parameters] = range.split(";").map((part) => part.trim());
    const parameter = (name: string) =>
      parameters.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
    const weight = Number(parameter("q") ?? 1);
    const isOurs = /^"?1\.0\.0"?$/.test(parameter("version") ?? "1.0.0");
    if (type === "application/openmetrics-text" && isOurs) open = Math.max(open, weight);
    if (type === "text/plain") plain = Math.max(plain, weight);
  }
  return open > 0 && open >= plain ? "openMetrics" : "prometheus";
}
