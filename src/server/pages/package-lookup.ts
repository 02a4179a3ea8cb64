/**
 * The indexes of packages of one site: that which `unpack` left beside the record of a release, else one that is made
 * for all threads (index-maker.ts). Searches run one after the other, so that no number of them slows down downloads.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AirferryError } from "../../errors.ts";
import type { Digest } from "../../io/digest.ts";
import { metadataPlaces } from "../../packages/metadata-places.ts";
import type { PackageIndex } from "../../packages/package-index.ts";
import type { IndexSource, MetadataPlace } from "../../packages/types.ts";
import type { Release, StoreReader } from "../../store/types.ts";
import type { ServeContext } from "../http/context.ts";
import { forgetLater } from "../http/forget-later.ts";
import type { SharedFiles } from "../http/handles.ts";
import type { MakeIndex } from "../process/index-maker.ts";

const INDEX_NAME = "packages.idx";
/** What an index is made of; all of a release is kept in memory meanwhile. */
const READ_METADATA = /\/repodata\/(?:repomd\.xml|[^/]*primary\.xml(?:\.[a-z0-9]+)?)$/;
const MAX_METADATA_BYTES = 64 * 1024 * 1024;
/** How long those wait who ask while an index is being made; counted from the first of them. */
const PATIENCE_MS = 5000;
/** Searches that wait for others; further ones are refused. */
const MAX_WAITING = 64;

/** Instead of an index that is still being made. */
export const PREPARING = "preparing";

interface Opening {
  index: Promise<PackageIndex | undefined>;
  /** Resolves when nobody should wait for it any longer. */
  patience: Promise<typeof PREPARING>;
}

export class PackageLookup {
  readonly #files: SharedFiles;
  readonly #make: MakeIndex;
  /** Old releases are garbage-collected with theirs. */
  readonly #open = new WeakMap<Release, Opening>();
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(files: SharedFiles, make: MakeIndex) {
    this.#files = files;
    this.#make = make;
  }

  /**
   * The index of a release; undefined when it has no packages, or they cannot be listed. `PREPARING` when it is still
   * being made five seconds after somebody asked first.
   */
  of(release: Release, context: ServeContext): Promise<PackageIndex | undefined | typeof PREPARING> {
    const opening = this.#open.get(release) ?? this.#begin(release, context);
    return Promise.race([opening.index, opening.patience]);
  }

  /** Runs work when it is its turn. Undefined, without running it, when too many wait. */
  async inTurn<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (this.#waiting >= MAX_WAITING) return undefined;
    this.#waiting++;
    const before = this.#turn;
    const mine = before.then(work, work);
    this.#turn = mine.catch(() => {});
    try {
      return await mine;
    } finally {
      this.#waiting--;
    }
  }

  #begin(release: Release, context: ServeContext): Opening {
    const index = this.#load(release, context).catch((error: unknown) => {
      context.tellFault(error);
      forgetLater(this.#open, release);
      return undefined;
    });
    const opening: Opening = { index, patience: sleep(PATIENCE_MS, PREPARING, { ref: false }) };
    this.#open.set(release, opening);
    return opening;
  }

  async #load(release: Release, context: ServeContext): Promise<PackageIndex | undefined> {
    const { store } = context;
    const { rpms, isos } = release.inventory.catalog;
    if (rpms.length + isos.length === 0) return undefined;
    const { PackageIndex } = await import("../../packages/package-index.ts");
    const { records } = store;
    const folder = records?.recordPath(release.stream, records.recordName(release));
    const source = folder === undefined ? undefined : await this.#fileSource(`${folder}/${INDEX_NAME}`);
    const stored = source && (await PackageIndex.open(source, release.digest));
    if (stored !== undefined) return stored;
    const places = this.#files.areBrought
      ? await this.#bringPlaces(release, store)
      : metadataPlaces(release, (digest) => this.#files.place(store.blobPath(digest)));
    const bytes = await this.#make({ stream: release.stream, release: release.digest, places });
    return bytes && PackageIndex.open(memorySource(bytes), release.digest);
  }

  /** What is not at its path is read here; images, of which only parts are here, are left out. */
  async #bringPlaces(release: Release, store: StoreReader): Promise<MetadataPlace[]> {
    const read = new Map<Digest, Buffer>();
    for (const { path, digest, size } of release.inventory.entries) {
      if (!READ_METADATA.test(path) || size > MAX_METADATA_BYTES) continue;
      read.set(digest, await this.#files.readWhole(store.blobPath(digest)));
    }
    const places = metadataPlaces(release, (digest) => read.get(digest) ?? "");
    return places.filter((it) => it.kind === "files");
  }

  /** Borrows the shared descriptor for each read. Undefined when there is no such file. */
  async #fileSource(path: string): Promise<IndexSource | undefined> {
    try {
      const file = await this.#files.open(path);
      const { size } = file;
      file.release();
      return { size, fill: (bytes, position) => this.#fill(path, bytes, position) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async #fill(path: string, bytes: Buffer, position: number): Promise<void> {
    const file = await this.#files.open(path);
    try {
      const filled = await file.fill(bytes, bytes.length, position);
      if (filled === bytes.length) return;
      throw new AirferryError("ERR_IO", `cannot read "${path}": it ends ${bytes.length - filled} bytes early`);
    } finally {
      file.release();
    }
  }
}

function memorySource(bytes: Uint8Array): IndexSource {
  return {
    size: bytes.length,
    fill: async (target, position) => target.set(bytes.subarray(position, position + target.length)),
  };
}
