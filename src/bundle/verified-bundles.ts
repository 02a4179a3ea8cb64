/**
 * Bundles that are read where they are: verified whole, once, through descriptors that stay open. What is read later
 * comes from these descriptors, so it is what was verified. docs/format.md, "Reading".
 */
import { basename, dirname } from "node:path";
import { AirferryError, type ErrorCode, type Problem } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { HashPool } from "../io/hash-pool.ts";
import type { HeldFile, HeldFiles } from "../io/held-files.ts";
import { shellWords } from "../io/shell.ts";
import type { StampedSigner } from "../sign/timestamp.ts";
import { readTrust, type TrustSource } from "../sign/whom-to-trust.ts";
import type { AttestationFacts } from "./attest-rules.ts";
import { bytesToCheck, checkContent, checkLargeFile } from "./check-content.ts";
import { clockSkewNote } from "./clock-skew.ts";
import { type Contents, readContents } from "./contents.ts";
import { printableName } from "./entry-paths.ts";
import { type Inventory, NEWER_AIRFERRY } from "./inventory-types.ts";
import { groupByBundle, readMedia } from "./media.ts";
import { BOM_NAMES, PIECES_NAME } from "./media-names.ts";
import { checkImportScan, judgeMedia, judgeRules, TRUST_HINTS } from "./trust-rules.ts";
import { volumeIndexOf } from "./volume-layout.ts";

/** A bundle whose every byte was good. */
export interface VerifiedBundle {
  /** As given, those of one set of media together. */
  folders: readonly string[];
  /** Of SHA256SUMS. */
  digest: Digest;
  /** keyids of the distinct trusted keys that signed. */
  signers: string[];
  /** Names of their files, by keyid. */
  signerNames: Record<string, string>;
  inventory: Inventory;
  /** By index, each with the size that was signed. */
  volumes: HeldFile[];
  /** The bill of materials. */
  documents: { name: string; digest: Digest; held: HeldFile }[];
  /** What is attested about it, by whom, and what that is worth. */
  attestations: AttestationFacts[];
  /** Timestamps of its signatures, by authorities of the trust root. */
  timestamps: StampedSigner[];
  /** The digests of the pieces of its larger entries. */
  pieces?: { digest: Digest; held: HeldFile };
}

interface VerifyAndHoldOptions {
  /** What is done with them: `serve`. */
  action: string;
  /** Files with public keys (PEM), or of a trust root, or its fingerprint. */
  trust: readonly string[];
  /** How many distinct trusted keys must have signed each; default 1. */
  threshold?: number | undefined;
  /** Called with bytes as they are hashed, and the total. */
  progress?: ((done: number, total: number) => void) | undefined;
  /** Called with skipped names and copies, and when a clock is wrong. */
  notice?: ((line: string) => void) | undefined;
  /** The time to compare an expiry date with; default now. */
  now?: Date | undefined;
}

interface Job {
  folders: readonly string[];
  bundle: VerifiedBundle;
  contents: Contents;
  /** Every copy of each volume. */
  copies: HeldFile[][];
}

/**
 * Verifies bundles: their folders in any order, sets of media mixed. At most one of each stream, and none that needs a
 * store. The caller closes `held`, in which all of their files stay open.
 * @throws {AirferryError} with `problems` for anything that differs from what was signed; ERR_EXPIRED, ERR_DELTA_BASE,
 *   ERR_BUNDLE_INCOMPLETE; ERR_USAGE, ERR_KEY_INVALID, ERR_NOT_FOUND, ERR_IO
 */
export async function verifyAndHold(
  folders: readonly string[],
  held: HeldFiles,
  options: VerifyAndHoldOptions,
): Promise<VerifiedBundle[]> {
  const source = await readTrust(options.trust, options.threshold);
  const jobs: Job[] = [];
  for (const group of await groupByBundle(folders)) {
    const job = await openJob(group, held, source, options);
    const { stream } = job.bundle.inventory;
    const other = jobs.find((it) => it.bundle.inventory.stream === stream);
    if (other !== undefined) {
      throw new AirferryError(
        "ERR_USAGE",
        `cannot ${options.action} "${group[0]}" and "${other.folders[0]}" together: both are of stream "${stream}"`,
        { hint: "give one of them, the newer one" },
      );
    }
    jobs.push(job);
  }
  const total = jobs.reduce((sum, it) => sum + bytesToCheck(it.contents), 0);
  let done = 0;
  const progress = (bytes: number) => {
    done += bytes;
    options.progress?.(Math.min(done, total), total);
  };
  const pool = HashPool.sizedFor(total);
  try {
    for (const job of jobs) await checkJob(job, pool, progress, options);
  } finally {
    await pool.close();
  }
  return jobs.map((it) => it.bundle);
}

/** Checks the signatures and what is claimed, and opens everything that will be read. */
async function openJob(
  folders: readonly string[],
  held: HeldFiles,
  source: TrustSource,
  options: VerifyAndHoldOptions,
): Promise<Job> {
  const notice = options.notice ?? (() => {});
  const refuse = (problems: readonly Problem[]) => refuseAll(folders, problems, options);
  const media = await readMedia(folders);
  for (const line of media.notices) notice(line);
  const now = options.now ?? new Date();
  const judged = await judgeMedia(media, source, { now });
  const { trust, signers, problems } = judged;
  refuse([...media.problems, ...problems]);
  if (trust === undefined) throw new Error("nobody to trust has no problem");
  const { contents, problems: faults } = await readContents(media);
  // A truncated copy of a volume is left out if there is another.
  const isSpare = (it: Problem) =>
    it.code === "ERR_SIZE_MISMATCH" && (contents?.copies[volumeIndexOf(it.path) ?? -1]?.length ?? 0) > 0;
  refuse(faults.filter((it) => !isSpare(it)));
  if (contents === undefined) throw new Error("a bundle without contents has no problem");
  for (const it of faults) notice(`${it.message}; reading another copy instead`);
  const { inventory } = contents;
  const ahead = clockSkewNote(inventory.created, now);
  if (ahead !== undefined) notice(ahead);
  refuse(expired(inventory, now));
  const rules = await judgeRules(trust, judged, { media, contents }, now);
  for (const line of rules.notices) notice(line);
  // What is served from a medium comes in as well, and nobody scans it.
  refuse([...rules.problems, ...(options.action === "serve" ? checkImportScan(trust, inventory, false) : [])]);
  const missing = inventory.volumes.filter((_, index) => contents.copies[index]?.length === 0);
  refuse(missing.map(({ name }) => problem("ERR_BUNDLE_INCOMPLETE", name, `"${name}" is missing`)));
  refuse(needsStore(inventory));
  const copies: HeldFile[][] = [];
  // One after the other: what is still opening when another fails would never be closed.
  for (const files of contents.copies) {
    const open: HeldFile[] = [];
    for (const it of files) open.push(await held.open(it));
    copies.push(open);
  }
  const documents: VerifiedBundle["documents"] = [];
  for (const name of BOM_NAMES) {
    const found = contents.large.find((it) => it.name === name);
    if (found !== undefined) documents.push({ name, digest: found.digest, held: await held.open(found.file) });
  }
  const list = contents.pieces;
  const pieces = list && { digest: list.digest, held: await held.open(list.file) };
  const names = trust.keys.filter((it) => signers.includes(it.keyid));
  return {
    folders,
    contents,
    copies,
    bundle: {
      folders: media.folders.map((it) => it.dir),
      digest: digestOf(media.sums),
      signers,
      signerNames: Object.fromEntries(names.map((it) => [it.keyid, printableName(basename(it.file), 100)])),
      inventory,
      volumes: copies.flatMap((it) => it.slice(0, 1)),
      documents,
      attestations: rules.attestations,
      timestamps: judged.stamped.stamps,
      ...(pieces && { pieces }),
    },
  };
}

/** Hashes everything, by the descriptors that are open. A volume whose first copy is damaged is read from the next. */
async function checkJob(
  { folders, bundle, contents, copies }: Job,
  pool: HashPool,
  progress: (bytes: number) => void,
  options: VerifyAndHoldOptions,
): Promise<void> {
  for (const it of [...copies.flat(), ...bundle.documents.map((it) => it.held)]) pool.readOpen(it.file, it.fd);
  const { pieces } = bundle;
  if (pieces !== undefined) {
    pool.readOpen(pieces.held.file, pieces.held.fd);
    const list = { file: pieces.held.file, name: PIECES_NAME, size: pieces.held.size, digest: pieces.digest };
    const problem = await checkLargeFile(list, pool);
    if (problem !== undefined) refuseAll(folders, [problem], options);
  }
  const firsts = { ...contents, copies: contents.copies.map((it) => it.slice(0, 1)) };
  const left: Problem[] = [];
  for (const it of await checkContent(firsts, pool, progress)) {
    const index = volumeIndexOf(it.path) ?? -1;
    const signed = bundle.inventory.volumes[index]?.digest;
    let other: HeldFile | undefined;
    for (const copy of copies[index]?.slice(1) ?? []) {
      const isGood = async () => (await pool.hashFile(copy.file)).digest === signed;
      if (await isGood().catch(() => false)) other ??= copy;
    }
    if (other === undefined) left.push(it);
    else {
      bundle.volumes[index] = other;
      options.notice?.(`${it.message}; reading "${dirname(other.file)}" instead`);
    }
  }
  refuseAll(folders, left, options);
  const chosen = bundle.volumes.map((it) => [it.file]);
  if (chosen.every(([file], index) => file === firsts.copies[index]?.[0])) return;
  // A damaged volume may have hidden content that is not what the inventory says, in itself or in another.
  refuseAll(folders, await checkContent({ ...contents, copies: chosen }, pool, () => {}), options);
}

function problem(code: ErrorCode, path: string, message: string): Problem {
  return { code, path, message };
}

function expired({ notAfter, stream }: Inventory, now: Date): Problem[] {
  if (notAfter === undefined || now.getTime() <= Date.parse(notAfter)) return [];
  return [problem("ERR_EXPIRED", stream, `the bundle has expired: it could be used until ${notAfter}`)];
}

/** A delta is not whole without the release that it builds on. */
function needsStore({ entries }: Inventory): Problem[] {
  const count = entries.tally("store").files + entries.tally("recipe").files;
  if (count === 0) return [];
  let at = 0;
  while (entries.fromAt(at) !== "store" && entries.fromAt(at) !== "recipe") at++;
  const first = printableName(entries.pathAt(at));
  const message = `it is a delta: ${plural(count, "file")} must be in a store already, first "${first}"`;
  return [problem("ERR_DELTA_BASE", first, message)];
}

/** Throws one error for all problems, with the code of the first. */
function refuseAll(
  folders: readonly string[],
  problems: readonly Problem[],
  { action, trust }: VerifyAndHoldOptions,
): void {
  const [first] = problems;
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const arguments_ = `${shellWords(folders)} --trust ${shellWords(trust)}`;
  const hints: Partial<Record<ErrorCode, string>> = {
    ERR_SIGNATURE_MISSING: "sign it on a trusted host: airferry sign BUNDLE --key FILE",
    ERR_THRESHOLD: "have another trusted signer run: airferry sign BUNDLE --key FILE",
    ERR_KEY_UNTRUSTED: "give the signer's public key with --trust, after comparing its fingerprint out of band",
    ERR_BUNDLE_VERSION: NEWER_AIRFERRY,
    ERR_BUNDLE_REQUIRES: NEWER_AIRFERRY,
    ERR_BUNDLE_EXTRA: "remove from the medium what is not part of the bundle",
    ERR_BUNDLE_INCOMPLETE: `give the folders of all media at once; or collect them, one after the other: airferry unpack ${arguments_} --store DIR`,
    ERR_DELTA_BASE: `unpack it into the store that has the release before: airferry unpack ${arguments_} --store DIR`,
    ERR_EXPIRED: "have the packer pack again, and carry the new bundle in",
    ...TRUST_HINTS,
  };
  throw new AirferryError(first.code, `cannot ${action} "${folders.join('", "')}": ${first.message}${more}`, {
    path: first.path,
    problems,
    hint: hints[first.code] ?? `for details run: airferry verify ${arguments_}`,
  });
}
