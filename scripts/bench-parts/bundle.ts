/** pack, verify and unpack compared with curl, sha256sum, openssl and cp, on the same bytes in the same run. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cpuSecs, measure, median, mib, secs } from "./measure.ts";
import { startNginx } from "./nginx.ts";
import type { Row } from "./row.ts";

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const GIB = 1024 ** 3;
const LARGE_BYTES = Number(process.env["AIRFERRY_BENCH_BYTES"] ?? 2 * GIB);
const RUNS = 3;

/** Needs nginx, curl, openssl and GNU time on PATH. */
export async function benchBundle(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-"));
  const nginx = await startNginx(dir);
  try {
    return [...fetchLarge(dir, nginx.url), ...checkAndUnpack(dir)];
  } finally {
    await nginx.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

function airferry(dir: string, ...args: string[]) {
  return measure(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], {
    cwd: dir,
    env: { AIRFERRY_PASSWORD: "bench", AIRFERRY_CACHE: join(dir, "cache") },
  });
}

function sync(): void {
  execFileSync("sync");
}

function fetchLarge(dir: string, url: string): Row[] {
  airferry(dir, "keygen", "--out", "site");
  mkdirSync(join(dir, "www"), { recursive: true });
  // Two halves besides the whole file, since real bundles have several large files to verify and unpack.
  const half = Math.floor(LARGE_BYTES / 2);
  execFileSync(
    "sh",
    [
      "-c",
      `head -c ${LARGE_BYTES} /dev/urandom > www/large.iso; head -c ${half} www/large.iso > www/a.iso; tail -c ${half} www/large.iso > www/b.iso`,
    ],
    { cwd: dir },
  );
  const digest = execFileSync("openssl", ["dgst", "-sha256", "-r", "www/large.iso"], {
    cwd: dir,
    encoding: "utf8",
  }).slice(0, 64);
  writeFileSync(
    join(dir, "large.yaml"),
    `apiVersion: airferry/v1\nstream: large\nisos:\n  - {name: large, url: ${url}/large.iso, sha256: ${digest}}\n`,
  );
  airferry(dir, "lock", "large.yaml", "-q");
  const clear = () => {
    for (const name of ["got", "out", "large.state.json"]) rmSync(join(dir, name), { recursive: true, force: true });
    sync();
  };
  const curl = median(RUNS, () => measure("curl", ["-sfo", "got", `${url}/large.iso`], { cwd: dir }), clear);
  const pack = median(
    RUNS,
    () => airferry(dir, "pack", "large.yaml", "--key", "site.key", "--frozen", "--out", "out", "-q"),
    clear,
  );
  const copy = median(
    RUNS,
    () => measure("sh", ["-c", "cp www/large.iso got && openssl dgst -sha256 got"], { cwd: dir }),
    clear,
  );
  return [
    {
      job: `pack one file of ${mib(LARGE_BYTES)}, processor`,
      airferry: cpuSecs(pack),
      peer: `cp and openssl ${cpuSecs(copy)}`,
      ratio: pack.cpu / copy.cpu,
      required: "≤ 2.2",
    },
    {
      job: `pack one file of ${mib(LARGE_BYTES)}`,
      airferry: secs(pack),
      peer: `curl -o ${secs(curl)}`,
      ratio: pack.seconds / curl.seconds,
      required: "≤ 1.3",
      note: "pack also hashes entry and volume, syncs and signs",
    },
    {
      job: "bytes written by pack",
      airferry: mib(pack.written),
      peer: `payload ${mib(LARGE_BYTES)}`,
      ratio: pack.written / LARGE_BYTES,
      required: "≤ 1.02",
    },
    {
      job: "peak memory of pack",
      airferry: mib(pack.memory),
      peer: "limit 256 MiB",
      ratio: pack.memory / (256 * 1024 * 1024),
      required: "≤ 1",
    },
  ];
}

function checkAndUnpack(dir: string): Row[] {
  writeFileSync(
    join(dir, "two.yaml"),
    "apiVersion: airferry/v1\nstream: two\nisos:\n  - {name: a, path: www/a.iso}\n  - {name: b, path: www/b.iso}\n",
  );
  const volumeSize = String(Math.ceil(LARGE_BYTES / 2 / 1024 / 1024 + 1) * 1024 * 1024);
  const pack = ["pack", "two.yaml", "--key", "site.key", "--out", "two", "--volume-size", volumeSize, "-q"];
  airferry(dir, ...pack, "--stream", "two.tar");
  const bundle = join(dir, "two", "two-000001");
  const volumes = readdirSync(bundle)
    .filter((name) => name.startsWith("data.tar."))
    .slice(0, 2);
  sync();
  const verify = median(RUNS, () => airferry(dir, "verify", bundle, "--trust", "site.pub", "-q"));
  const sums = median(RUNS, () => measure("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: bundle }));
  const openssl = median(RUNS, () =>
    measure("sh", ["-c", `${volumes.map((name) => `openssl dgst -sha256 ${name} &`).join(" ")} wait`], { cwd: bundle }),
  );
  const clear = () => {
    for (const name of ["copy", "store"]) rmSync(join(dir, name), { recursive: true, force: true });
    sync();
  };
  const cp = median(RUNS, () => measure("cp", ["-r", bundle, "copy"], { cwd: dir }), clear);
  const cpSync = median(RUNS, () => measure("sh", ["-c", `cp -r ${bundle} copy && sync -f copy`], { cwd: dir }), clear);
  const unpack = median(
    RUNS,
    () => airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", "store", "-q"),
    clear,
  );
  const unpackFrom = (redirected: string) =>
    median(
      RUNS,
      () =>
        measure(
          "bash",
          [
            "-c",
            `exec "$0" "$@" ${redirected}`,
            process.execPath,
            "--disable-warning=ExperimentalWarning",
            BIN,
            ...["unpack", "-", "--trust", "site.pub", "--store", "store", "-q"],
          ],
          { cwd: dir },
        ),
      clear,
    );
  const stream = unpackFrom("< two.tar");
  // What writes to the pipe is not counted; what the system takes to carry 64 KiB at a time is.
  const pipe = unpackFrom("< <(exec cat two.tar)");
  return [
    {
      job: `verify ${mib(LARGE_BYTES)}`,
      airferry: secs(verify),
      peer: `sha256sum -c ${secs(sums)}`,
      ratio: sums.seconds / verify.seconds,
      required: "≥ 3",
      note: "times faster",
    },
    {
      job: `verify ${mib(LARGE_BYTES)}`,
      airferry: secs(verify),
      peer: `openssl on two cores ${secs(openssl)}`,
      ratio: openssl.seconds / verify.seconds,
      required: "≥ 0.9",
      note: "share of its rate",
    },
    {
      job: "peak memory of verify",
      airferry: mib(verify.memory),
      peer: "limit 256 MiB",
      ratio: verify.memory / (256 * 1024 * 1024),
      required: "≤ 1",
    },
    {
      job: `unpack ${mib(LARGE_BYTES)}, synced`,
      airferry: secs(unpack),
      peer: `cp and sync ${secs(cpSync)}`,
      ratio: unpack.seconds / cpSync.seconds,
      required: "≤ 1.3",
      note: `cp alone, nothing on disk yet: ${secs(cp)}`,
    },
    {
      job: "bytes written by unpack",
      airferry: mib(unpack.written),
      peer: `payload ${mib(LARGE_BYTES)}`,
      ratio: unpack.written / LARGE_BYTES,
      required: "≤ 1.02",
    },
    {
      job: `unpack ${mib(LARGE_BYTES)} as a stream`,
      airferry: cpuSecs(stream),
      peer: `from a folder ${cpuSecs(unpack)}`,
      ratio: stream.cpu / unpack.cpu,
      required: "≤ 1.15",
      note: `took ${secs(stream)}; from a pipe ${cpuSecs(pipe)}`,
    },
    {
      job: "peak memory of unpack from a pipe",
      airferry: mib(pipe.memory),
      peer: "limit 256 MiB",
      ratio: pipe.memory / (256 * 1024 * 1024),
      required: "≤ 1",
    },
    {
      job: "peak memory of unpack",
      airferry: mib(unpack.memory),
      peer: "limit 256 MiB",
      ratio: unpack.memory / (256 * 1024 * 1024),
      required: "≤ 1",
    },
  ];
}
