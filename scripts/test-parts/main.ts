/**
 * Runs test files, two at a time for each processor (or AIRFERRY_TEST_JOBS), since most wait for clients, servers and
 * disks more than they compute; prints a line for each. Arguments: files; without any, all of test/. Writes their output
 * to .cache/test.tap. The last line, `N passed, N failed`, is on stdout; everything else is on stderr.
 * AIRFERRY_CHECKS_FAILED=1 (a check before the tests failed) makes it fail.
 */
import { globSync, mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative, resolve } from "node:path";
import { stopAll } from "./run-file.ts";
import { runTests } from "./run-tests.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** More would compete for memory and disk. */
const MAX_JOBS = 8;
/** A file that takes longer should be split: it may be the last one. */
const LONG_SECONDS = 60;
/** Of so many failed files at most: more are no race. */
const MAX_AGAIN = 4;

process.on("SIGINT", () => {
  stopAll();
  process.exit(130);
});

const named = process.argv.slice(2).map((it) => relative(ROOT, resolve(it)));
const files = named.length > 0 ? named : inOrder(globSync("test/**/*.test.ts", { cwd: ROOT }));

/** The slow ones first, so that none runs alone at the end: those with real clients, then those of whole verbs. */
function inOrder(all: readonly string[]): string[] {
  const rank = (file: string) =>
    /^test\/(interop\/|scripts\/os-build\.)/.test(file)
      ? 0
      : /^test\/(manifests\/|regress\/|[^/]*$)/.test(file)
        ? 1
        : 2;
  return [...all].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

const began = performance.now();
const sum = await runTests({
  root: ROOT,
  files,
  jobs: Number(process.env.AIRFERRY_TEST_JOBS ?? Math.min(2 * availableParallelism(), MAX_JOBS)),
  strict: process.env.AIRFERRY_REQUIRE_CLIENTS === "1",
  again: named.length > 0 ? 0 : MAX_AGAIN,
  say: (line) => console.error(line),
});
mkdirSync(join(ROOT, ".cache"), { recursive: true });
writeFileSync(join(ROOT, ".cache", "test.tap"), sum.tap);
console.error(`${files.length} files in ${((performance.now() - began) / 60_000).toFixed(1)} minutes`);
const long = sum.seconds.filter(([, seconds]) => seconds > LONG_SECONDS).sort(([, a], [, b]) => b - a);
for (const [file, seconds] of long) console.error(`longer than ${LONG_SECONDS} s: ${file}, ${seconds.toFixed(0)} s`);
if (sum.unsteadyFiles.length > 0)
  console.error(`unsteady (failed above, passed alone): ${sum.unsteadyFiles.join(" ")}`);
if (sum.failedFiles.length > 0) console.error(`failed: ${sum.failedFiles.join(" ")}`);
if (process.env.AIRFERRY_CHECKS_FAILED === "1") console.error("failed: a check before the tests; see above");
const failed = sum.failed + (process.env.AIRFERRY_CHECKS_FAILED === "1" ? 1 : 0);
console.log(`${sum.passed} passed, ${failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ""}`);
process.exitCode = failed > 0 ? 1 : 0;
