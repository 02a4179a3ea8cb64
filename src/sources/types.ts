/**
 * What every kind of source does: `lock` resolves exactly what the manifest means (network, metadata only, except for
 * artifacts without a published digest), `plan` turns the locked entries into the files of the bundle without network
 * access. Types only.
 */

import type { Catalog } from "../bundle/inventory-types.ts";
import type { Fetcher } from "../fetch/types.ts";
import type { Authenticator } from "../http/authenticator.ts";
import type { Named } from "../http/named.ts";
import type { Digest } from "../io/digest.ts";
import type { Finding } from "../io/findings.ts";
import type { Integrity } from "../io/integrity.ts";
import type { Established, Extent, Kind, RandomAccess } from "../io/types.ts";
import type { Manifest } from "../manifest/schema.ts";
import type { Codec } from "./archive/inflate.ts";
import type { CachedArtifact } from "./cache.ts";
import type { HashedBytes } from "./hashed-bytes.ts";
import type { LocalPlaces } from "./local-path.ts";
import type { LockedOf } from "./lock-document.ts";

/** Where the bytes of an item come from. */
export type ItemSource =
  | { from: "url"; urls: string[]; named: Named; auth?: Authenticator; etag?: string }
  /**
   * With `offset`: `size` bytes from there on, of a larger file; with `codec`, of its decompressed content. With
   * `extents`: these parts of the file, one after the other.
   */
  | { from: "file"; file: string; offset?: number; codec?: Codec; extents?: readonly Extent[] }
  | { from: "kept"; digest: Digest }
  /**
   * Generated once everything else is fetched. Must give exactly `size` bytes and be a pure function of lock and keys.
   */
  | { from: "generated"; make: (digestAt: (path: string) => Digest, path: string) => Promise<Uint8Array> | Uint8Array };

export interface PlanItem {
  path: string;
  kind: Kind | "generated";
  mode: "0644" | "0755";
  /** Bytes; absent when upstream does not say: pack then fetches it before the layout. */
  size?: number;
  integrity?: Integrity;
  established: Established;
  signedBy?: string[];
  source: ItemSource;
  /** More sources of the same bytes, tried in order when `source` fails. */
  others?: ItemSource[];
  /** The URL that the bytes are of, where `source` does not tell it. */
  origin?: string;
  /** If the path is meaningless to people: what it belongs to, and what to do when its bytes are unavailable. */
  about?: { name: string; hint: string };
  /**
   * Checks the bytes once their digest is right, before they count as fetched (for example an RPM's signature).
   * Throws an AirferryError (ERR_UPSTREAM_SIGNATURE …) to refuse them.
   */
  check?: (bytes: RandomAccess) => Promise<void>;
  /**
   * Checks the bytes once their digest is right for what cannot work inside although it matches upstream: findings are
   * reported, and `pack` refuses errors. Called again for what an earlier run fetched, so it should read little.
   */
  look?: (bytes: RandomAccess, item: PlanItem) => Promise<readonly Finding[]>;
  /**
   * A wrong digest, or a `check` that throws, drops the item and reports it instead of failing the pack; see `exclude`.
   */
  quarantine?: true;
}

/** One item that `quarantine` dropped. */
export interface ItemFault {
  path: string;
  reason: string;
}

/** What reading metadata of upstream needs. */
export interface UpstreamContext extends LocalPlaces {
  fetcher: Fetcher;
  /** Reports progress, one line of text. */
  report: (line: string) => void;
}

/** What `lock` gives a source to work with. */
export interface LockContext<K extends Kind = Kind> extends UpstreamContext {
  manifest: Manifest;
  /** Locked entries of this kind whose manifest text did not change, by name: reused unless `update` names them. */
  previous: ReadonlyMap<string, LockedOf<K>>;
  /** Entries to lock again although their text is unchanged. */
  update: (kind: Kind, name: string) => boolean;
  /** `x.lock.d/`: small blobs by digest. */
  kept: LockBlobs;
  /** RFC 3339 time for everything generated at lock time. */
  time: string;
  /** False for `plan`: only metadata may be downloaded, artifacts without published digest stay unpinned. */
  pinFirstSight: boolean;
  /** Downloads a big artifact into the cache, hashing it: SHA-256 and size. `pack` finds it there by digest. */
  download: (
    target: { urls: readonly string[]; named: Named },
    limits?: { maxBytes?: number },
  ) => Promise<CachedArtifact>;
  /**
   * Opens an ISO of the manifest by name: a local file, or a downloaded one that has the locked digest.
   * Undefined when it is not on this host and may not be fetched now. The caller closes it.
   */
  openIso: (name: string) => Promise<{ bytes: RandomAccess; close(): Promise<void> } | undefined>;
  /** Counts bytes of local files that are hashed. */
  hashed: HashedBytes;
  /** Whether `openIso` may download; `plan` does not. */
  fetchIsos: boolean;
}

/** Blobs that the lock depends on, by digest. Reading checks the digest. */
export interface LockBlobs {
  put(bytes: Uint8Array): Promise<Digest>;
  has(digest: Digest): Promise<boolean>;
  get(digest: Digest): Promise<Buffer>;
}

/** What `plan` gives a source to work with. */
export interface PlanContext extends LocalPlaces {
  manifest: Manifest;
  kept: LockBlobs;
  /** The lock's time. */
  time: string;
  /** Detached, armored OpenPGP signature by the bundle's RPM key; absent without a key (plan, --unsigned). */
  signRpmMetadata?: (bytes: Uint8Array) => Promise<Uint8Array>;
  /** Armored public key of the same. */
  rpmPublicKey?: Uint8Array;
  fetcher: Fetcher;
  /** Path of bytes that a kind before this one carries. */
  carriedAt?: (digest: Digest, size: number) => string | undefined;
}

/** One kind of source. `lock` gets all entries of the kind at once, because closures span them. */
export interface SourceKind<K extends Kind = Kind> {
  kind: K;
  lock(context: LockContext<K>): Promise<LockedOf<K>[]>;
  /** Items in a fixed order, and their part of the catalog. */
  plan(
    entries: readonly LockedOf<K>[],
    context: PlanContext,
  ): Promise<{ items: PlanItem[]; catalog: Partial<Omit<Catalog, "provenance">> }>;
  /** What moved upstream since it was locked. An unreachable upstream is reported and counts as unmoved. */
  drift?(
    entries: readonly LockedOf<K>[],
    context: Pick<LockContext, "manifest" | "baseDir" | "fetcher" | "report">,
  ): Promise<{ name: string; message: string }[]>;
  /** What cannot work inside among the locked entries; no network. */
  findings?(entries: readonly LockedOf<K>[], context: PlanContext): Promise<Finding[]> | Finding[];
  /** Removes dropped items from a locked entry (and from the metadata generated for it). */
  exclude?(entry: LockedOf<K>, faults: readonly ItemFault[], context: PlanContext): Promise<LockedOf<K>>;
}
