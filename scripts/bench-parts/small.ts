/** pack of many small files, compared with curl, aria2c and dnf reposync on the same bytes in the same run. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cpuSecs, type Measured, measure, median, secs } from "./measure.ts";
import { startNginx } from "./nginx.ts";
import type { Row } from "./row.ts";

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const FILES = 2000;
const FILE_BYTES = 20_000;
const PACKAGES = 595;
const PACKAGE_BYTES = 9000;
const RUNS = 3;
const AT_ONCE = "16";

/** Needs nginx, curl, aria2c, dnf with reposync, rpmbuild, rpmsign, createrepo_c, gpg and GNU time on PATH. */
export async function benchSmall(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-small-"));
  const nginx = await startNginx(dir);
  try {
    airferry(dir, "keygen", "--out", "site");
    return [...packFiles(dir, nginx.url), ...packRepository(dir, nginx.url)];
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

function pack(dir: string, name: string): Measured {
  return airferry(dir, "pack", `${name}.yaml`, "--key", "site.key", "--out", "out", "--concurrency", AT_ONCE, "-q");
}

/** Removes everything of the last run, and the lock too if first sight is measured. */
function clear(dir: string, name: string, more: readonly string[] = []): void {
  for (const it of ["got", "dnf", "out", `${name}.state.json`, ...more])
    rmSync(join(dir, it), { recursive: true, force: true });
  mkdirSync(join(dir, "got"));
  execFileSync("sync");
}

function packFiles(dir: string, url: string): Row[] {
  mkdirSync(join(dir, "www", "small"), { recursive: true });
  const names = Array.from({ length: FILES }, (_, index) => `file-${index}.bin`);
  const linesOf = (line: (name: string) => string) => names.map((it) => `${line(it)}\n`).join("");
  for (const name of names)
    writeFileSync(join(dir, "www", "small", name), crypto.getRandomValues(new Uint8Array(FILE_BYTES)));
  writeFileSync(
    join(dir, "urls.txt"),
    linesOf((it) => `${url}/small/${it}`),
  );
  writeFileSync(
    join(dir, "curl.txt"),
    linesOf((it) => `url = "${url}/small/${it}"\noutput = "got/${it}"`),
  );
  const head = "apiVersion: airferry/v1\nstream: small\nfiles:\n";
  writeFileSync(join(dir, "small.yaml"), head + linesOf((it) => `  - {url: ${url}/small/${it}}`));
  const lock = ["small.lock.json", "small.lock.d"];
  const aria = median(
    RUNS,
    () =>
      measure("aria2c", ["-q", `-j${AT_ONCE}`, "-i", "urls.txt", "-d", "got", "--file-allocation=none"], { cwd: dir }),
    () => clear(dir, "small"),
  );
  const curl = median(
    RUNS,
    () => measure("curl", ["-sf", "--parallel", "--parallel-max", AT_ONCE, "-K", "curl.txt"], { cwd: dir }),
    () => clear(dir, "small"),
  );
  const first = median(
    RUNS,
    () => pack(dir, "small"),
    () => clear(dir, "small", lock),
  );
  const locked = median(
    RUNS,
    () => pack(dir, "small"),
    () => clear(dir, "small"),
  );
  return Object.entries({ locked, "first sight": first }).flatMap(([how, ours]) => {
    const job = `pack ${FILES} files of ${FILE_BYTES / 1000} kB, ${how}`;
    const note = "pack also makes two sidecars a file, hashes, syncs and signs";
    return [
      {
        job,
        airferry: secs(ours),
        peer: `aria2c ${secs(aria)}`,
        ratio: ours.seconds / aria.seconds,
        required: "≤ 0.9",
        note,
      },
      {
        job,
        airferry: secs(ours),
        peer: `curl --parallel ${secs(curl)}`,
        ratio: ours.seconds / curl.seconds,
        required: "≤ 2",
      },
      {
        job,
        airferry: cpuSecs(ours),
        peer: `curl --parallel ${cpuSecs(curl)}`,
        ratio: ours.cpu / curl.cpu,
        required: "≤ 5",
      },
    ];
  });
}

function packRepository(dir: string, url: string): Row[] {
  makeRepository(dir);
  writeFileSync(
    join(dir, "rpm.yaml"),
    `apiVersion: airferry/v1\nstream: rpm\nrpms:\n  - {name: bench, url: "${url}/rpm/", keys: ["${url}/rpm/KEY"]}\n`,
  );
  const settings = ["reposdir", "cachedir", "logdir", "persistdir"].map(
    (it) => `--setopt=${it}=${join(dir, "dnf", it)}`,
  );
  const source = [`--repofrompath=bench,${url}/rpm/`, "--repoid=bench", "--releasever=9", "--nogpgcheck"];
  const peer = median(
    RUNS,
    () => measure("dnf", ["-q", ...settings, ...source, "reposync", "--download-metadata", "-p", "got"], { cwd: dir }),
    () => clear(dir, "rpm"),
  );
  const ours = median(
    RUNS,
    () => pack(dir, "rpm"),
    () => clear(dir, "rpm", ["rpm.lock.json", "rpm.lock.d"]),
  );
  const job = `pack a repository of ${PACKAGES} packages of 15 kB`;
  return [
    {
      job,
      airferry: secs(ours),
      peer: `dnf reposync ${secs(peer)}`,
      ratio: ours.seconds / peer.seconds,
      required: "≤ 1.5",
      note: "pack checks signatures and digests of all packages, reposync nothing",
    },
    {
      job,
      airferry: cpuSecs(ours),
      peer: `dnf reposync ${cpuSecs(peer)}`,
      ratio: ours.cpu / peer.cpu,
      required: "-",
    },
  ];
}

/** A signed repository of real packages, with its key. */
function makeRepository(dir: string): void {
  const numbers = Array.from({ length: PACKAGES }, (_, index) => index);
  const spec = [
    "Name: bench\nVersion: 1\nRelease: 1\nSummary: bench\nLicense: MIT\nBuildArch: noarch\n%description\nbench\n%prep\n%build\n%install",
    "mkdir -p %{buildroot}/usr/share/bench",
    ...numbers.map((it) => `head -c ${PACKAGE_BYTES} /dev/urandom > %{buildroot}/usr/share/bench/${it}`),
    ...numbers.map(
      (it) =>
        `%package p${it}\nSummary: package ${it}\n%description p${it}\nbench\n%files p${it}\n/usr/share/bench/${it}`,
    ),
  ];
  writeFileSync(join(dir, "bench.spec"), `${spec.join("\n")}\n`);
  mkdirSync(join(dir, "gnupg"), { mode: 0o700 });
  mkdirSync(join(dir, "www", "rpm"), { recursive: true });
  const script = `
    gpg --batch --passphrase '' --quick-gen-key 'Bench <bench@example.com>' rsa2048 sign never
    gpg --armor --export > www/rpm/KEY
    rpmbuild -bb --define "_topdir $PWD/build" --define "_binary_payload w1.gzdio" bench.spec
    mv build/RPMS/noarch/*.rpm www/rpm/
    rpmsign --define "_gpg_name Bench" --define "__gpg /usr/bin/gpg" --addsign www/rpm/*.rpm
    createrepo_c -q www/rpm
    gpg --batch --detach-sign --armor www/rpm/repodata/repomd.xml
    gpgconf --kill all`;
  const env = { ...process.env, GNUPGHOME: join(dir, "gnupg") };
  execFileSync("sh", ["-ec", script], { cwd: dir, env, stdio: ["ignore", "ignore", "ignore"] });
}
