/** Metadata for loose RPMs, compared with createrepo_c with one worker, on the same 500 packages of 2 MB. */
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  int32,
  type MadeEntry,
  MINIMAL,
  makeRpm,
  REGION,
  text,
  texts,
  withRegion,
} from "../../test/fixtures/rpm-files.ts";
import { type Measured, measure, median, mib, secs } from "./measure.ts";
import type { Row } from "./row.ts";

const MAIN = join(dirname(fileURLToPath(import.meta.url)), "rpm-loose-main.ts");
const PACKAGES = 500;
const PAYLOAD_BYTES = 2 * 1000 * 1000;
const RUNS = 5;

/** Needs createrepo_c and GNU time on PATH. */
export async function benchLoose(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-loose-"));
  try {
    const folder = join(dir, "rpms");
    makePackages(folder);
    const clear = () => rmSync(join(folder, "repodata"), { recursive: true, force: true });
    const ours = (threads: number) =>
      median(
        RUNS,
        () => measure(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, folder, `${threads}`]),
        clear,
      );
    const options = ["-q", "--workers", "1", "--no-database", "--compress-type", "gz", folder];
    const peer = median(RUNS, () => measure("createrepo_c", options), clear);
    // lock hashes with as many threads as the host has cores; one thread is shown for hosts that have one.
    return [row("two hash threads", ours(2), peer), { ...row("one hash thread", ours(1), peer), required: "-" }];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function row(how: string, ours: Measured, peer: Measured): Row {
  return {
    job: `metadata of ${PACKAGES} loose RPMs of 2 MB, ${how}`,
    airferry: secs(ours),
    peer: `createrepo_c ${secs(peer)}`,
    ratio: ours.seconds / peer.seconds,
    required: "≤ 1",
    note: `one worker; start of the program included; peak ${mib(ours.memory)} beside ${mib(peer.memory)}`,
  };
}

/** Packages with eleven files each and a payload that does not compress. */
function makePackages(folder: string): void {
  mkdirSync(folder);
  const payload = randomBytes(PAYLOAD_BYTES);
  const names = Array.from({ length: 11 }, (_, i) => `file-${i}`);
  const zeros = names.map(() => 0);
  const files = [int32(1116, ...zeros), texts(1117, names), texts(1118, ["/usr/share/bench/"])];
  const modes: MadeEntry = {
    tag: 1030,
    type: 3,
    count: names.length,
    data: Buffer.alloc(names.length * 2, "\x81\xa4", "latin1"),
  };
  for (let i = 0; i < PACKAGES; i++) {
    payload.writeUInt32BE(i, 0);
    const entries = [...MINIMAL.slice(1), modes, int32(1037, ...zeros), ...files];
    const all = [text(1000, `bench-${i}`), ...entries].sort((a, b) => a.tag - b.tag);
    const rpm = makeRpm({ header: withRegion(REGION(all.length + 1), all), payload });
    const fd = openSync(join(folder, `bench-${i}-1.0-1.noarch.rpm`), "w");
    writeSync(fd, rpm);
    closeSync(fd);
  }
}
