/**
 * The rehearsal: sample internet, pack, carry, unpack, serve in a namespace, and the build's own programs beside it.
 * Exit status 0 when every row is ok (a skipped row is one that a missing program could not run).
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseImageconfig } from "../../src/render/imageconfig.ts";
import { Gap, SERVER_ADDRESS } from "./network.ts";
import { AIRFERRY, airferry, packReady } from "./pack-ready.ts";
import { type Row, runStep, type Stage } from "./row.ts";
import { prepare, STEPS } from "./steps.ts";

const ROOT = join(import.meta.dirname, "../..");
const args = process.argv.slice(2);
const json = args.includes("--json");
const keep = args.includes("--keep");
const only = args.filter((it) => !it.startsWith("--"));

if (process.platform !== "linux" || process.getuid?.() !== 0) {
  process.stderr.write("rehearsal: needs root on Linux, for network namespaces\n");
  process.exit(2);
}

const say = (line: string) => process.stderr.write(`rehearsal: ${line}\n`);
const dir = mkdtempSync(join(tmpdir(), "afr-"));
const cleanups: (() => void)[] = [];
let status = 1;
try {
  status = await rehearse();
} catch (error) {
  say(`cannot go on: ${(error as Error).message}`);
} finally {
  for (const cleanup of cleanups.reverse()) cleanup();
  if (!keep) rmSync(dir, { recursive: true, force: true });
  else say(`kept ${dir}`);
}
process.exit(status);

async function rehearse(): Promise<number> {
  if (!existsSync(join(ROOT, ".cache/clients/kernel/vmlinuz"))) {
    try {
      execFileSync(join(ROOT, "scripts/lib/kernel.sh"), { stdio: ["ignore", "ignore", "inherit"] });
    } catch {
      say("no kernel to boot: the iPXE row will fail");
    }
  }
  say("outside: pack manifests/rocky-9-capi.yaml from a sample of every host that it names");
  const bundle = await packReady(dir, "rocky-9-capi", { boot: true });

  say("across: verify, unpack");
  const store = join(dir, "store");
  await airferry(dir, "verify", bundle, "--trust", "site.pub");
  await airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", store);

  const gap = new Gap();
  cleanups.push(() => gap.close());
  const log = join(dir, "access.log");
  const url = `http://${SERVER_ADDRESS}:9000`;
  const server = gap.spawn(
    "server",
    [AIRFERRY, "serve", "--store", store, "--listen", `${SERVER_ADDRESS}:9000`, "--access-log", log],
    {
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  cleanups.push(() => void server.kill());
  await reachable(gap, url);
  say(`inside: ${url} is all that the build host can reach`);

  const config = parseImageconfig(await airferry(dir, "render", "imageconfig", "--store", store, "--url", url));
  const stage: Stage = { gap, url, dir, store, log, config };
  prepare(dir);
  const rows: Row[] = [];
  for (const step of STEPS) {
    if (only.length > 0 && !only.some((it) => step.name.includes(it))) continue;
    const row = await runStep(step, stage);
    rows.push(row);
    if (!json) print(row);
  }
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  const failed = rows.filter((it) => it.result === "failed").length;
  const skipped = rows.filter((it) => it.result === "skipped").length;
  say(`${rows.length - failed - skipped} ok, ${failed} failed, ${skipped} skipped`);
  return failed === 0 ? 0 : 1;
}

async function reachable(gap: Gap, url: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const child = gap.spawn("builder", ["curl", "-sf", "-o", "/dev/null", `${url}/healthz`], { stdio: "ignore" });
    if ((await new Promise((resolve) => child.on("close", resolve))) === 0) return;
    await sleep(200);
  }
  throw new Error(`${url} does not answer`);
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
