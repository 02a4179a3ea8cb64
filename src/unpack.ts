/**
 * `unpack`: imports a verified bundle into a store. Signatures first, then the policy (order, expiry, base of a delta,
 * space), then one pass that copies and checks, and one rename that makes the release current. A refusal leaves
 * releases and served paths unchanged; a rerun after any interruption resumes. docs/format.md, "Reading".
 */

import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join, resolve } from "node:path";
import type { StreamRange } from "./bundle/affected-entries.ts";
import type { AttestationFacts } from "./bundle/attest-rules.ts";
import type { BundleStream } from "./bundle/bundle-stream.ts";
import { checkLargeFile, locateDamage } from "./bundle/check-content.ts";
import { clockSkewNote } from "./bundle/clock-skew.ts";
import { type Contents, readContents } from "./bundle/contents.ts";
import { printableName } from "./bundle/entry-paths.ts";
import type { EntryTable } from "./bundle/entry-table.ts";
import { type Inventory, type InventoryEntry, NEWER_AIRFERRY } from "./bundle/inventory-types.ts";
import { type Media, onePairEach, readMedia } from "./bundle/media.ts";
import { BOM_NAMES, INVENTORY_NAME, isVolumeParity, PIECES_NAME, RECIPES_NAME } from "./bundle/media-names.ts";
import { noBundle, openBundleStream, STREAM_ARGUMENT } from "./bundle/open-stream.ts";
import { ContentSet, PlacedEntries } from "./bundle/placed-entries.ts";
import type { Recipe, RecipeSource } from "./bundle/recipe-list.ts";
import type { ScanReport } from "./bundle/scan-report.ts";
import { frameEnd, frameStart } from "./bundle/steps.ts";
import { isTextInStream } from "./bundle/stream-form.ts";
import { parseSums } from "./bundle/sums.ts";
import { checkImportScan, checkSerialJump, judgeMedia, judgeRules, TRUST_HINTS } from "./bundle/trust-rules.ts";
import { piecesOf, volumeIndexOf, volumeName } from "./bundle/volume-layout.ts";
import { VolumeSet } from "./bundle/volumes.ts";
import { AirferryError, type ErrorCode, type Problem } from "./errors.ts";
import { attestationText, stampText } from "./io/attestation-text.ts";
import { type Digest, digestOf } from "./io/digest.ts";
import { DigestSet } from "./io/digest-set.ts";
import { countEstablished, type EstablishedCounts } from "./io/established.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { formatBytes, plural } from "./io/format.ts";
import { HashPool } from "./io/hash-pool.ts";
import { eachLimited, runToEnd, throwIfAborted } from "./io/limit.ts";
import { shellWord, shellWords } from "./io/shell.ts";
import { MAKE_INODES, MAKE_ROOM, readSpace, verifySpace } from "./io/space.ts";
import type { Need } from "./receipt/need-file.ts";
import type { StreamMender } from "./repair/stream-mender.ts";
import { isS3Name } from "./s3/s3-target.ts";
import type { Scanner } from "./scan/scanner.ts";
import { publicKeyPem, type TrustedKey } from "./sign/keys.ts";
import { mergedStamps, stampCheck } from "./sign/stamp-reader.ts";
import type { StampedSigner } from "./sign/timestamp.ts";
import type { StoredTrust } from "./sign/trust-chain.ts";
import { keepTrust, readStoredTrust, refuseOtherTrust } from "./sign/trust-files.ts";
import { readTrust, type SettledTrust } from "./sign/whom-to-trust.ts";
import { buildEntries, isRight, SourceDamage } from "./store/build-entries.ts";
import { Committer } from "./store/committer.ts";
import { type CopyContext, copyEntries } from "./store/copy-entries.ts";
import { copyToObjects } from "./store/copy-objects.ts";
import { copyPieces } from "./store/copy-pieces.ts";
import { bytesLost, copyStream, volumesLost } from "./store/copy-stream.ts";
import { copyVolumes, volumesAgain } from "./store/copy-volumes.ts";
import { ContentDamage } from "./store/damage.ts";
import { dropOldIncoming, importRelease, standingOf } from "./store/import-release.ts";
import { bytesWaiting, Incoming, importedBlobs, isMediumName, mediaToCome } from "./store/incoming.ts";
import { readKnownDamage, writeKnownDamage } from "./store/known-damage.ts";
import { incomingFolder, TRUST_FOLDER } from "./store/layout.ts";
import { openNamedStore } from "./store/object-store.ts";
import { findOwnPieces } from "./store/own-pieces.ts";
import type { Store } from "./store/store.ts";
import { type Deed, recordDeed, recordFailure } from "./store/store-journal.ts";
import { VERSION } from "./version.ts";

/** Space reserved for records and folders besides the blobs. */
const SPARE_BYTES = 16 * 1024 * 1024;
const SPARE_FILES = 600;

interface UnpackOptions {
  /** The store's folder; created if it does not exist. */
  store: string;
  /** Files with public keys (PEM), or of a trust root, or its fingerprint; empty: the store has a trust root. */
  trust: readonly string[];
  /** How many distinct trusted keys must have signed; default 1. Not with a trust root. */
  threshold?: number;
  /** Files with certificates of timestamp authorities: as many signers as must sign need a timestamp of one of them. */
  tsa?: readonly string[];
  /** Lets an older serial become current; never another bundle of a known serial. */
  allowRollback?: boolean;
  /** Command of a scanner that looks at the content before the release is served. */
  scan?: string;
  /** What the scanner finds is recorded and does not stop the import. */
  scanReportOnly?: boolean;
  /**
   * File to list what a delta needs and the store lacks. With it, what the bundle carries is taken in, and the import
   * stays incomplete; without it such a bundle is refused.
   */
  need?: string;
  /** Called with the bytes done and the total of this run. */
  progress?: (done: number, total: number) => void;
  /** Called with skipped names, and when a clock is wrong. */
  notice?: (line: string) => void;
  /**
   * The time here; default now. An expiry date is compared with it, or with the newest imported release if that is
   * later.
   */
  now?: Date;
}

/** The result. */
export interface UnpackReport {
  /** False: the set of media is incomplete, nothing became current. */
  complete: boolean;
  /** True: this release was in the store already. */
  already: boolean;
  stream: string;
  serial: number;
  /** Of SHA256SUMS. */
  digest: Digest;
  signers: string[];
  /** How many distinct signers were needed. */
  threshold: number;
  entries: number;
  /** Bytes of all entries of the release. */
  size: number;
  /** Bytes that this run wrote. */
  written: number;
  /** What the scanner said, if one was given and all media were there. */
  scan?: ScanReport;
  /** What is attested about it, and by whom. */
  attestations: AttestationFacts[];
  /** Timestamps of signatures, by authorities of the trust root or of --tsa. */
  timestamps: StampedSigner[];
  /** Volumes that are still to come. */
  missing: string[];
  /** Media of the set that are still to come, according to the names of the given ones. */
  missingMedia: string[];
  /** What a delta needs and the store lacks, or what a stream lost, and the file that lists it. */
  need?: { file: string; blobs: number; size: number };
  /** Of a stream: what did not come, or came damaged. */
  lost?: { files: number; bytes: number };
  /** How the packer established the digests of the entries. */
  established: EstablishedCounts;
}

/**
 * Unpacks what comes on standard input, or another descriptor: a bundle, or several, one after the other.
 * @throws {AirferryError} as {@link unpack}, at the first bundle that is refused; ERR_USAGE for a terminal
 */
export async function unpackStream(options: UnpackOptions, fd = 0): Promise<UnpackReport[]> {
  if (isS3Name(options.store)) throw noStream(options);
  keepHeapSmall();
  // What a stream brings comes once.
  await refuseNeedFile(options);
  await using opened = await openBundleStream("unpack", options.notice ?? (() => {}), fd);
  const { stream } = opened;
  const reports: UnpackReport[] = [];
  const source = await readTrust(options.trust, options.threshold);
  const listed: Streamed["listed"] = {};
  const isTrusted = async (dir: string): Promise<boolean> => {
    const earlier = await existingStore(options.store);
    const stored = earlier && (await readStoredTrust(join(earlier.dir, TRUST_FOLDER)));
    const media = await readMedia([dir]).catch(() => undefined);
    if (media === undefined) return false;
    const { problems } = await judgeMedia(media, source, { now: options.now ?? new Date(), stored });
    // Of a release that is in the store already the end of the trust root stops nothing: judged again below.
    return [...media.problems, ...problems].every((it) => it.code === "ERR_TRUST_EXPIRED");
  };
  for (;;) {
    const head = await stream.nextHead(isTrusted);
    if (head === undefined) break;
    reports.push(await unpack([STREAM_ARGUMENT], options, { stream, dir: head.dir, listed }));
  }
  stream.tell();
  if (reports.length === 0) throw noBundle("unpack");
  return reports;
}

/** A bundle that comes on standard input, of which the small files are in a folder. */
interface Streamed {
  stream: BundleStream;
  dir: string;
  /** What this run listed in the named need file so far, also of the bundles before it. */
  listed: { need?: Need };
}

/**
 * Unpacks the folders of one bundle. A set of media may come in one call or in several, in any order.
 * @throws {AirferryError} with `problems` for anything that differs from what was signed (exit 3); ERR_ROLLBACK,
 *   ERR_EQUIVOCATION, ERR_EXPIRED, ERR_DELTA_BASE, ERR_SPACE, ERR_BUSY, ERR_STORE_INVALID, ERR_IO;
 *   ERR_SCANNER, ERR_SCAN_FOUND
 */
export async function unpack(
  folders: readonly string[],
  options: UnpackOptions,
  streamed?: Streamed,
): Promise<UnpackReport> {
  keepHeapSmall();
  const facts: Facts = {};
  const opened: Opened = {};
  const { notice } = options;
  const own = notice === undefined ? options : { ...options, notice: (it: string) => notice(shownBy(opened, it)) };
  try {
    return await unpackBundle(folders, own, facts, { opened, streamed });
  } catch (error) {
    opened.store ??= await existingStore(options.store).catch(() => undefined);
    if (opened.store !== undefined)
      await recordFailure(opened.store, { action: "unpack", ...facts }, error, { ...own, folders });
    throw shownBy(opened, error);
  } finally {
    await opened.store?.close();
  }
}

/** The store, once it is open. */
interface Opened {
  store?: Store | undefined;
}

function shownBy<T>({ store }: Opened, value: T): T {
  return store === undefined ? value : store.shown(value);
}

/** What is known of the bundle, as it is read. */
type Facts = Pick<Deed, "bundle" | "signers">;

async function unpackBundle(
  folders: readonly string[],
  options: UnpackOptions,
  facts: Facts,
  { opened, streamed }: { opened: Opened; streamed: Streamed | undefined },
): Promise<UnpackReport> {
  if (options.scan !== undefined && isS3Name(options.store)) throw noScan(options);
  await refuseNeedFile(options);
  const scanner =
    options.scan === undefined ? undefined : await (await import("./scan/scanner.ts")).openScanner(options.scan);
  const source = await readTrust(options.trust, options.threshold);
  const check = await stampCheck(options.tsa);
  const earlier = await existingStore(options.store);
  opened.store = earlier;
  const stored = earlier && (await readStoredTrust(join(earlier.dir, TRUST_FOLDER)));
  const media = await readMedia(streamed === undefined ? folders : [streamed.dir]);
  for (const line of media.notices) options.notice?.(line);
  facts.bundle = { digest: digestOf(media.sums) };
  const now = new Date(Math.max((options.now ?? new Date()).getTime(), earlier ? await newestCreated(earlier) : 0));
  const judged = await judgeMedia(media, source, { now, stored });
  const { trust, signers, problems } = judged;
  // A revocation holds from here on, whatever becomes of the bundle that brought it.
  if (earlier !== undefined && stored !== undefined) await takeOver(earlier, trust, stored, options, folders);
  facts.signers = [...signers].sort();
  // The end of the trust root stops no repair of a release that came in before it.
  const isPast = problems.length > 0 && problems.every((it) => it.code === "ERR_TRUST_EXPIRED");
  const isHere = isPast && earlier !== undefined && (await earlier.hasRelease(digestOf(media.sums)));
  refuse(folders, [...media.problems, ...(isHere ? [] : problems)]);
  if (trust === undefined) throw new Error("nobody to trust has no problem");
  const stamped = check?.(media.signatures, { trust, at: undefined, signers });
  refuse(folders, stamped?.problems ?? []);
  const timestamps = mergedStamps([...judged.stamped.stamps, ...(stamped?.timestamps ?? [])]);
  const read = await readContents(media);
  const { contents } = read;
  // A truncated copy is ignored if there is another of its volume; else the volume counts as missing.
  const isShort = (it: Problem) => it.code === "ERR_SIZE_MISMATCH" && volumeIndexOf(it.path) !== undefined;
  // Of a stream, texts may be lost.
  const isText = (it: Problem) => it.code === "ERR_BUNDLE_INCOMPLETE" && isTextInStream(it.path);
  const found = streamed === undefined ? read.problems : read.problems.filter((it) => !isText(it));
  refuse(
    folders,
    found.filter((it) => !isShort(it)),
  );
  const damaged = found.filter((it) => !hasCopy(contents, it.path));
  if (contents === undefined) throw new Error("a bundle without contents has no problem");
  const { stream, epoch, serial } = contents.inventory;
  facts.bundle = { stream, epoch, serial, ...facts.bundle };
  for (const it of found) {
    const instead = damaged.includes(it) ? "keeping what the other volumes hold" : "reading another copy instead";
    options.notice?.(`${it.message}; ${instead}`);
  }
  const ahead = clockSkewNote(contents.inventory.created, options.now ?? new Date());
  if (ahead !== undefined) options.notice?.(ahead);
  const pool = HashPool.sizedFor(contents.inventory.streamSize);
  try {
    for (const it of contents.large) {
      const problem = await checkLargeFile(it, pool);
      if (problem !== undefined) refuse(folders, [problem]);
    }
    const store = earlier ?? (await openNamedStore(options.store, { create: true }));
    opened.store = store;
    const lock = await store.lock();
    try {
      await store.loadBlobs();
      // It was judged without the lock: a revocation that came meanwhile holds.
      await refuseOtherTrust(join(store.dir, TRUST_FOLDER), stored && trust.root?.digest);
      if (stored === undefined && trust.root !== undefined)
        await followTrust(store, trust, stored, { ...options, folders });
      const by = { trust, trusted: trust.keys.filter((it) => signers.includes(it.keyid)), threshold: trust.threshold };
      const work: Work = {
        store,
        media,
        contents,
        folders,
        streamed,
        pool,
        options,
        scanner,
        left: 0,
        building: 0,
        total: 0,
        judged,
        timestamps,
        damaged,
        ...by,
      };
      const report = await takeIn(work).catch(async (error: unknown) => Promise.reject(await explain(error, work)));
      const result = report.already ? "already" : report.complete ? "done" : "incomplete";
      await recordDeed(store, { action: "unpack", result, ...facts, ...attestedIn(report) }, { ...options, folders });
      await store.save();
      return report;
    } finally {
      await lock.release();
    }
  } finally {
    await pool.close();
  }
}

/** What counted, for the journal. */
function attestedIn({ timestamps, attestations }: UnpackReport): Pick<Deed, "attested"> {
  const good = attestations.filter((it) => it.fault === null);
  const attested = [...timestamps.map(stampText), ...good.map(attestationText)];
  return attested.length === 0 ? {} : { attested };
}

/** Whether a store has a trust root: then nobody needs to be named. */
export async function hasTrustRoot(store: string): Promise<boolean> {
  if (!isS3Name(store)) return existsSync(join(store, TRUST_FOLDER));
  const found = await existingStore(store);
  try {
    return found !== undefined && (await readStoredTrust(join(found.dir, TRUST_FOLDER))) !== undefined;
  } finally {
    await found?.close();
  }
}

/** Refuses a name for the need file that could not be written in the end. */
async function refuseNeedFile({ need }: UnpackOptions): Promise<void> {
  if (need === undefined) return;
  const { refuseNeed } = await import("./receipt/need-file.ts");
  await refuseNeed(need);
}

/** What a stream loses has to wait for another one, and object storage has no quarantine for that. */
function noStream({ store }: UnpackOptions): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot unpack a stream into "${store}": it needs a folder`, {
    hint: "receive it into a folder with airferry unpack - --trust KEY --store FOLDER, or save the bundle's files and unpack those",
  });
}

/** A scanner reads files, and in object storage there are none. */
function noScan({ store, scan }: UnpackOptions): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot unpack into "${store}" with --scan: a scanner needs a folder`, {
    hint: `scan it first in a folder of its own: airferry unpack BUNDLE --trust KEY --store FOLDER --scan ${shellWord(scan ?? "")}; then unpack the bundle into object storage`,
  });
}

/** The store, if there is one already. */
async function existingStore(dir: string): Promise<Store | undefined> {
  try {
    return await openNamedStore(dir);
  } catch (error) {
    if (error instanceof AirferryError && error.code === "ERR_NOT_FOUND") return undefined;
    throw error;
  }
}

/** Makes newer versions of the trust root those of the store. */
async function takeOver(
  store: Store,
  trust: SettledTrust | undefined,
  stored: StoredTrust,
  options: UnpackOptions,
  folders: readonly string[],
): Promise<void> {
  if (trust?.root === undefined || trust.accepted.length === 0) return;
  const lock = await store.lock();
  try {
    await followTrust(store, trust, stored, { ...options, folders });
  } finally {
    await lock.release();
  }
  options.notice?.(
    `the trust root "${trust.root.name}" is now version ${trust.root.version}, until ${trust.root.expires}`,
  );
}

/** Keeps versions of the trust root in the store, under its lock, and says so in its journal. */
async function followTrust(
  store: Store,
  { root, accepted }: SettledTrust,
  stored: StoredTrust | undefined,
  options: Pick<UnpackOptions, "now" | "notice"> & { folders: readonly string[] },
): Promise<void> {
  if (root === undefined) return;
  await keepTrust(join(store.dir, TRUST_FOLDER), accepted, stored);
  const { name, version, digest } = root;
  await recordDeed(store, { action: "trust", result: "done", trust: { name, version, digest } }, options);
  await store.save();
}

function hasCopy(contents: Contents | undefined, volume: string): boolean {
  const index = contents?.inventory.volumes.findIndex((it) => it.name === volume) ?? -1;
  return (contents?.copies[index]?.length ?? 0) > 0;
}

/** Throws one error for all problems, with the code of the first. */
function refuse(folders: readonly string[], problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new AirferryError(first.code, `cannot unpack "${folders.join('", "')}": ${first.message}${more}`, {
    path: first.path,
    problems,
    hint: hintFor(first, folders) ?? `for details run: airferry verify ${shellWords(folders)} --trust KEY`,
  });
}

/** What to do about a problem: a volume can be repaired, or another copy of it given as well. */
function hintFor({ code, path }: Problem, folders: readonly string[]): string | undefined {
  if (code === "ERR_BUNDLE_INCOMPLETE" && folders.join() === STREAM_ARGUMENT)
    return "without it nothing can be taken: have the stream sent again, and run the same command";
  const isDamage = code === "ERR_DIGEST_MISMATCH" || code === "ERR_SIZE_MISMATCH" || code === "ERR_IO";
  return isDamage && volumeIndexOf(path) !== undefined
    ? `the rest is kept; give a second copy of the medium as well, or repair this one: airferry repair ${shellWords(folders)} --trust KEY`
    : HINTS[code];
}

const HINTS: Partial<Record<ErrorCode, string>> = {
  ERR_SIGNATURE_MISSING: "sign it on a trusted host: airferry sign BUNDLE --key FILE",
  ERR_THRESHOLD: "have another trusted signer run: airferry sign BUNDLE --key FILE",
  ERR_KEY_UNTRUSTED: "give the signer's public key with --trust, after comparing its fingerprint out of band",
  ERR_BUNDLE_VERSION: NEWER_AIRFERRY,
  ERR_BUNDLE_REQUIRES: NEWER_AIRFERRY,
  ERR_BUNDLE_EXTRA: "remove from the medium what is not part of the bundle",
  ...TRUST_HINTS,
};

interface Work {
  store: Store;
  media: Media;
  contents: Contents;
  folders: readonly string[];
  streamed: Streamed | undefined;
  pool: HashPool;
  options: UnpackOptions;
  scanner: Scanner | undefined;
  trust: SettledTrust;
  /** The trusted keys that signed. */
  trusted: TrustedKey[];
  threshold: number;
  /** Good signatures, and their timestamps by authorities of the trust root. */
  judged: Awaited<ReturnType<typeof judgeMedia>>;
  /** These, and those that --tsa asked for. */
  timestamps: StampedSigner[];
  /** Bytes that are still to be written. */
  left: number;
  /** Bytes that are still to be built, and those that this run copies and builds. */
  building: number;
  total: number;
  /** Of volumes of which no good copy was found. */
  damaged: Problem[];
}

async function takeIn(work: Work): Promise<UnpackReport> {
  const { store, media, contents, options, trusted } = work;
  const { inventory } = contents;
  const report: UnpackReport = {
    complete: false,
    already: false,
    stream: inventory.stream,
    serial: inventory.serial,
    digest: digestOf(media.sums),
    signers: trusted.map((it) => it.keyid).sort(),
    threshold: work.threshold,
    entries: inventory.entries.length,
    size: inventory.entries.totalBytes,
    written: 0,
    missing: [],
    missingMedia: [],
    attestations: [],
    timestamps: work.timestamps,
    established: countEstablished(inventory.catalog.provenance),
  };
  const standing = await standingOf(store, inventory, report.digest);
  if (standing === "back") await verifyRollback(store, inventory, options);
  const now = standing === "again" ? (options.now ?? new Date()) : await verifyExpiry(store, inventory, options);
  const rules = await judgeRules(work.trust, work.judged, { media, contents }, now);
  report.attestations = rules.attestations;
  for (const line of rules.notices) options.notice?.(line);
  const scans = work.scanner !== undefined && options.scanReportOnly !== true;
  if (standing !== "again") refuse(work.folders, [...rules.problems, ...checkImportScan(work.trust, inventory, scans)]);
  if (standing === "new")
    refuse(work.folders, checkSerialJump(work.trust, inventory, await store.floor(inventory.stream)));
  const { present, proven, wrong } = await presentBlobs(work, await importedBlobs(store.dir, report.digest));
  const recipes = await chooseRecipes(work, present);
  const lacking = await verifyBase(work, report, present, recipes);
  const needed = PlacedEntries.in(inventory.entries).filter((it) => !present.hasEntry(it));
  if (lacking) report.need = lacking;
  await checkSpace(work, needed, recipes.whole, report.digest);
  await removeWrong(wrong, needed, work);
  const incoming = await Incoming.open(store.dir, report.digest);
  incoming.noteBlobs(proven);
  await incoming.forget(volumesAgain(needed.unique, inventory.volumeSize, incoming));
  report.already = standing === "again" && needed.length === 0 && recipes.whole.length === 0;
  const seen = new Set([
    ...((await incoming.state())?.media ?? []),
    ...work.media.folders.map((it) => basename(resolve(it.dir))),
  ]);
  const named = [...seen].filter((it) => isMediumName(it)).sort();
  const state = {
    stream: inventory.stream,
    epoch: inventory.epoch,
    serial: inventory.serial,
    digest: report.digest,
    ...(named.length > 0 && { media: named }),
  };
  await incoming.saveState({ ...state, missing: [] });
  if (!report.already) await store.save();
  work.building = recipes.whole.reduce((sum, it) => sum + it.size, 0);
  report.missing =
    work.streamed === undefined
      ? await copyFromGood(work, incoming, needed, report)
      : await copyFromStream(work, work.streamed, {
          incoming,
          needed,
          lacking: lackingIn(inventory, present, recipes.lacking),
          report,
        });
  if (report.missing.length > 0) {
    await incoming.saveState({ ...state, missing: report.missing });
    await store.save();
  }
  // Also if all entries are there: a volume may be damaged between or behind them.
  refuse(work.folders, work.damaged);
  if (report.missing.length > 0) {
    report.missingMedia = mediaToCome(named);
    return report;
  }
  const damaged = await build(work, incoming, recipes, report);
  // With what is known now: what the bundle carries is copied once more, and for the rest it is refused.
  if (damaged) return takeIn(work);
  if (lacking) return report;
  const scan = await scanRelease(work, incoming);
  if (scan !== undefined) report.scan = scan;
  // Of what is in object storage, whoever serves it makes the index.
  const packages = report.already || store.bucket !== undefined ? undefined : await packageIndex(work, report.digest);
  // From here to the end it takes only a moment.
  throwIfAborted();
  await importRelease(store, incoming, {
    packages,
    inventory,
    sums: media.sums,
    signatures: onePairEach(media.signatures),
    trust: trusted.map((it) => ({ name: `${it.keyid16}.pub`, pem: publicKeyPem(it.publicKey) })),
    documents: [
      { name: INVENTORY_NAME, file: contents.inventoryFile, digest: contents.inventoryDigest },
      ...BOM_NAMES.flatMap((name) => contents.large.find((it) => it.name === name) ?? []),
      ...(contents.pieces === undefined ? [] : [{ name: PIECES_NAME, ...contents.pieces }]),
      ...contents.attested,
    ],
    record: {
      digest: report.digest,
      importedAt: `${(options.now ?? new Date()).toISOString().slice(0, 19)}Z`,
      signers: report.signers,
      names: Object.fromEntries(trusted.map((it) => [it.keyid, printableName(basename(it.file), 100)])),
      threshold: work.threshold,
      ...(work.trust.root && { trustRoot: { version: work.trust.root.version, digest: work.trust.root.digest } }),
      media: work.streamed === undefined ? work.folders.map((it) => resolve(it)) : [STREAM_ARGUMENT],
      host: hostname(),
      tool: `airferry ${VERSION}`,
      written: report.written,
      ...(scan !== undefined && { scan }),
      ...(report.timestamps.length > 0 && { timestamps: report.timestamps }),
      ...(report.attestations.length > 0 && { attestations: report.attestations }),
      ...(standing === "back" ? { rolledBack: true as const } : {}),
    },
  });
  await incoming.remove();
  await dropOldIncoming(store, inventory);
  await forgetDamage(work);
  report.complete = true;
  return report;
}

/**
 * Scans everything the release has, as it is in the store.
 * @throws {AirferryError} ERR_SCAN_FOUND, ERR_SCANNER
 */
async function scanRelease(work: Work, incoming: Incoming): Promise<ScanReport | undefined> {
  const { store, contents, scanner, folders, options } = work;
  const report = options.notice ?? (() => {});
  const { judgeEarlierScan, judgeScan } = await import("./scan/judge-scan.ts");
  const judgement = {
    action: `unpack "${folders.join('", "')}"`,
    record: join(incoming.dir, "scan.json"),
    reportOnly: options.scanReportOnly === true,
    report,
    hint: "do not serve it: ask the packer; if the finding is wrong, give a scanner that knows better with --scan, or --scan-report-only",
  };
  if (scanner === undefined) return judgeEarlierScan(judgement);
  const { scanContent } = await import("./scan/scan-content.ts");
  const scan = await scanContent(scanner, filesIn(contents.inventory.entries, store), {
    folder: join(incoming.dir, "scan"),
    report,
  });
  await judgeScan(scan, judgement);
  return scan;
}

/** One file for every content. */
function* filesIn(entries: EntryTable, store: Store): Generator<{ path: string; size: number; from: string }> {
  const seen = new ContentSet(entries);
  for (let index = 0; index < entries.length; index++) {
    if (!seen.addEntry(index)) continue;
    yield { path: entries.pathAt(index), size: entries.sizeAt(index), from: store.blobPath(entries.digestAt(index)) };
  }
}

async function verifyRollback(store: Store, inventory: Inventory, options: UnpackOptions): Promise<void> {
  if (options.allowRollback === true) return;
  const floor = await store.floor(inventory.stream);
  const expected = `epoch ${floor?.epoch}, serial above ${floor?.serial}`;
  const actual = `epoch ${inventory.epoch}, serial ${inventory.serial}`;
  throw new AirferryError(
    "ERR_ROLLBACK",
    `cannot unpack "${inventory.stream}" serial ${inventory.serial}: the store has had a newer release: expected ${expected}, got ${actual}`,
    {
      path: inventory.stream,
      expected,
      actual,
      hint: "if the rollback is intended, run it again with --allow-rollback",
    },
  );
}

/** The newest time that this store has seen: a clock that was set back must not revive an expired bundle. */
async function newestCreated(store: Store, stream?: string): Promise<number> {
  // A damaged floor of another stream affects only that stream.
  const floors = await Promise.all(
    (await store.streams()).map((it) =>
      store.floor(it).catch((error) => (it === stream ? Promise.reject(error) : undefined)),
    ),
  );
  return Math.max(0, ...floors.map((it) => Date.parse(it?.created ?? "") || 0));
}

/** Returns the time that counts here. */
async function verifyExpiry(store: Store, { stream, notAfter }: Inventory, options: UnpackOptions): Promise<Date> {
  const now = Math.max((options.now ?? new Date()).getTime(), await newestCreated(store, stream));
  if (notAfter === undefined || now <= Date.parse(notAfter)) return new Date(now);
  throw new AirferryError(
    "ERR_EXPIRED",
    `cannot unpack "${stream}": the bundle has expired: it could be imported until ${notAfter}, now is ${new Date(now).toISOString()}`,
    {
      path: stream,
      expected: `before ${notAfter}`,
      actual: new Date(now).toISOString(),
      hint: "carry a newer bundle in",
    },
  );
}

/** A blob that is not what its name says. */
interface WrongBlob {
  file: string;
  digest: Digest;
  /** How it came to be looked at. */
  why: string;
}

/**
 * Digests of the entries whose blobs are in the store. Blobs that neither a release nor an earlier run of this import
 * covers, and those that fsck found to be damaged, are hashed; they do not count if they do not match.
 */
async function presentBlobs(
  work: Work,
  covered: DigestSet,
): Promise<{ present: ContentSet; proven: Digest[]; wrong: WrongBlob[] }> {
  const { store, contents, pool } = work;
  const { entries } = contents.inventory;
  const damaged = await readKnownDamage(store.dir);
  const seen = new ContentSet(entries);
  const present = new ContentSet(entries);
  const unknown: number[] = [];
  for (let index = 0; index < entries.length; index++) {
    const digest = entries.digestAt(index);
    if (!seen.addEntry(index) || !store.hasBlob(digest, entries.sizeAt(index))) continue;
    present.addEntry(index);
    if (!covered.has(digest) || damaged.has(digest)) unknown.push(index);
  }
  const proven: Digest[] = [];
  const wrong: WrongBlob[] = [];
  if (unknown.length === 0) return { present, proven, wrong };
  const vouched = await store.vouchedBlobs(entries);
  const isStrange = (digest: Digest) => !vouched.has(digest) || damaged.has(digest);
  const strangers = unknown.filter((it) => isStrange(entries.digestAt(it)));
  await eachLimited(strangers, pool.size + 1, async (index) => {
    const { digest, size, from } = entries.at(index);
    const file = store.blobPath(digest);
    // What the bundle carries is read from it if there is a doubt; what it does not carry, only the store has.
    const isDeep = from === "store" || (damaged.has(digest) && store.bucket === undefined);
    const isRight = !(damaged.has(digest) && !isDeep) && (await store.isRight(digest, size, pool, isDeep));
    if (isRight) return void proven.push(digest);
    present.delete(digest);
    if (store.bucket !== undefined) return store.dropBlob(digest);
    wrong.push({
      file,
      digest,
      why: damaged.has(digest) ? "which fsck found to be damaged" : "which no release covers",
    });
  });
  return { present, proven, wrong };
}

/**
 * Makes room for what the bundle carries. What it does not carry stays: its good pieces are served, and repaired.
 * All of it stays where a stream may lose what would replace it.
 */
async function removeWrong(
  wrong: readonly WrongBlob[],
  needed: PlacedEntries,
  { store, streamed, options: { notice } }: Work,
): Promise<void> {
  if (wrong.length === 0 || streamed !== undefined) return;
  const carried = new DigestSet();
  for (const it of needed) carried.add(it.digest);
  for (const { file, digest, why } of wrong) {
    if (!carried.has(digest)) continue;
    notice?.(`removed "${file}", ${why}: its content does not match its name`);
    await store.dropBlob(digest);
  }
}

/** Whatever was known to be damaged of this release has just been replaced. */
async function forgetDamage({ store, contents }: Work): Promise<void> {
  const damaged = await readKnownDamage(store.dir);
  const left = [...damaged].filter((it) => contents.inventory.entries.findDigest(it) < 0);
  if (left.length < damaged.size) await writeKnownDamage(store.dir, left);
}

/** Of the entries that have to be built: those that can be, and those whose sources are not all there. */
interface Recipes {
  whole: Recipe[];
  lacking: ReadonlyMap<Digest, readonly RecipeSource[]>;
  /** Files with the pieces that recipes take from the entry itself. */
  own: ReadonlyMap<Digest, string>;
}

/** Looks for the sources of the entries that have to be built. */
async function chooseRecipes({ store, contents, pool }: Work, present: ContentSet): Promise<Recipes> {
  const { recipes, inventory } = contents;
  const wanted = [...recipes.values()].filter((it) => !present.has(it.digest));
  const whole: Recipe[] = [];
  const lacking = new Map<Digest, readonly RecipeSource[]>();
  const ownFiles = new Map<Digest, string>();
  if (wanted.length === 0) return { whole, lacking, own: ownFiles };
  const damaged = await readKnownDamage(store.dir);
  const known = new Map<Digest, boolean>();
  const ownHas = (digest: Digest): boolean | undefined => {
    const index = inventory.entries.findDigest(digest);
    return index < 0 ? undefined : present.has(digest) || inventory.entries.isCarried(index);
  };
  for (const recipe of wanted) {
    const missing: RecipeSource[] = [];
    for (const source of recipe.sources) {
      const { digest, size } = source;
      let isThere = known.get(digest) ?? ownHas(digest);
      if (digest === recipe.digest) {
        const file = await findOwnPieces(recipe, store, contents.pieces?.list, pool);
        if (file !== undefined) ownFiles.set(digest, file);
        isThere = file !== undefined;
      } else if (isThere === undefined) {
        isThere = damaged.has(digest) ? await isRight(source, store, pool) : store.hasBlob(digest, size);
        known.set(digest, isThere);
      }
      if (!isThere) missing.push(source);
    }
    if (missing.length > 0) lacking.set(recipe.digest, missing);
    else whole.push(recipe);
  }
  return { whole, lacking, own: ownFiles };
}

/**
 * Builds what the bundle has recipes for. True: blobs that they are built from are damaged, which is noted now.
 * @throws {AirferryError} ERR_BUNDLE_INVALID when a recipe does not make what it should
 */
async function build(
  work: Work,
  incoming: Incoming,
  { whole: recipes, own }: Recipes,
  report: UnpackReport,
): Promise<boolean> {
  if (recipes.length === 0) return false;
  const { store, pool, options, folders } = work;
  let done = work.total - work.building;
  const progress = (bytes: number) => {
    done += bytes;
    options.progress?.(Math.min(done, work.total), work.total);
  };
  const written = (bytes: number) => {
    report.written += bytes;
    work.left -= bytes;
  };
  const committer = new Committer(store.dir, (digests) => incoming.noteBlobs(digests));
  const found = await readKnownDamage(store.dir);
  const isSuspect = (digest: Digest) => found.has(digest);
  try {
    await buildEntries(recipes, { store, incoming, committer, pool, progress, written, own, isSuspect });
    return false;
  } catch (error) {
    if (!(error instanceof SourceDamage)) throw error;
    const { recipe, damaged } = error;
    if (damaged.length === 0) {
      const fault = `the sources of "${pathOf(work, recipe.digest)}" are right, but its recipe does not give ${recipe.digest}`;
      refuse(folders, [{ code: "ERR_BUNDLE_INVALID", path: RECIPES_NAME, message: fault }]);
    }
    const known = await readKnownDamage(store.dir);
    if (damaged.every((it) => known.has(it.digest))) {
      // It was hashed before this import counted on it.
      const file = store.blobPath((damaged[0] as RecipeSource).digest);
      throw new AirferryError("ERR_IO", `cannot read "${file}": its disk gives other bytes each time`, { path: file });
    }
    for (const { digest } of damaged)
      options.notice?.(
        `"${store.blobPath(digest)}" is damaged, so "${pathOf(work, recipe.digest)}" cannot be built of it; airferry fsck --store ${shellWord(options.store)} --repair-from BUNDLE --trust KEY may mend it`,
      );
    await writeKnownDamage(store.dir, new Set([...known, ...damaged.map((it) => it.digest)]));
    await store.save();
    return true;
  } finally {
    // Good data remains for the rerun.
    await runToEnd(() => committer.finish());
  }
}

function pathIn({ entries }: Inventory, digest: Digest): string | undefined {
  const index = entries.findDigest(digest);
  return index < 0 ? undefined : entries.pathAt(index);
}

/** A path of some content, for messages. */
function pathOf({ contents }: Work, digest: Digest): string {
  return printableName(pathIn(contents.inventory, digest) ?? digest);
}

/**
 * Whether the store has what a delta does not carry. What is missing is written to the need file, before anything is
 * copied.
 * @throws {AirferryError} ERR_DELTA_BASE without such a file
 */
async function verifyBase(
  work: Work,
  { digest }: UnpackReport,
  present: ContentSet,
  { lacking }: Recipes,
): Promise<UnpackReport["need"]> {
  const { contents, folders, options } = work;
  const { inventory } = contents;
  const missing = lackingIn(inventory, present, lacking);
  if (missing.length === 0) return undefined;
  if (options.need !== undefined) return listNeed(options.need, work, digest, firstOfEach(missing));
  const { trust, threshold, store } = options;
  const by = trust.length === 0 ? "" : ` --trust ${shellWords(trust)}`;
  const more = `${by}${threshold === undefined ? "" : ` --threshold ${threshold}`} --store ${shellWord(store)}`;
  throw new AirferryError(
    "ERR_DELTA_BASE",
    `cannot unpack "${inventory.stream}" serial ${inventory.serial}: it needs ${plural(missing.length, "file")} that this store does not have, first "${printableName(missing[0]?.path ?? "")}"`,
    {
      path: inventory.stream,
      problems: missing.slice(0, 1000).map((it) => ({
        code: "ERR_DELTA_BASE",
        path: printableName(it.path),
        message: `"${printableName(it.path)}" is not in the store: ${it.digest}, ${it.size} bytes${builtOf(it.digest, lacking.get(it.digest))}`,
      })),
      hint: `airferry unpack ${shellWords(folders)}${more} --need need.json; the packing side answers that list with pack --need. Or carry a full bundle in${basesText(inventory)}`,
    },
  );
}

/** What an entry would be built of. */
function builtOf(digest: Digest, sources: readonly RecipeSource[] | undefined): string {
  const [first] = sources ?? [];
  if (sources === undefined || first === undefined) return "";
  if (first.digest === digest) return "; nor are those of its pieces good here that the bundle does not carry";
  const more = sources.length > 1 ? ` and ${sources.length - 1} more` : "";
  return `; nor can it be built: the store has no whole ${first.digest} of ${first.size} bytes${more}`;
}

/** Entries of a delta that the store should have, or the sources of. */
function lackingIn({ entries }: Inventory, present: ContentSet, unbuilt: Recipes["lacking"]): InventoryEntry[] {
  return entries.filter(
    ({ from, digest }) => (from === "store" && !present.has(digest)) || (from === "recipe" && unbuilt.has(digest)),
  );
}

/** Writes a need file; one per digest. What the bundles before it in a stream need stays in the one that was named. */
async function listNeed(
  file: string,
  { contents, streamed, options }: Work,
  digest: Digest,
  blobs: Need["blobs"],
): Promise<UnpackReport["need"]> {
  const { stream, epoch, serial } = contents.inventory;
  const { mergeNeeds, writeNeed } = await import("./receipt/need-file.ts");
  const own: Need = { releases: [{ stream, epoch, serial, digest }], blobs };
  const earlier = file === options.need ? streamed?.listed.need : undefined;
  const need = earlier === undefined ? own : mergeNeeds(earlier, own);
  await writeNeed(file, need);
  if (streamed !== undefined && file === options.need) streamed.listed.need = need;
  return { file, blobs: blobs.length, size: blobs.reduce((sum, it) => sum + it.size, 0) };
}

/** The releases that a delta builds on, as its packer says. */
function basesText({ bases = [] }: Inventory): string {
  if (bases.length === 0) return "";
  return `; this one builds on ${bases.map((it) => `epoch ${it.epoch}, serial ${it.serial}`).join(" and ")}`;
}

/** What people look packages up in, where the release has repositories. Whoever serves it can make it as well. */
async function packageIndex({ store, contents }: Work, digest: Digest): Promise<Buffer | undefined> {
  const { inventory } = contents;
  if (inventory.catalog.rpms.length + inventory.catalog.isos.length === 0) return undefined;
  const [{ buildIndex }, { metadataPlaces }] = await Promise.all([
    import("./packages/build-index.ts"),
    import("./packages/metadata-places.ts"),
  ]);
  const places = metadataPlaces({ inventory }, (it) => store.blobPath(it));
  return buildIndex(digest, places);
}

/** One entry for every digest, the first in stream order. */
function firstOfEach<E extends Pick<InventoryEntry, "digest">>(entries: readonly E[]): E[] {
  const seen = new Set<string>();
  return entries.filter((it) => !seen.has(it.digest) && seen.add(it.digest));
}

/** Refuses before the first byte if the store's disk is too small. */
async function checkSpace(work: Work, needed: PlacedEntries, built: readonly Recipe[], digest: Digest): Promise<void> {
  if (needed.length + built.length === 0 || work.store.bucket !== undefined) return;
  const { unique } = needed;
  const bytes = unique.bytes + built.reduce((sum, it) => sum + it.size, 0);
  work.left = Math.max(0, bytes - (await bytesWaiting(work.store.dir, digest)));
  await verifySpace("unpack into", work.store.dir, {
    bytes: work.left + SPARE_BYTES,
    files: unique.length + built.length + SPARE_FILES,
    largest: built.reduce((most, it) => Math.max(most, it.size), unique.largest),
  });
}

/**
 * Copies as {@link copy} does. If a volume is damaged and another medium has it too, that copy is read instead; else it
 * counts as missing, and what the other volumes hold is kept for the run that brings it: `work.damaged` says why.
 */
async function copyFromGood(
  work: Work,
  incoming: Incoming,
  needed: PlacedEntries,
  report: UnpackReport,
): Promise<string[]> {
  const { entries } = work.contents.inventory;
  for (let left = needed; ; ) {
    try {
      return await copy(work, incoming, left, report);
    } catch (error) {
      if (!(await passOver(error, work))) throw error;
      await incoming.dropSmall();
      left = left.filter((it) => !work.store.hasBlob(entries.digestAt(it), entries.sizeAt(it)));
    }
  }
}

/**
 * Copies what comes. What is lost is listed in the need file, which is in the quarantine if none was named: nobody can
 * ask for it later. Returns the volumes that had it.
 */
async function copyFromStream(
  work: Work,
  { stream }: Streamed,
  {
    incoming,
    needed,
    lacking,
    report,
  }: {
    incoming: Incoming;
    needed: PlacedEntries;
    lacking: readonly InventoryEntry[];
    report: UnpackReport;
  },
): Promise<string[]> {
  const { store, contents, pool, media, options } = work;
  const { inventory, pieces } = contents;
  const { unique } = needed;
  if (unique.length === 0) return [];
  const total = unique.bytes;
  let done = 0;
  const listed = parseSums(media.sums).lines.map((it) => it.name);
  await using mender = await openMender(work, join(incoming.dir, "spool"));
  const lost = await copyStream(stream.content(inventory, listed, mender?.mender), [...unique], {
    incoming,
    committer: new Committer(store.dir, (digests) => incoming.noteBlobs(digests)),
    pool,
    pieces: pieces?.list,
    streamSize: inventory.streamSize,
    volumeSize: inventory.volumeSize,
    progress: (count) => {
      done += count;
      options.progress?.(Math.min(done, total), total);
    },
    written: (count) => {
      report.written += count;
      work.left -= count;
    },
  });
  if (lost.length === 0) return [];
  report.lost = { files: lost.length, bytes: bytesLost(lost) };
  const blobs = [
    ...firstOfEach(lacking),
    ...lost.map(({ entry: { digest, size }, pieces }) => ({ digest, size, ...(pieces && { pieces }) })),
  ];
  const file = options.need ?? join(incoming.dir, "need.json");
  const need = await listNeed(file, work, report.digest, blobs);
  if (need !== undefined) report.need = need;
  return volumesLost(lost, inventory);
}

/** What completes volumes from the parity that the bundle has; undefined if there is none of single volumes. */
async function openMender(
  { contents, pool, options }: Pick<Work, "contents" | "pool" | "options">,
  dir: string,
): Promise<(AsyncDisposable & { mender: StreamMender }) | undefined> {
  if (!contents.spare.some((it) => isVolumeParity(it.name))) return undefined;
  const { StreamMender } = await import("./repair/stream-mender.ts");
  const mender = StreamMender.open(dir, contents.inventory, pool, options.notice ?? (() => {}));
  return mender && { mender, [Symbol.asyncDispose]: () => mender.close() };
}

/**
 * Whether the fault is damage of volumes: those copies are not read any more. Without another one a volume counts as
 * missing, and is noted as damaged.
 */
async function passOver(error: unknown, { contents, pool, options, damaged }: Work): Promise<boolean> {
  const { copies, inventory } = contents;
  const damage = error instanceof ContentDamage ? error : unreadableVolume(error, contents);
  if (damage === undefined) return false;
  const problems = (await locateDamage(contents, damage, pool)).map((problem) => ({
    problem,
    of: copies[inventory.volumes.findIndex((volume) => volume.name === problem.path)],
  }));
  if (problems.some(({ of }) => of === undefined || of.length === 0)) return false;
  for (const { problem, of } of problems) {
    of?.shift();
    const [other] = of ?? [];
    if (other === undefined) damaged.push(problem);
    const instead = other === undefined ? "keeping what the other volumes hold" : `reading the copy "${other}" instead`;
    options.notice?.(`${problem.message}; ${instead}`);
  }
  return true;
}

/** Where in the stream an unreadable volume is, from an error that names its file, or from its name. */
function unreadableVolume(error: unknown, { copies, inventory }: Contents): StreamRange | undefined {
  if (!(error instanceof AirferryError) || error.path === undefined) return undefined;
  const index = copies.findIndex((files, at) => files[0] === error.path || inventory.volumes[at]?.name === error.path);
  const volume = inventory.volumes[index];
  return volume && { position: index * inventory.volumeSize, length: volume.size };
}

/** What came of an entry from earlier media has another digest now. */
function spoiledText(path: string): string {
  return `what earlier media brought of "${printableName(path)}" was not right in the bucket any more, and was removed: they are needed once more`;
}

/** Copies what is needed from the available volumes; returns the volumes that are still to come. */
async function copy(work: Work, incoming: Incoming, needed: PlacedEntries, report: UnpackReport): Promise<string[]> {
  const { store, contents, pool, options } = work;
  const { inventory, copies } = contents;
  const files = copies.map((it) => it[0]);
  const wanted = volumesNeeded(needed, inventory).filter((it) => !incoming.doneVolumes.has(volumeName(it)));
  const atHand = wanted.filter((it) => files[it] !== undefined);
  const whole = atHand.length === wanted.length && incoming.doneVolumes.size === 0;
  const { unique } = needed;
  const total = whole ? needed.bytes : bytesIn(unique, atHand, inventory.volumeSize);
  let done = 0;
  work.total = work.building + total;
  const volumes = VolumeSet.over(files, inventory);
  const progress = (count: number) => {
    done += count;
    options.progress?.(Math.min(done, total), work.total);
  };
  const written = (count: number) => {
    report.written += count;
    work.left -= count;
  };
  const { bucket } = store;
  if (bucket !== undefined) {
    const copied: Digest[] = [];
    try {
      const damaged = await readKnownDamage(store.dir);
      const isSuspect = (digest: Digest) => damaged.has(digest);
      const has = (digest: Digest, size: number) => store.hasBlob(digest, size);
      const added = (digest: Digest, size: number) => {
        store.addBlob(digest, size);
        copied.push(digest);
      };
      const context = { bucket, volumes, has, isSuspect, added, progress, written };
      if (!whole) {
        const missing = await copyPieces(needed, {
          ...context,
          inventory,
          pool,
          folder: incomingFolder("", report.digest),
          spoiled: (it) => options.notice?.(spoiledText(it.path)),
          remove: (keys) => store.removeObjects(keys),
        });
        // Of large blobs the storage does not say that they are right: later media ask this note.
        incoming.noteBlobs(copied);
        return missing.map(volumeName);
      }
      if (needed.length > 0) await copyToObjects(needed, { ...context, hasEnd: true });
      return [];
    } catch (error) {
      incoming.noteBlobs(copied);
      // What a medium brought counts, whatever is wrong with the rest of it.
      if (!whole) await runToEnd(() => store.save()).catch(() => undefined);
      throw error;
    } finally {
      await volumes.close();
    }
  }
  const committer = new Committer(store.dir, (digests) => incoming.noteBlobs(digests));
  const context: CopyContext = {
    store,
    volumes,
    incoming,
    committer,
    pool,
    progress,
    written,
  };
  try {
    if (whole && needed.length > 0) await copyEntries(needed, context);
    else if (needed.length > 0) {
      const jobs = atHand.map((index) => {
        const { size, digest } = inventory.volumes[index] as Inventory["volumes"][number];
        return { index, size, digest };
      });
      await copyVolumes([...unique], jobs, context);
    }
    await committer.finish();
  } catch (error) {
    // Good data remains for the rerun.
    await runToEnd(() => committer.finish()).catch(() => undefined);
    throw error;
  } finally {
    await volumes.close();
  }
  return whole ? [] : wanted.filter((it) => files[it] === undefined).map(volumeName);
}

/**
 * Indexes of the volumes that hold bytes of the needed entries or their frames, and the last, which ends the archive.
 */
function volumesNeeded(needed: PlacedEntries, { volumeSize, volumes }: Inventory): number[] {
  if (needed.length === 0) return [];
  const indexes = new Set<number>([volumes.length - 1]);
  for (const it of needed) {
    for (const piece of piecesOf(frameStart(it), frameEnd(it) - frameStart(it), volumeSize)) indexes.add(piece.volume);
  }
  return [...indexes].sort((a, b) => a - b);
}

function bytesIn(entries: PlacedEntries, volumes: readonly number[], volumeSize: number): number {
  const at = new Set(volumes);
  let sum = 0;
  for (const { offset, size } of entries)
    for (const it of piecesOf(offset, size, volumeSize)) if (at.has(it.volume)) sum += it.length;
  return sum;
}

/** Turns damage into a refusal that names the volume, and a full disk into one that says how much space is missing. */
async function explain(error: unknown, work: Work): Promise<unknown> {
  if (error instanceof ContentDamage) {
    const problems = await locateDamage(work.contents, error, work.pool);
    try {
      refuse(work.folders, problems);
    } catch (refusal) {
      return refusal;
    }
  }
  // The check at the start already has the details.
  const isDisk = work.store.bucket === undefined;
  if (isDisk && error instanceof AirferryError && error.code === "ERR_SPACE" && error.expected === undefined) {
    const { freeBytes, freeFiles } = await readSpace(work.store.dir);
    const missing = work.left + SPARE_BYTES - freeBytes;
    const isFiles = missing <= 0 && freeFiles < SPARE_FILES;
    const fault = isFiles
      ? `its file system is out of inodes and cannot store more files: ${freeFiles} left, and ${formatBytes(freeBytes)} free`
      : missing > 0
        ? `the disk is full: about ${formatBytes(missing)} missing, ${formatBytes(freeBytes)} free`
        : `the disk is full, or a quota is used up: ${formatBytes(freeBytes)} free`;
    return new AirferryError("ERR_SPACE", `cannot unpack into "${work.store.dir}": ${fault}`, {
      path: work.store.dir,
      hint: `${isFiles ? MAKE_INODES : MAKE_ROOM}; run the same command to resume`,
      cause: error,
    });
  }
  return error;
}
