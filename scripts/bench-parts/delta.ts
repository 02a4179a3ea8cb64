/** A second crossing in which a twentieth of the content is new, beside the first one. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cpuSecs, measure, median, mib, secs } from "./measure.ts";
import type { Row } from "./row.ts";

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const FILES = 40;
const FILE_BYTES = 26_000_000;

/** Needs GNU time on PATH, and 4 GiB of temporary space. */
export async function benchDelta(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-delta-"));
  const airferry = (...args: string[]) =>
    measure(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], {
      cwd: dir,
      env: { AIRFERRY_PASSWORD: "bench", AIRFERRY_CACHE: join(dir, "cache") },
    });
  /** Packs and unpacks files `first` to `last`, with sizes. */
  const cross = (serial: number, first: number, last: number, ...flags: string[]) => {
    const names = Array.from({ length: last - first + 1 }, (_, index) => `f${first + index}`);
    const lines = names.map((it) => `  - {path: ${it}}\n`).join("");
    writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: s\nfiles:\n${lines}`);
    airferry("lock", "m.yaml", "-q");
    airferry("pack", "m.yaml", "--key", "site.key", "--out", "out", "-q", ...flags);
    execFileSync("sync");
    const bundle = join("out", `s-00000${serial}`);
    const take = () => airferry("unpack", bundle, "--trust", "site.pub", "--store", "st", "-q");
    const unpack = take();
    // What starting the program and looking at a bundle costs, whatever is in it.
    const nothing = median(3, take).cpu;
    const found = readdirSync(join(dir, bundle), { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
    return { unpack, nothing, size: found.reduce((sum, it) => sum + statSync(join(it.parentPath, it.name)).size, 0) };
  };
  try {
    const isNew = FILES / 20;
    for (let index = 1; index <= FILES + isNew; index++)
      execFileSync("sh", ["-c", `head -c ${FILE_BYTES} /dev/urandom > f${index}`], { cwd: dir });
    for (const name of ["site", "inside"]) airferry("keygen", "--out", name, "-q");
    const first = cross(1, 1, FILES);
    airferry("receipt", "--store", "st", "--key", "inside.key", "--out", "r.txt", "-q");
    const second = cross(2, 1 + isNew, FILES + isNew, "--for", "r.txt", "--receipt-trust", "inside.pub");
    const what = `second crossing, ${mib(isNew * FILE_BYTES)} of ${mib(FILES * FILE_BYTES)} new`;
    return [
      {
        job: `${what}: weight`,
        airferry: mib(second.size),
        peer: `first ${mib(first.size)}`,
        ratio: second.size / first.size,
        required: "≤ 0.06",
      },
      {
        job: `${what}: unpack, processor`,
        airferry: cpuSecs(second.unpack),
        peer: `first ${cpuSecs(first.unpack)}`,
        ratio: Math.max(0, second.unpack.cpu - second.nothing) / (first.unpack.cpu - first.nothing),
        required: "≤ 0.15",
        note: `ratio without the ${second.nothing.toFixed(2)} s of an unpack that has nothing to do`,
      },
      {
        job: `${what}: bytes written by unpack`,
        airferry: mib(second.unpack.written),
        peer: `first ${mib(first.unpack.written)}`,
        ratio: second.unpack.written / first.unpack.written,
        required: "≤ 0.06",
        note: `unpack took ${secs(second.unpack)} and ${secs(first.unpack)}`,
      },
    ];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
