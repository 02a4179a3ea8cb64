/**
 * The signed root of a damaged bundle: the bytes of SHA256SUMS that enough trusted keys have signed, and their
 * signatures, from whichever folder has them. A signature proves itself, so where it comes from does not matter; of
 * everything else the digest in this root decides. docs/format.md, "Signatures".
 */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { type BundleIdentity, identityName } from "../bundle/bundle-identity.ts";
import { MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import { type Media, type MediaSignature, readMedia } from "../bundle/media.ts";
import { ENTRIES_NAME, INVENTORY_NAME, PIECES_NAME, SIGNATURES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { parseSums, type SumLine } from "../bundle/sums.ts";
import { AirferryError, type Problem } from "../errors.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { digestsOfFile } from "../io/hash-file.ts";
import { readSmall } from "../io/safe-open.ts";
import type { TrustedKey } from "../sign/keys.ts";
import { formatSignatureBundle, MAX_SIGNATURE_BYTES, parseSignatureBundle } from "../sign/sigstore-bundle.ts";
import { type StampReader, stampReader } from "../sign/stamp-reader.ts";
import { problemsOf, trustNameOf } from "../sign/trust-chain.ts";
import { readTrustFiles } from "../sign/trust-files.ts";
import { MAX_TRUST_BYTES } from "../sign/trust-root.ts";
import { type SignatureFile, verifySums } from "../sign/verify-sums.ts";
import { judgeSums, type SettledTrust, settleTrust, type TrustSource } from "../sign/whom-to-trust.ts";

/** A file of one of the bundle's folders: its name, as in SHA256SUMS or below `signatures/`, and the folder. */
export interface Misplaced {
  name: string;
  folder: string;
}

/** A signed root that is trusted, and the folders that are of its bundle. */
export interface TrustedRoot {
  sums: Buffer;
  lines: SumLine[];
  /** keyids of those who signed. */
  signers: string[];
  /** The bundle's own folders, one by one, and further ones of the same bundle. */
  targets: Media[];
  twins: Media[];
  /** Further ones that have this root themselves. */
  whole: string[];
  /** Good files of signatures/, by name. */
  signatures: Map<string, Buffer>;
  /** Files of signatures/ that are damaged or missing in the bundle's own folders. */
  badSignatures: Misplaced[];
  /** What is wrong with the bundle's own folders and no good file would mend. */
  problems: Problem[];
}

/** Those of later versions and other programs are ignored: they are no proof of anything. */
const JUDGED = /^([0-9a-f]{16})\.(?:sig|sigstore\.json|mldsa65\.sig|mldsa87\.sig)$/;
/** What no two bundles have in common. */
const OWN_NAMES = [INVENTORY_NAME, ENTRIES_NAME, PIECES_NAME];

/**
 * Finds the signed root of a bundle's folders, in them or in others. Nothing is parsed but lists of digests and
 * signatures.
 * @param targets the bundle's folders, those of a set of media one by one
 * @param others folders that may be copies
 * @returns the findings about the first candidate when none is trusted
 * @throws {AirferryError} as {@link readMedia} for folders of no bundle, or of several; ERR_USAGE
 */
export async function findRoot(
  targets: readonly string[],
  others: readonly string[],
  source: TrustSource,
): Promise<TrustedRoot | Problem[]> {
  const sumsOf = new Map<string, Buffer>();
  for (const dir of [...targets, ...others]) {
    const sums = await readSmall(join(dir, SUMS_NAME), MAX_SUMS_BYTES).catch(() => undefined);
    if (sums !== undefined) sumsOf.set(dir, sums);
  }
  let refusal: Problem[] | undefined;
  const tried = new Set<Digest>();
  for (const sums of sumsOf.values()) {
    if (tried.has(digestOf(sums))) continue;
    tried.add(digestOf(sums));
    try {
      const { lines, identity } = parseSums(sums);
      const isOf = (dir: string) => isFolderOf(dir, sumsOf.get(dir), sums, lines);
      const own = await Promise.all(targets.map(isOf));
      if (own.includes(false)) continue;
      const twins: string[] = [];
      for (const it of others) if (!isOther(sumsOf.get(it), identity) && (await isOf(it))) twins.push(it);
      const whole = twins.filter((it) => sumsOf.get(it)?.equals(sums) === true);
      const root = await judge(sums, lines, await readEach(targets, sums), await readEach(twins, sums), source);
      return { ...root, whole };
    } catch (error) {
      if (!(error instanceof AirferryError) || error.code === "ERR_USAGE") throw error;
      refusal ??= problemsOf(error);
    }
  }
  // It says best what is wrong with folders that are of no bundle, or of several.
  if (refusal === undefined) await readMedia(targets);
  const message = `no ${SUMS_NAME} of these folders or of --from is this bundle's`;
  return refusal ?? [{ code: "ERR_BUNDLE_INVALID", path: SUMS_NAME, message }];
}

/** Whether a folder's root says that it is of another release: that may have the same entries. */
function isOther(own: Buffer | undefined, identity: BundleIdentity): boolean {
  if (own === undefined) return false;
  try {
    return identityName(parseSums(own).identity) !== identityName(identity);
  } catch (error) {
    if (error instanceof AirferryError) return false;
    throw error;
  }
}

/** Whether a folder is of the bundle of a root: it has the same one, or content that no other bundle has. */
async function isFolderOf(dir: string, own: Buffer | undefined, sums: Buffer, lines: readonly SumLine[]) {
  if (own?.equals(sums) === true) return true;
  const listed = own?.toString("latin1") ?? "";
  for (const { name, digest } of lines) {
    if (!OWN_NAMES.includes(name)) continue;
    if (listed.includes(`${hexOf(digest)}  ${name}\n`) || (await digestAt(join(dir, name))) === digest) return true;
  }
  return false;
}

async function digestAt(file: string): Promise<Digest | undefined> {
  const found = await lstat(file).catch(() => undefined);
  if (found?.isFile() !== true) return undefined;
  return digestsOfFile(file, found.size, []).then(
    (it) => it.digests.sha256,
    () => undefined,
  );
}

async function readEach(dirs: readonly string[], sums: Buffer): Promise<Media[]> {
  const media: Media[] = [];
  for (const dir of dirs) media.push(await readMedia([dir], sums));
  return media;
}

async function judge(
  sums: Buffer,
  lines: SumLine[],
  targets: Media[],
  twins: Media[],
  source: TrustSource,
): Promise<Omit<TrustedRoot, "whole">> {
  const media = [...targets, ...twins];
  const carried = source.keys !== undefined ? [] : await carriedTrust(lines, media);
  const trust = settleTrust(source, carried);
  const now = new Date();
  const pool = new SignaturePool(sums, trust.keys);
  pool.add(media.flatMap((it) => [...groupsOf(it.signatures)]));
  const all = media.flatMap((it) => it.signatures);
  const read = await stampReader(trust.root, all);
  // Whatever is left of the signatures that they are about: a timestamp shows how old it is.
  const reader: StampReader | undefined = read && ((_, keyids) => read(all, keyids));
  const { signers, problems } = judgeSums(sums, pool.files(), trust, now, reader);
  if (problems.length > 0) {
    const found = targets.flatMap((it) => it.signatures);
    const own = judgeSums(sums, found, trust, now, reader).problems;
    const first = own[0] ?? problems[0];
    throw new AirferryError(first?.code ?? "ERR_THRESHOLD", "not trusted", {
      problems: [...(own.length > 0 ? own : problems), ...targets.flatMap((it) => it.problems)],
    });
  }
  const root = { sums, lines, signers, targets, twins, signatures: pool.good };
  const bad = findBad(root, pool, trust, now);
  const left: Problem[] = [];
  for (const it of targets) left.push(...(await unmendable(it, root)));
  return { ...root, ...bad, problems: [...bad.problems, ...left] };
}

/** Versions of a trust root, each file from a folder in which it is as listed. */
async function carriedTrust(lines: readonly SumLine[], media: readonly Media[]) {
  const places = new Map<string, string>();
  for (const { name, digest } of lines) {
    const found = trustNameOf(name);
    if (found === undefined) continue;
    const most = found.keyid16 === undefined ? MAX_TRUST_BYTES : MAX_SIGNATURE_BYTES;
    for (const { dir, files } of media.flatMap((it) => it.folders)) {
      if (!files.has(name)) continue;
      const bytes = await readSmall(join(dir, name), most).catch(() => undefined);
      if (bytes === undefined || digestOf(bytes) !== digest) continue;
      places.set(name, join(dir, name));
      break;
    }
  }
  return readTrustFiles(media[0]?.folders[0]?.dir ?? "", places.keys(), (name) => places.get(name) ?? name);
}

/** The files of one signer in one folder. */
type Group = readonly SignatureFile[];

/** Good signatures, wherever they were found. Of strangers' only the form can be checked. */
class SignaturePool {
  /** Files by name: of trusted keys, and of strangers what {@link completed} adds. */
  readonly good = new Map<string, Buffer>();
  readonly #strangers = new Map<string, Group[]>();
  readonly #sums: Buffer;
  readonly #keys: readonly TrustedKey[];

  constructor(sums: Buffer, keys: readonly TrustedKey[]) {
    this.#sums = sums;
    this.#keys = keys;
  }

  /** Takes what is good of the files of signers; either file of a pair says all, but the pair as it is comes first. */
  add(groups: readonly [keyid16: string, Group][]): void {
    for (const [keyid16, group] of groups) this.#addOne(keyid16, group);
    for (const [keyid16, group] of groups) for (const it of this.#derived(keyid16, group)) this.#addOne(keyid16, it);
  }

  #addOne(keyid16: string, group: Group): void {
    const verdict = this.judge(group);
    if (verdict === "good") this.#take(group);
    else if (verdict === "stranger")
      this.#strangers.set(keyid16, [...(this.#strangers.get(keyid16) ?? []), group].slice(0, 64));
  }

  judge(group: Group): "good" | "stranger" | "bad" {
    const { signers, problems } = verifySums(this.#sums, group, this.#keys, 1);
    if (problems.length === 0) return signers.length === 1 ? "good" : "bad";
    return problems.every((it) => it.code === "ERR_KEY_UNTRUSTED") ? "stranger" : "bad";
  }

  /** Everything, one set of files of each signer. */
  files(): SignatureFile[] {
    const strangers = [...this.#strangers.values()].flatMap((it) => it[0] ?? []);
    return [...[...this.good].map(([name, bytes]) => ({ name, bytes })), ...strangers];
  }

  /** Names of the good files of a signer whose own are damaged; none: the signature has to be there already. */
  completed(keyid16: string, group: Group): string[] {
    const isSame = (it: SignatureFile) => group.some((own) => own.name === it.name && sameBytes(own.bytes, it.bytes));
    const same = this.#strangers.get(keyid16)?.find((files) => files.some(isSame));
    if (same !== undefined) this.#take(same);
    return [...this.good.keys()].filter((it) => it.startsWith(`${keyid16}.`));
  }

  #take(group: Group): void {
    for (const { name, bytes } of group) if (!this.good.has(name)) this.good.set(name, Buffer.from(bytes));
  }

  /** The pair that either of its files makes. */
  *#derived(keyid16: string, group: Group): Generator<Group> {
    const [raw, json] = [`${keyid16}.sig`, `${keyid16}.sigstore.json`];
    for (const it of group) {
      const key = this.#keys.find((one) => one.keyid16 === keyid16);
      if (it.name === json) {
        const bytes = signatureIn(it);
        if (bytes !== undefined) yield [it, { name: raw, bytes }];
      } else if (it.name === raw && key !== undefined) {
        yield [it, { name: json, bytes: Buffer.from(formatSignatureBundle(this.#sums, it.bytes, key.keyid)) }];
      }
    }
  }
}

function signatureIn({ name, bytes }: SignatureFile): Buffer | undefined {
  try {
    return parseSignatureBundle(bytes, name).signature;
  } catch (error) {
    if (error instanceof AirferryError) return undefined;
    throw error;
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function groupsOf(found: readonly MediaSignature[]): Map<string, SignatureFile[]> {
  const groups = new Map<string, SignatureFile[]>();
  for (const { name, bytes } of found) {
    const [, keyid16] = JUDGED.exec(name) ?? [];
    if (keyid16 !== undefined) groups.set(keyid16, [...(groups.get(keyid16) ?? []), { name, bytes }]);
  }
  return groups;
}

/** Which files of signatures/ are to be written in the bundle's folders, and what should not be there at all. */
function findBad(
  { sums, targets }: Pick<TrustedRoot, "sums" | "targets">,
  pool: SignaturePool,
  trust: SettledTrust,
  now: Date,
): { badSignatures: Misplaced[]; problems: Problem[] } {
  const bad = new Map<string, Misplaced>();
  const problems: Problem[] = [];
  const whole: SignatureFile[] = [];
  const add = (folder: string, file: string) =>
    bad.set(`${folder} ${file}`, { name: `${SIGNATURES_NAME}/${file}`, folder });
  for (const { folders, signatures, problems: own } of targets) {
    const folder = folders[0]?.dir ?? "";
    for (const [keyid16, group] of groupsOf(signatures)) {
      if (pool.judge(group) !== "bad") {
        whole.push(...group.map((it) => ({ ...it, medium: folder })));
        continue;
      }
      const names = pool.completed(keyid16, group);
      const isAsGood = (it: SignatureFile) => sameBytes(it.bytes, pool.good.get(it.name) ?? Buffer.of());
      const wrong = group.filter((it) => !isAsGood(it)).map((it) => it.name);
      const absent = names.filter((name) => group.every((it) => it.name !== name));
      for (const name of [...wrong, ...absent]) add(folder, name);
      // Half of a stranger's pair.
      if (wrong.length + absent.length === 0) for (const it of group) add(folder, it.name);
    }
    for (const { path } of own) {
      const name = path.slice(SIGNATURES_NAME.length + 1);
      if (path === SIGNATURES_NAME) for (const it of pool.good.keys()) add(folder, it);
      else if (path.startsWith(`${SIGNATURES_NAME}/`) && pool.good.has(name)) add(folder, name);
    }
    const strange = verifySums(sums, signatures, trust.keys, 1).problems;
    problems.push(...strange.filter((it) => it.code === "ERR_BUNDLE_EXTRA" || it.code === "ERR_SIZE_LIMIT"));
  }
  // A signature on any of the media counts: only where these are too few is a missing one damage.
  if (judgeSums(sums, whole, trust, now).problems.length > 0) {
    for (const { folders, signatures } of targets) {
      for (const name of pool.good.keys())
        if (signatures.every((it) => it.name !== name)) add(folders[0]?.dir ?? "", name);
    }
  }
  return { badSignatures: [...bad.values()], problems };
}

/** What is in a folder that no good file can replace. A link or an empty folder in place of a listed file can go. */
async function unmendable(
  { folders, problems }: Media,
  { lines, targets, twins, signatures }: Pick<TrustedRoot, "lines" | "targets" | "twins" | "signatures">,
): Promise<Problem[]> {
  const dir = folders[0]?.dir ?? "";
  const left: Problem[] = [];
  for (const it of problems) {
    const isElsewhere = [...targets, ...twins].some(({ folders }) =>
      folders.some(({ files }) => [...files.keys()].some((name) => name === it.path || name.startsWith(`${it.path}/`))),
    );
    const isListed = lines.some(({ name }) => name === it.path || name.startsWith(`${it.path}/`));
    const isGood =
      it.path === SUMS_NAME ||
      it.path === SIGNATURES_NAME ||
      (it.path.startsWith(`${SIGNATURES_NAME}/`) && signatures.has(it.path.slice(SIGNATURES_NAME.length + 1))) ||
      (isListed && isElsewhere);
    if (!isGood || !(await canBeReplaced(join(dir, it.path)))) left.push(it);
  }
  return left;
}

/** Whether nothing of anybody's is lost when a file gets this name: a folder has to be empty. */
async function canBeReplaced(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) return true;
  return (await readdir(path).catch(() => ["unreadable"])).length === 0;
}
