/**
 * Verified bundles in the role of a store: blobs are parts of volumes that stay open. Nothing is written. Every thread
 * of a server makes one from the same plain data, and reads the same descriptors.
 */
import { resolve } from "node:path";
import type { EntryTable } from "../bundle/entry-table.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import { PIECES_NAME } from "../bundle/media-names.ts";
import { type SharedInventory, sharedInventory, shareInventory } from "../bundle/shared-inventory.ts";
import type { VerifiedBundle } from "../bundle/verified-bundles.ts";
import { piecesOf } from "../bundle/volume-layout.ts";
import { bug } from "../errors.ts";
import { type Digest, isDigest } from "../io/digest.ts";
import { HeldBytes, type HeldExtent, type HeldFile } from "../io/held-files.ts";
import type { RandomAccess } from "../io/types.ts";
import { BlobPieces } from "./blob-pieces.ts";
import { FedStore, type ReleaseFeed } from "./fed-store.ts";
import { releaseName } from "./layout.ts";
import { readReleaseApart } from "./read-apart.ts";
import { openStore, Store } from "./store.ts";
import type { PastRelease, Release, StoreReader, StoreRecords } from "./types.ts";

/** A verified bundle as plain data: threads share what it refers to. */
export interface SharedBundle {
  readonly digest: Digest;
  readonly signers: readonly string[];
  readonly signerNames: Readonly<Record<string, string>>;
  /** RFC 3339: when it was verified. */
  readonly verifiedAt: string;
  readonly folders: readonly string[];
  readonly inventory: SharedInventory;
  readonly volumes: readonly HeldFile[];
  readonly documents: VerifiedBundle["documents"];
  readonly attestations: VerifiedBundle["attestations"];
  readonly timestamps: VerifiedBundle["timestamps"];
  readonly pieces?: VerifiedBundle["pieces"];
}

/** The cache of a store that is elsewhere: its folder. */
interface CacheSource {
  readonly cache: string;
}

/** What a server reads from: a store's folder, a cache of one, or verified bundles. */
export type StoreSource = string | CacheSource | readonly SharedBundle[];

/** Makes plain data of a verified bundle. */
export function shareBundle(bundle: VerifiedBundle, now = new Date()): SharedBundle {
  const { digest, signers, signerNames, folders, volumes, documents, attestations, timestamps, pieces } = bundle;
  const inventory = shareInventory(bundle.inventory);
  const verifiedAt = `${now.toISOString().slice(0, 19)}Z`;
  const shared = {
    digest,
    signers,
    signerNames,
    verifiedAt,
    folders,
    inventory,
    volumes,
    documents,
    attestations,
    timestamps,
  };
  return pieces === undefined ? shared : { ...shared, pieces };
}

/** Opens what a server reads from. @throws {AirferryError} as {@link openStore} */
export async function openReader(source: StoreSource, feed?: ReleaseFeed): Promise<StoreReader> {
  if (typeof source === "string" || "cache" in source) {
    const dir = typeof source === "string" ? source : source.cache;
    if (feed !== undefined) return new FedStore(resolve(dir), feed);
    if (typeof source !== "string") return new Store(dir);
    const store = await openStore(dir);
    store.readRecord = (folder) => readReleaseApart(folder);
    return store;
  }
  return new BundleStore(
    source,
    source.map((it) => sharedInventory(it.inventory)),
  );
}

/** Where the bytes with a digest are. */
interface Place {
  volumes: readonly HeldFile[];
  volumeSize: number;
  offset: number;
  size: number;
}

/** What one bundle has in its volumes. */
interface Content {
  volumes: readonly HeldFile[];
  volumeSize: number;
  entries: EntryTable;
}

/** Reads bundles that were verified. Whoever verified them closes their files. */
export class BundleStore implements StoreReader {
  /** The first folder. */
  readonly dir: string;
  readonly #releases: readonly Release[];
  readonly #contents: readonly Content[];
  readonly #documents = new Map<string, Place>();
  readonly #signerNames = new Map<Release, Record<string, string>>();
  /** Readers of the lists of pieces. */
  readonly #lists = new Map<Release, RandomAccess["read"]>();
  readonly #pieces = new BlobPieces((release) => this.#lists.get(release));

  /** @param inventories those of the bundles, in their order */
  constructor(bundles: readonly SharedBundle[], inventories: readonly Inventory[]) {
    this.dir = bundles[0]?.folders[0] ?? bug("a server of no bundle");
    const inventoryOf = (index: number) => inventories[index] ?? bug("a bundle without inventory");
    this.#contents = bundles.map(({ volumes }, index) => {
      const { volumeSize, entries } = inventoryOf(index);
      return { volumes, volumeSize, entries };
    });
    const releases = bundles.map((it, index) => this.#release(it, inventoryOf(index)));
    this.#releases = Object.freeze(releases.sort((a, b) => (a.stream < b.stream ? -1 : 1)));
  }

  async releases(): Promise<readonly Release[]> {
    return this.#releases;
  }

  /** No path of a file: {@link BundleStore.findHeld} has its bytes. */
  blobPath(digest: Digest): string {
    return digest;
  }

  /** @throws an error like the system's, with the code ENOENT, for what no bundle has */
  findHeld(path: string): readonly HeldExtent[] {
    const place = this.#placeOf(path);
    if (place === undefined) throw Object.assign(new Error(`no bundle here has "${path}"`), { code: "ENOENT" });
    const { volumes, volumeSize, offset, size } = place;
    return piecesOf(offset, size, volumeSize).map((it) => {
      const held = volumes[it.volume] ?? bug(`no volume ${it.volume}`);
      return { held, offset: it.offset, size: it.length };
    });
  }

  async pieceLists(path: string, size: number): Promise<readonly Uint8Array[] | undefined> {
    return isDigest(path) ? this.#pieces.of(path, size, this.#releases) : undefined;
  }

  get records(): StoreRecords {
    return {
      history: async (stream) => this.#releases.filter((it) => it.stream === stream).map(asPast),
      recordPath: (stream, name) => `${stream}/${name}`,
      recordName: nameOf,
      signerNames: async (release) => this.#signerNames.get(release) ?? {},
    };
  }

  #placeOf(path: string): Place | undefined {
    for (const { volumes, volumeSize, entries } of isDigest(path) ? this.#contents : []) {
      const index = isDigest(path) ? entries.findDigest(path) : -1;
      const offset = index < 0 ? undefined : entries.offsetAt(index);
      if (offset !== undefined) return { volumes, volumeSize, offset, size: entries.sizeAt(index) };
    }
    return this.#documents.get(path);
  }

  #release(bundle: SharedBundle, inventory: Inventory): Release {
    const bom = bundle.documents.map(({ name, digest, held }) => {
      this.#documents.set(digest, { volumes: [held], volumeSize: Math.max(1, held.size), offset: 0, size: held.size });
      return { name, file: digest, digest, size: held.size };
    });
    const { pieces } = bundle;
    const release: Release = {
      stream: inventory.stream,
      serial: inventory.serial,
      digest: bundle.digest,
      signers: [...bundle.signers],
      importedAt: bundle.verifiedAt,
      inventory,
      entries: inventory.entries,
      ...(bom.length > 0 && { bom }),
      attestations: bundle.attestations,
      timestamps: bundle.timestamps,
      ...(pieces && {
        pieces: { name: PIECES_NAME, file: pieces.held.file, digest: pieces.digest, size: pieces.held.size },
      }),
    };
    if (pieces !== undefined) this.#lists.set(release, readHeld(pieces.held));
    this.#signerNames.set(release, { ...bundle.signerNames });
    return release;
  }
}

function readHeld(held: HeldFile): RandomAccess["read"] {
  const bytes = new HeldBytes([{ held, offset: 0, size: held.size }]);
  return async (position, length) => {
    const buffer = Buffer.allocUnsafe(length);
    return buffer.subarray(0, await bytes.fill(buffer, length, position));
  };
}

function nameOf({ inventory }: Release): string {
  return releaseName(inventory.epoch, inventory.serial);
}

function asPast(release: Release): PastRelease {
  const { serial, digest, importedAt, signers, inventory } = release;
  const { created, notAfter } = inventory;
  return {
    name: nameOf(release),
    serial,
    digest,
    created,
    ...(notAfter !== undefined && { notAfter }),
    importedAt,
    signers,
    rolledBack: false,
    current: true,
  };
}
