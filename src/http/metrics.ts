/**
 * `hub.stats()` as OpenMetrics text, for Prometheus and its like.
 *
 * @module
 */

import type { HubStats } from "../hub/types.ts";

/** The content type of OpenMetrics text. */
export const METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Kind = "gauge" | "counter";

const METRICS: Record<keyof HubStats, [kind: Kind, name: string, help: string]> = {
  connections: ["gauge", "connections", "Open connections."],
  sessions: ["gauge", "sessions", "Sessions with at least one connection."],
  channels: ["gauge", "channels", "Channels with at least one connection."],
  lagging: ["gauge", "lagging_connections", "Connections that have not got everything yet."],
  historyEvents: ["gauge", "history_events", "Events held."],
  historyBytes: ["gauge", "history_bytes", "Bytes of events held."],
  events: ["counter", "events", "Events sent through this hub."],
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

/** The counters as OpenMetrics text, ending with its `# EOF`. */
export function formatMetrics(stats: HubStats): string {
  let text = "";
  for (const [member, [kind, name, help]] of Object.entries(METRICS)) {
    const metric = `streamside_${name}`;
    const sample = kind === "counter" ? `${metric}_total` : metric;
    text += `# TYPE ${metric} ${kind}\n# HELP ${metric} ${help}\n`;
    text += `${sample} ${stats[member as keyof HubStats]}\n`;
  }
  return `${text}# EOF\n`;
}
