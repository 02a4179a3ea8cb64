/**
 * The rehearsal: sample internet, pack, carry, unpack, serve in a namespace, and the build's own programs beside it.
 * Exit status 0 when no row failed; rows whose program is missing are skipped.
 */
import { chmodSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSteps, ordinaryStagingStep, stagedFolder, stagingStep } from "./build-steps.ts";
import { allBuilds, type Build } from "./builds.ts";
import { type Served, serveBuild, unpackBuild } from "./carry.ts";
import { CONTROLS } from "./controls.ts";
import { guestSteps } from "./guest-steps.ts";
import { Gap } from "./network.ts";
import { packAll } from "./pack-ready.ts";
import { type Row, runStep, type Stage, type Step } from "./row.ts";
import { prepare, STEPS } from "./steps.ts";
import { vcenterStep } from "./vcenter-steps.ts";

const args = process.argv.slice(2);
const [json, keep, short, controls, nginx] = ["--json", "--keep", "--short", "--controls", "--nginx"].map((it) =>
  args.includes(it),
);
const words = args.filter((it) => !it.startsWith("--"));
/** With --controls: only these builders. */
const flavors = controls ? words : [];
const only = controls ? [] : words;

if (process.platform !== "linux" || process.getuid?.() !== 0) {
  process.stderr.write("rehearsal: needs root on Linux, for network namespaces\n");
  process.exit(2);
}

const say = (line: string) => process.stderr.write(`rehearsal: ${line}\n`);
const dir = mkdtempSync(join(tmpdir(), "afr-"));
// The builder's container runs as another user, and finds its folder below.
chmodSync(dir, 0o711);
const cleanups: (() => void | Promise<void>)[] = [];
const rows: Row[] = [];
let status = 1;
try {
  status = await rehearse();
} catch (error) {
  say(`cannot continue: ${(error as Error).message}`);
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
  if (!keep) rmSync(dir, { recursive: true, force: true });
  else say(`kept ${dir}`);
}
process.exit(status);

async function rehearse(): Promise<number> {
  const all = allBuilds();
  const isSmall = short || controls;
  const rocky9 = all.filter((it) => it.name.startsWith("rocky-9,"));
  const builds = controls
    ? rocky9.filter((it) => flavors.length === 0 || flavors.includes(it.flavor))
    : short
      ? rocky9.slice(0, 1)
      : all;
  const [main] = (controls ? rocky9 : builds) as [Build];
  say(`outside: pack ${builds.map((it) => it.stream).join(", ")} from a sample of every host that they name`);
  const bundles = await packAll(dir, builds, { boot: !isSmall });

  say("across: verify, unpack");
  const stores = new Map<Build, string>();
  for (const [i, build] of builds.entries()) stores.set(build, await unpackBuild(dir, build, bundles[i]!));

  const gap = new Gap();
  cleanups.push(() => gap.close());
  prepare(dir);
  say(
    `inside: ${nginx ? "nginx over a written tree" : "the server"} is all that the build host and the guest can reach`,
  );
  const serve = (build: Build, scheme: "http" | "https" = "http") =>
    serveBuild(gap, dir, build, stores.get(build)!, scheme, nginx);
  let wrong = 0;
  for (const build of builds) {
    await served(await serve(build), async (stage) => {
      const folder = (it: Stage) => stagedFolder(it, build);
      const about = [stagingStep(build), ...buildSteps(build, folder)];
      const guest = build === main ? guestSteps("http", folder) : [];
      const programs = short ? STEPS.filter((it) => !it.name.startsWith("iPXE")) : controls ? [] : STEPS;
      if (build === main) await run(programs, stage);
      const ordinary = build.name.startsWith("rocky-9,") ? [ordinaryStagingStep(build)] : [];
      await run([...about, ...guest, ...ordinary], stage);
      if (!isSmall && build.name.startsWith("rocky-9,")) await run([vcenterStep(build, folder)], stage);
      if (controls) wrong += await runControls(build, [...about.slice(1), ...guest], stage);
    });
  }
  if (!isSmall && !nginx) {
    const https = { ...main, name: `${main.name}, https`, stream: `${main.stream}-https` };
    await served(await serve(main, "https"), async (stage) => {
      await run([stagingStep(https), ...guestSteps("https", (it) => stagedFolder(it, https))], stage);
    });
  }

  if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  const failed = rows.filter((it) => it.result === "failed").length;
  const skipped = rows.filter((it) => it.result === "skipped").length;
  say(`${rows.length - failed - skipped} ok, ${failed} failed, ${skipped} skipped`);
  return failed + wrong === 0 ? 0 : 1;
}

async function served(it: Served, use: (stage: Stage) => Promise<void>): Promise<void> {
  try {
    await use(it.stage);
  } finally {
    await it.close();
  }
}

async function run(steps: readonly Step[], stage: Stage): Promise<void> {
  for (const step of steps) {
    // Later rows check what an earlier one stages.
    const wanted = only.length === 0 || step.name.endsWith(": stage") || only.some((it) => step.name.includes(it));
    if (!wanted) continue;
    const row = await runStep(step, stage);
    rows.push(row);
    if (!json) print(row);
  }
}

/** Runs a build's rows once for each control; returns how many controls failed other rows than they should. */
async function runControls(build: Build, steps: readonly Step[], stage: Stage): Promise<number> {
  let wrong = 0;
  for (const control of CONTROLS.filter((it) => it.flavor === build.flavor)) {
    const damaged = join(dir, "damaged");
    rmSync(damaged, { recursive: true, force: true });
    cpSync(stagedFolder(stage, build), damaged, { recursive: true });
    control.remove(damaged);
    // The rows of the same names, for the damaged copy.
    const again = [...buildSteps(build, () => damaged), ...guestSteps("http", () => damaged)];
    const names = new Set(steps.map((it) => it.name));
    const results: Row[] = [];
    for (const step of again) if (names.has(step.name)) results.push(await runStep(step, stage));
    const failed = results.filter((it) => it.result !== "ok");
    const expected = again.filter((it) => names.has(it.name) && control.fails.test(it.name)).map((it) => it.name);
    const isRight = expected.length > 0 && failed.map((it) => it.name).join() === expected.join();
    if (!isRight) wrong++;
    const row: Row = {
      name: `${build.name}: without ${control.name}`,
      command: `the ${names.size} rows about it again`,
      result: isRight ? "ok" : "failed",
      detail:
        failed.map((it) => `fails: ${it.name.replace(`${build.name}: `, "")}: ${it.detail.slice(0, 200)}`).join("; ") ||
        "nothing fails",
      seconds: Math.round(results.reduce((sum, it) => sum + it.seconds, 0) * 10) / 10,
      fetched: [],
      bytes: 0,
    };
    rows.push(row);
    if (!json) print(row);
  }
  return wrong;
}

function print(row: Row): void {
  const mark = { ok: "ok     ", failed: "FAILED ", skipped: "skipped" }[row.result];
  process.stdout.write(
    `${mark} ${row.name}  (${row.seconds} s)\n          $ ${row.command}\n          ${row.detail}\n`,
  );
  const seen = new Map<string, number>();
  for (const { method, path, status: code } of row.fetched) {
    const line = `${method} ${path} ${code}`;
    seen.set(line, (seen.get(line) ?? 0) + 1);
  }
  const lines = [...seen].map(([line, count]) => (count === 1 ? line : `${line} ×${count}`));
  for (const line of lines.slice(0, 8)) process.stdout.write(`          < ${line}\n`);
  if (lines.length > 8) process.stdout.write(`          < … and ${lines.length - 8} more\n`);
  if (lines.length > 0) process.stdout.write(`          = ${row.fetched.length} requests, ${row.bytes} bytes\n`);
}
