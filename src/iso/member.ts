/**
 * The bytes of a file inside an image, read in place as if it were a separate file. Stores nothing and opens nothing.
 */
import type { Extent, RandomAccess } from "../io/types.ts";

/** Random access to a run of extents. Reads are positional on the image, so any number of readers may share it. */
export class IsoMember implements RandomAccess {
  readonly size: number;
  readonly #image: RandomAccess;
  readonly #extents: readonly Extent[];

  constructor(image: RandomAccess, extents: readonly Extent[]) {
    this.#image = image;
    this.#extents = extents;
    this.size = extents.reduce((sum, extent) => sum + extent.size, 0);
  }

  /** Offsets of the bytes in the image, in order. */
  get extents(): readonly Extent[] {
    return this.#extents;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const wanted = Math.max(0, Math.min(length, this.size - position));
    const parts: Uint8Array[] = [];
    let start = 0;
    let left = wanted;
    for (const extent of this.#extents) {
      if (left === 0) break;
      const inside = position + (wanted - left) - start;
      if (inside < extent.size) {
        const take = Math.min(left, extent.size - inside);
        parts.push(await this.#image.read(extent.offset + inside, take));
        left -= take;
      }
      start += extent.size;
    }
    const [only, more] = parts;
    return only !== undefined && more === undefined ? only : Buffer.concat(parts);
  }
}
