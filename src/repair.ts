/**
 * `repair`: good copies of what is damaged on media, from recovery files and from other copies. Signatures first; the
 * digest of the signed root decides about every file that is written. The media are changed only if that is asked for.
 */
import { lstat, readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { MAX_SUMS_BYTES } from "./bundle/format-limits.ts";
import { isSpareName, SIGNATURES_NAME, SUMS_NAME } from "./bundle/media-names.ts";
import { volumeIndexOf } from "./bundle/volume-layout.ts";
import { AirferryError } from "./errors.ts";
import { ioError, makeFolder, replaceFile, writeAtomic } from "./io/atomic.ts";
import type { Digest } from "./io/digest.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { HashPool } from "./io/hash-pool.ts";
import { openRegular, readSmall } from "./io/safe-open.ts";
import { verifySpace } from "./io/space.ts";
import { ParityPool } from "./parity/parity-pool.ts";
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
  files: { name: string; folder: string; state: "repaired" | "repairable" | "lost" }[];
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
    signers: job.signers,
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
      if (needed.length + small.bad.length > 0) await writeMedium(options.out, job, small, bytes, report);
    } else await repairSmallFiles(small, isTrial, report);
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
async function checkOut(out: string, { targets, twins }: RepairJob): Promise<void> {
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
  const [own, theirs] = await Promise.all(
    [out, targets[0] ?? ""].map((dir) => readSmall(join(dir, SUMS_NAME), MAX_SUMS_BYTES).catch(() => Buffer.alloc(0))),
  );
  if (own === undefined || theirs === undefined || !own.equals(theirs)) throw usage("it holds something else");
}

interface SmallFiles {
  /** A good copy of each. */
  good: Map<string, string>;
  /** In folders of the bundle. */
  bad: { name: string; folder: string }[];
}

/** Hashes the small files of every folder; programs and recovery files only where they are. */
async function checkSmallFiles(
  { lines, targets, twins }: RepairJob,
  hashes: HashPool,
  notice: (line: string) => void,
): Promise<SmallFiles> {
  const found: SmallFiles = { good: new Map(), bad: [] };
  for (const { name, digest } of lines) {
    if (volumeIndexOf(name) !== undefined) continue;
    const isSpare = isSpareName(name);
    for (const folder of [...targets, ...twins]) {
      const file = join(folder, name);
      const isThere = (await lstat(file).catch(() => undefined))?.isFile() === true;
      const actual = isThere ? (await hashes.hashFile(file).catch(() => undefined))?.digest : undefined;
      if (actual === digest) {
        if (!found.good.has(name)) found.good.set(name, file);
      } else if (targets.includes(folder) && (isThere || !(isSpare || name.startsWith("bin/")))) {
        found.bad.push({ name, folder });
      }
    }
    if (!isSpare || found.good.has(name)) continue;
    for (const { folder } of found.bad.filter((it) => it.name === name))
      notice(`"${name}" in "${folder}" is damaged; the bundle does without it`);
    found.bad = found.bad.filter((it) => it.name !== name);
  }
  return found;
}

async function repairSmallFiles({ good, bad }: SmallFiles, isTrial: boolean, report: RepairReport): Promise<void> {
  for (const { name, folder } of bad) {
    const from = good.get(name);
    if (from !== undefined && !isTrial) {
      await copyListed(name, from, folder);
      report.written.push(join(folder, name));
    }
    report.files.push({ name, folder, state: from === undefined ? "lost" : isTrial ? "repairable" : "repaired" });
  }
}

/** The small files and signatures of a medium: with the repaired volumes it is one more of the bundle. */
async function writeMedium(
  out: string,
  { targets, signatures }: RepairJob,
  { good, bad }: SmallFiles,
  bytes: number,
  report: RepairReport,
): Promise<void> {
  await makeFolder(out);
  await verifySpace("repair into", out, { bytes: bytes + 1024 * 1024, files: good.size + 16, largest: 0 });
  for (const [name, from] of good) {
    // They are on one medium, unless it is their copy that is damaged.
    if ((name.startsWith("bin/") || isSpareName(name)) && !bad.some((it) => it.name === name)) continue;
    await makeFolder(join(out, name, ".."));
    await copyListed(name, from, out);
  }
  await makeFolder(join(out, SIGNATURES_NAME));
  for (const { name, bytes } of signatures) await writeAtomic(join(out, SIGNATURES_NAME, name), bytes);
  await copyListed(SUMS_NAME, join(targets[0] ?? "", SUMS_NAME), out);
  for (const { name, folder } of bad) report.files.push({ name, folder, state: good.has(name) ? "repaired" : "lost" });
  report.written.push(
    ...[...good.keys()].filter((it) => bad.some(({ name }) => name === it)).map((it) => join(out, it)),
  );
}

/** Puts a good file into a folder, under its name there. */
async function copyListed(name: string, from: string, folder: string): Promise<void> {
  const { handle } = await openRegular(from);
  try {
    await replaceFile(join(folder, name), name.startsWith("bin/") ? 0o755 : 0o644, async (target) => {
      for await (const chunk of handle.createReadStream({ autoClose: false })) await target.write(chunk as Buffer);
    });
  } finally {
    await handle.close();
  }
}

/** Hashes the copies of every volume. */
async function checkVolumes(
  { copies, loose, targets, contents }: RepairJob,
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
      goodIn.set(index, (goodIn.get(index) ?? new Set()).add(it.dir));
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
