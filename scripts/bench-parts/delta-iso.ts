/** A second crossing of a DVD of which 3 % changed, beside the first one. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { makePointRelease } from "../../test/fixtures/point-release.ts";
import { cpuSecs, measure, mib } from "./measure.ts";
import type { Row } from "./row.ts";

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const FILES = 2000;
const MEAN_BYTES = 260_000;

/** Needs GNU time and xorriso on PATH, and 4 GiB of temporary space. */
export async function benchDeltaIso(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-dvd-"));
  const airferry = (...args: string[]) =>
    measure(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], {
      cwd: dir,
      env: { AIRFERRY_PASSWORD: "bench", AIRFERRY_CACHE: join(dir, "cache") },
    });
  const cross = (serial: number, iso: string, ...flags: string[]) => {
    writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: s\nisos:\n  - {name: dvd, path: ${iso}}\n`);
    airferry("lock", "m.yaml", "-q");
    const pack = airferry("pack", "m.yaml", "--key", "site.key", "--out", "out", "-q", ...flags);
    execFileSync("sync");
    const bundle = join("out", `s-00000${serial}`);
    const unpack = airferry("unpack", bundle, "--trust", "site.pub", "--store", "st", "-q");
    const found = readdirSync(join(dir, bundle), { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
    const size = found.reduce((sum, it) => sum + statSync(join(it.parentPath, it.name)).size, 0);
    return { pack, unpack, size };
  };
  try {
    const { changed } = makePointRelease(dir, FILES, MEAN_BYTES);
    rmSync(join(dir, "tree"), { recursive: true });
    const whole = statSync(join(dir, "new.iso")).size;
    for (const name of ["site", "inside"]) airferry("keygen", "--out", name, "-q");
    const first = cross(1, "old.iso");
    airferry("receipt", "--store", "st", "--key", "inside.key", "--out", "r.txt", "-q");
    const second = cross(2, "new.iso", "--for", "r.txt", "--receipt-trust", "inside.pub");
    const what = `DVD again, ${mib(changed)} of ${mib(whole)} changed`;
    return [
      {
        job: `${what}: weight`,
        airferry: mib(second.size),
        peer: `the DVD ${mib(whole)}`,
        ratio: second.size / whole,
        required: "≤ 0.05",
      },
      {
        job: `${what}: pack, processor`,
        airferry: cpuSecs(second.pack),
        peer: `first ${cpuSecs(first.pack)}`,
        ratio: second.pack.cpu / first.pack.cpu,
        required: "≤ 1",
        note: "all of it is hashed, by file and by piece",
      },
      {
        job: `${what}: unpack, processor`,
        airferry: cpuSecs(second.unpack),
        peer: `first ${cpuSecs(first.unpack)}`,
        ratio: second.unpack.cpu / first.unpack.cpu,
        required: "≤ 1.3",
        note: "all of it is written and hashed",
      },
    ];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
