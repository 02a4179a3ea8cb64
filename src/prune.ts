/**
 * `prune`: removes older releases from a store on request, then the blobs that no release refers to, and leftovers of
 * unfinished imports. The current release of a stream is never removed, nor is the floor that prevents rollbacks.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "./errors.ts";
import type { Digest } from "./io/digest.ts";
import { DigestSet } from "./io/digest-set.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { dropRecord } from "./store/import-release.ts";
import { readKnownDamage, writeKnownDamage } from "./store/known-damage.ts";
import { streamFolder } from "./store/layout.ts";
import { withStore } from "./store/object-store.ts";
import type { Store } from "./store/store.ts";
import { recordDeed, recordFailure } from "./store/store-journal.ts";

interface PruneOptions {
  /** How many releases of each stream to keep, including the current one; at least 1. */
  keep: number;
  /** Drops unfinished imports too; otherwise they wait for their next medium. */
  incoming?: boolean;
  /** Only reports what would be removed. */
  dryRun?: boolean;
  /** Called with what was odd about the store's journal. */
  notice?: (line: string) => void;
}

/** What was removed, or would be. */
interface PruneReport {
  /** `stream/name`. */
  releases: string[];
  /** How many releases stay. */
  kept: number;
  /** Unfinished imports, by the digest of their bundle. */
  incoming: string[];
  blobs: number;
  /** Bytes of these blobs. */
  size: number;
}

/**
 * Prunes a store.
 * @throws {AirferryError} ERR_USAGE, ERR_NOT_FOUND, ERR_BUSY while an unpack runs, ERR_STORE_INVALID
 */
export async function prune(dir: string, options: PruneOptions): Promise<PruneReport> {
  keepHeapSmall();
  if (!Number.isSafeInteger(options.keep) || options.keep < 1) {
    throw new AirferryError("ERR_USAGE", `cannot prune: keep ${options.keep}: expected a whole number from 1`);
  }
  return withStore(dir, async (store) => {
    try {
      return await pruneStore(store, options);
    } catch (error) {
      if (options.dryRun !== true) await recordFailure(store, { action: "prune" }, error, options);
      throw error;
    }
  });
}

async function pruneStore(store: Store, options: PruneOptions): Promise<PruneReport> {
  const lock = await store.lock();
  try {
    const report: PruneReport = { releases: [], kept: 0, incoming: [], blobs: 0, size: 0 };
    const used = new DigestSet();
    const going: string[] = [];
    for (const stream of await store.streams()) {
      const { stay, go } = await choose(store, stream, options.keep);
      report.kept += stay.length;
      for (const name of stay) {
        await store.look(stream, name, ({ inventory: { entries } }) => {
          for (let index = 0; index < entries.length; index++) used.add(entries.digestAt(index));
        });
      }
      for (const name of go) {
        report.releases.push(`${stream}/${name}`);
        going.push(join(streamFolder(store.dir, stream), name));
      }
    }
    // Records are removed before blobs: a kill in between leaves unused blobs, never a release without its blobs.
    if (options.dryRun !== true) for (const it of going) await dropRecord(it);
    const unfinished = await readdir(join(store.dir, "incoming"));
    if (options.incoming === true) {
      report.incoming = unfinished;
      for (const it of options.dryRun ? [] : unfinished) {
        await rm(join(store.dir, "incoming", it), { recursive: true, force: true });
      }
    }
    if (options.dryRun !== true) {
      await clearLeftovers(store);
      const damaged = await readKnownDamage(store.dir);
      const left = [...damaged].filter((it) => used.has(it));
      if (left.length < damaged.size) await writeKnownDamage(store.dir, left);
    }
    if (options.dryRun !== true) {
      if (options.incoming === true) await store.dropUploads();
      await store.save();
    }
    // An unfinished import needs the blobs that it has written so far.
    if (unfinished.length === 0 || options.incoming === true) await sweep(store, used, options, report);
    if (options.dryRun !== true) {
      const { releases: removed, blobs, size: bytes } = report;
      await recordDeed(store, { action: "prune", result: "done", removed, blobs, bytes }, options);
      await store.save();
    }
    return report;
  } finally {
    await lock.release();
  }
}

async function choose(store: Store, stream: string, keep: number): Promise<{ stay: string[]; go: string[] }> {
  const names = await store.releaseNames(stream);
  const current = await store.currentName(stream);
  const others = names.filter((it) => it !== current);
  // Without a current release nothing is superseded.
  const count = current === undefined ? others.length : keep - 1;
  const go = others.slice(0, Math.max(0, others.length - count));
  return { stay: names.filter((it) => !go.includes(it)), go };
}

/** Leftovers of a killed prune or a torn write, under names that are never read. */
async function clearLeftovers(store: Store): Promise<void> {
  const folders = [store.dir, ...(await store.streams()).map((it) => streamFolder(store.dir, it))];
  for (const folder of folders) {
    for (const name of await readdir(folder)) {
      if (/^\.(?:gone|tmp)-/.test(name)) await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

async function sweep(store: Store, used: DigestSet, options: PruneOptions, report: PruneReport): Promise<void> {
  const unused: Digest[] = [];
  for await (const { digest, size } of store.blobs()) {
    if (used.has(digest)) continue;
    report.blobs++;
    report.size += size;
    unused.push(digest);
  }
  if (options.dryRun !== true) await store.removeBlobs(unused);
}
