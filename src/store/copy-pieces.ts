/**
 * Copies what the media at one time have of a bundle into object storage, while others are still to come. Entries that
 * lie whole on them go up as usual. Of an entry that goes on elsewhere, the piece of each volume that is as signed
 * becomes an object of the quarantine; once all pieces are there, the entry is made of them, and hashed meanwhile.
 */
import type { Inventory } from "../bundle/inventory-types.ts";
import type { PlacedEntries } from "../bundle/placed-entries.ts";
import { frameEnd, frameStart, type PlacedEntry } from "../bundle/steps.ts";
import { END_BYTES } from "../bundle/tar-layout.ts";
import { piecesOf, volumeName } from "../bundle/volume-layout.ts";
import { hexOf } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { PartBuffers, upload } from "../s3/s3-upload.ts";
import { copyToObjects, type ObjectCopyContext, sending } from "./copy-objects.ts";
import { ContentDamage } from "./damage.ts";
import { blobKey } from "./layout.ts";

/** Bytes of a piece that are read back at once. */
const READ_BYTES = 8 * 1024 * 1024;

interface PieceCopyContext extends Omit<ObjectCopyContext, "hasEnd"> {
  inventory: Inventory;
  pool: HashPool;
  /** Key of the bundle's quarantine, without a slash at its end. */
  folder: string;
  /** Called with an entry whose pieces in the bucket are not what was put there: they are removed. */
  spoiled(entry: PlacedEntry): void;
  /** Removes objects under the store's lock. */
  remove(keys: readonly string[]): Promise<void>;
}

/**
 * Copies what there is of `needed`; returns the indexes of the volumes that are still to come. What an earlier run
 * brought is not read again.
 * @throws {ContentDamage} for an entry or a volume that differs from what was signed; {AirferryError} ERR_SPACE,
 *   ERR_OBJECT_STORAGE, ERR_IO
 */
export async function copyPieces(needed: PlacedEntries, context: PieceCopyContext): Promise<number[]> {
  const { volumes, inventory, bucket } = context;
  const { unique } = needed;
  const isAt = (from: number, to: number) =>
    piecesOf(from, to - from, volumes.volumeSize).every((it) => volumes.file(it.volume) !== undefined);
  const isWhole = (index: number) => {
    const entry = inventory.entries.placedAt(index);
    return isAt(frameStart(entry), frameEnd(entry));
  };
  const hasEnd = isAt(volumes.streamSize - END_BYTES, volumes.streamSize);
  await copyToObjects(unique.filter(isWhole), { ...context, hasEnd });
  const there = new Map<string, number>();
  for await (const { key, size } of bucket.list(`${context.folder}/pieces/`)) there.set(key, size);
  const quarantine = new Quarantine(context, there);
  const left = [...unique.filter((it) => !isWhole(it))];
  const isLast = (it: PlacedEntry) => quarantine.lacking(it).every((volume) => volumes.file(volume) !== undefined);
  for (const it of left) if (!isLast(it)) await quarantine.put(it);
  const missing = new Set<number>();
  for (const it of left) {
    if (isLast(it) && (await quarantine.make(it))) continue;
    for (const volume of quarantine.lacking(it)) missing.add(volume);
  }
  return [...missing].sort((a, b) => a - b);
}

/** The pieces of a bundle's entries in the bucket. */
class Quarantine {
  readonly #context: PieceCopyContext;
  /** Sizes of the objects, by their keys. */
  readonly #there: Map<string, number>;
  readonly #good = new Set<number>();
  readonly #buffers = new PartBuffers();

  constructor(context: PieceCopyContext, there: Map<string, number>) {
    this.#context = context;
    this.#there = there;
  }

  /** Volumes of which the bucket has no piece of an entry. */
  lacking(entry: PlacedEntry): number[] {
    const lacking = this.#pieces(entry).filter((it) => this.#there.get(it.key) !== it.length);
    return lacking.map((it) => it.volume);
  }

  /** Puts the pieces of an entry there that are on the media, once their volumes were hashed. */
  async put(entry: PlacedEntry): Promise<void> {
    const { bucket, volumes } = this.#context;
    const progress = sending(this.#context);
    for (const { key, volume, start, length } of this.#pieces(entry)) {
      if (this.#there.get(key) === length || volumes.file(volume) === undefined) continue;
      await this.#checkVolume(volume);
      const fill = (position: number, into: Buffer) => volumes.fill(start + position, into);
      await upload(bucket, key, { size: length, digest: undefined, fill, progress }, this.#buffers);
      this.#there.set(key, length);
    }
  }

  /** Makes a blob of an entry of which every piece is here. False: some were wrong, and are lacking now. */
  async make(entry: PlacedEntry): Promise<boolean> {
    const { bucket, volumes, isSuspect, added, spoiled, remove } = this.#context;
    const { size, digest } = entry;
    const end = await upload(
      bucket,
      blobKey(digest),
      {
        size,
        digest,
        isSuspect: isSuspect(digest),
        fill: (position, into) => this.#fill(entry, position, into),
        progress: sending(this.#context),
      },
      this.#buffers,
    );
    if (end.is !== "differs") {
      added(digest, size);
      return true;
    }
    const pieces = this.#pieces(entry);
    for (const { volume } of pieces) if (volumes.file(volume) !== undefined) await this.#checkVolume(volume);
    const keys = pieces.map((it) => it.key).filter((it) => this.#there.has(it));
    // All of it is on good volumes: its packer signed something else.
    if (keys.length === 0) throw new ContentDamage(entry.offset, size, entry, end.digest);
    await remove(keys);
    for (const it of keys) this.#there.delete(it);
    spoiled(entry);
    await this.put(entry);
    return false;
  }

  async #fill(entry: PlacedEntry, position: number, into: Buffer): Promise<void> {
    const { bucket, volumes } = this.#context;
    const from = entry.offset + position;
    const to = from + into.length;
    for (const { key, volume, start, length } of this.#pieces(entry)) {
      const first = Math.max(from, start);
      const last = Math.min(to, start + length);
      if (first >= last) continue;
      if (volumes.file(volume) !== undefined) {
        await volumes.fill(first, into.subarray(first - from, last - from));
        continue;
      }
      for (let at = first; at < last; at += READ_BYTES) {
        const bytes = await bucket.range(key, at - start, Math.min(READ_BYTES, last - at));
        into.set(bytes, at - from);
      }
    }
  }

  /** By volume; `start` is an offset in the stream. */
  #pieces({ digest, offset, size }: PlacedEntry): { key: string; volume: number; start: number; length: number }[] {
    const { volumes, folder } = this.#context;
    return piecesOf(offset, size, volumes.volumeSize).map(({ volume, length }) => ({
      key: `${folder}/pieces/${hexOf(digest)}.${volumeName(volume)}`,
      volume,
      start: Math.max(offset, volume * volumes.volumeSize),
      length,
    }));
  }

  /** @throws {ContentDamage} for a volume that is not as signed */
  async #checkVolume(index: number): Promise<void> {
    const { volumes, inventory, pool } = this.#context;
    const file = volumes.file(index);
    const signed = inventory.volumes[index];
    if (file === undefined || signed === undefined || this.#good.has(index)) return;
    const { digest } = await pool.hashFile(file, { length: signed.size });
    if (digest !== signed.digest) throw new ContentDamage(index * volumes.volumeSize, signed.size);
    this.#good.add(index);
  }
}
