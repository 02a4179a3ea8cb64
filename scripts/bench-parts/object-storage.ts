/** unpack into object storage beside `rclone copy` of the same bundle, which verifies nothing. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clientPath } from "../../test/fixtures/clients.ts";
import { ROOT } from "../../test/fixtures/program.ts";
import { startGateway } from "../../test/fixtures/s3-gateway.ts";
import { cpuSecs, type Measured, measure, mib, secs } from "./measure.ts";
import type { Row } from "./row.ts";

const LARGE_BYTES = 400_000_000;
const SMALL_FILES = 300;
const SMALL_BYTES = 100_000;
const ROUNDS = 5;

/** Needs versitygw and rclone; without them there are no rows. Needs 3 GiB of temporary space. */
export async function benchObjectStorage(): Promise<Row[]> {
  const rclone = clientPath("rclone");
  if (rclone === undefined || clientPath("versitygw") === undefined) {
    console.error("bench: objects: rclone or versitygw is not installed: left out");
    return [];
  }
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-objects-"));
  const gateway = await startGateway(join(dir, "gateway"));
  // An own bundle of certificates is something that rclone cannot have with S3.
  const env = {
    ...gateway.env,
    AIRFERRY_PASSWORD: "bench",
    AIRFERRY_CACHE: join(dir, "cache"),
    AWS_CA_BUNDLE: undefined,
  };
  const bin = join(ROOT, "src/bin.ts");
  const airferry = (...args: string[]) =>
    measure(process.execPath, ["--disable-warning=ExperimentalWarning", bin, ...args], { cwd: dir, env });
  try {
    mkdirSync(join(dir, "small"));
    execFileSync("sh", ["-c", `head -c ${LARGE_BYTES} /dev/urandom > large`], { cwd: dir });
    const names = Array.from({ length: SMALL_FILES }, (_, index) => `small/${index}`);
    execFileSync("sh", ["-c", `for it in ${names.join(" ")}; do head -c ${SMALL_BYTES} /dev/urandom > $it; done`], {
      cwd: dir,
    });
    const lines = ["large", ...names].map((it) => `  - {path: ./${it}}\n`).join("");
    writeFileSync(join(dir, "m.yaml"), `apiVersion: airferry/v1\nstream: s\nfiles:\n${lines}`);
    const config = [
      "type = s3",
      "provider = Other",
      "env_auth = true",
      `endpoint = ${gateway.endpoint}`,
      "region = us-east-1",
    ];
    writeFileSync(join(dir, "rclone.conf"), `[g]\n${config.join("\n")}\nforce_path_style = true\n`);
    airferry("keygen", "--out", "site", "-q");
    airferry("lock", "m.yaml", "-q");
    airferry("pack", "m.yaml", "--key", "site.key", "--out", "out", "-q");
    execFileSync("sync");
    const runs: { own: Measured; peer: Measured }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const copy = [
        "copy",
        "--s3-chunk-size",
        "16M",
        "--s3-upload-concurrency",
        "4",
        "out/s-000001",
        `g:${gateway.bucket}/copy`,
      ];
      const peer = measure(rclone, ["--config", "rclone.conf", ...copy], { cwd: dir, env });
      const own = airferry("unpack", "out/s-000001", "--trust", "site.pub", "--store", gateway.name("st"), "-q");
      for (const it of ["copy", "st"]) rmSync(join(gateway.data, gateway.bucket, it), { recursive: true, force: true });
      runs.push({ own, peer });
    }
    const ratioOf = (it: (typeof runs)[number]) => it.own.seconds / it.peer.seconds;
    const middle = runs.sort((a, b) => ratioOf(a) - ratioOf(b))[Math.floor(ROUNDS / 2)];
    if (middle === undefined) return [];
    const { own, peer } = middle;
    return [
      {
        job: `unpack ${mib(LARGE_BYTES + SMALL_FILES * SMALL_BYTES)} into versitygw`,
        airferry: secs(own),
        peer: `rclone copy ${secs(peer)}`,
        ratio: ratioOf(middle),
        required: "≤ 1.3",
        note: `${cpuSecs(own)} and ${cpuSecs(peer)}; ${mib(own.memory)} of memory`,
      },
    ];
  } finally {
    await gateway.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}
