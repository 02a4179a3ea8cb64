/** scripts/test-parts: what fails a test file, what a skip is, and what is said of each. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { isAllowedSkip } from "../../scripts/test-parts/allowed-skips.ts";
import { readTap } from "../../scripts/test-parts/read-tap.ts";
import { runTests } from "../../scripts/test-parts/run-tests.ts";

/** Runs one file of this text. */
async function runText(t: Test, text: string, options: { strict?: boolean; timeoutMs?: number; again?: number } = {}) {
  // Inside the checkout, so that it finds tap.
  const root = t.testdir({ "one.test.ts": `import t from "tap";\n${text}\n` });
  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  const sum = await runTests({ root, files: ["one.test.ts"], jobs: 2, strict: false, ...options, say });
  return { ...sum, said: lines.join("\n"), root };
}

t.test("a file that passes is one line", async (t) => {
  const ran = await runText(t, "t.test('x', async (t) => { t.ok(1); t.ok(2); });");
  t.match(ran, { passed: 2, failed: 0, skipped: 0, failedFiles: [] });
  t.match(ran.said, /^\[1\/1\] ok {3}one\.test\.ts: 2 passed, \d+\.\d s$/);
  t.match(ran.tap, /^ok - one\.test\.ts # time=/m);
});

const FAILING: readonly (readonly [name: string, text: string, said: RegExp])[] = [
  [
    "an assertion that fails",
    "t.test('x', async (t) => { t.ok(1); t.equal(3, 4, 'sum'); });",
    /not ok 2 - sum\n[\s\S]*diff/,
  ],
  ["a test that throws", "t.test('x', async () => { throw new Error('deep trouble'); });", /deep trouble/],
  [
    "a file that throws",
    "t.ok(1); console.error('said before'); throw new Error('at the top');",
    /at the top[\s\S]*said before/,
  ],
  ["a file that ends early", "t.test('x', async (t) => { t.ok(1); process.exit(0); });", /FAIL/],
  ["a file that is killed", "t.ok(1); process.kill(process.pid, 'SIGKILL');", /ended before its last test did/],
  ["a file with no test", "", /ended before its last test did/],
  ["a plan that is not met", "t.plan(2); t.ok(1);", /plan/],
];

for (const [name, text, said] of FAILING)
  t.test(`${name} fails`, async (t) => {
    const ran = await runText(t, text);
    t.ok(ran.failed > 0, ran.said);
    t.same(ran.failedFiles, ["one.test.ts"]);
    t.match(ran.said, /^\[1\/1\] FAIL one\.test\.ts: /);
    t.match(ran.said, said);
    t.match(ran.tap, /^not ok - one\.test\.ts/m);
  });

t.test("what failed runs again alone, where it may, and counts as it ended then", async (t) => {
  const once = `import { existsSync, writeFileSync } from "node:fs";
    t.test("x", async (t) => { t.ok(1); t.ok(existsSync("seen"), "the second time"); writeFileSync("seen", ""); });`;
  const lucky = await runText(t, once, { again: 1 });
  t.match(lucky, { passed: 2, failed: 0, failedFiles: [], unsteadyFiles: ["one.test.ts"] });
  t.match(lucky.said, /^\[1\/1\] FAIL one[\s\S]*the second time[\s\S]*^\[alone\] ok {3}one\.test\.ts: 2 passed/m);
  t.match(await runText(t, once), { failed: 1, unsteadyFiles: [] });
  const broken = await runText(t, "t.test('x', async (t) => { t.ok(0, 'never'); });", { again: 1 });
  t.match(broken, { passed: 0, failed: 1, failedFiles: ["one.test.ts"], unsteadyFiles: [] });
  t.match(broken.said, /never[\s\S]*^\[alone\] FAIL[\s\S]*never/m);
});

t.test("a file that takes too long fails, and what it started ends with it", async (t) => {
  const ran = await runText(
    t,
    `import { spawn } from "node:child_process";
     spawn("sh", ["-c", "sleep 12; touch late"], { stdio: "inherit" });
     t.test("for ever", () => new Promise(() => setInterval(() => {}, 1000)));`,
    { timeoutMs: 1500 },
  );
  t.ok(ran.failed > 0);
  t.match(ran.said, /stopped after 1\.5 s/);
  t.notOk(existsSync(join(ran.root, "late")));
});

t.test("a skip is said, and fails where every client is required", async (t) => {
  const text = "t.test('x', { skip: 'no frobnicator here' }, async () => {}); t.ok(1);";
  const lenient = await runText(t, text);
  t.match(lenient, { passed: 1, failed: 0, skipped: 1 });
  t.match(lenient.said, /skipped: x: no frobnicator here/);
  const strict = await runText(t, text, { strict: true });
  t.equal(strict.failed, 1);
  t.match(strict.said, /FAIL[\s\S]*skipped although every client is required: x: no frobnicator here/);
  const large = await runText(t, text.replace("no frobnicator here", "the large fixtures (../shared) are not here"), {
    strict: true,
  });
  t.match(large, { passed: 1, failed: 0, skipped: 1 });
});

t.test("allowed skips are few and each has its reason", async (t) => {
  t.ok(isAllowedSkip("the large fixtures (../shared) are not here"));
  for (const reason of ["", "dnf is not installed", "needs root", "no ../shared"])
    t.notOk(isAllowedSkip(reason), reason);
});

t.test("readTap() counts nothing that the last line does not say", async (t) => {
  t.match(readTap(""), { passed: 0, failed: 1 });
  t.match(readTap("ok 1 - a\nok 2 - b\n1..2\n"), { passed: 0, failed: 1 }, "cut off");
  t.match(readTap("ok 1 - a\n1..1\n# { total: 1, pass: 1 }\n"), { passed: 1, failed: 0, failures: [] });
  t.match(readTap("ok 1 - a # SKIP\n1..1\n# { total: 1, skip: 1 }\n").skips, [{ name: "a", reason: "" }]);
});
