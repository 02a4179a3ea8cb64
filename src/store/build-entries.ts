/**
 * Builds entries that a bundle does not carry from ranges of blobs, as its recipes say: one pass each into the
 * quarantine, hashed as it is written. docs/format.md, "Recipes".
 */
import { statSync } from "node:fs";
import type { Recipe, RecipeSource } from "../bundle/recipe-list.ts";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import type { RangeJob, RangePart } from "../io/hash-worker.ts";
import { eachLimited } from "../io/limit.ts";
import { buildObject } from "./build-objects.ts";
import { type CopyContext, copyWhole } from "./copy-entries.ts";
import type { Store } from "./store.ts";

/** Operations that are passed to a thread at a time: a recipe may have millions, of a byte each. */
const STEP_OPERATIONS = 4096;

/** An entry could not be built: these blobs are not what their names say; none: the recipe is wrong. */
export class SourceDamage extends Error {
  readonly recipe: Recipe;
  readonly damaged: readonly RecipeSource[];

  constructor(recipe: Recipe, damaged: readonly RecipeSource[]) {
    super("sources of a recipe are damaged");
    this.recipe = recipe;
    this.damaged = damaged;
  }
}

/**
 * Builds entries whose sources are all in the store, one after the other, and makes them blobs. What an earlier run
 * left of one is continued.
 * @throws {SourceDamage} when one has a wrong digest; {AirferryError} ERR_SPACE, ERR_IO
 */
export async function buildEntries(
  recipes: readonly Recipe[],
  context: Omit<CopyContext, "volumes"> & {
    /** Files with the pieces that recipes take from the entry itself, by its digest. */
    own: ReadonlyMap<Digest, string>;
    /** Whether a blob was found to be damaged. */
    isSuspect?: (digest: Digest) => boolean;
  },
): Promise<void> {
  const { store, incoming, committer, own } = context;
  for (const recipe of recipes) {
    const { digest, size } = recipe;
    const sources = recipe.sources.filter((it) => it.digest !== digest);
    if (store.bucket !== undefined) {
      const isBuilt = await buildObject(recipe, store.bucket, context);
      if (!isBuilt) throw new SourceDamage(recipe, await damagedOf(sources, context));
      store.addBlob(digest, size);
      continue;
    }
    const file = incoming.partFile(digest);
    const fileOf = (source: Digest) => (source === digest && own.get(source)) || store.blobPath(source);
    const jobs = (position: number, length: number) => [jobOf(recipe, fileOf, file, position, length)];
    const stepAt = (position: number) => recipe.lengthOf(position, STEP_OPERATIONS);
    const actual = await copyWhole(file, { size, digest, jobs, stepAt }, context).catch(async (error: unknown) => {
      const isSource = error instanceof AirferryError && sources.some((it) => store.blobPath(it.digest) === error.path);
      const damaged = isSource ? await damagedOf(sources, context) : [];
      throw damaged.length === 0 ? error : new SourceDamage(recipe, damaged);
    });
    if (actual !== digest) throw new SourceDamage(recipe, await damagedOf(sources, context));
    committer.addSynced(file, digest);
  }
}

function jobOf(
  recipe: Recipe,
  fileOf: (source: Digest) => string,
  to: string,
  position: number,
  length: number,
): RangeJob {
  const parts = [...recipe.ranges(position, length)].map(
    ({ source, ...range }): RangePart => (source === undefined ? range : { ...range, file: fileOf(source.digest) }),
  );
  return { file: to, offset: 0, length, parts, copyTo: { file: to, offset: position } };
}

/** The sources that are not what their names say, or cannot be read. */
async function damagedOf(
  sources: readonly RecipeSource[],
  { store, pool }: Pick<CopyContext, "store" | "pool">,
): Promise<RecipeSource[]> {
  const damaged: RecipeSource[] = [];
  await eachLimited(sources, pool.size + 1, async (it) => {
    if (!(await isRight(it, store, pool))) damaged.push(it);
  });
  return damaged;
}

/** Whether the blob of a source is there and has its digest. */
export async function isRight(
  { digest, size }: RecipeSource,
  store: Store,
  pool: CopyContext["pool"],
): Promise<boolean> {
  if (store.bucket !== undefined) return store.hasBlob(digest, size) && store.isRight(digest, size, pool);
  const file = store.blobPath(digest);
  if (statSync(file, { throwIfNoEntry: false })?.size !== size) return false;
  const read = await pool.hashFile(file, { length: size }).catch((error: unknown): { digest?: Digest } => {
    if (error instanceof AirferryError) return {};
    throw error;
  });
  return read.digest === digest;
}
