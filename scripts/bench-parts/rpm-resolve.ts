/**
 * Resolving a subset of CentOS Stream 9 AppStream (17,649 packages, 51.8 MB uncompressed) and BaseOS, compared with dnf
 * repoquery in the same run.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { measure, median, mib, secs } from "./measure.ts";
import type { Row } from "./row.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const MAIN = join(HERE, "rpm-resolve-main.ts");
const BIN = join(HERE, "..", "..", "src", "bin.ts");
const FIXTURES = join(HERE, "..", "..", "..", "shared", "fixtures", "rpm");
const APPSTREAM = join(FIXTURES, "cs9-2025-osbuild", "appstream");
const BASEOS = join(FIXTURES, "cs9-baseos-20220207");
const RUNS = 5;
const NAMES = ["nginx", "git"];
const LIMIT_SECONDS = 1.5;
const LIMIT_BYTES = 250 * 1024 * 1024;

/** Needs the fixtures, dnf and GNU time; returns no row without the fixtures. */
export async function benchResolve(): Promise<Row[]> {
  if (!existsSync(APPSTREAM)) return [];
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-resolve-"));
  try {
    const node = (...args: string[]) =>
      measure(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], { cwd: dir });
    const ours = median(RUNS, () =>
      node(MAIN, [APPSTREAM, BASEOS].map((it) => join(it, "repodata")).join(":"), ...NAMES),
    );
    writeFileSync(join(dir, "dnf.conf"), "[main]\n");
    const options = [`--config=${join(dir, "dnf.conf")}`, "--disableplugin=*", "--releasever=9", "--forcearch=x86_64"];
    const settings = ["reposdir", "cachedir", "logdir", "persistdir"].map((it) => `--setopt=${it}=${join(dir, it)}`);
    const query = [
      "repoquery",
      `--repofrompath=a,file://${APPSTREAM}`,
      "--repo=a",
      "--requires",
      "--resolve",
      ...NAMES,
    ];
    const clear = () => rmSync(join(dir, "cachedir"), { recursive: true, force: true });
    const peer = median(RUNS, () => measure("dnf", ["-q", ...options, ...settings, ...query]), clear);
    const note = `${ours.stdout.trim()}; peak ${mib(ours.memory)} beside ${mib(peer.memory)}`;
    const manifest = {
      apiVersion: "airferry/v1",
      stream: "bench",
      rpms: [
        { name: "appstream", path: APPSTREAM, gpgcheck: false, packages: NAMES },
        { name: "baseos", path: BASEOS, gpgcheck: false, packages: [] },
      ],
    };
    writeFileSync(join(dir, "m.yaml"), JSON.stringify(manifest));
    const forget = () => {
      rmSync(join(dir, "m.lock.json"), { force: true });
      rmSync(join(dir, "m.lock.d"), { recursive: true, force: true });
    };
    const plan = median(RUNS, () => node(BIN, "plan", "m.yaml"), forget);
    const limit = `${LIMIT_SECONDS.toFixed(1)} s`;
    return [
      {
        job: "resolve out of AppStream",
        airferry: secs(ours),
        peer: `dnf ${secs(peer)}`,
        ratio: ours.seconds / peer.seconds,
        required: "≤ 1.5",
        note,
      },
      {
        job: "resolve out of AppStream, time",
        airferry: secs(ours),
        peer: `limit ${limit}`,
        ratio: ours.seconds / LIMIT_SECONDS,
        required: "≤ 1",
      },
      {
        job: "resolve out of AppStream, memory",
        airferry: mib(ours.memory),
        peer: `limit ${mib(LIMIT_BYTES)}`,
        ratio: ours.memory / LIMIT_BYTES,
        required: "≤ 1",
      },
      {
        job: "lock and plan nginx and git over AppStream and BaseOS",
        airferry: secs(plan),
        peer: "limit 300 MiB",
        ratio: plan.memory / (300 * 1024 * 1024),
        required: "≤ 1",
        note: `the whole program; peak ${mib(plan.memory)}`,
      },
    ];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
