/**
 * Repairs blobs and records of a store from bundles: by the piece, where the digests of the pieces are known. The
 * repaired file is a new one, which gets its name when the digest of all of it is right; until then the damaged one
 * stays as it is.
 */
import { hash } from "node:crypto";
import { existsSync, lstatSync } from "node:fs";
import { open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Contents } from "../bundle/contents.ts";
import { PIECES_NAME } from "../bundle/media-names.ts";
import type { PlacedEntry } from "../bundle/steps.ts";
import { piecesOf } from "../bundle/volume-layout.ts";
import { VolumeSet } from "../bundle/volumes.ts";
import { AirferryError } from "../errors.ts";
import { ioError, syncPath } from "../io/atomic.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { throwIfAborted } from "../io/limit.ts";
import { hasPieces, PIECE_BYTES, pieceCount, pieceDigest } from "../io/piece-digests.ts";
import { verifySpace } from "../io/space.ts";
import { downloadFile, uploadFile } from "../s3/object-file.ts";
import type { BlobPieces } from "./blob-pieces.ts";
import type { StoreProblem } from "./check-store.ts";
import { Committer } from "./committer.ts";
import { blobKey } from "./layout.ts";
import { copyDocument } from "./release-documents.ts";
import type { Store } from "./store.ts";
import type { Release } from "./types.ts";

/** A trusted bundle to repair from. */
export interface RepairSource {
  /** Of its SHA256SUMS. */
  digest: Digest;
  contents: Contents;
}

/** A blob to repair: what should be there, and what is wrong with it. */
interface DamagedBlob {
  file: string;
  digest: Digest;
  size: number;
  /** Indexes of the wrong pieces; absent: none of it is known to be right. */
  wrong?: readonly number[];
}

/** How much a repair wrote. */
interface Repaired {
  /** Path of the file. */
  path: string;
  /** Bytes that came from a bundle. */
  bytes: number;
}

const TEMPORARY = ".tmp-repair-";

/** Repairs one store. The caller holds its lock. */
export class StoreRepair {
  readonly #store: Store;
  readonly #sources: readonly RepairSource[];
  readonly #releases: readonly Release[];
  readonly #pieces: BlobPieces;
  readonly #pool: HashPool;

  constructor(
    store: Store,
    sources: readonly RepairSource[],
    known: { releases: readonly Release[]; pieces: BlobPieces },
    pool: HashPool,
  ) {
    this.#store = store;
    this.#sources = sources;
    this.#releases = known.releases;
    this.#pieces = known.pieces;
    this.#pool = pool;
  }

  /** Removes what a killed repair left. */
  async clear(): Promise<void> {
    for (const name of await readdir(this.#store.dir)) {
      if (name.startsWith(TEMPORARY)) await rm(join(this.#store.dir, name), { force: true });
    }
  }

  /**
   * Repairs a blob; undefined if no bundle has what it lacks.
   * @throws {AirferryError} ERR_SPACE, ERR_IO
   */
  async blob(damaged: DamagedBlob): Promise<Repaired | undefined> {
    const { digest, size } = damaged;
    if (!this.#sources.some((it) => carriedBy(it, digest) !== undefined)) return undefined;
    await verifySpace("repair", this.#store.dir, { bytes: size, files: 1, largest: size });
    const temporary = join(this.#store.dir, `${TEMPORARY}${hexOf(digest)}`);
    try {
      let wrong = await this.#begin(damaged, temporary);
      let bytes = 0;
      for (const source of this.#sources) {
        const entry = carriedBy(source, digest);
        if (entry === undefined || wrong.length === 0) continue;
        const before = wrong;
        wrong = await this.#take(entry, source, temporary, wrong);
        bytes += lengthOf(before, size) - lengthOf(wrong, size);
      }
      if (wrong.length > 0) return undefined;
      if ((await this.#pool.hashFile(temporary, { length: size })).digest !== digest) {
        // Pieces that nobody doubted may be wrong as well: once more, all of it.
        return damaged.wrong === undefined ? undefined : await this.blob({ file: damaged.file, digest, size });
      }
      const { bucket } = this.#store;
      if (bucket !== undefined) {
        await uploadFile(bucket, blobKey(digest), temporary, digest);
        this.#store.addBlob(digest, size);
        return { path: this.#store.blobPath(digest), bytes };
      }
      await syncPath(temporary);
      const committer = new Committer(this.#store.dir, () => {});
      committer.addSynced(temporary, digest);
      await committer.finish();
      return { path: this.#store.blobPath(digest), bytes };
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Puts a document of a release in its place again: from the bundle that the release came from. */
  async document(problem: StoreProblem): Promise<Repaired | undefined> {
    const folder = dirname(problem.path);
    const name = basename(problem.path);
    const release = this.#releases.find(
      (it) => this.#store.records.recordPath(it.stream, this.#store.records.recordName(it)) === folder,
    );
    const contents = this.#sources.find((it) => it.digest === release?.digest)?.contents;
    const found =
      name === PIECES_NAME ? contents?.pieces : contents?.large.find((it) => it.name === name && problem.digest);
    if (found === undefined) return undefined;
    const temporary = join(folder, `${TEMPORARY}${name}`);
    await rm(temporary, { force: true });
    try {
      await copyDocument(found.file, temporary, found.digest);
      const bytes = lstatSync(temporary).size;
      await rename(temporary, problem.path);
      await syncPath(folder);
      return { path: problem.path, bytes };
    } catch (error) {
      // The medium is damaged there too.
      if (error instanceof AirferryError && error.code === "ERR_DIGEST_MISMATCH") return undefined;
      throw ioError("repair", problem.path, error);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Begins with what is right of the old file; returns the indexes of the pieces that are to come. */
  async #begin({ file, digest, size, wrong }: DamagedBlob, temporary: string): Promise<number[]> {
    await rm(temporary, { force: true });
    const handle = await open(temporary, "wx", 0o600).catch((error: unknown) => {
      throw ioError("repair", temporary, error);
    });
    await handle.truncate(size);
    await handle.close();
    const { bucket } = this.#store;
    if (bucket !== undefined && wrong !== undefined && this.#store.hasBlob(digest, size)) {
      await downloadFile(bucket, blobKey(digest), temporary, size);
      return [...wrong];
    }
    if (wrong !== undefined && existsSync(file)) {
      const hasher = this.#pool.open();
      try {
        await hasher.advance({ file, offset: 0, length: size, copyTo: { file: temporary, offset: 0 } });
        return [...wrong];
      } catch (error) {
        // The disk cannot read all of it.
        const cause = error instanceof AirferryError ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
        if (cause?.code !== "EIO") throw error;
      } finally {
        hasher.discard();
      }
    }
    return Array.from({ length: pieceCount(size) }, (_, index) => index);
  }

  /** Copies pieces from a bundle, as far as they are right there; returns those that are still to come. */
  async #take(
    entry: PlacedEntry,
    { contents }: RepairSource,
    temporary: string,
    wanted: readonly number[],
  ): Promise<number[]> {
    const { digest, size, offset } = entry;
    const own = await contents.pieces?.list.of(digest).catch(() => undefined);
    const known = await this.#pieces.of(digest, size, this.#releases).catch(() => undefined);
    const lists = [...(known ?? []), ...(own === undefined || !hasPieces(size) ? [] : [own])];
    const left: number[] = [];
    const target = await open(temporary, "r+");
    const copies = Math.max(...contents.copies.map((it) => it.length));
    // A damaged volume may have another copy.
    const sets = Array.from({ length: copies }, (_, at) =>
      VolumeSet.over(
        contents.copies.map((it) => it[at] ?? it[0]),
        contents.inventory,
      ),
    );
    try {
      for (const index of wanted) {
        throwIfAborted();
        const start = index * PIECE_BYTES;
        const length = Math.min(PIECE_BYTES, size - start);
        let isRight = false;
        for (const volumes of sets) {
          const there = piecesOf(offset + start, length, contents.inventory.volumeSize);
          if (there.some((it) => volumes.file(it.volume) === undefined)) continue;
          const bytes = await volumes.read(offset + start, length).catch((error: unknown) => {
            if (!(error instanceof AirferryError)) throw error;
          });
          if (bytes === undefined) continue;
          const actual = hash("sha256", bytes, "buffer");
          // Without digests of pieces, that of the whole decides.
          isRight = lists.length === 0 || lists.some((it) => actual.equals(pieceDigest(it, index)));
          if (!isRight) continue;
          await target.write(bytes, 0, bytes.length, start);
          break;
        }
        if (!isRight) left.push(index);
      }
    } catch (error) {
      throw ioError("repair", temporary, error);
    } finally {
      for (const it of sets) await it.close();
      await target.close();
    }
    return left;
  }
}

/** The entry by which a bundle carries some content. */
function carriedBy({ contents }: RepairSource, digest: Digest): PlacedEntry | undefined {
  const { entries } = contents.inventory;
  const index = entries.findDigest(digest);
  return index >= 0 && entries.isCarried(index) ? entries.placedAt(index) : undefined;
}

function lengthOf(pieces: readonly number[], size: number): number {
  return pieces.reduce((sum, it) => sum + Math.min(PIECE_BYTES, size - it * PIECE_BYTES), 0);
}
