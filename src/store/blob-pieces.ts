/**
 * What the pieces of blobs must be, by all releases that are read: their digests were signed with each release. A blob
 * that several releases have may have several lists, since a signer can be wrong about a blob that others have too.
 */
import { checkPieceList, PieceList, readingFile } from "../bundle/piece-list.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { hasPieces } from "../io/piece-digests.ts";
import type { RandomAccess } from "../io/types.ts";
import type { Release } from "./types.ts";

/** The lists of releases, each checked once. */
export class BlobPieces {
  readonly #lists = new WeakMap<Release, Promise<PieceList>>();
  readonly #readerOf: (release: Release) => RandomAccess["read"] | undefined;

  /** @param readerOf reads the list of a release that was checked already; without it, its file is checked here */
  constructor(readerOf: (release: Release) => RandomAccess["read"] | undefined = () => undefined) {
    this.#readerOf = readerOf;
  }

  /**
   * The lists of some content of this size; undefined if no release has one.
   * @throws {AirferryError} when the list of a release is damaged
   */
  async of(digest: Digest, size: number, releases: readonly Release[]): Promise<Uint8Array[] | undefined> {
    if (!hasPieces(size)) return [Buffer.from(hexOf(digest), "hex")];
    const found: Uint8Array[] = [];
    for (const release of releases) {
      if (release.pieces === undefined) continue;
      const pieces = await (await this.#listOf(release, release.pieces)).of(digest);
      if (pieces !== undefined && !found.some((it) => Buffer.compare(it, pieces) === 0)) found.push(pieces);
    }
    return found.length > 0 ? found : undefined;
  }

  #listOf(release: Release, { file, digest }: NonNullable<Release["pieces"]>): Promise<PieceList> {
    const known = this.#lists.get(release);
    if (known !== undefined) return known;
    const { entries } = release.inventory;
    const read = this.#readerOf(release);
    const list =
      read === undefined
        ? checkPieceList(file, digest, entries).then(() => new PieceList(entries, readingFile(file)))
        : Promise.resolve(new PieceList(entries, read));
    this.#lists.set(release, list);
    // What is repaired is found at the next read.
    list.catch(() => this.#lists.delete(release));
    return list;
  }
}
