/**
 * The interface of a store: blobs by digest and the signed record of each release. Types only.
 *
 * ```
 * STORE/
 *   airferry-store.json                    {"storeVersion":1}
 *   blobs/sha256/ab/<64 hex>               read-only, verified before the name exists
 *   releases/<stream>/<serial, 6 digits>/  SHA256SUMS, signatures/, airferry.json, BOM.*, data.pieces, trust/,
 *                                          import.json, packages.idx
 *   releases/<stream>/current              the serial being served; replaced by rename
 *   incoming/                              quarantine: what is being unpacked
 * ```
 */
import type { AttestationFacts } from "../bundle/attest-rules.ts";
import type { Inventory, InventoryEntry } from "../bundle/inventory-types.ts";
import type { Digest } from "../io/digest.ts";
import type { HeldExtent } from "../io/held-files.ts";
import type { RandomAccess } from "../io/types.ts";
import type { StampedSigner } from "../sign/timestamp.ts";

/** A release that is complete in the store. */
export interface Release {
  stream: string;
  serial: number;
  /** SHA-256 of its SHA256SUMS: the identity of the release. */
  digest: Digest;
  /** keyids (hex) of the distinct trusted keys that signed it. */
  signers: string[];
  /** RFC 3339: when it was unpacked here. */
  importedAt: string;
  inventory: Inventory;
  /** By path, for lookups. */
  entries: Pick<ReadonlyMap<string, InventoryEntry>, "get" | "has">;
  /** The bill of materials as it came; absent: the bundle had none. */
  bom?: readonly ReleaseDocument[];
  /** Its attestations as they came. */
  attested?: readonly ReleaseDocument[];
  /** What was attested about it, by whom, and what that was worth when it came in. */
  attestations?: readonly AttestationFacts[];
  /** Timestamps of its signatures that counted. */
  timestamps?: readonly StampedSigner[];
  /** The digests of the pieces of its entries above 1 MiB; absent: none, or the file is lost. */
  pieces?: ReleaseDocument;
}

/** A file of a release that is no entry. */
export interface ReleaseDocument {
  /** `BOM.html`, `BOM.cdx.json`, `data.pieces`, `attest.scan.sigstore.json`. */
  name: string;
  /** Path of its file. */
  file: string;
  digest: Digest;
  size: number;
}

/** One release in the history of a stream. */
export interface PastRelease {
  /** Its folder's: the serial in six digits, after the epoch once that was raised. */
  name: string;
  serial: number;
  digest: Digest;
  /** RFC 3339. */
  created: string;
  notAfter?: string;
  importedAt: string;
  signers: readonly string[];
  /** An operator allowed a rollback to it. */
  rolledBack: boolean;
  /** It is the one that is served. */
  current: boolean;
}

/** What a store remembers of releases besides their content; not every reader has it. */
export interface StoreRecords {
  /** The releases of a stream, newest first, at most `limit`. */
  history(stream: string, limit: number): Promise<PastRelease[]>;
  /** Folder of a release's record, by its stream and name. */
  recordPath(stream: string, name: string): string;
  /** Folder name of a current release. */
  recordName(release: Release): string;
  /** Names that the operator gave to the files of a current release's trusted keys, by keyid. */
  signerNames(release: Release): Promise<Record<string, string>>;
}

/** A blob that is open; the caller closes it. */
export interface OpenBlob {
  bytes: RandomAccess;
  close(): Promise<void>;
}

/** A stream whose current release is unreadable. */
export interface ReleaseFault {
  stream: string;
  error: Error;
}

/** The read side of a store, for the server and render. */
export interface StoreReader {
  readonly dir: string;
  /** Streams that the last {@link StoreReader.releases} skipped, or returned in their previous state; absent: none. */
  readonly faults?: readonly ReleaseFault[];
  /** Set where the releases come from another thread, which has tried whether they can be served. */
  readonly areTried?: boolean;
  /**
   * The current release of every stream, sorted by stream. Cheap when nothing changed since the last call. An
   * unreadable one affects only itself.
   */
  releases(): Promise<readonly Release[]>;
  /** Path of a blob's file; does not check that it exists. With `findHeld` a name for that alone. */
  blobPath(digest: Digest): string;
  /**
   * The parts of open files that are the blob or document with a name. Absent: names are paths of files.
   * @throws an error like the system's, with the code ENOENT, for what is not here
   */
  findHeld?(name: string): readonly HeldExtent[];
  /**
   * Opens a blob, where it is no file at its path: what is read of it is checked.
   * @throws {AirferryError} ERR_OBJECT_STORAGE, ERR_STORE_INVALID; `read` as well
   */
  openBlob?(digest: Digest): Promise<OpenBlob>;
  /**
   * What the pieces of a file may be, by its path: lists of digests (io/piece-digests.ts), usually one. Undefined if
   * that is unknown.
   * @throws {AirferryError} when the list of a release is damaged
   */
  pieceLists?(path: string, size: number): Promise<readonly Uint8Array[] | undefined>;
  /** Absent for readers that have releases only. */
  readonly records?: StoreRecords;
}
