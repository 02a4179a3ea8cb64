/**
 * Which ISOs of a delta are built on the far side: of files that it has, alone or inside of ISOs, and of what the
 * bundle carries anyway. What is left of each becomes an item of its own. docs/format.md, "Recipes".
 */
import { createHash } from "node:crypto";
import { MAX_RECIPE_SOURCES, MAX_RECIPES_BYTES } from "../bundle/format-limits.ts";
import { FILES_NAME } from "../bundle/media-names.ts";
import { recipeSize } from "../bundle/recipe-bytes.ts";
import type { RecipeRange, RecipeSource } from "../bundle/recipe-list.ts";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { formatBytes } from "../io/format.ts";
import { sha256In } from "../io/integrity.ts";
import { throwIfAborted } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import { hasPieces, PIECE_BYTES, type PieceRun } from "../io/piece-digests.ts";
import type { Extent, RandomAccess } from "../io/types.ts";
import { isoFiles } from "../sources/iso-files.ts";
import { earlierIsos } from "./earlier-files.ts";
import type { HeldThere } from "./held-there.ts";
import { type DigestedFile, digestFiles, listedIso } from "./iso-digests.ts";
import { gathered, slice } from "./item-bytes.ts";
import type { PackJob } from "./job.ts";
import type { LeftOutItem, PlannedRecipes, Recipes, SizedItem } from "./left-out.ts";
import { type BuiltBytes, type IsoPlace, makeRecipe, type SourcePlace } from "./make-recipe.ts";

/** A recipe saves at least so much, and at least this part of the ISO: it makes the import depend on its sources. */
const MIN_SAVED_BYTES = 1024 * 1024;
const MIN_SAVED_PART = 1 / 20;
const CHUNK_BYTES = 4 * 1024 * 1024;

/** What is known of an ISO whose bytes are here, and right. */
interface KnownIso extends IsoPlace {
  digest: Digest;
  size: number;
  files: readonly DigestedFile[];
  /** Digests of its pieces. */
  pieces: Uint8Array;
}

/** Plans recipes for one pack. Nothing to close. */
export class RecipePlanner implements Recipes {
  /** Artifacts from the download cache. */
  readonly cached: Digest[] = [];
  readonly #job: PackJob;
  readonly #held: HeldThere;
  /** By digest: rounds of one pack ask for the same. Undefined: its bytes are unavailable here. */
  readonly #known = new Map<Digest, KnownIso | undefined>();
  #inside: Map<Digest, SourcePlace> | undefined;

  constructor(job: PackJob, held: HeldThere) {
    this.#job = job;
    this.#held = held;
  }

  /** The files of an ISO that was looked at. */
  filesOf(digest: Digest): readonly DigestedFile[] | undefined {
    return this.#known.get(digest)?.files;
  }

  /** Divides items that would be carried. */
  async plan(items: readonly SizedItem[]): Promise<PlannedRecipes> {
    const candidates = items.filter((it) => isCandidate(it) && !this.#isListed(it));
    const built = new Map<SizedItem, LeftOutItem>();
    const parts: SizedItem[] = [];
    await this.#answer(items, built, parts);
    if (candidates.length === 0)
      return { rest: items.filter((it) => !built.has(it)), built: [...built.values()], parts };
    const carried = carriedSources(items);
    const inside = new Map(await this.#filesInside());
    const mayBuild = new Set(candidates.map((it) => sha256In(it.integrity)));
    let [sources, bytes] = [0, 0];
    // A smaller one may be a part of a larger one.
    for (const item of candidates.toSorted((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1))) {
      throwIfAborted();
      const known = await this.#lookAt(item);
      if (known === undefined) continue;
      const twin = [...built.values()].find((it) => it.digest === known.digest);
      if (twin?.built !== undefined) {
        built.set(item, Object.assign(item, { digest: known.digest, built: twin.built }));
        continue;
      }
      const placeOf = (digest: Digest, size: number): SourcePlace | undefined => {
        const there = inside.get(digest);
        if (there !== undefined) return there;
        const isThere = this.#held.find(digest, size) !== undefined || carried.get(digest) === size;
        return isThere && !mayBuild.has(digest) ? { source: { digest, size }, offset: 0 } : undefined;
      };
      const made = await this.#make(item, known, placeOf);
      const more = made && recipeSize({ ranges: made.built.ranges });
      if (
        made === undefined ||
        more === undefined ||
        sources + more.sources > MAX_RECIPE_SOURCES ||
        bytes + more.bytes > MAX_RECIPES_BYTES
      ) {
        // Carried whole, so that others may be built of it.
        for (const it of listedIso(known.digest, known.size, known.files).files)
          if (!inside.has(it.digest)) inside.set(it.digest, { source: known, offset: it.offset });
        continue;
      }
      sources += more.sources;
      bytes += more.bytes;
      if (made.part !== undefined) parts.push(made.part);
      built.set(item, Object.assign(item, { digest: known.digest, built: made.built }));
    }
    return { rest: items.filter((it) => !built.has(it)), built: [...built.values()], parts };
  }

  #isListed({ integrity }: SizedItem): boolean {
    const digest = sha256In(integrity);
    return digest !== undefined && this.#held.isListed(digest);
  }

  /** Divides items of which only some pieces are asked for: the others are there. */
  async #answer(items: readonly SizedItem[], built: Map<SizedItem, LeftOutItem>, parts: SizedItem[]): Promise<void> {
    for (const item of items) {
      const digest = sha256In(item.integrity);
      const runs = digest && this.#held.piecesListed(digest);
      if (digest === undefined || runs === undefined || !isHere(item) || !hasPieces(item.size)) continue;
      throwIfAborted();
      const twin = [...built.values()].find((it) => it.digest === digest);
      const known = twin === undefined ? await this.#lookAt(item) : undefined;
      if (known === undefined && twin === undefined) continue;
      const made = known && (await answerOf(item, known, runs));
      if (made !== undefined) {
        this.#job.report(`${item.path}: ${formatBytes(made.part.size)} of ${formatBytes(item.size)} are carried again`);
        parts.push(made.part);
      }
      const bytes = made?.built ?? twin?.built;
      if (bytes !== undefined) built.set(item, Object.assign(item, { digest, built: bytes }));
    }
  }

  /** Files inside of ISOs that the far side has. */
  async #filesInside(): Promise<ReadonlyMap<Digest, SourcePlace>> {
    if (this.#inside !== undefined) return this.#inside;
    const isos = await earlierIsos(this.#job.out, (digest, size) => this.#held.find(digest, size) !== undefined);
    const inside = new Map<Digest, SourcePlace>();
    for (const { digest, size, files } of isos.values()) {
      const source = { digest, size };
      for (const it of files) inside.set(it.digest, { source, offset: it.offset });
    }
    if (isos.size === 0)
      this.#job.report(
        `no ${FILES_NAME} in ${this.#job.out} lists the files of an ISO that is there: they are looked for alone`,
      );
    this.#inside = inside;
    return inside;
  }

  /** Undefined if too little is saved. */
  async #make(
    item: SizedItem,
    known: KnownIso,
    placeOf: (digest: Digest, size: number) => SourcePlace | undefined,
  ): Promise<{ built: BuiltBytes; part?: SizedItem } | undefined> {
    const { file, offset, pieces } = known;
    const opened = await openBytes(file);
    try {
      const bytes = slice(opened.bytes, offset, item.size);
      const recipe = await makeRecipe(bytes, known.files, placeOf);
      const saved = item.size - recipe.carriedBytes - recipeSize({ ranges: recipe.ranges(undefined) }).bytes;
      if (saved < Math.max(MIN_SAVED_BYTES, item.size * MIN_SAVED_PART)) return undefined;
      this.#job.report(
        `${item.path}: ${formatBytes(saved)} of ${formatBytes(item.size)} are there already, inside of other files`,
      );
      if (recipe.carriedBytes === 0) return { built: { file, offset, pieces, ranges: recipe.ranges(undefined) } };
      const source = { digest: await digestOfParts(bytes, recipe.carried), size: recipe.carriedBytes };
      const built = { file, offset, pieces, ranges: recipe.ranges(source) };
      // An earlier bundle brought the same parts.
      if (this.#held.find(source.digest, source.size) !== undefined) return { built };
      return { built, part: partOf(item, known, source, recipe.carried) };
    } finally {
      await opened.close();
    }
  }

  async #lookAt(item: SizedItem): Promise<KnownIso | undefined> {
    const digest = sha256In(item.integrity);
    if (digest === undefined) return undefined;
    if (!this.#known.has(digest)) this.#known.set(digest, await this.#read(item, digest));
    return this.#known.get(digest);
  }

  /** Hashes an ISO and the files in it. What cannot be read, or is not what was locked, is left to who fills it in. */
  async #read(item: SizedItem, digest: Digest): Promise<KnownIso | undefined> {
    const { pool, report } = this.#job;
    const { size } = item;
    let place: IsoPlace | undefined;
    try {
      place = await this.#placeOf(item, digest);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      report(`${item.path} is carried whole: ${error.message}`);
    }
    if (place === undefined) return undefined;
    const { file, offset } = place;
    const opened = await openBytes(file).catch(() => undefined);
    if (opened === undefined || opened.bytes.size < offset + size) {
      await opened?.close();
      return undefined;
    }
    const hasher = pool.open([], size, true);
    try {
      // Beside each other: the second reads what the first has just read.
      const whole = hasher.advance({ file, offset, length: size });
      whole.catch(() => undefined);
      const files = isCandidate(item) ? await isoFiles(slice(opened.bytes, offset, size), item.path) : [];
      const rangesOf = (it: Extent) => [{ file, offset: offset + it.offset, length: it.size }];
      const digested = await digestFiles(files, rangesOf, pool);
      await whole;
      const pieces = await hasher.pieces();
      const { sha256 } = await hasher.digests();
      return sha256 === digest ? { file, offset, digest, size, files: digested, pieces } : undefined;
    } finally {
      hasher.discard();
      await opened.close();
    }
  }

  /** Where the bytes of an item are on this host; they are fetched if they are not. */
  async #placeOf({ path, source, integrity, size }: SizedItem, digest: Digest): Promise<IsoPlace | undefined> {
    if (source.from === "file") return { file: source.file, offset: source.offset ?? 0 };
    if (source.from !== "url") return undefined;
    const { cache, fetcher } = this.#job.workspace;
    const known = await cache.file(digest);
    if (known === undefined) {
      this.#job.report(`fetching ${path} to see which parts of it are there already`);
      const { urls, named, auth } = source;
      await cache.download(fetcher, { urls, named, auth }, { integrity, maxBytes: size });
    }
    const file = known ?? (await cache.file(digest));
    if (file === undefined) return undefined;
    this.cached.push(digest);
    return { file, offset: 0 };
  }
}

/** Pieces of an item: those in runs are carried, the others stay. */
async function answerOf(
  item: SizedItem,
  known: KnownIso,
  runs: readonly PieceRun[],
): Promise<{ built: BuiltBytes; part: SizedItem } | undefined> {
  const { digest, size, file, offset, pieces } = known;
  const carried = runs.map(({ first, count }) => {
    const from = first * PIECE_BYTES;
    return { offset: from, size: Math.min(size, from + count * PIECE_BYTES) - from };
  });
  const opened = await openBytes(file);
  try {
    const bytes = slice(opened.bytes, offset, size);
    const source = { digest: await digestOfParts(bytes, carried), size: carried.reduce((sum, it) => sum + it.size, 0) };
    const ranges: RecipeRange[] = [];
    let [position, taken] = [0, 0];
    const keep = (to: number) => {
      if (to > position) ranges.push({ source: { digest, size }, offset: position, length: to - position });
    };
    for (const it of carried) {
      keep(it.offset);
      ranges.push({ source, offset: taken, length: it.size });
      taken += it.size;
      position = it.offset + it.size;
    }
    keep(size);
    // All of it is asked for: then it is carried as it is.
    if (source.size === size) return undefined;
    return { built: { file, offset, pieces, ranges }, part: partOf(item, known, source, carried) };
  } finally {
    await opened.close();
  }
}

/** Its bytes can be read on this host, once they were fetched. */
function isHere({ source }: SizedItem): boolean {
  return source.from === "url" || (source.from === "file" && source.codec === undefined);
}

function isCandidate(item: SizedItem): boolean {
  const { path, size, integrity } = item;
  return isHere(item) && /^isos\/.+\.iso$/.test(path) && size > MIN_SAVED_BYTES && sha256In(integrity) !== undefined;
}

/** What the bundle carries besides ISOs, as far as its digests are known. */
function carriedSources(items: readonly SizedItem[]): Map<Digest, number> {
  const carried = new Map<Digest, number>();
  for (const it of items) {
    const digest = it.source.from === "kept" ? it.source.digest : sha256In(it.integrity);
    const isMade = it.source.from === "generated";
    if (digest !== undefined && !isMade && it.size > 0 && !isCandidate(it)) carried.set(digest, it.size);
  }
  return carried;
}

/** The item that carries what is left of an ISO. */
function partOf(
  item: SizedItem,
  { file, offset }: IsoPlace,
  { digest, size }: RecipeSource,
  parts: readonly Extent[],
): SizedItem {
  const extents = parts.map((it) => ({ offset: offset + it.offset, size: it.size }));
  return {
    path: `recipes/${item.path}`,
    kind: "generated",
    mode: "0644",
    size,
    integrity: digest,
    established: "generated",
    source: { from: "file", file, extents },
  };
}

async function digestOfParts(bytes: RandomAccess, parts: readonly Extent[]): Promise<Digest> {
  const hash = createHash("sha256");
  const all = gathered(bytes, parts);
  for (let position = 0; position < all.size; ) {
    throwIfAborted();
    const chunk = await all.read(position, CHUNK_BYTES);
    if (chunk.length === 0) break;
    hash.update(chunk);
    position += chunk.length;
  }
  return `sha256:${hash.digest("hex")}`;
}
