/**
 * `fsck`: hashes all that the releases of a store need, names what is damaged by blob, pieces, entries and releases,
 * and repairs it from any bundles that have it. What remains damaged is noted in the store, so that `unpack` does not
 * count on it, and written as a need file on request.
 */
import { constants, existsSync } from "node:fs";
import { access, lstat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { readContents } from "./bundle/contents.ts";
import { groupByBundle, readMedia } from "./bundle/media.ts";
import { judgeMedia, TRUST_HINTS } from "./bundle/trust-rules.ts";
import { AirferryError, type Problem } from "./errors.ts";
import { ioError } from "./io/atomic.ts";
import { digestOf } from "./io/digest.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { plural } from "./io/format.ts";
import { HashPool } from "./io/hash-pool.ts";
import { shellWord, shellWords } from "./io/shell.ts";
import { type Need, writeNeed } from "./receipt/need-file.ts";
import { readStoredTrust } from "./sign/trust-files.ts";
import { readTrust } from "./sign/whom-to-trust.ts";
import { BlobPieces } from "./store/blob-pieces.ts";
import { checkOpenStore, type StoreCheck, type StoreProblem } from "./store/check-store.ts";
import { readKnownDamage, writeKnownDamage } from "./store/known-damage.ts";
import { CURRENT_FILE, streamFolder, TRUST_FOLDER } from "./store/layout.ts";
import { withStore } from "./store/object-store.ts";
import type { Store } from "./store/store.ts";
import { type Deed, recordDeed, recordFailure } from "./store/store-journal.ts";
import { type RepairSource, StoreRepair } from "./store/store-repair.ts";
import type { Release } from "./store/types.ts";

interface FsckOptions {
  /** Folders of bundles to repair from, sets of media in any order; without any nothing is repaired. */
  repairFrom?: readonly string[];
  /** Files with public keys (PEM), or of a trust root, for these bundles; none where the store has a trust root. */
  trust?: readonly string[];
  /** How many distinct trusted keys must have signed each; default 1. Not with a trust root. */
  threshold?: number;
  /** Where to write what is still damaged at the end. */
  need?: string;
  /** The time to compare keys' validity with; default now. */
  now?: Date;
  /** Called with bytes as they are hashed, and the total. */
  progress?: (done: number, total: number) => void;
  /** Called with what is skipped, and with repairs. */
  notice?: (line: string) => void;
}

/** What `fsck --json` prints. */
interface FsckReport extends StoreCheck {
  /** Files that were repaired, with the bytes that came from bundles. */
  repaired: { path: string; bytes: number }[];
  /** Whether a need file was written. */
  need: string | null;
}

/**
 * Checks a store, and repairs it if bundles are given. Every fault that is left is in the report.
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_STORE_INVALID when it is no store; ERR_BUSY while another process writes
 *   to it; for bundles as `verify` reports; ERR_SPACE, ERR_IO
 */
export async function fsck(dir: string, options: FsckOptions = {}): Promise<FsckReport> {
  keepHeapSmall();
  return withStore(dir, async (store) => {
    const notice = (line: string) => options.notice?.(store.shown(line));
    const { repairFrom: folders } = options;
    try {
      return await checkAndRepair(store, options, notice);
    } catch (error) {
      if (folders !== undefined) await recordFailure(store, { action: "fsck" }, error, { ...options, folders });
      throw error;
    }
  });
}

async function checkAndRepair(store: Store, options: FsckOptions, notice: (line: string) => void): Promise<FsckReport> {
  const { repairFrom = [] } = options;
  if (options.need !== undefined) await checkTarget(options.need);
  const sources = repairFrom.length === 0 ? [] : await openSources(store, repairFrom, options);
  const lock = sources.length === 0 ? undefined : await store.lock();
  try {
    const check = await checkOpenStore(store, options.progress === undefined ? {} : { progress: options.progress });
    const report: FsckReport = { ...check, repaired: [], need: null };
    if (sources.length > 0) await repair(store, sources, report, notice);
    report.problems.push(...(await checkPointers(store)));
    report.ok = report.problems.length === 0;
    await noteDamage(store, report, lock !== undefined, notice);
    const blobs = needsOf(store, report);
    if (options.need !== undefined && blobs.length > 0) {
      await writeNeed(options.need, { blobs, releases: await releasesWith(store, blobs) });
      report.need = options.need;
    }
    if (sources.length > 0) await recordRepair(store, sources, report, options);
    if (lock !== undefined) await store.save();
    return report;
  } finally {
    await lock?.release();
  }
}

async function recordRepair(
  store: Store,
  sources: readonly RepairSource[],
  { repaired, problems }: FsckReport,
  options: FsckOptions,
): Promise<void> {
  // One bundle is named; of several, the folders are.
  const [first, second] = sources;
  const { stream, epoch, serial } = first?.contents.inventory ?? {};
  const isOne = stream !== undefined && epoch !== undefined && serial !== undefined && second === undefined;
  const deed: Deed = {
    action: "fsck",
    result: problems.length === 0 ? "done" : "incomplete",
    blobs: repaired.length,
    bytes: repaired.reduce((sum, it) => sum + it.bytes, 0),
    problems: problems.length,
    ...(isOne && first !== undefined && { bundle: { stream, epoch, serial, digest: first.digest } }),
  };
  await recordDeed(store, deed, { ...options, folders: options.repairFrom ?? [] });
}

/** Refuses a name that could not be written to at the end, which may be hours later. */
async function checkTarget(file: string): Promise<void> {
  try {
    await access(dirname(resolve(file)), constants.W_OK);
    const found = await lstat(file).catch(() => undefined);
    if (found?.isDirectory()) throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
  } catch (error) {
    throw ioError("write", file, error);
  }
}

/**
 * Reads bundles with good signatures as far as they can be read: damaged and missing volumes are no obstacle, nor is
 * what they are made for, or how old they are. What they repair was signed with a release of the store.
 */
async function openSources(store: Store, folders: readonly string[], options: FsckOptions): Promise<RepairSource[]> {
  const source = await readTrust(options.trust ?? [], options.threshold);
  const stored = await readStoredTrust(join(store.dir, TRUST_FOLDER));
  if (stored === undefined && (options.trust ?? []).length === 0) {
    throw new AirferryError("ERR_USAGE", `cannot repair store "${store.dir}": no key to trust`, {
      hint: `airferry fsck --store ${shellWord(store.dir)} --repair-from ${shellWords(folders)} --trust PUBLIC-KEY`,
    });
  }
  const sources: RepairSource[] = [];
  for (const group of await groupByBundle(folders)) {
    const media = await readMedia(group);
    for (const line of media.notices) options.notice?.(line);
    const { problems } = await judgeMedia(media, source, { now: options.now ?? new Date(), stored });
    refuse(
      group,
      problems.filter((it) => it.code !== "ERR_TRUST_EXPIRED"),
    );
    const { contents, problems: faults } = await readContents(media);
    if (contents === undefined) refuse(group, faults);
    else sources.push({ digest: digestOf(media.sums), contents });
    for (const it of contents === undefined ? [] : faults) options.notice?.(it.message);
  }
  return sources;
}

function refuse(folders: readonly string[], problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new AirferryError(first.code, `cannot repair from "${folders.join('", "')}": ${first.message}${more}`, {
    path: first.path,
    problems,
    hint: TRUST_HINTS[first.code] ?? `for details run: airferry verify ${shellWords(folders)} --trust KEY`,
  });
}

async function repair(
  store: Store,
  sources: readonly RepairSource[],
  report: FsckReport,
  notice: (line: string) => void,
): Promise<void> {
  const releases = await allReleases(store);
  const pool = new HashPool();
  try {
    // Records first: they say what the pieces of blobs are.
    const mender = new StoreRepair(store, sources, { releases, pieces: new BlobPieces() }, pool);
    await mender.clear();
    const left: StoreProblem[] = [];
    const isBlob = (it: StoreProblem) => it.digest !== undefined && it.path === store.blobPath(it.digest);
    for (const it of [...report.problems.filter((it) => !isBlob(it)), ...report.problems.filter(isBlob)]) {
      const { path, digest, size, pieces } = it;
      const wrong = pieces?.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at));
      const mended =
        digest !== undefined && size !== undefined && isBlob(it)
          ? mender.blob({ file: path, digest, size, ...(wrong !== undefined && { wrong }) })
          : mender.document(it);
      const repaired = await mended.catch((error: unknown) => {
        // One file that cannot be written keeps no other from its repair.
        if (!(error instanceof AirferryError) || error.code !== "ERR_IO") throw error;
        notice(error.message);
      });
      if (repaired === undefined) left.push(it);
      else {
        report.repaired.push(repaired);
        notice(`repaired "${repaired.path}" with ${plural(repaired.bytes, "byte")} of a bundle`);
      }
    }
    report.problems = left;
  } finally {
    await pool.close();
  }
}

/** All releases whose records can be read. */
async function allReleases(store: Store): Promise<Release[]> {
  const releases: Release[] = [];
  for (const stream of await store.streams()) {
    for (const name of await store.releaseNames(stream)) {
      const release = await store.release(stream, name).catch((error: unknown) => {
        if (!(error instanceof AirferryError)) throw error;
      });
      if (release !== undefined) releases.push(release);
    }
  }
  return releases;
}

/** Faults of the small files that say which release is served, and which is the newest that there was. */
async function checkPointers(store: Store): Promise<StoreProblem[]> {
  const problems: StoreProblem[] = [];
  for (const stream of await store.streams()) {
    const path = streamFolder(store.dir, stream);
    const current = await store.currentName(stream);
    if (existsSync(join(path, CURRENT_FILE)) && !(await store.releaseNames(stream)).includes(current ?? "")) {
      const again = `airferry rollback --store ${shellWord(store.dir)} --stream ${shellWord(stream)} --to SERIAL`;
      const message = `"${CURRENT_FILE}" names none of its releases; choose one: ${again}`;
      problems.push({ code: "ERR_STORE_INVALID", path, message, entries: [] });
    }
    try {
      await store.floor(stream);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      problems.push({ code: error.code, path: error.path ?? path, message: error.message, entries: [] });
    }
  }
  return problems;
}

/** The blobs that are still damaged or missing. */
function needsOf(store: Store, { problems }: FsckReport): Need["blobs"][number][] {
  return problems.flatMap(({ path, digest, size, pieces }) => {
    if (digest === undefined || size === undefined || path !== store.blobPath(digest)) return [];
    return [{ digest, size, ...(pieces !== undefined && { pieces }) }];
  });
}

/** The releases that some of these are part of. */
async function releasesWith(store: Store, blobs: Need["blobs"]): Promise<Need["releases"]> {
  const needed = new Set(blobs.map((it) => it.digest));
  return (await allReleases(store))
    .filter(({ inventory }) => inventory.entries.some((it) => needed.has(it.digest)))
    .map(({ stream, serial, digest, inventory }) => ({ stream, epoch: inventory.epoch, serial, digest }));
}

/** Notes in the store what is damaged, as long as nobody else writes to it. */
async function noteDamage(
  store: Store,
  report: FsckReport,
  isLocked: boolean,
  notice: (line: string) => void,
): Promise<void> {
  const known = await readKnownDamage(store.dir);
  const damaged = new Set(needsOf(store, report).map((it) => it.digest));
  if (known.size === damaged.size && [...known].every((it) => damaged.has(it))) return;
  try {
    const lock = isLocked ? undefined : await store.lock();
    try {
      await writeKnownDamage(store.dir, damaged);
      await store.save();
    } finally {
      await lock?.release();
    }
  } catch (error) {
    if (!(error instanceof AirferryError) || isLocked) throw error;
    notice(`what is damaged was not noted in the store: ${error.message}`);
  }
}
