/**
 * What the digests of pieces cost a pack: the same pack with and without their hash, in turns, from an upstream of 1
 * Gbit/s and from loopback as fast as it goes.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cpuSecs, type Measured, measure, mib, secs } from "./measure.ts";
import { startNginx } from "./nginx.ts";
import type { Row } from "./row.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const BIN = join(HERE, "..", "..", "src", "bin.ts");
const LARGE_BYTES = Number(process.env["AIRFERRY_BENCH_BYTES"] ?? 2 * 1024 ** 3);
const RUNS = 5;

/** Needs nginx, openssl and GNU time on PATH. */
export async function benchPieces(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-pieces-"));
  const nginx = await startNginx(dir);
  const airferry = (preloaded: readonly string[], ...args: string[]) =>
    measure(process.execPath, ["--disable-warning=ExperimentalWarning", ...preloaded, BIN, ...args], {
      cwd: dir,
      env: { AIRFERRY_PASSWORD: "bench", AIRFERRY_CACHE: join(dir, "cache") },
    });
  const both = (url: string): { with: Measured; without: Measured } => {
    writeFileSync(
      join(dir, "large.yaml"),
      `apiVersion: airferry/v1\nstream: large\nisos:\n  - {name: large, url: ${url}/large.iso, sha256: ${digest}}\n`,
    );
    airferry([], "lock", "large.yaml", "-q");
    const runs = { with: [] as Measured[], without: [] as Measured[] };
    for (let it = 0; it < RUNS; it++) {
      for (const kind of ["with", "without"] as const) {
        for (const name of ["out", "large.state.json"]) rmSync(join(dir, name), { recursive: true, force: true });
        execFileSync("sync");
        const preloaded = kind === "with" ? [] : ["--import", join(HERE, "without-pieces.mjs")];
        runs[kind].push(
          airferry(preloaded, "pack", "large.yaml", "--key", "site.key", "--frozen", "--out", "out", "-q"),
        );
      }
    }
    return { with: middle(runs.with), without: middle(runs.without) };
  };
  let digest = "";
  try {
    airferry([], "keygen", "--out", "site");
    mkdirSync(join(dir, "www"), { recursive: true });
    execFileSync("sh", ["-c", `head -c ${LARGE_BYTES} /dev/urandom > www/large.iso`], { cwd: dir });
    const summed = execFileSync("openssl", ["dgst", "-sha256", "-r", "www/large.iso"], { cwd: dir, encoding: "utf8" });
    digest = summed.slice(0, 64);
    const what = `pack one file of ${mib(LARGE_BYTES)}`;
    const [slow, fast] = [both(`${nginx.url}/gigabit`), both(nginx.url)];
    return [
      row(`${what} from 1 Gbit/s, for pieces`, slow, (it) => it.seconds, secs),
      row(`${what} from loopback, for pieces`, fast, (it) => it.seconds, secs),
      row(`${what}, processor, for pieces`, fast, (it) => it.cpu, cpuSecs),
    ];
  } finally {
    await nginx.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

function row(
  job: string,
  runs: { with: Measured; without: Measured },
  of: (it: Measured) => number,
  text: (it: Measured) => string,
): Row {
  return {
    job,
    airferry: text(runs.with),
    peer: `without their hash ${text(runs.without)}`,
    ratio: Math.max(0, of(runs.with) - of(runs.without)) / of(runs.with),
    required: "≤ 0.1",
    note: "a third hash of every byte, beside that of the file and of the volume",
  };
}

/** The median of each measure by itself. */
function middle(all: readonly Measured[]): Measured {
  const of = (pick: (it: Measured) => number) => all.map(pick).sort((a, b) => a - b)[all.length >> 1] ?? 0;
  const [first] = all;
  if (first === undefined) throw new Error("no run");
  return { ...first, seconds: of((it) => it.seconds), cpu: of((it) => it.cpu) };
}
