/**
 * The rehearsal: sample internet, pack, carry, unpack, serve in a namespace, and the build's own programs beside it.
 * Exit status 0 when every row is ok (a skipped row is one that a missing program could not run).
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { parseManifest } from "../../src/manifest/load.ts";
import { parseImageconfig } from "../../src/render/imageconfig.ts";
import { Gap, SERVER_ADDRESS } from "./network.ts";
import { type Row, runStep, type Stage } from "./row.ts";
import { prepare, STEPS } from "./steps.ts";
import { startSampleUpstream } from "./upstream.ts";

const ROOT = join(import.meta.dirname, "../..");
const AIRFERRY = join(ROOT, "scripts/airferry");
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
const env = { ...process.env, AIRFERRY_PASSWORD: "rehearsal", AIRFERRY_CACHE: join(dir, "cache"), HOME: dir };
const run = promisify(execFile);
/** Runs the program; the sample upstream lives in this process, so nothing here may block. */
async function airferry(...command: string[]): Promise<string> {
  const { stdout, stderr } = await run(AIRFERRY, [...command, "--progress", "none"], {
    cwd: dir,
    env,
    maxBuffer: 1 << 26,
  }).catch((error: { stderr?: string; message: string }) => {
    throw new Error(
      `airferry ${command[0]}: ${(error.stderr ?? error.message).trim().split("\n").slice(-6).join(" | ")}`,
    );
  });
  if (keep) process.stderr.write(stderr);
  return stdout;
}

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
  say("outside: a sample of every host that manifests/rocky-9-capi.yaml names");
  let text = readFileSync(join(ROOT, "manifests/rocky-9-capi.yaml"), "utf8");
  const upstream = await startSampleUpstream(dir, parseManifest(text, "rocky-9-capi.yaml"));
  cleanups.push(() => upstream.close());
  for (const [real, sample] of upstream.fingerprints) text = text.replaceAll(real, sample);
  text = text.replaceAll("platforms: [linux/amd64] }", "platforms: [linux/amd64], insecure: true }");
  const manifest = join(dir, "rocky-9-capi.yaml");
  writeFileSync(manifest, text);

  say("outside: keygen, pack");
  await airferry("keygen", "--out", "site");
  const hosts = [...new Set([...text.matchAll(/ref: ([^/]+)\//g)].map((it) => it[1]!))];
  const rewrites = [`https://=${upstream.url}/`, ...hosts.map((host) => `${host}=${upstream.registry.host}`)];
  const packed = await airferry(
    "pack",
    manifest,
    "--key",
    "site.key",
    "--out",
    "bundles",
    ...rewrites.flatMap((it) => ["--rewrite", it]),
  );
  const bundle = packed.trim().split("\n").at(-1)!;

  say("across: verify, unpack");
  const store = join(dir, "store");
  await airferry("verify", resolve(dir, bundle), "--trust", "site.pub");
  await airferry("unpack", resolve(dir, bundle), "--trust", "site.pub", "--store", store);
  upstream.close();

  const gap = new Gap();
  cleanups.push(() => gap.close());
  const log = join(dir, "access.log");
  const url = `http://${SERVER_ADDRESS}:9000`;
  const server = gap.spawn(
    "server",
    [AIRFERRY, "serve", "--store", store, "--listen", `${SERVER_ADDRESS}:9000`, "--access-log", log],
    {
      env,
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  cleanups.push(() => void server.kill());
  await reachable(gap, url);
  say(`inside: ${url} is all that the build host can reach`);

  const config = parseImageconfig(await airferry("render", "imageconfig", "--store", store, "--url", url));
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
