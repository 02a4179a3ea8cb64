/**
 * `status --check`: reads every blob that the releases of a store need and compares it with its signed digest. Takes no
 * lock and changes nothing, so it runs next to `serve`, and on a read-only store.
 */
import { existsSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { printableName } from "../bundle/entry-paths.ts";
import { AirferryError, type Problem } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { HashPool } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
import { streamFolder } from "./layout.ts";
import { readRelease } from "./release-record.ts";
import { openStore, type Store } from "./store.ts";

interface CheckStoreOptions {
  /** Called with bytes as they are hashed, and the total. */
  progress?: (done: number, total: number) => void;
}

/** A damaged or missing blob, or an unreadable release record; `path` is its file or folder. */
interface StoreProblem extends Problem {
  /** `stream/release: path` of every entry that has these bytes; none for a record. */
  entries: string[];
}

/** What `status --check --json` prints. */
export interface StoreCheck {
  ok: boolean;
  store: string;
  /** Releases with a readable record, current and older ones. */
  releases: number;
  /** Blobs that these need, each counted once, and their bytes. */
  blobs: { count: number; size: number };
  problems: StoreProblem[];
}

/** One blob and who needs it. */
interface NeededBlob {
  file: string;
  digest: Digest;
  size: number;
  needed: { folder: string; entry: string }[];
}

/** More entries of one blob are counted, not named. */
const SHOWN_ENTRIES = 3;

/**
 * Checks all releases of a store. Every fault is in the report; releases pruned meanwhile are skipped.
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_STORE_INVALID when it is no store
 */
export async function checkStore(dir: string, options: CheckStoreOptions = {}): Promise<StoreCheck> {
  const store = await openStore(dir);
  const report: StoreCheck = { ok: false, store: store.dir, releases: 0, blobs: { count: 0, size: 0 }, problems: [] };
  const blobs = await neededBlobs(store, report);
  const total = blobs.reduce((sum, it) => sum + it.size, 0);
  report.blobs = { count: blobs.length, size: total };
  const pool = HashPool.sizedFor(total);
  const bad: StoreProblem[] = [];
  let done = 0;
  try {
    // One more than the threads, so that none waits for this one.
    await eachLimited(blobs, pool.size + 1, async (blob) => {
      const fault = await checkBlob(blob, pool, (bytes) => {
        done += bytes;
        options.progress?.(Math.min(done, total), total);
      });
      const needed = fault === undefined ? [] : blob.needed.filter((it) => existsSync(it.folder));
      if (fault !== undefined && needed.length > 0) bad.push(problemOf(blob, fault, needed));
    });
  } finally {
    await pool.close();
  }
  for (const it of bad.sort((a, b) => (a.path < b.path ? -1 : 1))) report.problems.push(it);
  report.ok = report.problems.length === 0;
  return report;
}

/** Every blob of every release and its bill of materials, once, ordered by digest, as blobs are on the disk. */
async function neededBlobs(store: Store, report: StoreCheck): Promise<NeededBlob[]> {
  const blobs = new Map<string, NeededBlob>();
  for (const stream of await store.streams()) {
    for (const name of await store.releaseNames(stream)) {
      const folder = join(streamFolder(store.dir, stream), name);
      const release = await readRelease(folder).catch((error: unknown) => {
        if (!(error instanceof AirferryError)) throw error;
        if (existsSync(folder)) {
          report.problems.push({ code: error.code, path: folder, message: error.message, entries: [] });
        }
      });
      if (release === undefined) continue;
      report.releases++;
      for (const { name: path, file, digest, size } of release.bom ?? []) {
        blobs.set(file, { file, digest, size, needed: [{ folder, entry: `${stream}/${name}: ${path}` }] });
      }
      for (const { path, digest, size } of release.inventory.entries) {
        const blob = blobs.get(digest) ?? { file: store.blobPath(digest), digest, size, needed: [] };
        blob.needed.push({ folder, entry: `${stream}/${name}: ${path}` });
        blobs.set(digest, blob);
      }
    }
  }
  return [...blobs.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
}

/** Returns what is wrong with one blob; undefined when it is good. */
async function checkBlob(
  { file, digest, size }: NeededBlob,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<Pick<Problem, "code" | "message"> | undefined> {
  try {
    const found = await lstat(file).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw ioError("read", file, error);
    });
    if (found === undefined) return { code: "ERR_BUNDLE_INCOMPLETE", message: "missing" };
    if (found.isFile() && found.size !== size) {
      return { code: "ERR_SIZE_MISMATCH", message: `wrong size: expected ${size} bytes, got ${found.size}` };
    }
    const { digest: actual } = await pool.hashFile(file, { length: size, progress });
    if (actual === digest) return undefined;
    const message = `digest mismatch: expected ${digest}, got ${actual}`;
    return { code: "ERR_DIGEST_MISMATCH", message };
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return { code: error.code, message: error.message };
  }
}

function problemOf(
  { file }: NeededBlob,
  { code, message }: Pick<Problem, "code" | "message">,
  needed: NeededBlob["needed"],
): StoreProblem {
  const entries = needed.map((it) => it.entry);
  const shown = entries.slice(0, SHOWN_ENTRIES).map((it) => `"${printableName(it, 200)}"`);
  const more = entries.length > shown.length ? ` and ${entries.length - shown.length} more` : "";
  return { code, path: file, message: `${message}; it is ${shown.join(", ")}${more}`, entries };
}
