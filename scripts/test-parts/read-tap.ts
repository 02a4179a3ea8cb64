/** Reads what one test file printed, in TAP 14 as node-tap writes it: totals, failures with their diagnostics, skips. */

export interface FileTotals {
  passed: number;
  failed: number;
  skipped: number;
  /** Every `not ok` line with its YAML block, except those of outer tests that fail because of an inner one. */
  failures: string[];
  /** What was skipped, with its reason, as "NAME: REASON". */
  skips: { name: string; reason: string }[];
}

/**
 * Returns the totals of one file. A file that printed nothing, or stopped before its last line, has one failure.
 * @see TAP 14 specification, "Test Points" and "Directives"
 */
export function readTap(text: string): FileTotals {
  const lines = text.split("\n");
  const totals = [...text.matchAll(/^# \{ (total: .*) \}$/gm)].at(-1)?.[1];
  const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals ?? "")?.[1] ?? 0);
  const failures: string[] = [];
  const skips: FileTotals["skips"] = [];
  for (const [at, line] of lines.entries()) {
    const skip = /^ *ok(?: \d+)?(?: - (.*?))? # SKIP\b ?(.*)$/i.exec(line);
    if (skip !== null) skips.push({ name: skip[1] ?? "", reason: (skip[2] ?? "").replace(/ ?# time=\S+$/, "") });
    const isFailure = /^ *not ok /.test(line) && !/# TODO\b/i.test(line);
    if (isFailure && !endsSubtest(lines, at)) failures.push(diagnosed(lines, at));
  }
  if (totals === undefined) failures.push("the file ended before its last test did");
  return {
    passed: count("pass"),
    failed: count("fail") || (totals === undefined ? 1 : 0),
    skipped: count("skip"),
    failures,
    skips,
  };
}

/** A test point after the deeper lines of its own subtest, which have the failure. */
function endsSubtest(lines: readonly string[], at: number): boolean {
  const indent = (line: string) => line.length - line.trimStart().length;
  const before = lines.slice(0, at).findLast((line) => line.trim() !== "") ?? "";
  return indent(before) > indent(lines[at] ?? "") && before.trim() !== "...";
}

function diagnosed(lines: readonly string[], at: number): string {
  if (lines[at + 1]?.trim() !== "---") return lines[at] ?? "";
  const end = lines.findIndex((line, index) => index > at && line.trim() === "...");
  return lines.slice(at, end < 0 ? undefined : end + 1).join("\n");
}
