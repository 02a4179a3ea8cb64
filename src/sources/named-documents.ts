/**
 * Documents that `checksums:` of an entry names: upstream's lists of checksums, their signatures and the keys. A build
 * inside asks for them at the same URLs, so they are kept with the lock and carried as they were read. docs/format.md,
 * "Documents of upstream".
 */
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { redactUrl } from "../io/redact.ts";
import type { Established } from "../io/types.ts";
import { isOwnHost } from "../io/web-url.ts";
import { DOCUMENTS_ROOT, type LockedDocument, lockedDocument } from "./locked-artifact.ts";
import type { LockBlobs, PlanItem } from "./types.ts";

/** Enough of a digest for the folders of one bundle. */
const FOLDER_DIGITS = 32;
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$/;

/** A document as it was read. */
export interface NamedDocument {
  /** As the manifest has it. */
  url: string;
  bytes: Buffer;
  established: Established;
  /** Fingerprints of the keys that signed it, for `upstream-signed`. */
  signedBy?: string[];
}

interface WithDocuments {
  documents?: LockedDocument[];
}

/**
 * Keeps documents with the lock. Those whose URL has a part that may be a secret are left out, since they could not be
 * named inside; so are those of this host itself. Empty when nothing is left.
 */
export async function keepDocuments(read: readonly NamedDocument[], kept: LockBlobs): Promise<WithDocuments> {
  const documents = new Map<string, LockedDocument>();
  for (const { url: asked, bytes, established, signedBy } of read) {
    const url = redactUrl(asked);
    if (url.includes("***") || isOwnHost(new URL(url).host)) continue;
    const digest = await kept.put(bytes);
    const document = { established, kept: digest, path: pathOf(url, digest), size: bytes.length, url };
    documents.set(document.path, lockedDocument.parse({ ...document, ...(signedBy && { signedBy }) }));
  }
  return documents.size === 0 ? {} : { documents: [...documents.values()] };
}

/** Another path for each URL and content, so that entries that were locked at different times have both. */
function pathOf(url: string, digest: Digest): string {
  const folder = hexOf(digestOf(`${url}\n${digest}`)).slice(0, FOLDER_DIGITS);
  const last = new URL(url).pathname.split("/").at(-1) ?? "";
  return `${DOCUMENTS_ROOT}${folder}/${PLAIN_NAME.test(last) ? last : "document"}`;
}

/** Locked entries whose documents are still in the lock's folder; the others are locked again. */
export async function withKeptDocuments<E extends WithDocuments>(
  previous: ReadonlyMap<string, E>,
  kept: LockBlobs,
): Promise<Map<string, E>> {
  const whole = new Map(previous);
  for (const [name, { documents = [] }] of previous)
    for (const it of documents) if (!(await kept.has(it.kept))) whole.delete(name);
  return whole;
}

/** The plan items of the documents of entries, each once. */
export function documentItems(entries: readonly WithDocuments[]): PlanItem[] {
  const all = new Map(entries.flatMap(({ documents = [] }) => documents).map((it) => [it.path, it]));
  return [...all.values()].map(({ path, kept, size, established, signedBy, url }) => ({
    path,
    kind: "file",
    mode: "0644",
    size,
    integrity: kept,
    established,
    ...(signedBy && { signedBy }),
    source: { from: "kept", digest: kept },
    origin: url,
  }));
}
