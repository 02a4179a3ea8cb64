/**
 * RPM repositories in a recording: those whose metadata was read, and the packages of them that were fetched, by the
 * digests that the metadata has. From which mirror each came does not matter.
 */
import { AirferryError } from "../errors.ts";
import { type Digest, isDigest } from "../io/digest.ts";
import { NAME } from "../io/path-grammar.ts";
import { readSmall } from "../io/safe-open.ts";
import type { RpmEntry } from "../manifest/schema.ts";
import { formatNevra, type PackageEntry, shortNevra } from "../rpm/primary.ts";
import { verifyPackage } from "../rpm/verify-package.ts";
import { MAX_OPENPGP_KEYS_BYTES } from "../sign/openpgp-files.ts";
import { type OpenPgpKeyring, readOpenPgpKeyring } from "../sign/openpgp-keyring.ts";
import { placeOf } from "../sources/rpm/place.ts";
import { fetchRepomd, type Snapshot, takeSnapshot } from "../sources/rpm/snapshot.ts";
import type { UpstreamContext } from "../sources/types.ts";
import type { RecordedIndex } from "./recorded-index.ts";
import type { Candidate, EntryText } from "./types.ts";

const REPOMD = "repodata/repomd.xml";
const MAX_REPOSITORIES = 500;
const MAX_KEY_FILES = 200;
/** Packages by which the keys of a repository are found. */
const PROBED = 3;
/** Parts of URLs that say nothing about a repository. */
const GENERAL =
  /^(?:os|x86_64|aarch64|ppc64le|s390x|noarch|i[3-6]86|rpms?|repos?|pub|linux|packages|tree|\$basearch)$/i;

interface FindOptions {
  index: RecordedIndex;
  context: UpstreamContext;
  /** Whole repositories, not only the packages that were fetched. */
  isWhole: boolean;
}

/** Looks for them. Why one cannot be an entry is in `reasons`, by its URL; `bases` are the URLs of all. */
export async function findRepositories(
  options: FindOptions,
): Promise<{ candidates: Candidate[]; reasons: Map<string, string>; bases: string[] }> {
  const { index } = options;
  const all = basesIn(index);
  const candidates: Candidate[] = [];
  const reasons = new Map<string, string>();
  const keys = await recordedKeys(index);
  for (const bases of all) {
    const id = bases[0] ?? "";
    try {
      const candidate = await candidateFor(id, bases, keys, options);
      if (candidate !== undefined) candidates.push(candidate);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      reasons.set(id, error.message);
    }
  }
  return { candidates, reasons, bases: all.flat() };
}

/** URLs of repositories; those with the same repomd.xml are mirrors of one. */
function basesIn(index: RecordedIndex): string[][] {
  const mirrors = new Map<Digest, string[]>();
  for (const { url, method, status, digest } of index.answers) {
    if (method !== "GET" || status !== 200 || !url.endsWith(`/${REPOMD}`) || url.includes("?")) continue;
    const base = url.slice(0, -REPOMD.length);
    const same = mirrors.get(digest);
    if (same !== undefined) same.push(base);
    else if (mirrors.size < MAX_REPOSITORIES) mirrors.set(digest, [base]);
  }
  return [...mirrors.values()];
}

async function candidateFor(
  id: string,
  bases: readonly string[],
  keys: RecordedKeys | undefined,
  { index, context, isWhole }: FindOptions,
): Promise<Candidate | undefined> {
  const place = bases.length === 1 ? { url: id } : { urls: [...bases] };
  const snapshot = await openSnapshot({ name: "repository", ...place, repo_gpgcheck: false }, context);
  const primary = snapshot.record("primary");
  if (primary === undefined || !isDigest(primary.checksum) || index.sizeOf(primary.checksum) === undefined)
    return undefined;
  const read = await snapshot.primary({ plainBytes: 0 });
  const fetched = read.packages.flatMap((it) => {
    const { checksum } = read.details(it);
    return isDigest(checksum) && index.sizeOf(checksum) !== undefined ? [{ it, checksum }] : [];
  });
  if (fetched.length === 0) return undefined;
  const content = isWhole ? {} : { packages: fetched.map(({ it }) => shortNevra(it)).sort(), dependencies: "none" };
  const used = keys && (await keysFor(fetched.slice(0, PROBED), keys, index));
  const proofs: EntryText[] = used === undefined ? [] : [{ keys: used }, { keys: used, repo_gpgcheck: false }];
  const spellings = namesFor(id).map((name) => ({ name, ...place }));
  const variants = [...proofs, { gpgcheck: false }].map((it) => ({ ...it, ...content, kickstart: false }));
  return { key: "rpms", id, aliases: bases.slice(1), spellings, variants };
}

async function openSnapshot(entry: RpmEntry, context: UpstreamContext): Promise<Snapshot> {
  const place = await placeOf(entry, context);
  if (place.kind !== "remote") throw new AirferryError("ERR_INTERNAL", `cannot open "${entry.url}": not remote`);
  return takeSnapshot(entry, place, undefined, context, await fetchRepomd(entry, place, context));
}

/** What a repository could be called, after its URL. */
function namesFor(url: string): string[] {
  const { host, pathname } = new URL(url);
  const words = [...host.split(/[^A-Za-z0-9.-]/, 1), ...pathname.split("/")]
    .map((it) => it.replace(/%[0-9A-F]{2}|[^A-Za-z0-9._-]/g, "-"))
    .filter((it) => it !== "" && NAME.test(it));
  const telling = words.filter((it) => !GENERAL.test(it));
  const last = telling.at(-1) ?? "repository";
  const names = [last, telling.slice(-2).join("-"), words.join("-").slice(-100), `${last}-2`, `${last}-3`];
  return [...new Set(names)].filter((it) => NAME.test(it));
}

interface RecordedKeys {
  keyring: OpenPgpKeyring;
  /** URLs of the files that have a key, by its fingerprint. */
  urls: ReadonlyMap<string, string>;
}

/** The keys that were fetched. */
async function recordedKeys(index: RecordedIndex): Promise<RecordedKeys | undefined> {
  const files: Uint8Array[] = [];
  const urls = new Map<string, string>();
  for (const { url, method, status, size, digest } of index.answers) {
    if (method !== "GET" || status !== 200 || size > MAX_OPENPGP_KEYS_BYTES || files.length >= MAX_KEY_FILES) continue;
    if (!/key|gpg|pgp|asc/i.test(url)) continue;
    const bytes = await readSmall(index.fileOf(digest), MAX_OPENPGP_KEYS_BYTES).catch(() => undefined);
    if (bytes === undefined || !bytes.includes("-----BEGIN PGP PUBLIC KEY BLOCK-----")) continue;
    const read = await readOpenPgpKeyring([bytes], { name: url }).catch(() => undefined);
    if (read === undefined || read.keys.length === 0) continue;
    files.push(bytes);
    for (const { fingerprint } of read.keys) if (!urls.has(fingerprint)) urls.set(fingerprint, url);
  }
  return files.length === 0 ? undefined : { keyring: await readOpenPgpKeyring(files, { name: "recorded keys" }), urls };
}

/** URLs of the keys that signed packages; undefined if one is not signed by any of them. */
async function keysFor(
  packages: readonly { it: PackageEntry; checksum: Digest }[],
  { keyring, urls }: RecordedKeys,
  index: RecordedIndex,
): Promise<string[] | undefined> {
  const used = new Set<string>();
  for (const { it, checksum } of packages) {
    const opened = await index.open(checksum);
    try {
      const { signedBy } = await verifyPackage(opened.bytes, keyring, { name: formatNevra(it) });
      for (const fingerprint of signedBy) used.add(urls.get(fingerprint) ?? "");
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      return undefined;
    } finally {
      await opened.close();
    }
  }
  used.delete("");
  return used.size === 0 ? undefined : [...used].sort();
}
