/**
 * One consistent state of a repository's metadata: repomd.xml with its signature checked, and records on demand, each
 * with the size and digest that repomd.xml gives. open-repositories.ts notices when upstream changes in between.
 */
import { readFile, stat } from "node:fs/promises";
import { join, posix, resolve } from "node:path";
import { AirferryError } from "../../errors.ts";
import type { FetchTarget } from "../../fetch/types.ts";
import { httpStatusOf } from "../../http/failure.ts";
import { namerOf } from "../../http/named.ts";
import { type AnyDigest, algorithmOf, digestOf, RunningDigest } from "../../io/digest.ts";
import { type Integrity, joinDigests } from "../../io/integrity.ts";
import { checkPath } from "../../io/path-grammar.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { decompress, decompressChunks } from "../../rpm/codecs.ts";
import { Primary } from "../../rpm/primary.ts";
import {
  MAX_METADATA_BYTES,
  MAX_REPOMD_BYTES,
  maxOpenBytes,
  parseRepomd,
  type Repomd,
  type RepomdRecord,
} from "../../rpm/repomd.ts";
import { LEGACY_HINT } from "../../sign/openpgp-files.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { recordedUrls } from "../recorded-urls.ts";
import type { UpstreamContext } from "../types.ts";
import { resolveHref } from "./location.ts";
import type { Place } from "./place.ts";
import type { RepositoryKeys } from "./repository-keys.ts";

const MAX_SIGNATURE_BYTES = 256 * 1024;

/** Where bytes of a repository are, in the form of an artifact of the lock. */
type ArtifactPlace = Pick<LockedArtifact, "urls" | "file">;

/** The metadata of a repository at one moment. */
export class Snapshot {
  readonly name: string;
  readonly place: Exclude<Place, { kind: "loose" }>;
  readonly repomdBytes: Buffer;
  readonly repomd: Repomd;
  /** Upstream's repomd.xml.asc; undefined when it has none. */
  readonly signature: Buffer | undefined;
  /** Fingerprints of the keys of good signatures; empty when none could be checked. */
  readonly signedBy: readonly string[];
  readonly #context: UpstreamContext;
  readonly #cache = new Map<string, Buffer>();

  constructor(
    name: string,
    place: Exclude<Place, { kind: "loose" }>,
    repomdBytes: Buffer,
    signature: Buffer | undefined,
    signedBy: readonly string[],
    context: UpstreamContext,
  ) {
    this.name = name;
    this.place = place;
    this.repomdBytes = repomdBytes;
    this.repomd = parseRepomd(repomdBytes, `${name}: repomd.xml`);
    this.signature = signature;
    this.signedBy = signedBy;
    this.#context = context;
  }

  /** Reports faults that are not fatal. */
  report(line: string): void {
    this.#context.report(`${this.name}: ${line}`);
  }

  /** The first of its type, which clients read. */
  record(type: string): RepomdRecord | undefined {
    return this.repomd.records.find((it) => it.type === type);
  }

  /** The same in the form of an artifact of the lock. */
  recordedPlaceOf(href: string, base: string | undefined): ArtifactPlace {
    const at = this.placeOf(href, base);
    const byUser = this.place.kind === "remote" ? this.place.byUser : [];
    return at.urls === undefined ? at : { urls: recordedUrls(at.urls, byUser) };
  }

  /** Where a location of this repository's metadata is. */
  placeOf(href: string, base: string | undefined): ArtifactPlace {
    if (base !== undefined) return { urls: [resolveHref(href, base)] };
    if (this.place.kind === "disk") return { file: join(this.place.given, this.#pathOf(href)) };
    return { urls: this.place.bases.map((it) => resolveHref(href, it)) };
  }

  /** A location in a repository on disk, which must stay in its folder: metadata must not allow reading elsewhere. */
  #pathOf(href: string): string {
    const path = posix.normalize(decodeHref(href));
    const fault = path.startsWith("/") ? "it is absolute" : checkPath(`rpms/${path}`);
    if (fault === undefined) return path;
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot use location ${JSON.stringify(href)} in "${this.name}": ${fault}`,
      {
        path: this.name,
        hint: "a repository on disk has all its files below its own folder; move the packages there and run createrepo_c again",
      },
    );
  }

  /**
   * Compressed bytes of a record, size and digest checked; undefined when upstream does not have the file (404).
   * @throws {AirferryError} ERR_UPSTREAM_DIGEST, ERR_UPSTREAM_SIZE, ERR_UPSTREAM
   */
  async fetchRecord(record: RepomdRecord): Promise<Buffer | undefined> {
    const known = this.#cache.get(record.href);
    if (known) return known;
    if ((record.size ?? 0) > MAX_METADATA_BYTES) throw tooLarge(this.name, record, record.size as number);
    const bytes = await readPlaced(this.place, this.placeOf(record.href, record.base), this.#context, {
      integrity: record.checksum,
      ...(record.size !== undefined && { size: record.size }),
      maxBytes: record.size ?? MAX_METADATA_BYTES,
    });
    if (bytes === undefined) return undefined;
    checkDigest(bytes, record.checksum, record.size, `${this.name}: ${record.href}`);
    // Small ones and primary are read again; filelists and other are not worth the memory.
    if (record.type !== "filelists" && record.type !== "other") this.#cache.set(record.href, bytes);
    return bytes;
  }

  /** Uncompressed bytes of a record; undefined when there is no such record or file. */
  async open(type: string): Promise<Buffer | undefined> {
    const record = this.record(type);
    const bytes = record && (await this.fetchRecord(record));
    if (!record || !bytes) return undefined;
    const open = await decompress(bytes, {
      name: `${this.name}: ${record.href}`,
      maxBytes: maxOpenBytes(type),
      ...(record.openSize !== undefined && { openSize: record.openSize }),
    });
    if (record.openChecksum) checkDigest(open, record.openChecksum, undefined, `${this.name}: ${record.href} (open)`);
    return open;
  }

  /** The same as a stream of pieces. */
  async openChunks(type: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const record = this.record(type);
    const bytes = record && (await this.fetchRecord(record));
    if (!record || !bytes) return undefined;
    return decompressChunks(bytes, {
      name: `${this.name}: ${record.href}`,
      maxBytes: maxOpenBytes(type),
      ...(record.openSize !== undefined && { openSize: record.openSize }),
    });
  }

  /**
   * Reads primary.xml, with the options of {@link Primary.read}.
   * @throws {AirferryError} ERR_UPSTREAM when it is missing, ERR_UPSTREAM_INVALID, ERR_UPSTREAM_DIGEST
   */
  async primary(options: Parameters<typeof Primary.read>[2]): Promise<Primary> {
    const record = this.record("primary");
    const chunks = await this.openChunks("primary");
    if (record === undefined || chunks === undefined) {
      throw new AirferryError(
        "ERR_UPSTREAM",
        `cannot read repository "${this.name}": its primary metadata is missing`,
        {
          path: record?.href,
          hint: "upstream is incomplete; try another mirror",
        },
      );
    }
    const { openChecksum } = record;
    const checked = openChecksum ? checkedChunks(chunks, openChecksum, `${this.name}: ${record.href} (open)`) : chunks;
    return Primary.read(checked, `${this.name}: primary.xml`, options);
  }

  /** Whether a file of the repository exists, without fetching it. */
  async hasRecord(record: RepomdRecord): Promise<boolean> {
    if (this.#cache.has(record.href)) return true;
    return (await this.sizeOf(record.href, record.base)) !== undefined;
  }

  /**
   * Size of a file of the repository, without fetching it: 0 when upstream does not say, undefined when it does not
   * exist.
   */
  async sizeOf(href: string, base: string | undefined): Promise<number | undefined> {
    const place = this.placeOf(href, base);
    if (place.file !== undefined) {
      const found = await stat(resolve(this.#context.baseDir, place.file)).catch(() => undefined);
      return found?.isFile() ? found.size : undefined;
    }
    return fromAny(
      place.urls ?? [],
      async (urls) => (await this.#context.fetcher.head(asked(this.place, urls))).size ?? 0,
    );
  }

  /** A small file of the tree (`.treeinfo`); undefined when there is none. */
  async fetchFile(href: string, maxBytes: number): Promise<Buffer | undefined> {
    return readOptional(this.place, this.placeOf(href, undefined), this.#context, { maxBytes });
  }
}

/**
 * Takes a snapshot: checks the signature of a repomd.xml that was fetched.
 * @throws {AirferryError} ERR_UPSTREAM_SIGNATURE, ERR_UPSTREAM*
 */
export async function takeSnapshot(
  entry: RpmEntry,
  place: Exclude<Place, { kind: "loose" }>,
  keys: RepositoryKeys | undefined,
  context: UpstreamContext,
  repomd: Buffer,
): Promise<Snapshot> {
  const path = "repodata/repomd.xml.asc";
  const at = placeIn(place, path);
  const found =
    entry.repo_gpgcheck === false
      ? undefined
      : await readOptional(place, at, context, { maxBytes: MAX_SIGNATURE_BYTES });
  const signature = found !== undefined && isSignature(found) ? found : undefined;
  if (found !== undefined && signature === undefined) {
    context.report(`${entry.name}: ${path} is not a signature (perhaps a web page); treated as missing`);
  }
  let signedBy: string[] = [];
  if (signature !== undefined && keys !== undefined && entry.repo_gpgcheck !== false) {
    const { requireGoodSignature, verifyDetached } = await import("../../sign/openpgp-verify.ts");
    const verdict = await verifyDetached(repomd, signature, keys.keyring, { legacy: entry.legacy_signatures });
    const path = `${entry.name}: repodata/repomd.xml`;
    signedBy = requireGoodSignature(verdict, keys.keyring, path, undefined, LEGACY_HINT);
  } else if (entry.repo_gpgcheck === true) {
    throw new AirferryError(
      "ERR_UPSTREAM_SIGNATURE",
      `cannot lock rpms "${entry.name}": repo_gpgcheck is true, but ${keys === undefined ? "the entry has no keys" : "repodata/repomd.xml.asc is missing"}`,
      { hint: "remove repo_gpgcheck if upstream signs only its packages" },
    );
  }
  const snapshot = new Snapshot(entry.name, place, repomd, signature, signedBy, context);
  const types = snapshot.repomd.records.map((it) => it.type);
  for (const type of new Set(types.filter((it, i) => types.indexOf(it) !== i)))
    snapshot.report(`repomd.xml lists "${type}" more than once; the first is read, as clients do`);
  return snapshot;
}

function placeIn(place: Snapshot["place"], path: string): ArtifactPlace {
  if (place.kind === "disk") return { file: join(place.given, path) };
  return { urls: place.bases.map((it) => resolveHref(path, it)) };
}

/** Whether upstream still has exactly this repomd.xml. */
export async function isCurrent(repomd: Buffer, place: Snapshot["place"], context: UpstreamContext): Promise<boolean> {
  const at = placeIn(place, "repodata/repomd.xml");
  return (await readPlaced(place, at, context, { maxBytes: MAX_REPOMD_BYTES }))?.equals(repomd) ?? false;
}

/** repomd.xml; with a metalink, one that the metalink lists, from the first mirror that has it. */
export async function fetchRepomd(
  entry: RpmEntry,
  place: Exclude<Place, { kind: "loose" }>,
  context: UpstreamContext,
): Promise<Buffer> {
  const path = "repodata/repomd.xml";
  if (place.kind === "disk") {
    return (await readPlaced(place, { file: join(place.given, path) }, context, {
      maxBytes: MAX_REPOMD_BYTES,
    })) as Buffer;
  }
  const urls = place.bases.map((it) => resolveHref(path, it));
  const integrity = joinDigests(place.repomds);
  const pinned = integrity && { integrity };
  try {
    const { bytes, url } = await context.fetcher.fetchBytes({
      ...asked(place, urls),
      maxBytes: MAX_REPOMD_BYTES,
      ...pinned,
    });
    // Everything else is requested from this mirror first: it answers, and is as new as this file.
    const index = Math.max(0, urls.indexOf(url));
    place.bases = [...place.bases.slice(index), ...place.bases.slice(0, index)];
    return bytes;
  } catch (error) {
    if (!(error instanceof AirferryError) || !pinned) throw error;
    throw new AirferryError(
      error.code,
      `cannot lock rpms "${entry.name}": no mirror has a repomd.xml that the metalink lists: ${error.message}`,
      { hint: "mirrors are outdated or modified; try again later, or name one with url:", cause: error },
    );
  }
}

/** Requests for what a repository's metadata names, with the rights of whoever named it. */
function asked(from: Snapshot["place"], urls: readonly string[]): Pick<FetchTarget, "urls" | "named"> {
  return { urls, named: namerOf(urls, from.kind === "remote" ? from.byUser : []) };
}

interface Limits {
  maxBytes: number;
  size?: number;
  integrity?: Integrity;
}

/** Armored, or a signature packet by its tag. @see RFC 9580, section 4.2 */
function isSignature(bytes: Buffer): boolean {
  const [tag = 0] = bytes;
  return bytes.includes("-----BEGIN PGP SIGNATURE-----") || (tag & 0xfc) === 0x88 || tag === 0xc2;
}

/** Bytes of a file that a repository may lack. */
async function readOptional(
  from: Snapshot["place"],
  at: ArtifactPlace,
  context: UpstreamContext,
  limits: Limits,
): Promise<Buffer | undefined> {
  if (at.file !== undefined) return readPlaced(from, at, context, limits);
  let failure: unknown;
  // The first one that answers decides: others that are down must not turn its "no" into a failure.
  for (const url of at.urls ?? []) {
    try {
      const { bytes, contentType } = await context.fetcher.fetchBytes({ ...limits, ...asked(from, [url]) });
      return /^text\/html\b/i.test(contentType ?? "") && looksLikePage(bytes) ? undefined : bytes;
    } catch (error) {
      if (isMissing(error)) return undefined;
      if (isNoFile(error)) {
        context.report(`${(error as Error).message}; treated as missing`);
        return undefined;
      }
      failure = error;
    }
  }
  throw failure;
}

function looksLikePage(bytes: Buffer): boolean {
  return /^\s*</.test(bytes.toString("latin1", 0, 1024));
}

/**
 * Answers other than "not found" that servers give for optional files: a refusal, or a page that is too large or
 * elsewhere.
 */
function isNoFile(error: unknown): boolean {
  const status = httpStatusOf(error);
  if (status !== undefined) return status >= 400 && status < 500 && ![407, 408, 425, 429].includes(status);
  return error instanceof AirferryError && ["ERR_UPSTREAM_SIZE", "ERR_UPSTREAM_INVALID"].includes(error.code);
}

/**
 * The file from a mirror that has it. If one says no, or is down, the next is asked; undefined when one said no and
 * none has it.
 */
async function fromAny<T>(
  urls: readonly string[],
  ask: (urls: readonly string[]) => Promise<T>,
): Promise<T | undefined> {
  let failure: unknown;
  let isAbsent = false;
  for (const url of urls) {
    try {
      return await ask([url]);
    } catch (error) {
      if (isMissing(error)) isAbsent = true;
      else failure ??= error;
    }
  }
  if (isAbsent) return undefined;
  throw failure;
}

/** Bytes from any mirror that has them; undefined when none has. */
async function readPlaced(
  from: Snapshot["place"],
  at: ArtifactPlace,
  context: UpstreamContext,
  limits: Limits,
): Promise<Buffer | undefined> {
  if (at.file !== undefined) {
    const file = resolve(context.baseDir, at.file);
    const found = await stat(file).catch(() => undefined);
    if (!found?.isFile()) return undefined;
    if (found.size > limits.maxBytes) {
      throw new AirferryError(
        "ERR_UPSTREAM_SIZE",
        `cannot read "${file}": too large: expected at most ${limits.maxBytes} bytes, got ${found.size}`,
        { path: file },
      );
    }
    return readFile(file);
  }
  const [first, ...others] = at.urls ?? [];
  try {
    return (await context.fetcher.fetchBytes({ ...limits, ...asked(from, at.urls ?? []) })).bytes;
  } catch (error) {
    if (isMissing(error)) return undefined;
    const second = others.length > 0 && context.fetcher.head(asked(from, [first as string]));
    if (second && (await second.then(() => false, isMissing))) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  const status = httpStatusOf(error);
  return status === 404 || status === 410 || status === 403;
}

function checkDigest(bytes: Buffer, expected: AnyDigest, size: number | undefined, name: string): void {
  if (size !== undefined && bytes.length !== size) {
    throw new AirferryError(
      "ERR_UPSTREAM_SIZE",
      `cannot use "${name}": wrong size: expected ${size} bytes, got ${bytes.length}`,
      {
        path: name,
      },
    );
  }
  const actual = digestOf(bytes, expected);
  if (actual !== expected) throw wrongDigest(name, expected, actual, bytes.length);
}

/** Passes pieces on; fails at their end unless they have the digest. */
async function* checkedChunks(
  chunks: AsyncIterable<Uint8Array>,
  expected: AnyDigest,
  name: string,
): AsyncGenerator<Uint8Array> {
  const algorithm = algorithmOf(expected);
  const running = new RunningDigest([algorithm]);
  let size = 0;
  for await (const chunk of chunks) {
    running.update(chunk);
    size += chunk.length;
    yield chunk;
  }
  const actual = running.digests()[algorithm] ?? "";
  if (actual !== expected) throw wrongDigest(name, expected, actual, size);
}

function wrongDigest(name: string, expected: string, actual: string, size: number): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_DIGEST",
    `cannot use "${name}": digest mismatch: expected ${expected}, got ${actual} over ${size} bytes`,
    { path: name, expected, actual, hint: "upstream is damaged or being updated" },
  );
}

function tooLarge(name: string, record: RepomdRecord, size: number): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_SIZE",
    `cannot read "${name}: ${record.href}": too large: expected at most ${MAX_METADATA_BYTES} bytes, got ${size}`,
    { path: record.href },
  );
}

function decodeHref(href: string): string {
  try {
    return /%[0-9a-fA-F]{2}/.test(href) ? decodeURIComponent(href) : href;
  } catch {
    return href;
  }
}
