/**
 * `verify`: checks a bundle without importing it. Signatures are checked first, over bytes in memory; nothing is parsed
 * before one is good; then every byte on the media is hashed and every problem collected. docs/format.md, "Reading".
 */

import { bytesToCheck, checkContent } from "./bundle/check-content.ts";
import { clockSkewNote } from "./bundle/clock-skew.ts";
import { type Contents, readContents } from "./bundle/contents.ts";
import { type Media, readMedia } from "./bundle/media.ts";
import { volumeIndexOf, volumeName } from "./bundle/volume-layout.ts";
import { AirferryError, type Problem } from "./errors.ts";
import { digestOf } from "./io/digest.ts";
import { countEstablished } from "./io/established.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { HashPool } from "./io/hash-pool.ts";
import type { VerifyReport } from "./report/types.ts";
import { readTrustedKeys, type TrustedKey } from "./sign/keys.ts";
import { checkThreshold, verifySums } from "./sign/verify-sums.ts";

interface VerifyOptions {
  /** Files with public keys (PEM). */
  trust: readonly string[];
  /** How many distinct trusted keys must have signed; default 1. */
  threshold?: number;
  /** Some volumes may be missing: each available one is checked separately. */
  partial?: boolean;
  /** Called with bytes as they are hashed, and the total. */
  progress?: (done: number, total: number) => void;
  /** Called with skipped names, and when a clock is wrong. */
  notice?: (line: string) => void;
  /** Threads that hash, which the caller has started and closes; default: as many as the volumes are worth. */
  pool?: HashPool | undefined;
  /** The time to compare an expiry date with; default now. */
  now?: Date;
}

/**
 * Verifies the folders of one bundle. Every problem of the bundle is in the report; it throws only for wrong arguments.
 * @throws {AirferryError} ERR_USAGE, ERR_KEY_INVALID, ERR_NOT_FOUND for a folder that does not exist
 */
export async function verify(folders: readonly string[], options: VerifyOptions): Promise<VerifyReport> {
  keepHeapSmall();
  const trusted = await readTrustedKeys(options.trust);
  const threshold = checkThreshold(options.threshold);
  const report = emptyReport();
  report.trusted = trusted.map(({ keyid, file }) => ({ keyid, file }));
  report.threshold = threshold;
  report.partial = options.partial === true;
  let media: Media;
  try {
    media = await readMedia(folders);
  } catch (error) {
    if (!(error instanceof AirferryError) || error.code === "ERR_NOT_FOUND") throw error;
    note(report, "media", [{ code: error.code, path: error.path ?? "", message: error.message }]);
    report.hint = error.hint;
    return report;
  }
  // What is listed there is a claim, and decides only about threads, which start while signatures are checked.
  const pool = options.pool ?? HashPool.sizedFor(volumeBytes(media));
  pool.start();
  try {
    await verifyMedia(media, { trusted, threshold, pool }, options, report);
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
  { trusted, threshold, pool }: { trusted: readonly TrustedKey[]; threshold: number; pool: HashPool },
  options: VerifyOptions,
  report: VerifyReport,
): Promise<void> {
  for (const line of media.notices) options.notice?.(line);
  report.digest = digestOf(media.sums);
  note(report, "media", media.problems);
  const verdict = verifySums(media.sums, media.signatures, trusted, threshold);
  report.signers = verdict.signers;
  note(report, "signatures", verdict.problems);
  // Too few good signatures: the rest is untrusted and not even parsed.
  if (verdict.count < threshold) return;
  const { contents, problems } = await readContents(media);
  note(report, "files", problems);
  if (contents !== undefined) await reportContents(contents, pool, options, report);
  report.ok = report.problems.length === 0;
}

async function reportContents(
  contents: Contents,
  pool: HashPool,
  options: VerifyOptions,
  report: VerifyReport,
): Promise<void> {
  const { inventory, copies } = contents;
  const { stream, serial, created, notAfter } = inventory;
  Object.assign(report, { stream, serial, created, entries: inventory.entries.length });
  report.size = inventory.entries.reduce((sum, it) => sum + it.size, 0);
  report.established = countEstablished(inventory.catalog.provenance);
  report.fromStore = inventory.entries.filter((it) => it.from === "store").length;
  report.scan = contents.scan ?? null;
  report.volumes.total = copies.length;
  report.volumes.missing = copies.flatMap((it, index) => (it.length === 0 ? [volumeName(index)] : []));
  const now = options.now ?? new Date();
  const ahead = clockSkewNote(created, now);
  if (ahead !== undefined) options.notice?.(ahead);
  if (notAfter !== undefined && now.getTime() > Date.parse(notAfter)) {
    const message = `the bundle has expired: it could be imported until ${notAfter}`;
    note(report, "expiry", [{ code: "ERR_EXPIRED", path: "airferry.json", message }]);
  } else note(report, "expiry", []);
  const short = new Set(report.problems.filter((it) => it.code === "ERR_SIZE_MISMATCH").map((it) => it.path));
  const missing = options.partial ? [] : report.volumes.missing.filter((it) => !short.has(it));
  note(
    report,
    "volumes",
    missing.map((name) => ({ code: "ERR_BUNDLE_INCOMPLETE", path: name, message: `"${name}" is missing` })),
  );
  const total = bytesToCheck(contents);
  let done = 0;
  const problems = await checkContent(contents, pool, (bytes) => {
    done += bytes;
    options.progress?.(Math.min(done, total), total);
  });
  report.checkedBytes = Math.min(done, total);
  note(report, "content", problems);
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
      volumes: "skipped",
      content: "skipped",
    },
    trusted: [],
    threshold: 1,
    partial: false,
    stream: null,
    serial: null,
    digest: null,
    signers: [],
    problems: [],
    created: null,
    entries: 0,
    fromStore: 0,
    volumes: { total: 0, missing: [] },
    scan: null,
    size: 0,
    checkedBytes: 0,
    established: {},
  };
}
