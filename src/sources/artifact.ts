/**
 * Resolves one artifact of `isos:` or `files:`: where it is, how large it is, which digest is trusted and why. Requests
 * upstream's checksum file and a HEAD; downloads the artifact itself only when no digest or size is published.
 */

import { access, constants, stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import type { HeadResult } from "../fetch/types.ts";
import type { Authenticator } from "../http/authenticator.ts";
import { BY_USER, type Named } from "../http/named.ts";
import { ioError, systemFault } from "../io/atomic.ts";
import { type Digest, type Digests, EMPTY_DIGEST, hexOf, parseHex } from "../io/digest.ts";
import { parseBytes } from "../io/format.ts";
import { digestsOfFile } from "../io/hash-file.ts";
import { algorithmsIn, type Integrity, joinDigests, mismatchOf, parseWholeIntegrity } from "../io/integrity.ts";
import type { Established } from "../io/types.ts";
import type { PublishedIso } from "../iso/published.ts";
import { fileEntryOf } from "../manifest/entry-names.ts";
import type { FileEntry, IsoEntry, Manifest } from "../manifest/schema.ts";
import { MAX_FIRST_SIGHT_BYTES } from "./cache.ts";
import { contentFindings } from "./content-sniffer.ts";
import { type LocalPlaces, localPath } from "./local-path.ts";
import type { LockedEntry } from "./lock-document.ts";
import type { LockedArtifact } from "./locked-artifact.ts";
import { keepDocuments, type NamedDocument } from "./named-documents.ts";
import { askedUrls, recordedUrls, userUrlsOf } from "./recorded-urls.ts";
import type { ItemSource, LockContext, PlanContext, PlanItem } from "./types.ts";

/**
 * The most bytes that an entry of the manifest accepts: its `max_size`. Undefined if it has none; first sight then has
 * a separate limit (cache.ts).
 */
export function maxBytesOf({ kind, name }: Pick<LockedEntry, "kind" | "name">, manifest: Manifest): number | undefined {
  const entry =
    kind === "iso"
      ? manifest.isos?.find((it) => it.name === name)
      : kind === "file"
        ? fileEntryOf(manifest, name)
        : kind === "web"
          ? manifest.web?.find((it) => it.name === name)
          : undefined;
  return entry?.max_size === undefined ? undefined : parseBytes(entry.max_size);
}

interface Claim {
  integrity?: Integrity;
  size?: number;
  established: Established;
  signedBy?: string[];
  /** Set if the claim is based on the file's name. */
  published?: PublishedIso;
  /** What was read for it from the network. */
  documents?: NamedDocument[];
}

/** A locked artifact, and what else its entry has in the lock. */
type LockedWithDocuments = Awaited<ReturnType<typeof keepDocuments>> & { artifacts: [LockedArtifact] };

/**
 * Resolves one entry to a locked artifact at `path`, and keeps the documents that its `checksums:` names.
 * @throws {AirferryError} ERR_MANIFEST_INVALID for a missing local file; ERR_UPSTREAM* for upstream's faults
 */
export async function lockArtifact(
  entry: IsoEntry | FileEntry,
  path: string,
  context: LockContext,
): Promise<LockedWithDocuments> {
  const claim = await claimOf(entry, path, context);
  const lock = entry.path === undefined ? lockRemote : lockLocal;
  const artifact = await lock(entry, path, claim, context);
  return { artifacts: [artifact], ...(await keepDocuments(claim.documents ?? [], context.kept)) };
}

/** The digest according to the manifest or upstream, before any byte of the artifact is read. */
async function claimOf(entry: IsoEntry | FileEntry, path: string, context: LockContext): Promise<Claim> {
  const given = entry.sha256 ?? entry.integrity;
  if (given !== undefined) {
    const integrity = entry.sha256 === undefined ? parseWholeIntegrity(given) : parseHex(given.toLowerCase());
    if (integrity !== undefined) return { integrity, established: "manifest" };
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot use digest "${given}": expected 64 hex digits, or an SRI string: sha256-, sha384- or sha512- and base64`,
    );
  }
  if (entry.checksums === undefined) {
    if (!path.startsWith("isos/")) return { established: "first-sight" };
    const { publishedIso } = await import("../iso/published.ts");
    const published = publishedIso(originalName(entry));
    if (published === undefined) return { established: "first-sight" };
    context.report(`${published.name}: expecting the digest that ${published.vendor} publishes (${published.source})`);
    return { integrity: published.digest, established: "upstream-checksum", published };
  }
  const { resolveChecksums } = await import("./checksums.ts");
  return resolveChecksums(entry.checksums, originalName(entry), context, entry.url ?? entry.urls?.[0]);
}

/** The name upstream's checksum file lists: the last segment of the URL or path. */
function originalName(entry: IsoEntry | FileEntry): string {
  const place = entry.url ?? entry.urls?.[0];
  const segment = (place === undefined ? (entry.path ?? "") : new URL(place).pathname).split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

async function lockLocal(
  entry: IsoEntry | FileEntry,
  path: string,
  claim: Claim,
  context: LockContext,
): Promise<LockedArtifact> {
  const given = entry.path as string;
  const file = localPath(given, context);
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error || !found.isFile()) {
    const isAbsent = found instanceof Error && (found as NodeJS.ErrnoException).code === "ENOENT";
    const fault = isAbsent ? "no such file" : found instanceof Error ? systemFault(found) : "not a regular file";
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot lock "${path}": ${fault}: "${given}"`, {
      path: given,
      hint: "paths in a manifest are relative to the manifest's own folder",
      ...(found instanceof Error && { cause: found }),
    });
  }
  verifyBound(entry, path, found.size, true);
  context.report(`hashing ${given}`);
  const onBytes = (bytes: number) => context.hashed.add(bytes, given);
  const others = algorithmsIn(claim.integrity);
  const { digests, read } = await digestsOfFile(file, found.size, others, onBytes).catch((cause) => {
    throw ioError("read", file, cause);
  });
  if (read !== found.size) {
    throw new AirferryError(
      "ERR_IO",
      `cannot lock "${path}": "${given}" changed while it was read: expected ${found.size} bytes, got ${read}`,
      { path: given, hint: "run the command again when nobody writes the file any more" },
    );
  }
  const wrong = claim.integrity && mismatchOf(claim.integrity, digests);
  if (wrong !== undefined) throw mismatch(path, given, wrong, found.size, claim.published);
  if (claim.size !== undefined && claim.size !== found.size) {
    throw new AirferryError(
      "ERR_UPSTREAM_SIZE",
      `cannot lock "${path}": wrong size of "${given}": expected ${claim.size} bytes, got ${found.size}`,
    );
  }
  const executable =
    (found.mode & 0o111) !== 0 &&
    (await access(file, constants.X_OK).then(
      () => true,
      () => false,
    ));
  const mode =
    "mode" in entry && entry.mode !== undefined
      ? entry.mode
      : executable && path.startsWith("files/")
        ? "0755"
        : "0644";
  return {
    path,
    file: given,
    size: found.size,
    integrity: integrityOf(digests, claim.integrity),
    established: claim.established,
    ...(claim.signedBy && { signedBy: claim.signedBy }),
    ...(mode === "0755" && { mode }),
  };
}

async function lockRemote(
  entry: IsoEntry | FileEntry,
  path: string,
  claim: Claim,
  context: LockContext,
): Promise<LockedArtifact> {
  const urls = entry.urls ?? [entry.url as string];
  const target = { urls: [...urls], named: BY_USER };
  const base = {
    path,
    urls: recordedUrls(urls, urls),
    established: claim.established,
    ...(claim.signedBy && { signedBy: claim.signedBy }),
    ...("mode" in entry && entry.mode === "0755" && { mode: entry.mode }),
  };
  if (claim.integrity === undefined && context.pinFirstSight) {
    context.report(`pinning ${base.urls[0]} on first sight: no digest is published`);
    const maxBytes = entry.max_size === undefined ? undefined : parseBytes(entry.max_size);
    const { digest, size, etag } = await context.download(target, maxBytes === undefined ? {} : { maxBytes });
    return { ...base, size, integrity: digest, ...(etag && { etag }) };
  }
  const heads = await headsOf(target, claim, context);
  const [head] = heads as [HeadResult];
  const sizes = heads.flatMap((it) => it.size ?? []);
  if (claim.size !== undefined && sizes.length > 0 && !sizes.includes(claim.size)) {
    throw new AirferryError(
      "ERR_UPSTREAM_SIZE",
      `cannot lock "${path}": wrong size at ${base.urls[0]}: expected ${claim.size} bytes (checksum file), got ${sizes[0]}`,
      { hint: "upstream's file and checksum file disagree; try another mirror, or wait until upstream fixes it" },
    );
  }
  // Mirrors that differ: the digest decides, and pack fetches it before it needs the size.
  const size = claim.size ?? (new Set(sizes).size === 1 ? sizes[0] : undefined);
  verifyBound(entry, path, size, claim.integrity !== undefined);
  return {
    ...base,
    ...(size !== undefined && { size }),
    ...(claim.integrity !== undefined && { integrity: claim.integrity }),
    ...(head.etag && { etag: head.etag }),
  };
}

/** @throws {AirferryError} ERR_UPSTREAM_SIZE for more than the entry accepts, or than first sight accepts */
export function verifyBound(
  entry: Pick<IsoEntry, "max_size">,
  path: string,
  size: number | undefined,
  isKnown: boolean,
): void {
  const bound =
    entry.max_size === undefined ? (isKnown ? undefined : MAX_FIRST_SIGHT_BYTES) : parseBytes(entry.max_size);
  if (size === undefined || bound === undefined || size <= bound) return;
  throw new AirferryError(
    "ERR_UPSTREAM_SIZE",
    `cannot lock "${path}": too large: expected at most ${bound} bytes, got ${size}`,
    { path, expected: `at most ${bound} bytes`, actual: `${size} bytes`, hint: LARGER },
  );
}

const LARGER = "if it really is that large, set max_size: 100GiB in the manifest, or give its digest: sha256: …";

/** What the mirrors report, first the first one in order that answers; of all of them if a digest can decide. */
async function headsOf(
  target: { urls: string[]; named: Named },
  claim: Claim,
  context: LockContext,
): Promise<HeadResult[]> {
  const first = await context.fetcher.head(target);
  if (claim.integrity === undefined) return [first];
  const others = target.urls.slice(target.urls.indexOf(first.url) + 1);
  const heads = await Promise.all(
    others.map((url) => context.fetcher.head({ ...target, urls: [url], retries: 0 }).catch(() => undefined)),
  );
  return [first, ...heads.filter((it) => it !== undefined)];
}

/** All of a file's digests in the order in which they were claimed, SHA-256 last where it was not. */
function integrityOf(digests: Digests, claimed: Integrity | undefined): Integrity {
  const algorithms = new Set(algorithmsIn(claimed)).add("sha256");
  return joinDigests([...algorithms].flatMap((it) => digests[it] ?? [])) ?? digests.sha256;
}

function mismatch(
  path: string,
  place: string,
  { expected, actual }: { expected: string; actual: string },
  size: number,
  published?: PublishedIso,
): AirferryError {
  const hint =
    published === undefined
      ? "the file or the digest in the manifest is wrong; compare with what upstream publishes"
      : `this is not the ${published.name} that ${published.vendor} publishes: download it again; for a custom image give sha256: in the manifest`;
  return new AirferryError(
    "ERR_UPSTREAM_DIGEST",
    `cannot lock "${path}": digest mismatch of "${place}": expected ${expected}, got ${actual} over ${size} bytes`,
    { path: place, expected, actual, hint },
  );
}

/** The plan item of a locked artifact. `byUser`: see `userUrlsOf`; `auth` is for its URLs. */
export function itemOf(
  kind: PlanItem["kind"],
  artifact: LockedArtifact,
  { byUser, auth, ...places }: LocalPlaces & { byUser: readonly string[]; auth?: Authenticator | undefined },
): PlanItem {
  return {
    path: artifact.path,
    kind,
    mode: artifact.mode ?? "0644",
    ...(artifact.size !== undefined && { size: artifact.size }),
    ...(artifact.integrity !== undefined && { integrity: artifact.integrity }),
    established: artifact.established,
    ...(artifact.signedBy && { signedBy: artifact.signedBy }),
    source: sourceOf(artifact, places, byUser, auth),
  };
}

function sourceOf(
  { kept, file, offset, codec, urls = [], etag }: LockedArtifact,
  places: LocalPlaces,
  byUser: readonly string[],
  auth: Authenticator | undefined,
): ItemSource {
  if (kept !== undefined) return { from: "kept", digest: kept };
  if (file === undefined) {
    return { from: "url", ...askedUrls(urls, byUser), ...(auth && { auth }), ...(etag && { etag }) };
  }
  const part = { ...(offset !== undefined && { offset }), ...(codec && { codec }) };
  return { from: "file", file: localPath(file, places), ...part };
}

/** The plan item of generated bytes. */
export function generatedItem(path: string, bytes: Buffer): PlanItem {
  return {
    path,
    kind: "generated",
    mode: "0644",
    size: bytes.length,
    established: "generated",
    source: { from: "generated", make: () => bytes },
  };
}

/** The plan items of all artifacts of entries. */
export function itemsOf(
  kind: "iso" | "file",
  entries: readonly LockedEntry[],
  { baseDir, unpacked, manifest }: LocalPlaces & Pick<PlanContext, "manifest">,
): PlanItem[] {
  return entries.flatMap((entry) => {
    const isRemote = entry.artifacts.some((it) => it.urls !== undefined);
    const where = { baseDir, unpacked, byUser: isRemote ? userUrlsOf(entry, manifest) : [] };
    return entry.artifacts.map((it) => Object.assign(itemOf(kind, it, where), { look: lookAtContent }));
  });
}

/** Shared by all: there may be 100,000. */
const lookAtContent: NonNullable<PlanItem["look"]> = (bytes, { kind, path, mode, source, established }) =>
  contentFindings(bytes, {
    kind: kind === "iso" ? "iso" : "file",
    path,
    mode,
    isLocal: source.from === "file",
    isVouched: established !== "first-sight",
  });

/** A sidecar's text, of the digest and the name of the file before its ending. Shared by all: there may be 100,000. */
function sidecarForm(ending: string, text: (digest: Digest, name: string) => string) {
  const source: ItemSource = {
    from: "generated",
    make: (digestAt, path) => {
      const of = path.slice(0, -ending.length);
      return Buffer.from(text(digestAt(of), of.slice(of.lastIndexOf("/") + 1)));
    },
  };
  return { ending, text, source };
}

const SIDECARS = [
  sidecarForm(".sha256", (digest) => `${hexOf(digest)}\n`),
  sidecarForm(".sha256sum", (digest, name) => `${hexOf(digest)}  ${name}\n`),
];

/**
 * The two checksum sidecars of an artifact: `.sha256` is the bare digest, `.sha256sum` has two columns. Ansible's
 * get_url expects exactly these forms. Paths in `taken` (packed from upstream) win over a generated one.
 */
export function sidecarsOf(path: string, taken: ReadonlySet<string>): PlanItem[] {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return SIDECARS.filter(({ ending }) => !taken.has(path + ending)).map(({ ending, text, source }) => ({
    // One text instead of two and their sum.
    path: [path, ending].join(""),
    kind: "generated",
    mode: "0644",
    size: Buffer.byteLength(text(EMPTY_DIGEST, name)),
    established: "generated",
    source,
  }));
}
