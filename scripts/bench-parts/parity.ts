/** Parity of 5 %, written and used, compared with Debian's par2 on the same bytes, by processor time. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { burst } from "../../test/fixtures/parity.ts";
import { cpuSecs, type Measured, measure, mib } from "./measure.ts";
import type { Row } from "./row.ts";

const MAIN = join(dirname(fileURLToPath(import.meta.url)), "parity-main.ts");
const MIB = 1024 * 1024;
const BYTES = 256 * MIB;

/** Needs par2 and GNU time on PATH. */
export async function benchParity(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-parity-"));
  try {
    const [ours, theirs] = [join(dir, "ours"), join(dir, "theirs")];
    for (const it of [ours, theirs]) mkdirSync(it);
    execFileSync("sh", ["-c", `head -c ${BYTES} /dev/urandom > ours/volume && cp ours/volume theirs/volume`], {
      cwd: dir,
    });
    const create = run("create", ours);
    const peer = measure("par2", ["create", "-qq", "-r5", "-b2000", "-n1", "theirs.par2", "volume"], { cwd: theirs });
    // Each repairs its own set: of 20 bursts of 64 KiB.
    for (const it of [ours, theirs]) burst(join(it, "volume"), 20, 65_536);
    copyFileSync(join(ours, "volume"), join(theirs, "volume"));
    const repair = run("repair", ours);
    const peerRepair = measure("par2", ["repair", "-qq", "theirs.par2"], { cwd: theirs });
    execFileSync("cmp", [join(theirs, "volume"), join(ours, "repaired")]);
    return [row(`parity of 5 % for ${mib(BYTES)}`, create, peer), row("repair of 20 bursts in it", repair, peerRepair)];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function run(job: string, dir: string): Measured {
  return measure(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, job, join(dir, "volume")]);
}

function row(job: string, ours: Measured, peer: Measured): Row {
  return {
    job: `${job}, processor`,
    airferry: cpuSecs(ours),
    peer: `par2 ${cpuSecs(peer)}`,
    ratio: ours.cpu / peer.cpu,
    required: "≤ 0.5",
    note: `start of the program included; peak ${mib(ours.memory)} beside ${mib(peer.memory)}`,
  };
}
