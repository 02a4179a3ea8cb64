/**
 * Ends a test run: names what was skipped and what failed in a TAP file, then prints `N passed, N failed, N skipped`.
 * Arguments: the file, and the status so far (1: a check before it, or the runner, failed).
 */
import { readFileSync } from "node:fs";

const [file = "", status] = process.argv.slice(2);
let text = "";
try {
  text = readFileSync(file, "utf8");
} catch {
  console.error(`no test output in ${file}`);
}
for (const line of text.split("\n")) {
  if (/^ *ok .*# SKIP/i.test(line)) console.error(`skipped: ${line.trim()}`);
  else if (/^ *not ok /.test(line)) console.error(`failed: ${line.trim()}`);
}
const totals = [...text.matchAll(/^# \{ (.*) \}$/gm)].at(-1)?.[1] ?? "";
const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0);
const passed = count("pass");
const failed = count("fail") || (status === "0" && passed > 0 ? 0 : 1);
const skipped = count("skip");
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = failed > 0 ? 1 : 0;
