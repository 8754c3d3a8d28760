/**
 * Counts the tests of a JUnit report, as Node, Deno and Bun write them: each leaf test once, groups not at all.
 *
 * @module
 */
import { parseXml, XmlElement } from "@rgrove/parse-xml";

/** How many tests passed, failed and were skipped. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** What a report says: the counts, and of each test that failed where it stands and why. */
export interface Report extends Counts {
  failures: string[];
}

/**
 * Counts the leaf tests of a JUnit report.
 *
 * @param report The XML text.
 * @param isFile Tells whether a test's name is the path of a test file. Node reports a file that declared no test
 * as one passed test named after the file; such a file counts as failed.
 * @throws When the text is not well-formed XML.
 */
export function countTests(report: string, isFile: (name: string) => boolean): Report {
  const cases = testCases(parseXml(wellFormed(report)));
  const names = cases.map(nameOf);
  const parents = namesOfParents(names);
  const counts: Report = { passed: 0, failed: 0, skipped: 0, failures: [] };
  cases.forEach((testCase, index) => {
    const name = names[index]!;
    if (parents.has(name)) return;
    const fault = child(testCase, "failure") ?? child(testCase, "error");
    if (fault || isFile(name)) {
      counts.failed++;
      counts.failures.push(
        `${groupsOf(testCase)}${name}: ${fault ? messageOf(fault) : "declares no test"}`,
      );
    } else if (child(testCase, "skipped")) {
      counts.skipped++;
    } else {
      counts.passed++;
    }
  });
  return counts;
}

/** Deno lists a group as a test beside its steps, whose names begin with the group's: `group > step`. */
function namesOfParents(names: string[]): Set<string> {
  const parents = new Set<string>();
  for (const name of names) {
    for (let at = name.indexOf(" > "); at !== -1; at = name.indexOf(" > ", at + 1)) {
      parents.add(name.slice(0, at));
    }
  }
  return parents;
}

function testCases(node: { children: readonly unknown[] }): XmlElement[] {
  return elements(node).flatMap((child) => child.name === "testcase" ? [child] : testCases(child));
}

function nameOf(element: XmlElement): string {
  return element.attributes.name ?? "";
}

/** The groups around a test, and its file where the report has it as one of them. */
function groupsOf(testCase: XmlElement): string {
  const groups: string[] = [];
  for (
    let at = testCase.parent;
    at instanceof XmlElement && at.name === "testsuite";
    at = at.parent
  ) {
    groups.unshift(`${nameOf(at)} > `);
  }
  return groups.join("");
}

/** Some write the message into an attribute, some into the text, some into both. */
function messageOf(fault: XmlElement): string {
  const message = fault.attributes.message ?? "";
  const text = fault.text.trim();
  return text.includes(message) ? text : `${message}\n${text}`.trim();
}

function child(element: XmlElement, name: string): XmlElement | undefined {
  return elements(element).find((child) => child.name === name);
}

function elements(node: { children: readonly unknown[] }): XmlElement[] {
  return node.children.filter((child) => child instanceof XmlElement);
}

/** Node and Bun write assertion messages nearly as they are, with what XML 1.0 (2.2, 2.4) does not allow in text. */
function wellFormed(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "").replaceAll("]]>", "]]&gt;");
}
