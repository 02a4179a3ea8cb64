/**
 * `verify`: checks a bundle without importing it. Signatures are checked first, over bytes in memory; nothing is parsed
 * before one is good; then every byte on the media is hashed and every problem collected. docs/format.md, "Reading".
 */

import { join } from "node:path";
import type { BundleStream } from "./bundle/bundle-stream.ts";
import { bytesToCheck, checkContent, checkSpare, spareBytes } from "./bundle/check-content.ts";
import { checkStream } from "./bundle/check-stream.ts";
import { clockSkewNote } from "./bundle/clock-skew.ts";
import { type Contents, readContents } from "./bundle/contents.ts";
import { lostContent } from "./bundle/lost-content.ts";
import { type Media, readMedia } from "./bundle/media.ts";
import { isVolumeParity } from "./bundle/media-names.ts";
import { noBundle, openBundleStream, STREAM_ARGUMENT } from "./bundle/open-stream.ts";
import { parseSums } from "./bundle/sums.ts";
import { judgeMedia, judgeRules } from "./bundle/trust-rules.ts";
import { volumeIndexOf, volumeName } from "./bundle/volume-layout.ts";
import { AirferryError, type ErrorCode, type Problem } from "./errors.ts";
import { type Digest, digestOf } from "./io/digest.ts";
import { countEstablished } from "./io/established.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { formatBytes, plural } from "./io/format.ts";
import { HashPool } from "./io/hash-pool.ts";
import { formatUtcTime } from "./io/utc-time.ts";
import type { VerifyReport } from "./report/types.ts";
import { mergedStamps, type StampCheck, stampCheck } from "./sign/stamp-reader.ts";
import { readTrust, type SettledTrust, type TrustSource } from "./sign/whom-to-trust.ts";

interface VerifyOptions {
  /** Files with public keys (PEM), or of a trust root, or its fingerprint. */
  trust: readonly string[];
  /** How many distinct trusted keys must have signed; default 1. Not with a trust root. */
  threshold?: number;
  /** Some volumes may be missing: each available one is checked separately. */
  partial?: boolean;
  /** Called with bytes as they are hashed, and the total. */
  progress?: (done: number, total: number) => void;
  /** Called with skipped names, and when a clock is wrong. */
  notice?: (line: string) => void;
  /** Threads that hash, which the caller has started and closes; default: as many as the volumes are worth. */
  pool?: HashPool | undefined;
  /** The time here; default now. */
  now?: Date;
  /** For an archive: judge as of this time instead. Whoever gives it knows that the bundle existed then. */
  at?: Date;
  /** Files with certificates of timestamp authorities: as many signers as must sign need a timestamp of one of them. */
  tsa?: readonly string[];
  /**
   * File to list what is lost on damaged or missing volumes, and what a delta does not carry, as far as `store` does
   * not have it. Not written if that is nothing, or if the bundle would be refused for another reason than damage.
   */
  need?: string;
  /** A store; undefined: nothing counts as being there. */
  store?: string;
}

/** A bundle that comes on standard input, of which the small files are in a folder. */
interface Streamed {
  stream: BundleStream;
  dir: string;
}

/**
 * Verifies what comes on standard input, or another descriptor: a report for each bundle.
 * @throws {AirferryError} as {@link verify}; ERR_USAGE for a terminal; ERR_BUNDLE_INCOMPLETE if no bundle came
 */
export async function verifyStream(options: VerifyOptions, fd = 0): Promise<VerifyReport[]> {
  keepHeapSmall();
  await using opened = await openBundleStream("verify", options.notice ?? (() => {}), fd);
  const { stream } = opened;
  const reports: VerifyReport[] = [];
  const source = await readTrust(options.trust, options.threshold);
  const isTrusted = async (dir: string): Promise<boolean> => {
    const media = await readMedia([dir]).catch(() => undefined);
    if (media === undefined) return false;
    const { problems } = await judgeMedia(media, source, { now: options.at ?? options.now ?? new Date() });
    return media.problems.length + problems.length === 0;
  };
  for (;;) {
    const head = await stream.nextHead(isTrusted);
    if (head === undefined) break;
    const report = await verify([STREAM_ARGUMENT], options, { stream, dir: head.dir });
    reports.push(report);
    // What follows a bundle of which nothing is trusted may be anything.
    if (report.signers.length === 0) break;
  }
  stream.tell();
  if (reports.length === 0) throw noBundle("verify");
  return reports;
}

/**
 * Verifies the folders of one bundle. Every problem of the bundle is in the report; it throws only for wrong arguments.
 * @throws {AirferryError} ERR_USAGE, ERR_KEY_INVALID, ERR_NOT_FOUND for a folder that does not exist
 */
export async function verify(
  folders: readonly string[],
  options: VerifyOptions,
  streamed?: Streamed,
): Promise<VerifyReport> {
  keepHeapSmall();
  const source = await readTrust(options.trust, options.threshold);
  if (options.need !== undefined) {
    const { refuseNeed } = await import("./receipt/need-file.ts");
    await refuseNeed(options.need);
  }
  const check = await stampCheck(options.tsa);
  const report = emptyReport();
  report.trusted = (source.keys ?? []).map(({ keyid, file }) => ({ keyid, file }));
  report.threshold = source.threshold;
  report.at = options.at === undefined ? null : formatUtcTime(options.at);
  report.partial = options.partial === true;
  let media: Media;
  try {
    media = await readMedia(streamed === undefined ? folders : [streamed.dir]);
  } catch (error) {
    if (!(error instanceof AirferryError) || error.code === "ERR_NOT_FOUND") throw error;
    note(report, "media", [{ code: error.code, path: error.path ?? "", message: error.message }]);
    report.hint = error.hint;
    return report;
  }
  // What is listed there is a claim, and decides only about threads, which start while signatures are checked.
  const pool = options.pool ?? (streamed ? new HashPool() : HashPool.sizedFor(volumeBytes(media)));
  pool.start();
  try {
    await verifyMedia(media, { source, pool, check, streamed }, options, report);
  } finally {
    if (options.pool === undefined) await pool.close();
  }
  return report;
}

/** Bytes in files that are named as volumes are, in all folders. */
function volumeBytes({ folders }: Media): number {
  const sizes = folders.flatMap(({ files }) => [...files].filter(([name]) => volumeIndexOf(name) !== undefined));
  return sizes.reduce((sum, [, size]) => sum + size, 0);
}

async function verifyMedia(
  media: Media,
  {
    source,
    pool,
    check,
    streamed,
  }: { source: TrustSource; pool: HashPool; check: StampCheck | undefined; streamed: Streamed | undefined },
  options: VerifyOptions,
  report: VerifyReport,
): Promise<void> {
  for (const line of media.notices) options.notice?.(line);
  const digest = digestOf(media.sums);
  report.digest = digest;
  note(report, "media", media.problems);
  const now = options.at ?? options.now ?? new Date();
  const judged = await judgeMedia(media, source, { now, at: options.at });
  const { trust, signers, count, problems: faults } = judged;
  report.signers = signers;
  note(report, "signatures", faults);
  if (trust?.root !== undefined) {
    const { name, version, digest, expires } = trust.root;
    report.trustRoot = { name, version, digest, expires };
    report.trusted = trust.keys.map(({ keyid, file }) => ({ keyid, file }));
    report.threshold = trust.threshold;
  }
  // Too few good signatures: the rest is untrusted and not even parsed.
  if (trust === undefined || count < trust.threshold) return;
  const stamped = check?.(media.signatures, { trust, at: options.at, signers });
  report.timestamps = mergedStamps([...judged.stamped.stamps, ...(stamped?.timestamps ?? [])]);
  if (stamped !== undefined && stamped.problems.length > 0) note(report, "signatures", stamped.problems);
  const { contents, problems } = await readContents(media);
  note(report, "files", problems);
  if (contents !== undefined)
    await reportContents({ media, contents }, { pool, trust, judged, streamed }, options, report);
  report.ok = report.problems.length === 0;
  if (contents !== undefined && options.need !== undefined)
    report.need = await writeNeeded(contents, options.need, { ...options, pool, digest }, report);
}

async function reportContents(
  { media, contents }: { media: Media; contents: Contents },
  {
    pool,
    trust,
    judged,
    streamed,
  }: {
    pool: HashPool;
    trust: SettledTrust;
    judged: Awaited<ReturnType<typeof judgeMedia>>;
    streamed: Streamed | undefined;
  },
  options: VerifyOptions,
  report: VerifyReport,
): Promise<void> {
  const { inventory, copies } = contents;
  const { stream, serial, created, notAfter } = inventory;
  Object.assign(report, { stream, serial, created, entries: inventory.entries.length });
  report.size = inventory.entries.totalBytes;
  report.established = countEstablished(inventory.catalog.provenance);
  report.fromStore = inventory.entries.tally("store").files;
  report.fromRecipe = inventory.entries.tally("recipe").files;
  if (report.fromRecipe > 0) options.notice?.(recipesText(contents, report.fromRecipe));
  report.scan = contents.scan ?? null;
  report.volumes.total = copies.length;
  report.volumes.missing = copies.flatMap((it, index) => (it.length === 0 ? [volumeName(index)] : []));
  const now = options.at ?? options.now ?? new Date();
  const ahead = clockSkewNote(created, now);
  if (ahead !== undefined) options.notice?.(ahead);
  if (notAfter !== undefined && now.getTime() > Date.parse(notAfter)) {
    const message = `the bundle has expired: it could be imported until ${notAfter}`;
    note(report, "expiry", [{ code: "ERR_EXPIRED", path: "airferry.json", message }]);
  } else note(report, "expiry", []);
  const rules = await judgeRules(trust, judged, { media, contents }, now);
  report.attestations = rules.attestations;
  for (const line of rules.notices) options.notice?.(line);
  note(report, "rules", rules.problems);
  if (streamed !== undefined) {
    report.volumes.missing = [];
    let done = 0;
    const { streamSize: total } = inventory;
    const listed = parseSums(media.sums).lines.map((it) => it.name);
    const notice = options.notice ?? (() => {});
    const hasParity = contents.spare.some((it) => isVolumeParity(it.name));
    const { StreamMender } = hasParity ? await import("./repair/stream-mender.ts") : { StreamMender: undefined };
    const mender = StreamMender?.open(join(streamed.dir, "spool"), inventory, pool, notice);
    const count = (bytes: number) => {
      done += bytes;
      options.progress?.(Math.min(done, total), total);
    };
    const parts = streamed.stream.content(inventory, listed, mender);
    const problems = await checkStream(parts, inventory, pool, count).finally(() => mender?.close());
    const isMissing = (it: Problem) => it.code === "ERR_BUNDLE_INCOMPLETE";
    report.volumes.missing = problems.filter(isMissing).map((it) => it.path);
    report.parity.total = contents.spare.length;
    report.checkedBytes = Math.min(done, total);
    note(report, "volumes", options.partial ? [] : problems.filter(isMissing));
    note(
      report,
      "content",
      problems.filter((it) => !isMissing(it)),
    );
    return;
  }
  const short = new Set(report.problems.filter((it) => it.code === "ERR_SIZE_MISMATCH").map((it) => it.path));
  const missing = options.partial ? [] : report.volumes.missing.filter((it) => !short.has(it));
  note(
    report,
    "volumes",
    missing.map((name) => ({ code: "ERR_BUNDLE_INCOMPLETE", path: name, message: `"${name}" is missing` })),
  );
  const total = bytesToCheck(contents) + spareBytes(contents);
  let done = 0;
  const progress = (bytes: number) => {
    done += bytes;
    options.progress?.(Math.min(done, total), total);
  };
  const problems = await checkContent(contents, pool, progress);
  const spare = await checkSpare(contents, pool, progress);
  const damaged = spare.damaged.map((it) => it.name);
  report.parity = { total: contents.spare.length, missing: spare.missing, damaged };
  for (const { message } of spare.damaged) options.notice?.(`${message}; the bundle does without it`);
  if (spare.missing.length > 0 && !options.partial)
    options.notice?.(`not on these media: ${spare.missing.join(", ")}; the bundle does without`);
  report.checkedBytes = Math.min(done, total);
  note(report, "content", problems);
}

/** What an import will build, and what that needs. */
function recipesText({ inventory, recipes }: Contents, count: number): string {
  const needed = new Map<Digest, number>();
  for (const { sources } of recipes.values())
    for (const { digest, size } of sources) if (!isCarriedIn(inventory, digest)) needed.set(digest, size);
  const bytes = [...needed.values()].reduce((sum, it) => sum + it, 0);
  const of =
    needed.size === 0 ? "what it carries" : `${plural(needed.size, "file")} (${formatBytes(bytes)}) of the store`;
  return `it is a delta: ${plural(count, "file")} will be built at import, of ${of}`;
}

function isCarriedIn({ entries }: Contents["inventory"], digest: Digest): boolean {
  const index = entries.findDigest(digest);
  return index >= 0 && entries.isCarried(index);
}

/** Damage: who has the content that it concerns can mend it. */
const MENDED: ReadonlySet<ErrorCode> = new Set([
  "ERR_DIGEST_MISMATCH",
  "ERR_SIZE_MISMATCH",
  "ERR_BUNDLE_INCOMPLETE",
  "ERR_IO",
]);

async function writeNeeded(
  contents: Contents,
  file: string,
  { store, pool, notice, digest: root }: Pick<VerifyOptions, "store" | "notice"> & { pool: HashPool; digest: Digest },
  report: VerifyReport,
): Promise<VerifyReport["need"]> {
  const other = report.problems.find((it) => !MENDED.has(it.code));
  if (other !== undefined) {
    notice?.(`"${file}" is not written: content would not help against ${other.code}`);
    return null;
  }
  const { inventory, copies } = contents;
  const named = new Set(report.problems.map((it) => it.path));
  const bad = copies.flatMap((it, index) => (it.length === 0 || named.has(volumeName(index)) ? [index] : []));
  const lost = new Map((await lostContent(contents, bad, pool)).map((it) => [it.digest, it]));
  const isThere = await blobsOf(store);
  // What is carried and lost is in the list itself.
  const isHad = ({ digest, size }: { digest: Digest; size: number }) =>
    isCarriedIn(inventory, digest) || isThere(digest, size);
  const needed = new Map(lost);
  for (const { from, digest, size } of inventory.entries) {
    const isBuilt = from === "recipe" && contents.recipes.get(digest)?.sources.every(isHad) === true;
    if (from === "store" || (from === "recipe" && !isBuilt)) needed.set(digest, { digest, size });
  }
  const blobs = [...needed.values()].filter((it) => !isThere(it.digest, it.size));
  const { stream, epoch, serial } = inventory;
  if (blobs.length === 0) {
    notice?.(`"${file}" is not written: no content is missing`);
    return null;
  }
  const { writeNeed } = await import("./receipt/need-file.ts");
  await writeNeed(file, { releases: [{ stream, epoch, serial, digest: root }], blobs });
  return { file, blobs: blobs.length, size: blobs.reduce((sum, it) => sum + it.size, 0) };
}

/** What a store has, as far as it is not known to be damaged. */
async function blobsOf(dir: string | undefined): Promise<(digest: Digest, size: number) => boolean> {
  if (dir === undefined) return () => false;
  const { openStore } = await import("./store/store.ts");
  const { readKnownDamage } = await import("./store/known-damage.ts");
  const store = await openStore(dir);
  const damaged = await readKnownDamage(store.dir);
  return (digest, size) => !damaged.has(digest) && store.hasBlob(digest, size);
}

function note(report: VerifyReport, check: keyof VerifyReport["checks"], problems: readonly Problem[]): void {
  report.checks[check] = problems.length === 0 ? "passed" : "failed";
  // Not spread: there may be more problems than a call takes arguments.
  for (const it of problems) report.problems.push(it);
}

function emptyReport(): VerifyReport {
  return {
    ok: false,
    checks: {
      media: "skipped",
      signatures: "skipped",
      files: "skipped",
      expiry: "skipped",
      rules: "skipped",
      volumes: "skipped",
      content: "skipped",
    },
    trusted: [],
    trustRoot: null,
    at: null,
    threshold: 1,
    partial: false,
    stream: null,
    serial: null,
    digest: null,
    signers: [],
    timestamps: [],
    problems: [],
    created: null,
    entries: 0,
    fromStore: 0,
    fromRecipe: 0,
    volumes: { total: 0, missing: [] },
    parity: { total: 0, missing: [], damaged: [] },
    scan: null,
    attestations: [],
    size: 0,
    checkedBytes: 0,
    established: {},
    need: null,
  };
}
