/** Runs test files under V8's coverage and prints what they reach. See scripts/coverage. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { stopAll } from "../test-parts/run-file.ts";
import { runTests } from "../test-parts/run-tests.ts";
import { Reached } from "./reached.ts";
import { type CoverageRecord, figures, formatLines, parseLines } from "./report.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** Rooms that handle bytes of media and keys: every line there should be reached by a test. */
const ROOMS_THAT_MATTER = ["bundle", "sign", "store", "io"];

const args = process.argv.slice(2);
const [write, add] = ["--write", "--add"].map((it) => args.includes(it));
const named = args.filter((it) => !it.startsWith("--")).map((it) => relative(ROOT, resolve(it)));
const all = globSync("test/**/*.test.ts", { cwd: ROOT }).sort();
const files =
  named.length > 0
    ? named.flatMap((it) => (it.endsWith(".ts") ? [it] : all.filter((file) => file.startsWith(`${it}/`))))
    : all.filter((it) => !it.startsWith("test/interop/"));

const folder = mkdtempSync(join(tmpdir(), "airferry-coverage-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
process.on("SIGINT", () => {
  stopAll();
  process.exit(130);
});

const RECORD = join(ROOT, "test", "coverage.json");
const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: ROOT, encoding: "utf8" }).trim();
const before = add ? (JSON.parse(readFileSync(RECORD, "utf8")) as CoverageRecord) : undefined;
if (before !== undefined && before.commit !== commit)
  throw new Error(
    `cannot add to ${RECORD}: it is of commit ${before.commit}, this is ${commit}; measure without --add first`,
  );

const reached = new Reached(join(ROOT, "src"));
if (before !== undefined) {
  const lines = Object.entries(before.unreached).map(([file, text]) => [file, parseLines(text)] as const);
  reached.addRecord(new Map(lines));
}
let at = 0;
const sum = await runTests({
  root: ROOT,
  files,
  jobs: Number(process.env.AIRFERRY_TEST_JOBS ?? 2),
  strict: false,
  say: (line) => console.error(line),
  // Cached code is counted less exactly, so no cache is used.
  env: () => {
    const own = join(folder, String(at++));
    mkdirSync(own);
    return { NODE_V8_COVERAGE: own, NODE_DISABLE_COMPILE_CACHE: "1" };
  },
  after: (env) => {
    const own = env.NODE_V8_COVERAGE as string;
    if (existsSync(own)) reached.fold(own);
  },
});

const rooms = figures(reached.files);
for (const [room, { lines, reached: count, percent }] of Object.entries(rooms))
  console.log(
    `${room.padEnd(10)} ${String(count).padStart(6)} of ${String(lines).padStart(6)} lines  ${percent.toFixed(1)} %`,
  );
const unreached = [...reached.files].filter(([, it]) => it.unreached.length > 0);
console.log(`\nnot reached in ${ROOMS_THAT_MATTER.join(", ")}:`);
for (const [file, it] of unreached)
  if (ROOMS_THAT_MATTER.includes(file.split("/")[0] as string))
    console.log(`  src/${file}: ${formatLines(it.unreached)}`);
if (write || add) {
  const record: CoverageRecord = {
    commit,
    tests: [...(before?.tests ?? []), ...(named.length > 0 ? named : ["test/ without interop/"])],
    // The percentage includes only what ran before they failed.
    failed: [...(before?.failed ?? []), ...sum.failedFiles],
    rooms,
    unreached: Object.fromEntries(unreached.map(([file, it]) => [file, formatLines(it.unreached)])),
  };
  writeFileSync(RECORD, `${JSON.stringify(record, null, 2)}\n`);
}
if (sum.failed > 0) console.error(`${sum.failed} failed: ${sum.failedFiles.join(" ")}`);
process.exitCode = sum.failed > 0 ? 1 : 0;
