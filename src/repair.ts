/**
 * `repair`: good copies of what is damaged on media, from recovery files and from other copies. Signatures first; the
 * digest of the signed root decides about every file that is written. The media are changed only if that is asked for.
 */
import { lstat, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { MAX_SUMS_BYTES } from "./bundle/format-limits.ts";
import { SUMS_NAME } from "./bundle/media-names.ts";
import { AirferryError } from "./errors.ts";
import { ioError } from "./io/atomic.ts";
import type { Digest } from "./io/digest.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { HashPool } from "./io/hash-pool.ts";
import { readSmall } from "./io/safe-open.ts";
import { ParityPool } from "./parity/parity-pool.ts";
import { checkSmallFiles, repairSmallFiles, type SmallFileRepair, writeMedium } from "./repair/listed-files.ts";
import { openRepair, type RepairJob } from "./repair/open-repair.ts";
import { repairVolumes, type VolumeRepair } from "./repair/repair-volumes.ts";

interface RepairOptions {
  /** Files with public keys (PEM). */
  trust: readonly string[];
  /** How many distinct trusted keys must have signed; default 1. */
  threshold?: number;
  /** Other copies of the bundle, of its volumes, and recovery files: folders and files. */
  from: readonly string[];
  /** Writes a medium with what is repaired into this folder. */
  out?: string;
  /** Replaces what is damaged where it is. With neither it only says what could be done. */
  inPlace?: boolean;
  /** Called with the bytes done and the total, in two rounds: hashing, and repairing. */
  progress?: (what: "hashing" | "repairing", done: number, total: number) => void;
  notice?: (line: string) => void;
}

/** What `repair --json` prints. */
interface RepairReport {
  stream: string;
  serial: number;
  /** Of SHA256SUMS. */
  digest: Digest;
  signers: string[];
  /** Volumes that are damaged, or on none of the given media. */
  volumes: VolumeRepair[];
  /** Small files that are damaged or missing in a folder. */
  files: SmallFileRepair[];
  /** Files that were written. */
  written: string[];
  /** The folder that has them, if they are not where they were. */
  out: string | null;
}

/**
 * Repairs the folders of one bundle.
 * @throws {AirferryError} ERR_USAGE; as `unpack` does for a bundle that is not trusted, or not only damaged; ERR_SPACE,
 *   ERR_IO. What cannot be repaired is in the report.
 */
export async function repair(folders: readonly string[], options: RepairOptions): Promise<RepairReport> {
  keepHeapSmall();
  const notice = options.notice ?? (() => {});
  const job = await openRepair(folders, { ...options, notice });
  if (options.out !== undefined) await checkOut(options.out, job);
  const { inventory } = job.contents;
  const hashes = HashPool.sizedFor(inventory.streamSize);
  const pool = new ParityPool();
  const report: RepairReport = {
    stream: inventory.stream,
    serial: inventory.serial,
    digest: job.digest,
    signers: job.root.signers,
    volumes: [],
    files: [],
    written: [],
    out: options.out ?? null,
  };
  try {
    const small = await checkSmallFiles(job, hashes, notice);
    const { goodIn, good } = await checkVolumes(job, hashes, options);
    const needed = inventory.volumes.flatMap((_, index) => (needsRepair(job, index, goodIn) ? [index] : []));
    const isTrial = options.out === undefined && options.inPlace !== true;
    if (options.out !== undefined) {
      const bytes = needed.reduce((sum, it) => sum + (inventory.volumes[it]?.size ?? 0), 0);
      if (needed.length + small.bad.length > 0)
        report.files = await writeMedium(options.out, small, bytes, report.written);
    } else report.files = await repairSmallFiles(small, isTrial, report.written);
    let done = 0;
    const total = Math.max(1, 3 * needed.reduce((sum, it) => sum + (inventory.volumes[it]?.size ?? 0), 0));
    const how = {
      hashes,
      pool,
      isTrial,
      progress: (bytes: number) => {
        done += bytes;
        options.progress?.("repairing", Math.min(done, total), total);
      },
    };
    const placesOf = (index: number) => placesIn(job, index, goodIn, { ...options, notice });
    report.volumes = await repairVolumes(job, needed, good, { ...how, placeOf: (index) => placesOf(index)[0] });
    // On several media it may be damaged on each.
    for (const [at, { file }] of [...report.volumes].entries()) {
      const index = needed[at];
      if (file === null || index === undefined) continue;
      for (const place of placesOf(index).slice(1)) {
        const from = new Map([[index, file]]);
        report.volumes.push(...(await repairVolumes(job, [index], from, { ...how, placeOf: () => place })));
      }
    }
    report.written.push(...report.volumes.flatMap((it) => it.file ?? []));
    report.volumes.push(...onOtherCopies(job, needed, goodIn));
    return report;
  } finally {
    await Promise.all([hashes.close(), pool.close()]);
  }
}

/** A folder of its own, which is empty or has what an earlier run wrote. */
async function checkOut(out: string, { targets, twins, root }: RepairJob): Promise<void> {
  const usage = (fault: string) =>
    new AirferryError("ERR_USAGE", `cannot repair into "${out}": ${fault}`, {
      path: out,
      hint: "give a new folder; --in-place replaces damaged files where they are",
    });
  const isWithin = (dir: string) => `${resolve(out)}/`.startsWith(`${resolve(dir)}/`);
  if ([...targets, ...twins].some(isWithin)) throw usage("it is a folder of the bundle");
  const found = await lstat(out).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isDirectory()) throw usage("it is a file");
  const names = await readdir(out).catch((error: unknown) => Promise.reject(ioError("read", out, error)));
  if (names.length === 0) return;
  const own = await readSmall(join(out, SUMS_NAME), MAX_SUMS_BYTES).catch(() => undefined);
  if (own?.equals(root.sums) !== true) throw usage("it holds something else");
}

/** Hashes the copies of every volume. */
async function checkVolumes(
  { copies, loose, targets, whole, contents }: RepairJob,
  hashes: HashPool,
  { progress }: RepairOptions,
): Promise<{ goodIn: Map<number, Set<string>>; good: Map<number, string> }> {
  const { volumes } = contents.inventory;
  const goodIn = new Map<number, Set<string>>();
  const good = new Map<number, string>();
  const isGood = async (path: string, size: number, expected: Digest) => {
    const { digest } = await hashes
      .hashFile(path, { length: size, progress: note })
      .catch(() => ({ digest: undefined }));
    return digest === expected;
  };
  const total = copies.flat().reduce((sum, it) => sum + it.size, 0);
  let done = 0;
  const note = (bytes: number) => {
    done += bytes;
    progress?.("hashing", Math.min(done, total), total);
  };
  for (const [index, { size, digest }] of volumes.entries()) {
    for (const it of copies[index] ?? []) {
      if (it.size !== size || (good.has(index) && !targets.includes(it.dir))) continue;
      if (!(await isGood(it.path, size, digest))) continue;
      if (!good.has(index)) good.set(index, it.path);
      if (whole.has(it.dir)) goodIn.set(index, (goodIn.get(index) ?? new Set()).add(it.dir));
    }
    const others = loose.filter((it) => it.size === size && (it.index === undefined || it.index === index));
    for (const it of others) if (!good.has(index) && (await isGood(it.path, size, digest))) good.set(index, it.path);
  }
  return { goodIn, good };
}

/** Whether one of the bundle's folders has a bad copy of a volume, or no folder at all has a good one. */
function needsRepair({ copies, targets }: RepairJob, index: number, goodIn: ReadonlyMap<number, Set<string>>): boolean {
  const own = (copies[index] ?? []).filter((it) => targets.includes(it.dir));
  if (own.length === 0) return goodIn.get(index) === undefined;
  return own.some((it) => goodIn.get(index)?.has(it.dir) !== true);
}

/**
 * Volumes that are on none of the bundle's own folders, and good in another copy of it. They are not written: a medium
 * of a set need not have them.
 */
function onOtherCopies(
  job: RepairJob,
  needed: readonly number[],
  goodIn: ReadonlyMap<number, Set<string>>,
): VolumeRepair[] {
  const { copies, targets, contents } = job;
  return contents.inventory.volumes.flatMap(({ name }, index) => {
    const [other] = goodIn.get(index) ?? [];
    if (other === undefined || needed.includes(index) || copies[index]?.some((it) => targets.includes(it.dir)))
      return [];
    const message = `"${name}" is missing; "${other}" has a good one`;
    return [{ name, state: "missing", by: null, damagedBlocks: null, recoveryBlocks: 0, message, file: null, other }];
  });
}

/** Where a repaired volume goes: instead of every bad copy, or to where it is missing. */
function placesIn(
  { copies, targets, contents }: RepairJob,
  index: number,
  goodIn: ReadonlyMap<number, Set<string>>,
  { out, inPlace, notice }: RepairOptions,
): string[] {
  const name = contents.inventory.volumes[index]?.name ?? "";
  if (out !== undefined) return [join(out, name)];
  if (inPlace !== true) return [];
  const bad = (copies[index] ?? []).filter((it) => targets.includes(it.dir) && goodIn.get(index)?.has(it.dir) !== true);
  if (bad.length > 0) return bad.map((it) => it.path);
  const [only, ...others] = targets;
  if (only !== undefined && others.length === 0) return [join(only, name)];
  notice?.(`"${name}" was on none of these media: give --out DIR to have it written`);
  return [];
}
