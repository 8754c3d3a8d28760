/**
 * The counting behind the last line of `npm test`, on reports as the three runtimes write them.
 *
 * @module
 */
import { describe, test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { countTests } from "../../scripts/junit.ts";

const count = (report: string) => {
  const { passed, failed, skipped } = countTests(report, (name) => name === "/tests/empty.test.ts");
  return [passed, failed, skipped];
};

describe("the counts of a JUnit report", () => {
  test("of Node: leaves of nested suites, with characters that XML does not allow", () => {
    const report = `<?xml version="1.0" encoding="utf-8"?>
<testsuites>
	<testcase name="alone" time="0.1" classname="test"/>
	<testsuite name="group" tests="3" failures="1" skipped="1">
		<testcase name="passes" classname="test"/>
		<testcase name="fails \u001b[31m" classname="test" failure="1 !== 2 ]]> \u0000">
			<failure type="testCodeFailure" message="1 !== 2">]]> \u001b[0m</failure>
		</testcase>
		<testsuite name="nested" tests="1" failures="0" skipped="1">
			<testcase name="skipped" classname="test"><skipped type="skipped" message="no redis"/></testcase>
		</testsuite>
	</testsuite>
	<!-- tests 4 -->
</testsuites>`;
    assertEquals(count(report), [2, 1, 1]);
  });

  test("of Node: a file without a test is a failure, though Node calls it a passed test", () => {
    const report = '<testsuites><testcase name="/tests/empty.test.ts"/></testsuites>';
    assertEquals(count(report), [0, 1, 0]);
  });

  test("of Deno: steps count, the groups they are in do not, wherever they are listed", () => {
    const report = `<testsuites name="deno test">
  <testsuite name="./tests/a.test.ts">
    <testcase name="alone"></testcase>
    <testcase name="group"><failure message="1 test step failed">1 test step failed.</failure></testcase>
    <testcase name="cut off"><error message="Cancelled"/></testcase>
  </testsuite>
  <testsuite name="ext:deno_node/testing.ts">
    <testcase name="group &gt; passes"></testcase>
    <testcase name="group &gt; fails"><failure message="no">no</failure></testcase>
    <testcase name="group &gt; nested"></testcase>
    <testcase name="group &gt; nested &gt; skipped"><skipped/></testcase>
  </testsuite>
</testsuites>`;
    assertEquals(count(report), [2, 2, 1]);
  });

  test("of Bun: leaves of suites by file and by group", () => {
    const report = `<testsuites name="bun test" tests="3" failures="1" skipped="1">
  <testsuite name="tests/a.test.ts" file="tests/a.test.ts" tests="3">
    <testcase name="alone" classname="" assertions="0" />
    <testsuite name="group" file="tests/a.test.ts" line="5" tests="2">
      <testcase name="fails" classname="group"><failure type="AssertionError" message="a&#10;b" /></testcase>
      <testcase name="skipped" classname="group"><skipped /></testcase>
    </testsuite>
  </testsuite>
</testsuites>`;
    assertEquals(count(report), [1, 1, 1]);
  });

  test("what failed is named with its groups and its message, wherever the report has that", () => {
    const report = `<testsuites>
  <testsuite name="tests/a.test.ts"><testsuite name="group">
    <testcase name="one"><failure message="1 !== 2">Error: 1 !== 2\n  at x</failure></testcase>
    <testcase name="two"><error message="cancelled"/></testcase>
    <testcase name="three"/>
  </testsuite></testsuite>
  <testcase name="/tests/empty.test.ts"/>
</testsuites>`;
    assertEquals(countTests(report, (name) => name === "/tests/empty.test.ts").failures, [
      "tests/a.test.ts > group > one: Error: 1 !== 2\n  at x",
      "tests/a.test.ts > group > two: cancelled",
      "/tests/empty.test.ts: declares no test",
    ]);
  });

  test("a report that broke off is an error, not a smaller count", () => {
    assertThrows(() => count('<testsuites><testcase name="alone"/>'));
  });
});
