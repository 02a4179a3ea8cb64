/**
 * `status --check` and `fsck`: reads every blob that the releases of a store need and compares it with its signed
 * digest, large ones by their pieces, so that all threads work on one. Takes no lock and changes nothing, so it runs
 * next to `serve`, and on a read-only store.
 */
import { createHash, hash } from "node:crypto";
import { existsSync, lstatSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { printableName } from "../bundle/entry-paths.ts";
import { EntryTable } from "../bundle/entry-table.ts";
import { PIECES_NAME } from "../bundle/media-names.ts";
import { needsPieceList } from "../bundle/piece-list.ts";
import { ContentSet } from "../bundle/placed-entries.ts";
import { AirferryError, type Problem } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { DigestSet } from "../io/digest-set.ts";
import { HashPool } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
// biome-ignore format: one line
import { describePieces, hasPieces, PIECE_BYTES, type PieceRun, pieceCount, pieceDigest, runsOf } from "../io/piece-digests.ts";
import { BlobPieces } from "./blob-pieces.ts";
import { streamFolder } from "./layout.ts";
import { withStore } from "./object-store.ts";
import type { Store } from "./store.ts";
import type { Release } from "./types.ts";

interface CheckStoreOptions {
  /** Called with bytes as they are hashed, and the total. */
  progress?: (done: number, total: number) => void;
}

/** A damaged or missing blob, or an unreadable release record; `path` is its file or folder. */
export interface StoreProblem extends Problem {
  /** `stream/release: path` of every entry that has these bytes; none for a record. */
  entries: string[];
  /** Of the bytes that should be there; absent for a record. */
  digest?: Digest;
  size?: number;
  /** Which pieces are wrong; absent: all, or that is unknown. */
  pieces?: PieceRun[];
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

/** A blob, or a document of a release. */
interface NeededBlob {
  file: string;
  digest: Digest;
  size: number;
}

/** Everything that the releases of a store need. */
interface Needed {
  /** Of blobs. */
  digests: DigestSet;
  /** Theirs, in the order of the set. */
  sizes: number[];
  documents: (NeededBlob & { entry: string })[];
  /** Releases with digests of pieces. Of their entries they have only those with pieces. */
  withPieces: Release[];
}

/** One piece of work: a blob, or some pieces of a large one. */
interface CheckStep {
  blob: NeededBlob;
  pieces?: PieceStep;
}

/** Pieces of a blob that are read one after the other. */
interface PieceStep extends PieceRun {
  lists: readonly Uint8Array[];
  /** Where indexes of wrong pieces go. */
  wrong: number[];
}

type Fault = Pick<Problem, "code" | "message"> & { pieces?: PieceRun[] };

/** Objects that are read at once: of each, up to 16 MiB are in memory. */
const OBJECTS_AT_ONCE = 4;
/** So many pieces are a step. */
const STEP_PIECES = 64;

/** More entries of one blob are counted, not named. */
const SHOWN_ENTRIES = 3;

/**
 * Checks all releases of a store. Every fault is in the report; releases pruned meanwhile are skipped.
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_STORE_INVALID when it is no store
 */
export async function checkStore(dir: string, options: CheckStoreOptions = {}): Promise<StoreCheck> {
  return withStore(dir, (store) => checkOpenStore(store, options));
}

/** The same for a store that is open. */
export async function checkOpenStore(store: Store, options: CheckStoreOptions = {}): Promise<StoreCheck> {
  const report: StoreCheck = { ok: false, store: store.name, releases: 0, blobs: { count: 0, size: 0 }, problems: [] };
  const needed = await neededBlobs(store, report);
  const { documents, sizes } = needed;
  const total = [...documents.map((it) => it.size), ...sizes].reduce((sum, it) => sum + it, 0);
  report.blobs = { count: documents.length + sizes.length, size: total };
  const pool = HashPool.sizedFor(total);
  const bad = new Map<string, { blob: NeededBlob; fault: Fault }>();
  let done = 0;
  const progress = (bytes: number) => {
    done += bytes;
    options.progress?.(Math.min(done, total), total);
  };
  const add = (blob: NeededBlob, fault: Fault | undefined) => {
    if (fault !== undefined) bad.set(blob.file, { blob, fault });
  };
  try {
    if (store.bucket !== undefined) {
      await store.loadBlobs();
      const known = new BlobPieces();
      await eachLimited(blobsOf(needed, store), OBJECTS_AT_ONCE, async (blob) => {
        add(blob, await checkObject(blob, await listsOf(blob, needed, known), store, progress));
      });
    }
    const inPieces = new Map<NeededBlob, PieceStep["wrong"]>();
    const steps = store.bucket !== undefined ? [] : await stepsOf(needed, store, inPieces);
    // One more than the threads, so that none waits for this one.
    await eachLimited(steps, pool.size + 1, async ({ blob, pieces }) => {
      if (pieces === undefined) add(blob, await checkBlob(blob, pool, progress));
      else await checkPieces(blob, pieces, pool, progress);
    });
    for (const [blob, wrong] of inPieces) if (wrong.length > 0) add(blob, await confirm(blob, wrong, pool));
  } finally {
    await pool.close();
  }
  const paths = await pathsOf(bad, needed, store, report);
  for (const file of [...bad.keys()].sort()) {
    const entries = paths.get(file) ?? [];
    const found = bad.get(file);
    // A release that needs it may have been pruned meanwhile.
    if (found !== undefined && entries.length > 0) report.problems.push(problemOf(found.blob, found.fault, entries));
  }
  report.ok = report.problems.length === 0;
  return report;
}

/** Large blobs of the right size are checked by their pieces, as far as a release has those; then all others. */
async function stepsOf(
  needed: Needed,
  store: Store,
  inPieces: Map<NeededBlob, PieceStep["wrong"]>,
): Promise<Iterable<CheckStep>> {
  const known = new BlobPieces();
  const steps: CheckStep[] = [];
  const byPieces = new Set<string>();
  for (const blob of blobsOf(needed, store)) {
    if (!hasPieces(blob.size)) continue;
    const found = lstatSync(blob.file, { throwIfNoEntry: false });
    const isWhole = found?.isFile() === true && found.size === blob.size;
    const lists = isWhole ? await listsOf(blob, needed, known) : undefined;
    if (!lists) continue;
    byPieces.add(blob.file);
    const wrong: number[] = [];
    inPieces.set(blob, wrong);
    for (let first = 0; first < pieceCount(blob.size); first += STEP_PIECES) {
      const count = Math.min(STEP_PIECES, pieceCount(blob.size) - first);
      steps.push({ blob, pieces: { first, count, lists, wrong } });
    }
  }
  return (function* () {
    yield* steps;
    for (const blob of blobsOf(needed, store)) if (!byPieces.has(blob.file)) yield { blob };
  })();
}

/** What the pieces of a large blob may be; undefined if that is unknown, or the blob has none. */
async function listsOf(
  { file, digest, size }: NeededBlob,
  { documents, withPieces }: Needed,
  known: BlobPieces,
): Promise<Uint8Array[] | undefined> {
  if (!hasPieces(size) || documents.some((it) => it.file === file)) return undefined;
  return known.of(digest, size, withPieces).catch((error: unknown) => {
    // The list is among the documents that are checked: it is reported there.
    if (!(error instanceof AirferryError)) throw error;
    return undefined;
  });
}

/** Blobs in the order of their digests, as they are on the disk, after the documents. */
function* blobsOf({ digests, sizes, documents }: Needed, store: Store): Generator<NeededBlob, void> {
  yield* documents;
  for (const digest of digests.sorted())
    yield { file: store.blobPath(digest), digest, size: sizes[digests.indexOf(digest)] ?? 0 };
}

/** Looks at all releases, one after the other. */
async function eachRelease(
  store: Store,
  onFault: (folder: string, error: AirferryError) => void,
  look: (release: Release, name: string, folder: string) => void,
): Promise<void> {
  for (const stream of await store.streams()) {
    for (const name of await store.releaseNames(stream)) {
      const folder = join(streamFolder(store.dir, stream), name);
      await store
        .look(stream, name, (it) => look(it, `${stream}/${name}`, folder))
        .catch((error: unknown) => {
          if (!(error instanceof AirferryError)) throw error;
          if (existsSync(folder)) onFault(folder, error);
        });
    }
  }
}

/** Takes up that a record cannot be read: once. */
function faultIn({ problems }: StoreCheck): (folder: string, error: AirferryError) => void {
  return (folder, { code, message }) => {
    if (!problems.some((it) => it.path === folder)) problems.push({ code, path: folder, message, entries: [] });
  };
}

/** Every blob of every release, and its documents, once. */
async function neededBlobs(store: Store, report: StoreCheck): Promise<Needed> {
  const needed: Needed = { digests: new DigestSet(), sizes: [], documents: [], withPieces: [] };
  await eachRelease(store, faultIn(report), (release, name, folder) => {
    report.releases++;
    const { bom = [], attested = [], pieces, inventory } = release;
    const { entries } = inventory;
    for (const it of [...bom, ...attested, ...(pieces === undefined ? [] : [pieces])])
      needed.documents.push({ file: it.file, digest: it.digest, size: it.size, entry: `${name}: ${it.name}` });
    if (pieces === undefined && needsPieceList(entries)) {
      const path = join(folder, PIECES_NAME);
      report.problems.push({ code: "ERR_BUNDLE_INCOMPLETE", path, message: "missing", entries: [] });
    }
    if (pieces !== undefined) {
      const large = EntryTable.from(entries.filter((it) => hasPieces(it.size)));
      needed.withPieces.push({ ...release, inventory: { ...inventory, entries: large }, entries: large });
    }
    for (let index = 0; index < entries.length; index++) {
      const { size } = needed.digests;
      if (needed.digests.add(entries.digestAt(index)).size > size) needed.sizes.push(entries.sizeAt(index));
    }
  });
  return needed;
}

/** What the bad files are, as `stream/release: path`: each is read once more. */
async function pathsOf(
  bad: ReadonlyMap<string, { blob: NeededBlob }>,
  { documents }: Needed,
  store: Store,
  report: StoreCheck,
): Promise<ReadonlyMap<string, string[]>> {
  const paths = new Map<string, string[]>();
  if (bad.size === 0) return paths;
  const add = (file: string, path: string) => {
    const known = paths.get(file);
    if (known === undefined) paths.set(file, [path]);
    else known.push(path);
  };
  for (const { file, entry } of documents) if (bad.has(file) && existsSync(dirname(file))) add(file, entry);
  // One that cannot be read any more is a problem: a bad blob that only it needs has no entries, and would pass.
  await eachRelease(store, faultIn(report), ({ inventory: { entries } }, name) => {
    const isBad = new ContentSet(entries);
    for (const { blob } of bad.values()) {
      const index = entries.findDigest(blob.digest);
      if (index >= 0 && blob.file === store.blobPath(blob.digest)) isBad.addEntry(index);
    }
    for (let index = 0; index < entries.length; index++)
      if (isBad.hasEntry(index)) add(store.blobPath(entries.digestAt(index)), `${name}: ${entries.pathAt(index)}`);
  });
  return paths;
}

/** Returns what is wrong with a blob, or a document, in object storage. All of it is read. */
async function checkObject(
  { file, digest, size }: NeededBlob,
  lists: readonly Uint8Array[] | undefined,
  store: Store,
  progress: (bytes: number) => void,
): Promise<Fault | undefined> {
  const { bucket } = store;
  if (bucket === undefined) return undefined;
  const key = file.slice(store.dir.length + 1);
  try {
    const found = await bucket.head(key);
    if (found === undefined) return { code: "ERR_BUNDLE_INCOMPLETE", message: "missing" };
    if (found.size !== size)
      return { code: "ERR_SIZE_MISMATCH", message: `wrong size: expected ${size} bytes, got ${found.size}` };
    const whole = createHash("sha256");
    const wrong: number[] = [];
    let first = 0;
    for await (const bytes of bucket.read(key, size)) {
      whole.update(bytes);
      for (let at = 0; lists !== undefined && at < bytes.length; at += PIECE_BYTES, first++) {
        const actual = hash("sha256", bytes.subarray(at, at + PIECE_BYTES), "buffer");
        if (!lists.some((list) => isSame(actual, pieceDigest(list, first)))) wrong.push(first);
      }
      progress(bytes.length);
    }
    const actual = `sha256:${whole.digest("hex")}`;
    const pieces = runsOf(wrong);
    if (actual === digest && wrong.length === 0) return undefined;
    if (actual === digest) return wrongList();
    const message = `digest mismatch: expected ${digest}, got ${actual}`;
    if (wrong.length === 0) return { code: "ERR_DIGEST_MISMATCH", message };
    return { code: "ERR_DIGEST_MISMATCH", message: `${message}; damaged in ${describePieces(pieces)}`, pieces };
  } catch (error) {
    // One that is gone is a finding; a storage that does not answer is none.
    if (!(error instanceof AirferryError) || error.code !== "ERR_NOT_FOUND") throw error;
    return { code: "ERR_BUNDLE_INCOMPLETE", message: "missing" };
  }
}

function wrongList(): Fault {
  const message = `it is right, but the digests of its pieces in ${PIECES_NAME} are wrong`;
  return { code: "ERR_BUNDLE_INVALID", message };
}

/** Returns what is wrong with one blob; undefined when it is good. */
async function checkBlob(
  { file, digest, size }: NeededBlob,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<Fault | undefined> {
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

/** Compares some pieces of a blob. */
async function checkPieces(
  { file, size }: Pick<NeededBlob, "file" | "size">,
  { first, count, lists, wrong }: PieceStep,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<void> {
  const offset = first * PIECE_BYTES;
  const length = Math.min(size, offset + count * PIECE_BYTES) - offset;
  const hasher = pool.openPieces();
  try {
    await hasher.advance({ file, offset, length }, progress);
    const actual = await hasher.pieces();
    for (let it = 0; it < count; it++)
      if (!lists.some((list) => isSame(pieceDigest(actual, it), pieceDigest(list, first + it)))) wrong.push(first + it);
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    // Unreadable: where, only single pieces can tell.
    if (count === 1) wrong.push(first);
    else
      for (let it = 0; it < count; it++)
        await checkPieces({ file, size }, { first: first + it, count: 1, lists, wrong }, pool, () => {});
  } finally {
    hasher.discard();
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** What the digest of the whole says of a blob with wrong pieces: a signer may be wrong about the pieces. */
async function confirm(blob: NeededBlob, wrong: number[], pool: HashPool): Promise<Fault | undefined> {
  const fault = await checkBlob(blob, pool, () => {});
  if (fault === undefined) return wrongList();
  const pieces = runsOf(wrong.sort((a, b) => a - b));
  return { ...fault, message: `${fault.message}; damaged in ${describePieces(pieces)}`, pieces };
}

function problemOf(
  { file, digest, size }: NeededBlob,
  { code, message, pieces }: Fault,
  entries: string[],
): StoreProblem {
  const shown = entries.slice(0, SHOWN_ENTRIES).map((it) => `"${printableName(it, 200)}"`);
  const more = entries.length > shown.length ? ` and ${entries.length - shown.length} more` : "";
  const found = { code, path: file, message: `${message}; it is ${shown.join(", ")}${more}`, entries, digest, size };
  return pieces === undefined ? found : { ...found, pieces };
}
