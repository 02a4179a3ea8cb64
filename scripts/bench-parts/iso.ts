/**
 * The tree inside an ISO: first and later listings of a DVD with 6,000 packages, and reading inside it compared with
 * the plain file.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Row } from "./row.ts";

const DVD_BYTES = 12e9;
const PACKAGES = 6000;
const MEMBER_BYTES = 1024 ** 3;
const RUNS = 7;
const MAX_FIRST_S = 0.3;
const MAX_LATER_S = 0.005;

/** Needs xorriso and curl. */
export async function benchIso(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-iso-"));
  try {
    const iso = makeDvd(dir);
    const rows: Row[] = [];
    const first: number[] = [];
    // A new server each time, so that the listing is its first.
    for (let i = 0; i < 3; i++) {
      const server = await start(iso);
      first.push(...times([`${server.url}/isos/dvd/AppStream/Packages/`]));
      server.stop();
    }
    const server = await start(iso);
    const list = `${server.url}/isos/dvd/AppStream/Packages/`;
    const later = times([list, ...new Array<string>(RUNS * 3).fill(list)]).slice(1);
    rows.push(listing("first listing of 6,000 packages", middle(first), MAX_FIRST_S));
    rows.push(listing("later listings", middle(later), MAX_LATER_S));

    const member = `${server.url}/isos/dvd/big.bin`;
    const from = Number(/^(\d+)/.exec(extentOf(iso))![1]);
    const range = `${from}-${from + MEMBER_BYTES - 1}`;
    const inside: number[] = [];
    const plain: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      inside.push(...times(["-r", `0-${MEMBER_BYTES - 1}`, member]));
      plain.push(...times(["-r", range, `${server.url}/isos/dvd.iso`]));
    }
    server.stop();
    const rate = (seconds: number) => `${(MEMBER_BYTES / seconds / 1e9).toFixed(2)} GB/s`;
    rows.push({
      job: "iso: range of a file inside, against the same bytes of the plain ISO",
      airferry: rate(middle(inside)),
      peer: rate(middle(plain)),
      ratio: middle(plain) / middle(inside),
      required: "≥ 0.9",
      note: "1 GiB over loopback, curl",
    });
    return rows;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function listing(job: string, seconds: number, limit: number): Row {
  return {
    job: `iso: ${job}`,
    airferry: `${(seconds * 1000).toFixed(1)} ms`,
    peer: `${limit * 1000} ms`,
    ratio: seconds / limit,
    required: "≤ 1",
    note: "12 GB image, curl's time_total",
  };
}

/** A DVD with many packages and one large file; its end is a hole, since only directories are listed. */
function makeDvd(dir: string): string {
  const packages = join(dir, "tree/AppStream/Packages");
  mkdirSync(packages, { recursive: true });
  for (let i = 0; i < PACKAGES; i++) {
    writeFileSync(join(packages, `package-with-a-usual-name-${String(i).padStart(5, "0")}-1.2.3-4.el9.x86_64.rpm`), "");
  }
  execFileSync("sh", ["-c", `head -c ${MEMBER_BYTES} /dev/urandom > tree/big.bin`], { cwd: dir });
  const iso = join(dir, "dvd.iso");
  execFileSync("xorriso", ["-as", "mkisofs", "-quiet", "-R", "-J", "-joliet-long", "-o", iso, join(dir, "tree")], {
    stdio: "ignore",
  });
  rmSync(join(dir, "tree"), { recursive: true });
  truncateSync(iso, DVD_BYTES);
  return iso;
}

/** Offset of big.bin in the image, as xorriso sees it. */
function extentOf(iso: string): string {
  const report = ["-indev", iso, "-find", "/big.bin", "-exec", "report_lba"];
  const out = execFileSync("xorriso", report, { stdio: ["ignore", "pipe", "ignore"] }).toString();
  const lba = /File data lba:\s*\d+\s*,\s*(\d+)/.exec(out)![1];
  return String(Number(lba) * 2048);
}

/** Seconds that curl took for each URL, over one connection. */
function times(args: readonly string[]): number[] {
  const urls = args.filter((it) => it.startsWith("http"));
  const options = args.slice(0, args.indexOf(urls[0]!));
  const out = execFileSync("curl", [
    "-sf",
    "-w",
    "%{time_total}\n",
    ...options,
    ...urls.flatMap((it) => ["-o", "/dev/null", it]),
  ]);
  return out.toString().trim().split("\n").map(Number);
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

async function start(iso: string): Promise<{ url: string; stop(): void }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "iso-main.ts"), iso], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [url] = (await once(createInterface({ input: child.stdout! }), "line")) as [string];
  return { url, stop: () => void child.kill() };
}
