/**
 * The small files of a bundle: which are damaged or missing in its folders, good ones of them, and how these get their
 * names. What has the name of a small file is replaced in one step; a kill leaves a name that readers ignore.
 */
import { type FileHandle, lstat, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BIN_NAME, isSpareName, SIGNATURES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { volumeIndexOf } from "../bundle/volume-layout.ts";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder, replaceFile } from "../io/atomic.ts";
import { type Digest, RunningDigest } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { openRegular, readSmall } from "../io/safe-open.ts";
import { verifySpace } from "../io/space.ts";
import type { RepairJob } from "./open-repair.ts";
import type { Misplaced } from "./trusted-root.ts";

/** Begins names that every reader ignores: a repair that is killed leaves a good bundle good. */
export const TEMPORARY = "._airferry-";

/** A small file that was not good in a folder, and what became of it. */
export interface SmallFileRepair extends Misplaced {
  state: "repaired" | "repairable" | "lost";
}

/** A file with the digest that it has to have, or its bytes. */
type Good = { file: string; digest: Digest } | Buffer;

/** What {@link checkSmallFiles} finds. */
interface ListedFiles {
  /** A good one of each name. */
  good: Map<string, Good>;
  /** In folders of the bundle. */
  bad: Misplaced[];
}

/** Hashes the small files of every folder; programs and recovery files only where they are. */
export async function checkSmallFiles(
  { lines, targets, twins, root, contents, copies }: RepairJob,
  hashes: HashPool,
  notice: (line: string) => void,
): Promise<ListedFiles> {
  const found: ListedFiles = { good: new Map(), bad: [...root.badSignatures] };
  // First: a folder in which it is can be continued with.
  found.good.set(SUMS_NAME, root.sums);
  for (const [name, bytes] of root.signatures) found.good.set(`${SIGNATURES_NAME}/${name}`, bytes);
  for (const folder of targets) {
    const sums = await readSmall(join(folder, SUMS_NAME), root.sums.length).catch(() => undefined);
    if (sums?.equals(root.sums) !== true) found.bad.push({ name: SUMS_NAME, folder });
  }
  const hasAll = contents.inventory.volumes.every((_, index) => copies[index]?.some((it) => targets.includes(it.dir)));
  for (const { name, digest } of lines) {
    if (volumeIndexOf(name) !== undefined) continue;
    const isSpare = isSpareName(name);
    const isAnywhere = isSpare || name.startsWith(`${BIN_NAME}/`);
    let present = 0;
    for (const folder of [...targets, ...twins]) {
      const file = join(folder, name);
      const stats = await lstat(file).catch(() => undefined);
      const actual =
        stats?.isFile() === true ? (await hashes.hashFile(file).catch(() => undefined))?.digest : undefined;
      if (actual === digest && !found.good.has(name)) found.good.set(name, { file, digest });
      if (!targets.includes(folder)) continue;
      if (stats !== undefined) present++;
      if (actual !== digest && (stats !== undefined || !isAnywhere)) found.bad.push({ name, folder });
    }
    // Programs are on the first medium of a set: who has all volumes has that one too.
    const [first] = targets;
    if (isAnywhere && !isSpare && present === 0 && hasAll && first !== undefined)
      found.bad.push({ name, folder: first });
    if (!isSpare || found.good.has(name)) continue;
    for (const { folder } of found.bad.filter((it) => it.name === name))
      notice(`"${name}" in "${folder}" is damaged; the bundle does without it`);
    found.bad = found.bad.filter((it) => it.name !== name);
  }
  return found;
}

/**
 * Replaces bad files where they are, unless it is only a trial.
 * @param written gets the files that were written
 */
export async function repairSmallFiles(
  { good, bad }: ListedFiles,
  isTrial: boolean,
  written: string[],
): Promise<SmallFileRepair[]> {
  const done: SmallFileRepair[] = [];
  for (const { name, folder } of bad) {
    const from = good.get(name);
    if (from !== undefined && !isTrial) {
      await place(name, from, folder);
      written.push(join(folder, name));
    }
    done.push({ name, folder, state: from === undefined ? "lost" : isTrial ? "repairable" : "repaired" });
  }
  return done;
}

/**
 * Writes the small files and signatures of a medium into a folder: with repaired volumes it is one more of the bundle.
 * @param bytes of the volumes that will follow
 * @param written gets the files that are damaged elsewhere
 */
export async function writeMedium(
  out: string,
  { good, bad }: ListedFiles,
  bytes: number,
  written: string[],
): Promise<SmallFileRepair[]> {
  await makeFolder(out);
  await verifySpace("repair into", out, { bytes: bytes + 1024 * 1024, files: good.size + 16, largest: 0 });
  const isBad = (name: string) => bad.some((it) => it.name === name);
  for (const [name, from] of good) {
    // They are on one medium, unless it is their copy that is damaged.
    if ((name.startsWith(`${BIN_NAME}/`) || isSpareName(name)) && !isBad(name)) continue;
    await place(name, from, out);
    if (isBad(name)) written.push(join(out, name));
  }
  return bad.map((it) => ({ ...it, state: good.has(it.name) ? "repaired" : "lost" }));
}

/** Puts a good file into a folder under its name, in place of whatever is no file of that name. */
async function place(name: string, from: Good, folder: string): Promise<void> {
  const to = join(folder, name);
  const parent = dirname(to);
  try {
    if (name.includes("/") && (await lstat(parent).catch(() => undefined))?.isDirectory() === false) await rm(parent);
    await makeFolder(parent);
    await clear(to);
  } catch (error) {
    throw ioError("repair", to, error);
  }
  const mode = name.startsWith(`${BIN_NAME}/`) ? 0o755 : 0o644;
  if (Buffer.isBuffer(from)) return replaceFile(to, mode, (target) => target.writeFile(from), TEMPORARY);
  const { handle } = await openRegular(from.file);
  try {
    await replaceFile(to, mode, (target) => target.writeFile(checked(handle, from)), TEMPORARY);
  } finally {
    await handle.close();
  }
}

/** The bytes of a file that was good when it was hashed, and has to be good now. */
async function* checked(handle: FileHandle, { file, digest }: { file: string; digest: Digest }) {
  const running = new RunningDigest([]);
  for await (const chunk of handle.createReadStream({ autoClose: false })) {
    running.update(chunk as Buffer);
    yield chunk as Buffer;
  }
  const actual = running.digests().sha256;
  if (actual === digest) return;
  throw new AirferryError(
    "ERR_DIGEST_MISMATCH",
    `cannot copy "${file}": it changed: expected ${digest}, got ${actual}`,
    {
      path: file,
      hint: "copy the medium to a disk that nobody writes to, and run the same command again",
    },
  );
}

/** Removes an empty folder that has the name of a file. A file or a link is replaced without that. */
export async function clear(path: string): Promise<void> {
  if ((await lstat(path).catch(() => undefined))?.isDirectory() === true) await rmdir(path);
}
