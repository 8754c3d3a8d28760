/**
 * The metrics route: for whom, in which format, and read as strictly as each format asks.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { describe, test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { HandlerOptions } from "../../mod.ts";
import { find, skipWithout } from "../programs.ts";
import { problem, type Service, textOf, within, withService } from "../server-helpers.ts";

const PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const handler: Partial<HandlerOptions> = {
  authorizeMetrics: (request) => request.headers.get("Authorization") === "Bearer ops",
};

/** The metrics, as a scraper with this `Accept` gets them. */
async function scrape(service: Service, accept: string): Promise<{ type: string; text: string }> {
  const response = await fetch(`${service.base}/metrics`, {
    headers: { Authorization: "Bearer ops", Accept: accept },
  });
  assertEquals(response.status, 200);
  return { type: response.headers.get("content-type")!, text: await textOf(response) };
}

/** Reads either format as strictly as it asks: HELP and TYPE once a family, before its sample. */
function parse(text: string, isOpen: boolean): Map<string, number> {
  const lines = text.split("\n");
  assertEquals(lines.pop(), "");
  if (isOpen) assertEquals(lines.pop(), "# EOF");
  const samples = new Map<string, number>();
  for (let i = 0; i < lines.length; i += 3) {
    const [help, type, sample] = lines.slice(i, i + 3);
    const [, name, value] = /^([a-z_]+) (\d+)$/.exec(sample ?? "") ?? [];
    assert(name !== undefined, `not a sample: ${sample}`);
    assert(!samples.has(name), `${name} twice`);
    samples.set(name, Number(value));
    const kind = name.endsWith("_total") ? "counter" : "gauge";
    const described = isOpen ? name.replace(/_total$/, "") : name;
    assertMatch(help!, new RegExp(`^# HELP ${described} \\S.+\\.$`));
    assertEquals(type, `# TYPE ${described} ${kind}`);
  }
  return samples;
}

describe("metrics", () => {
  test("for whom authorizeMetrics lets in; else 403, or no route", () =>
    withService({ handler }, async (service) => {
      await problem(fetch(`${service.base}/metrics`), 403, "not-authorized");
      await withService({}, async (without) => {
        await problem(fetch(`${without.base}/metrics`), 404, "not-found");
      });
    }));

  for (const [accept, type] of [["*/*", PROMETHEUS], [OPEN_METRICS, OPEN_METRICS]] as const) {
    test(`every counter, with its help, as ${type}`, () =>
      withService({ handler }, async (service) => {
        const reader = await service.subscribe("ada");
        await service.hub.broadcast("e", 1);
        await reader.event();
        const answer = await scrape(service, accept);
        assertEquals(answer.type, type);
        const samples = parse(answer.text, type === OPEN_METRICS);
        assertEquals(samples.get("streamside_connections"), 1);
        assertEquals(samples.get("streamside_sessions"), 1);
        assertEquals(samples.get("streamside_events_total"), 1);
        assertEquals(samples.get("streamside_deliveries_total"), 1);
        assertEquals(samples.size, Object.keys(service.hub.stats()).length);
      }));
  }

  test("OpenMetrics where Accept asks for it, Prometheus's own format for anything else", () =>
    withService({ handler }, async (service) => {
      const asks = {
        [PROMETHEUS]: [
          "",
          "*/*",
          "text/html, */*;q=0.8",
          "text/plain",
          "text/plain;version=0.0.4, */*;q=0.1",
          "application/json",
          "application/openmetrics-text;q=0",
          "application/openmetrics-text;q=0.3, text/plain;q=0.5",
          "application/openmetrics-text;version=0.0.1",
          "application/openmetrics-text-x",
          ";;,,;q=",
        ],
        [OPEN_METRICS]: [
          "application/openmetrics-text",
          "Application/OpenMetrics-Text; Version=1.0.0 ; Q=0.5",
          // Prometheus 2.42.
          "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," +
          "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        ],
      };
      for (const [type, accepts] of Object.entries(asks)) {
        for (const accept of accepts) {
          assertEquals((await scrape(service, accept)).type, type, accept);
        }
      }
    }));

  test(
    "`promtool check metrics` finds nothing",
    { skip: skipWithout("promtool") },
    () =>
      withService({ handler }, async (service) => {
        const promtool = find("promtool");
        assert(promtool !== undefined, "no promtool on PATH");
        const child = spawn(promtool, ["check", "metrics"]);
        let output = "";
        child.stdout.on("data", (chunk) => output += chunk);
        child.stderr.on("data", (chunk) => output += chunk);
        const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
        child.stdin.end((await scrape(service, "*/*")).text);
        assertEquals([await within(ended, "promtool to end"), output], [0, ""]);
      }),
  );
});
