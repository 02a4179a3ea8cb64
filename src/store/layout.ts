/**
 * Names inside a store. See docs/design.md, "The store", and the tree in types.ts.
 */
import { join } from "node:path";
import { type Digest, hexOf } from "../io/digest.ts";
import { fileIn } from "../io/path-grammar.ts";

export const STORE_FILE = "airferry-store.json";
export const STORE_VERSION = 1;
export const LOCK_FILE = "lock";
export const CURRENT_FILE = "current";
/** Folder of the versions of the trust root that this store has accepted. */
export const TRUST_FOLDER = "trust";
/** What was done to the store, line by line. */
export const JOURNAL_FILE = "journal.jsonl";
export const FLOOR_FILE = "floor.json";
export const IMPORT_FILE = "import.json";
/** Index of the release's packages, made from the verified metadata (src/packages); may be missing. */
export const PACKAGES_FILE = "packages.idx";

const RELEASE_NAME = /^(?:e\d{1,9}-)?\d{6,9}$/;

/** Whether a text is a {@link releaseName}. */
export function isReleaseName(text: string): boolean {
  return RELEASE_NAME.test(text);
}

/** What is wrong with the text of {@link STORE_FILE}; undefined: it is of a store that this program reads. */
export function versionFault(text: string): string | undefined {
  let version: unknown;
  try {
    version = (JSON.parse(text) as { storeVersion?: unknown }).storeVersion;
  } catch {
    version = undefined;
  }
  if (version === STORE_VERSION) return undefined;
  return `version ${JSON.stringify(version) ?? "unknown"}: expected ${STORE_VERSION}`;
}

/** Path of a blob. */
export function blobPathIn(dir: string, digest: Digest): string {
  const hex = hexOf(digest);
  return join(dir, "blobs", "sha256", hex.slice(0, 2), hex);
}

/** Key of a blob in object storage, below the store's prefix. */
export function blobKey(digest: Digest): string {
  return blobPathIn("", digest);
}

/** Folder name of a release: its serial in six digits, prefixed with the epoch once it was raised. */
export function releaseName(epoch: number, serial: number): string {
  const digits = String(serial).padStart(6, "0");
  return epoch <= 1 ? digits : `e${epoch}-${digits}`;
}

export function streamFolder(dir: string, stream: string): string {
  return fileIn(join(dir, "releases"), stream, "stream");
}

/** Folder for the unfinished import of one bundle, by the digest of its SHA256SUMS. */
export function incomingFolder(dir: string, digest: Digest): string {
  return join(dir, "incoming", hexOf(digest));
}
