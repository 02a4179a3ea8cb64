/**
 * The inventory `airferry.json`: the signed list of all entries of a bundle and what they mean. Types only;
 * inventory.ts parses and formats. See docs/format.md, "Inventory".
 */
import type { Digest } from "../io/digest.ts";
import type { EstablishedCounts } from "../io/established.ts";
import type { Established, Kind } from "../io/types.ts";
import type { EntryTable, TableEntry } from "./entry-table.ts";

/** The hint for ERR_BUNDLE_VERSION. */
export const NEWER_AIRFERRY = "a newer airferry packed it: bring that version in, and use it here too";

/** In `requires` exactly if an entry is built by a recipe. */
export const REQUIRES_RECIPES = "recipes";

export const INVENTORY_MEDIA_TYPE = "application/vnd.airferry.inventory.v1+json";

/** One file of the release. */
export type InventoryEntry = TableEntry;

export interface InventoryVolume {
  /** `data.tar.0000` … */
  name: string;
  size: number;
  digest: Digest;
}

/** Where an artifact came from and why its digest is trusted. */
export interface Provenance {
  /** The entry paths that it covers: a path, or a prefix ending in `/`. */
  path: string;
  kind: Exclude<Kind, "web"> | "generated";
  /** Original URL without credentials, or the base name of a local file. */
  source: string;
  established: Established;
  signedBy?: string[];
  /** SRI that upstream published or the manifest gave, unless it is the entry's SHA-256. */
  integrity?: string;
}

/** A table (provenance-table.ts), unless it was made here. */
type ProvenanceLines = Iterable<Provenance> & {
  readonly length: number;
  /** How the digests were established. */
  readonly established?: EstablishedCounts;
};

export interface CatalogIso {
  name: string;
  /** `isos/NAME.iso`. */
  path: string;
  volumeId?: string;
}

interface CatalogFile {
  path: string;
}

/** One RPM repository. */
export interface CatalogRpm {
  name: string;
  /** `rpms/NAME/`. */
  path: string;
  mode: "exact" | "subset" | "loose";
  /** Who signed the repodata/repomd.xml in the bundle. */
  repomdSignedBy: "upstream" | "airferry" | "none";
  gpgcheck: boolean;
  /** Packages or metadata may be signed with SHA-1 or a short key: the manifest allowed it. */
  legacySignatures?: boolean;
  /** Paths below `keys/` of the OpenPGP keys for checking packages and metadata. */
  keys: string[];
  packages: number;
  /** Has a .treeinfo: an installation source. */
  tree: boolean;
  rpmrepo: boolean;
  moduleHotfixes?: boolean;
  arch?: string[];
}

export interface CatalogImage {
  /** Canonical `host/path:tag`, `host/path@sha256:…` or both. */
  reference: string;
  digest: Digest;
  mediaType: string;
  size: number;
  /** Platforms whose layers are in the bundle; empty: all, or not an image. */
  platforms: string[];
  /** Digests (manifest-level) that are reachable under this reference's repository: children, referrers, signatures. */
  manifests: Digest[];
  /** Tags to digests besides the reference's own: such as `sha256-….sig`. */
  tags?: Record<string, Digest>;
  /** Where it came from: the requested reference, or the base name of an archive. */
  source?: string;
  /** How its digest was established for this reference: another one may share the bytes. */
  established?: Established;
  /** keyids of the cosign keys that signed it, as checked when it was packed. */
  signedBy?: string[];
  /** Carried manifests that refer to it, checked or not: signatures, attestations, SBOMs. */
  attached?: number;
  /** Clients outside reach the registry of the reference over plain HTTP. */
  insecure?: true;
}

export interface CatalogKey {
  /** `keys/NAME`. */
  path: string;
  fingerprints: string[];
  /**
   * Owners: repository names, paths of ISOs (for the repositories inside), or `airferry` for the bundle's own RPM key.
   */
  for: string[];
}

/** Answers of web servers, by the entry of the manifest. */
export interface CatalogWeb {
  name: string;
  answers: number;
  /** `https://host` or `http://host:port`, without default ports, sorted: of all URLs. */
  origins: string[];
  /** Git repositories; absent if there are none. */
  repositories?: number;
}

/**
 * A URL that clients outside use for content of the bundle and that no `source` of {@link Provenance} says: a mirror, a
 * repository's address where its packages do not show it, its list of mirrors, its keys.
 */
export interface CatalogOrigin {
  /** An entry, or the prefix of a repository. */
  path: string;
  /** Without user, password and fragment; a query only for a list of mirrors, and of its public parameters. */
  url: string;
  /** The URL answers with a list of the repository's mirrors. */
  list?: "mirrorlist" | "metalink";
}

export interface Catalog {
  isos: CatalogIso[];
  /** Of an inventory that another thread has read, a list of entries (entry-list.ts). */
  files: Iterable<CatalogFile> & { readonly length: number };
  rpms: CatalogRpm[];
  images: CatalogImage[];
  keys: CatalogKey[];
  provenance: ProvenanceLines;
  /** Absent if there are none. */
  web?: CatalogWeb[];
  /** Absent when `provenance` says it all. */
  origins?: CatalogOrigin[];
}

/** An inventory to be written: the lines of provenance may be made while they are written. */
export interface WrittenInventory extends Omit<Inventory, "catalog"> {
  catalog: WrittenCatalog;
}

export interface WrittenCatalog extends Omit<Catalog, "provenance"> {
  /** Can be read more than once. */
  provenance: Iterable<Provenance>;
}

/** One release of a stream. */
export interface ReleaseName {
  epoch: number;
  serial: number;
  /** Of its SHA256SUMS; in the file: `sha256`, hex. */
  digest: Digest;
}

export interface Inventory {
  mediaType: typeof INVENTORY_MEDIA_TYPE;
  /** Names of what a reader must know to read it: `recipes`, if an entry is built by one. */
  requires: string[];
  stream: string;
  /** Raised manually when serials must restart; compared before serial. */
  epoch: number;
  serial: number;
  /** RFC 3339 UTC, whole seconds. */
  created: string;
  notAfter?: string;
  /** Names of the sites that it was made for, sorted; absent: for all. */
  audience?: string[];
  /** The previous release. */
  previous?: ReleaseName;
  /** In a delta: the releases that have what it does not carry; sorted by epoch and serial. */
  bases?: ReleaseName[];
  /** Digest of the lock's canonical JSON that this bundle was packed from. */
  lock: Digest;
  tool: string;
  streamSize: number;
  volumeSize: number;
  volumes: InventoryVolume[];
  /** Sorted by path, by UTF-8 bytes. */
  entries: EntryTable;
  catalog: Catalog;
  /** The manifest's `builder:`, carried unchanged. */
  builder?: unknown;
  /** What this version does not know. */
  ext: Record<string, unknown>;
}
