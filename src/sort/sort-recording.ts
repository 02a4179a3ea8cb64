/**
 * Sorts a recording into entries of its manifest: repositories with the packages that were fetched, images, ISOs and
 * files, each with its lock. The recorded answers stay under `web:`: they are what the same build asks for inside.
 * docs/record.md, "What it writes".
 */
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import type { Fetcher } from "../fetch/types.ts";
import { writeAtomic } from "../io/atomic.ts";
import { type Digest, isDigest } from "../io/digest.ts";
import { sha256In } from "../io/integrity.ts";
import { parseJson } from "../io/json.ts";
import { readSmall } from "../io/safe-open.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";
import { LockFolder } from "../manifest/lock-folder.ts";
import type { RecordedManifest } from "../record/types.ts";
import { type Lock, type LockedEntry, lockedDigests, lockTime, readLock, writeLock } from "../sources/lock-document.ts";
import { findFiles } from "./find-files.ts";
import { findPulledImages } from "./find-images.ts";
import { findRepositories } from "./find-repositories.ts";
import { type LockTools, lockFromRecording, readHosts } from "./lock-recorded.ts";
import { ManifestEntries } from "./manifest-entries.ts";
import { recordedFetcher } from "./recorded-fetcher.ts";
import { RecordedIndex } from "./recorded-index.ts";
import type { Candidate, EntryText, SortedEntry, SortedKey } from "./types.ts";

interface SortOptions {
  manifest: RecordedManifest;
  /** Of the manifest: folder, lock, and blobs of the lock. */
  paths: { baseDir: string; lock: string; kept: string };
  /** The recording's folder. */
  folder: string;
  answers: () => Iterable<RecordedAnswer>;
  /** Calls `listener` with each answer that is recorded from now on. */
  watch: (listener: (answer: RecordedAnswer) => void) => void;
  /** Resolves when everything that was asked for is recorded. */
  settled: () => Promise<void>;
  /** Through the recording's proxy. */
  fetcher: Fetcher;
  /** Whole repositories, not only the packages that were fetched. */
  isWhole: boolean;
  report: (line: string) => void;
}

/** What a recording was sorted into. */
export interface Sorted {
  entries: SortedEntry[];
  /** What stays under `web:` alone although it looked like an entry, and why. */
  left: { key: SortedKey; id: string; reason: string }[];
  /** Where the bodies of entries are. */
  keyOf: ReadonlyMap<Digest, SortedKey>;
}

/** Which entries of the manifest came from here: what a person removes from it stays removed. */
const SORTED_FILE = "sorted.json";
const MAX_SORTED_BYTES = 64 * 1024 * 1024;

/** Adds entries to the manifest, which its caller writes, and to the lock. @throws {AirferryError} ERR_IO, ERR_SPACE */
export async function sortRecording(options: SortOptions): Promise<Sorted> {
  const { manifest, paths, folder, report } = options;
  const index = new RecordedIndex(folder, options.answers());
  options.watch((it) => index.add(it));
  const tools: LockTools = {
    index,
    fetcher: recordedFetcher(index, options.fetcher),
    kept: new LockFolder(paths.kept),
    baseDir: paths.baseDir,
    stream: manifest.stream,
    hosts: readHosts(manifest.hosts),
    time: lockTime(),
    completes: options.isWhole,
    settled: options.settled,
    report,
  };
  const context = { baseDir: paths.baseDir, fetcher: tools.fetcher, report: () => {} };
  const known = await readSorted(folder);
  const sorted: Sorted & { keyOf: Map<Digest, SortedKey> } = { entries: [], left: [], keyOf: new Map() };
  const locked: LockedEntry[] = [];
  const entries = new ManifestEntries(manifest);
  const take = async (candidates: readonly Candidate[]) => {
    for (const it of candidates) {
      const text = await entryOf(it, entries, known, tools, options.isWhole);
      if (text === undefined) continue;
      if ("stays" in text) report(`${it.id}: its entry stays as it is: ${text.stays}`);
      else if ("reason" in text) sorted.left.push({ key: it.key, id: it.id, reason: text.reason });
      else {
        const { key, id } = it;
        locked.push(text.locked);
        known.add(`${key} ${id}`);
        const packages = text.locked.kind === "rpm" ? text.locked.detail.packages : undefined;
        sorted.entries.push({ key, id, name: text.locked.name, ...(packages !== undefined && { packages }) });
        for (const digest of bodiesOf(text.locked)) sorted.keyOf.set(digest, key);
      }
    }
  };
  const images = await findPulledImages(index);
  await take(images.candidates);
  const repositories = await findRepositories({ index, context, isWhole: options.isWhole });
  await take(repositories.candidates);
  await take(await findFiles(index, new Set(sorted.keyOf.keys()), repositories.bases));
  for (const [id, reason] of images.reasons) sorted.left.push({ key: "images", id, reason });
  for (const [id, reason] of repositories.reasons) sorted.left.push({ key: "rpms", id, reason });
  for (const { id, reason } of sorted.left) report(`${id} stays under web: ${reason}`);
  if (locked.length > 0) {
    await addToLock(paths, manifest.stream, locked, tools);
    await writeAtomic(join(folder, SORTED_FILE), `${JSON.stringify({ sorted: [...known].sort() }, undefined, 1)}\n`);
  }
  return sorted;
}

/**
 * A candidate as an entry that the manifest has now, with its lock; why it cannot be one, or why one that is there
 * stays as it is; undefined where that is a person's business: an entry of their own, or one that they removed.
 */
async function entryOf(
  candidate: Candidate,
  entries: ManifestEntries,
  known: ReadonlySet<string>,
  tools: LockTools,
  isWhole: boolean,
): Promise<{ locked: LockedEntry } | { reason: string } | { stays: string } | undefined> {
  const { key, id, aliases = [], variants, spellings } = candidate;
  const ids = [id, ...aliases];
  const isOurs = ids.some((it) => known.has(`${key} ${it}`));
  const there = entries.find(key, ids);
  if ((there === undefined) === isOurs) return undefined;
  const spelling = there ?? spellings.find((it) => !entries.isTaken(key, it));
  if (spelling === undefined) return { reason: "other entries have every name for it" };
  let failure: unknown;
  for (const variant of there === undefined ? variants : [grown(there, variants[0] ?? {}, isWhole)]) {
    const text = there === undefined ? { ...spelling, ...variant } : variant;
    if (!entries.fits(text)) return { reason: "the manifest would be too large" };
    try {
      const locked = await lockFromRecording(key, text, tools);
      entries.put(key, text, { before: there, comment: candidate.comment });
      return { locked };
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      failure ??= error;
    }
  }
  const { message } = failure as Error;
  return there === undefined ? { reason: message } : { stays: message };
}

/** An entry from an earlier recording, with what this one adds. Everything else in it is a person's. */
function grown(there: EntryText, content: EntryText, isWhole: boolean): EntryText {
  if (isWhole && there.dependencies === "none") {
    const { packages: _, dependencies: __, ...whole } = there;
    return whole;
  }
  const joined = (name: string) => {
    const [before, now] = [there[name], content[name]];
    return Array.isArray(before) && Array.isArray(now) ? { [name]: [...new Set([...before, ...now])].sort() } : {};
  };
  return { ...there, ...(there.dependencies === "none" && joined("packages")), ...joined("platforms") };
}

function bodiesOf({ artifacts }: LockedEntry): Digest[] {
  return artifacts.flatMap((it) => [sha256In(it.integrity), it.kept].filter(isDigest));
}

/** In place of what the lock has of them. */
async function addToLock(
  paths: SortOptions["paths"],
  stream: string,
  locked: readonly LockedEntry[],
  { kept, time }: LockTools,
): Promise<void> {
  const before = await readLock(paths.lock);
  const isNew = (it: LockedEntry) => locked.some(({ kind, name }) => kind === it.kind && name === it.name);
  const others = before?.stream === stream ? before.entries.filter((it) => !isNew(it)) : [];
  const entries = [...others, ...locked];
  const lock: Lock = { lockVersion: 1, stream, time, entries };
  if (before?.stream === stream && before.last !== undefined) lock.last = before.last;
  await writeLock(paths.lock, lock);
  await kept.retain(lockedDigests(entries));
}

async function readSorted(folder: string): Promise<Set<string>> {
  const file = join(folder, SORTED_FILE);
  const text = await readSmall(file, MAX_SORTED_BYTES).catch((error: unknown) => {
    if (!(error instanceof AirferryError) || error.code !== "ERR_NOT_FOUND") throw error;
  });
  try {
    const { sorted } = parseJson(text?.toString() ?? "{}") as { sorted?: unknown };
    return new Set(Array.isArray(sorted) ? sorted.filter((it) => typeof it === "string") : []);
  } catch {
    return new Set();
  }
}
