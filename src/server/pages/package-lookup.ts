/**
 * The indexes of packages of one site: that which `unpack` left beside the record of a release, else one that is made
 * in a thread and kept in memory. Searches run one after the other, so that no number of them slows down downloads.
 */

import { AirferryError } from "../../errors.ts";
import { runInThread } from "../../io/parser-thread.ts";
import { metadataPlaces } from "../../packages/metadata-places.ts";
import type { PackageIndex } from "../../packages/package-index.ts";
import type { IndexSource } from "../../packages/types.ts";
import type { Release } from "../../store/types.ts";
import type { ServeContext } from "../http/context.ts";
import type { SharedFiles } from "../http/handles.ts";

const INDEX_NAME = "packages.idx";
/** A larger index is not kept in memory: about 200,000 packages. */
const MAX_IN_MEMORY_BYTES = 96 * 1024 * 1024;
/** Searches that wait for others; further ones are refused. */
const MAX_WAITING = 64;

export class PackageLookup {
  readonly #files: SharedFiles;
  /** Old releases are garbage-collected with theirs. */
  readonly #open = new WeakMap<Release, Promise<PackageIndex | undefined>>();
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(files: SharedFiles) {
    this.#files = files;
  }

  /** The index of a release; undefined when it has no packages, or they cannot be listed. */
  of(release: Release, context: ServeContext): Promise<PackageIndex | undefined> {
    let found = this.#open.get(release);
    if (found === undefined) {
      found = this.#load(release, context).catch((error: unknown) => {
        context.tellFault(error);
        return undefined;
      });
      this.#open.set(release, found);
    }
    return found;
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
    const bytes = await runInThread<Uint8Array | undefined>("packages", {
      bytes: new Uint8Array(),
      args: [release.digest, metadataPlaces(release, (digest) => store.blobPath(digest))],
      tooMuch: (fault) =>
        new AirferryError("ERR_SIZE_LIMIT", `cannot list the packages of "${release.stream}": ${fault}`),
    });
    if (bytes === undefined || bytes.length > MAX_IN_MEMORY_BYTES) return undefined;
    return PackageIndex.open(memorySource(bytes), release.digest);
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
